package records

import (
	"slices"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// free gives what is another thing than the record of its number a key of its own:
// with its service behind it, as where one message names them all, else with a
// further number of its, else with a running one.
func (f *fold) free(it *Item) error {
	if !f.unlike {
		return nil
	}
	taken := func(id string) (bool, error) {
		have, err := f.get(recordKey(it.Kind, Key{Assigner: it.Key.Assigner, ID: id}.String()))
		return have != nil && aliasOf(have) == "", err
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
	if len(codes) > 0 {
		ends = append(ends, codes[0][strings.LastIndexByte(codes[0], '|')+1:])
	}
	for _, c := range it.numbers() {
		if c.Role != key.Role {
			ends = append(ends, c.ID)
		}
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
