package records

import (
	"slices"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// An order may inherit the number of another one: a child its parent's, what a filler
// puts in the place of an order that order's (HL7 v2.5.1 §4.5.1.1, CH and RO). The
// filler's number tells them apart, else when they start.

// heirsKey is there where a number was inherited.
func heirsKey(kind Kind, number string) []byte { return []byte("dh/" + string(kind) + "/" + number) }

// since is the element that the message set which first told of an heir.
const since = "@since"

// inherited says whether orders inherited a number that leads to several.
func (f *fold) inherited(it *Item, number Key, shared []string) (bool, error) {
	if len(shared) == 1 && shared[0] == number.plain() && number.Own == "" {
		return false, nil
	}
	if number.Own != "" {
		return true, nil
	}
	have, err := f.get(heirsKey(it.Kind, number.plain()))
	f.heirs = have != nil
	return f.heirs, err
}

// heir says whether a record of those that a number is of, by inheritance, is the one
// that a message means: the one whose other numbers it has. One that has none of them
// means the parent; of a replacement and what was replaced what there was then.
func (f *fold) heir(s *state, number Key, own, theirs []called) bool {
	var mine *called
	for i := range theirs {
		if theirs[i].Own != "" {
			mine = &theirs[i]
		}
	}
	if number.Own != "" {
		return mine != nil && mine.Own == number.Own
	}
	named := false
	for _, x := range own {
		have, same := false, false
		for _, y := range theirs {
			if y.Role == x.Role && y.Assigner == x.Assigner {
				have, same = true, same || x.same(y)
			}
		}
		if have && !same {
			return false
		}
		named = named || same && (mine == nil || x.Role != mine.Role)
	}
	return mine == nil || named || mine.Replaces && s.may(f.c.Stamp, since)
}

// children gives what a message asks of an order, by its number and service, to its
// children that have not been completed: it names none of them.
func (f *fold) children(it *Item, shared, codes []string) error {
	if it.Kind != Order || it.State != "revoked" && it.State != "on-hold" && len(it.Cancels) == 0 {
		return nil
	}
	if have, err := f.get(heirsKey(it.Kind, it.Key.plain())); err != nil || have == nil {
		return err
	}
	own := it.numbers()
	if slices.ContainsFunc(own, func(c called) bool { return c.Role != own[0].Role }) {
		return nil
	}
	for _, key := range shared {
		s, err := f.peek(it.Kind, key)
		if err != nil {
			return err
		}
		theirs, err := listed[called](f, namesKey(it.Kind, key))
		if err != nil {
			return err
		}
		if s == nil || !slices.ContainsFunc(theirs, func(c called) bool { return c.Own != "" && !c.Replaces }) {
			continue
		}
		same, err := f.of(s, codes)
		if err != nil {
			return err
		}
		if other, err := f.stranger(it, s); err != nil {
			return err
		} else if other || !same {
			continue
		}
		one := *it
		one.Key, one.Alternate, one.Deletes, one.mild = keyFrom(key), nil, nil, true
		one.Resource = fhir.NewResource(s.resource.ResourceType()).SetString("id", s.resource.ID())
		if err := f.item(&one); err != nil {
			return err
		}
	}
	return nil
}

// stranger says whether an order is of another patient than the message's, who only
// has the same number: nobody is said to have given it, both patients have their
// numbers of one authority, and no merge makes them one. What reports a result may put
// right under whom it was filed, and moves the order with it.
func (f *fold) stranger(it *Item, s *state) (bool, error) {
	if !it.Key.Bare || it.owner == "" || it.owner == s.owner || it.Kind != Order && it.Kind != MedicationOrder {
		return false, nil
	}
	ours, theirs := keyFrom(it.owner), keyFrom(s.owner)
	if ours.Assigner == "" || ours.Assigner != theirs.Assigner || slices.ContainsFunc(f.c.Items, func(o Item) bool { return o.Kind == Result }) {
		return false, nil
	}
	our, err := f.resolve(Patient, it.owner)
	if err != nil {
		return false, err
	}
	their, err := f.resolve(Patient, s.owner)
	if err != nil || our == their {
		return false, err
	}
	f.unlike, f.strange = true, true
	return true, nil
}

// familiar passes a record on that was read, unless it is a stranger's.
func (f *fold) familiar(it *Item, s *state, err error) (*state, error) {
	if s == nil || err != nil {
		return nil, err
	}
	if other, err := f.stranger(it, s); err != nil || other {
		return nil, err
	}
	return s, nil
}

// free gives what is another thing than the record of its number a key of its own:
// with its service behind it, as where one message names them all, else with a
// further number of its, else with a running one.
func (f *fold) free(it *Item) error {
	if !f.unlike {
		return nil
	}
	taken := func(id string) (bool, error) {
		name := recordKey(it.Kind, Key{Assigner: it.Key.Assigner, ID: id}.String())
		have, err := f.get(name)
		return have != nil && aliasOf(have) == "" || f.changes[string(name)] != nil, err
	}
	is, err := taken(it.Key.ID)
	if err != nil || !is {
		return err
	}
	key := it.Key
	if key.Number == "" {
		key.Number = key.ID
	}
	var ends []string
	codes, err := f.codesOf(it.Resource)
	if err != nil {
		return err
	}
	if len(codes) > 0 && !f.heirs {
		ends = append(ends, codes[0][strings.LastIndexByte(codes[0], '|')+1:])
	}
	for _, c := range it.numbers() {
		if c.Role != key.Role {
			ends = append(ends, c.ID)
		}
	}
	switch {
	case f.strange:
		key.patient = keyFrom(it.owner).ID
		ends = []string{key.patient}
		it.warnings = append(slices.Clip(it.warnings), "number-of-another-patient")
	case f.heirs && len(ends) > 0:
		key.Own = ends[0]
	}
	for n := 0; is; n++ {
		end := strconv.Itoa(n)
		if n < len(ends) {
			end = ends[n]
		}
		key.ID = it.Key.ID + "#" + end
		if is, err = taken(key.ID); err != nil {
			return err
		}
	}
	it.Key = key
	if it.Resource == nil {
		return nil
	}
	renamed := it.Resource.Shallow().SetString("id", fhir.ID(it.Resource.ResourceType(), key.Assigner, key.ID))
	f.reroute(it, renamed)
	it.Resource, it.Raw = renamed, nil
	return nil
}

// reroute lets the message's references to an item's resource lead to the record
// that the item is of, where that has another id.
func (f *fold) reroute(it *Item, to *fhir.Node) {
	if it.Resource == nil || it.Raw != nil || it.Resource.ID() == to.ID() {
		return
	}
	from := it.Resource.ResourceType() + "/" + it.Resource.ID()
	if f.routes == nil {
		f.routes = map[string]string{}
	}
	route := map[string]string{from: to.ResourceType() + "/" + to.ID()}
	f.routes[from] = route[from]
	for i := range f.c.Items {
		if n := f.c.Items[i].Resource; n != nil && slices.Contains(n.AppendReferences(nil), from) {
			n = n.Clone()
			redirect(n, route)
			f.c.Items[i].Resource = n
		}
	}
}

// rerouted does the same for what the message brings besides records.
func (f *fold) rerouted() {
	if f.routes == nil {
		return
	}
	f.c.Related = slices.Clone(f.c.Related)
	for i, n := range f.c.Related {
		r := f.nodes[n.ResourceType()+"/"+n.ID()]
		if !slices.ContainsFunc(n.AppendReferences(nil), func(ref string) bool { return f.routes[ref] != "" }) {
			continue
		}
		n = n.Clone()
		redirect(n, f.routes)
		if f.c.Related[i] = n; r != nil {
			r.node, r.json, r.references, r.walked = n, nil, nil, false
		}
	}
}
