package records

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// mostListed is how many moved records a merge lists; it counts all.
const mostListed = 1000

// edge applies what a message or an operator says of two patients, accounts or
// visits.
func (f *fold) edge(e *Edge) error {
	if e.Op == "move" {
		return f.owns(e)
	}
	if !e.Kind.Joins() || e.Kind != Patient && (e.Op == "link" || e.Op == "unlink") {
		f.out.Flags = append(f.out.Flags, e.Op+"-of-patients-only")
		return nil
	}
	if known, err := f.named(e); err != nil || !known {
		return err
	}
	if e.Op == "unmerge" {
		moved, err := f.unmoves(e)
		if err != nil || moved {
			return err
		}
	}
	retired, err := f.canonical(e.Kind, e.Retired)
	if err != nil {
		return err
	}
	survivor, err := f.canonical(e.Kind, e.Survivor)
	if err != nil {
		return err
	}
	if retired == survivor {
		f.out.Flags = append(f.out.Flags, "merge-with-itself")
		return nil
	}
	switch e.Op {
	case "merge", "unmerge", "change":
		return f.merge(e, retired, survivor)
	case "link", "unlink":
		return f.link(e, retired, survivor)
	default:
		return fmt.Errorf("edge %s: unknown", e.Op)
	}
}

// merge sets or takes away the edge of a retired patient: he and all who were
// merged into him get another survivor, and their records follow. Only the
// newest merge of a patient counts.
func (f *fold) merge(e *Edge, retired, survivor string) error {
	old, err := f.edgeOf(e.Kind, retired)
	if err != nil {
		return err
	}
	if e.Op != "unmerge" {
		if flag := f.refuses(old, survivor); flag != "" {
			f.out.Flags = append(f.out.Flags, flag)
			return nil
		}
		if err := f.known(e); err != nil {
			return err
		}
	} else if old == nil || old.To == "" {
		f.out.Flags = append(f.out.Flags, "not-merged")
		return nil
	}
	moving, err := f.upstream(e.Kind, retired, false)
	if err != nil {
		return err
	}
	was, err := f.roots(e.Kind, moving)
	if err != nil {
		return err
	}
	concerned, err := f.downstream(e.Kind, retired)
	if err != nil {
		return err
	}
	if err := f.setEdge(e, old, retired, survivor); err != nil {
		return err
	}
	after, err := f.downstream(e.Kind, retired)
	if err != nil {
		return err
	}
	is, err := f.roots(e.Kind, moving)
	if err != nil {
		return err
	}
	concerned = append(append(concerned, after...), moving...)
	sort.Strings(concerned)
	return f.told(e, slices.Compact(concerned), moving, was, is)
}

// refuses says why a merge changes nothing: it is older than the one that
// counts, the same, or one that an operator has undone.
func (f *fold) refuses(old *mergeEdge, survivor string) string {
	st := f.c.Stamp
	switch {
	case old == nil || old.Sender != st.Sender:
		return ""
	case old.To == survivor && st.Order <= old.Order:
		return "merge-repeated"
	case old.To == "" && st.Order <= old.Order:
		return "merge-undone"
	case st.Order < old.Order:
		return "merge-late"
	}
	return ""
}

// setEdge writes the edge and the way back to it.
func (f *fold) setEdge(e *Edge, old *mergeEdge, retired, survivor string) error {
	if old != nil && old.To != "" {
		f.put(append(incomingKey(e.Kind, old.To), retired...), nil)
	}
	if e.Op == "unmerge" {
		undone := *old
		undone.To = ""
		return f.putJSON(mergeKey(e.Kind, retired), &undone)
	}
	f.put(append(incomingKey(e.Kind, survivor), retired...), []byte{1})
	err := f.putJSON(mergeKey(e.Kind, retired), &mergeEdge{
		To: survivor, Key: e.Survivor, Sender: f.c.Stamp.Sender, Order: f.c.Stamp.Order, Journal: f.c.Origin.Journal, Same: e.Op == "change",
	})
	if err != nil {
		return err
	}
	if e.Kind != Patient {
		f.join()
	}
	return f.carry(e.Kind, retired, e.Op == "change")
}

func (f *fold) roots(kind Kind, keys []string) (map[string]string, error) {
	out := make(map[string]string, len(keys))
	for _, key := range keys {
		root, err := f.resolve(kind, key)
		if err != nil {
			return nil, err
		}
		out[key] = root
	}
	return out, nil
}

// known makes sure that both are records: of one that no message has told, its
// key.
func (f *fold) known(e *Edge) error {
	for _, k := range [...]Key{e.Retired, e.Survivor} {
		s, err := f.load(e.Kind, k.String())
		if err != nil {
			return err
		}
		if s != nil {
			f.unchanged(s)
			continue
		}
		if err := f.bear(e.Kind, k); err != nil {
			return err
		}
	}
	return nil
}

// bear makes a record of which only the key is known, and what the message says
// of it beside.
func (f *fold) bear(kind Kind, k Key) error {
	typ := Kinds()[kind]
	s := &state{kind: kind, key: k, owner: k.String(), subject: k.String(), born: k.String(), resource: blank(kind, k)}
	if told := f.nodes[typ+"/"+s.resource.ID()]; told != nil {
		s.resource = told.node.Clone()
		s.resource.Delete("link")
		s.resource.Delete("active")
	}
	v := version{it: &Item{Kind: kind, Key: k}, born: true}
	if s.state = statusOf(kind, s.resource); kind == Patient {
		v.event = "patient.registered"
	} else if f.c.Subject != nil {
		s.owner = f.c.Subject.Key.String()
		f.put(append(subjectKey(s.owner), recordKey(kind, k.String())...), []byte{1})
		if err := f.settle(s, nil, true); err != nil {
			return err
		}
	}
	f.pend(s, v)
	return nil
}

// blank is a resource of which only the identifier is known, with what R4
// requires of it.
func blank(kind Kind, k Key) *fhir.Node {
	typ := Kinds()[kind]
	n := fhir.NewResource(typ).SetString("id", fhir.ID(typ, k.Assigner, k.ID))
	n.Append("identifier", fhir.NewObject().SetString("system", k.Assigner).SetString("value", k.ID))
	if kind == Patient {
		return n
	}
	if n.SetString("status", "unknown"); kind == Encounter {
		n.Set("class", fhir.NewObject().Append("extension", fhir.NewObject().SetString("url", absentReason).SetString("valueCode", "unknown")))
	}
	return n
}

const absentReason = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"

// carry takes over to the survivor what belongs there: what messages newer than
// the merge said of the retired one before the merge came, or all of it where
// both are the same.
func (f *fold) carry(kind Kind, retired string, same bool) error {
	key, err := f.resolve(kind, retired)
	if err != nil || key == retired {
		return err
	}
	from, err := f.peek(kind, retired)
	if err != nil || from == nil || !same && !from.late(f.c.Stamp) {
		return err
	}
	to, err := f.load(kind, key)
	if err != nil || to == nil {
		return err
	}
	if !same {
		v := version{it: &Item{Kind: kind, Key: to.key}, before: to.shown(), previous: to.label()}
		if to.version == 0 {
			v.before, v.previous, v.born = nil, "", true
		}
		edge, err := f.edgeOf(kind, retired)
		if err == nil {
			err = to.inheritSince(from, edge)
		}
		f.pend(to, v)
		return err
	}
	v := version{it: &Item{Kind: kind, Key: to.key}, before: to.shown(), previous: to.label()}
	if to.version == 0 {
		v.before, v.previous, v.born = nil, "", true
	}
	next := to.resource.Shallow()
	for i := range from.stamps {
		sender := &from.stamps[i]
		for _, set := range sender.at {
			if !carries(set.element) {
				continue
			}
			if st := (Stamp{Sender: sender.name, Order: set.order}); to.newer(st, set.element) {
				put(next, set.element, at(from.resource, set.element).Clone())
			}
		}
		to.seen(Stamp{Sender: sender.name, Order: sender.last})
	}
	to.resource, to.raw = next, nil
	to.inherit(from)
	if err := f.settle(to, nil, true); err != nil {
		return err
	}
	f.pend(to, v)
	return nil
}

// told gives every patient whom the merge concerns his version, and notes
// whose records follow.
func (f *fold) told(e *Edge, concerned, moving []string, was, is map[string]string) error {
	transition, event := "merge", string(e.Kind)+".merged"
	switch e.Op {
	case "unmerge":
		transition, event = "correction", string(e.Kind)+".unmerged"
	case "change":
		event = string(e.Kind) + ".identity.changed"
	}
	told := &RecordMerge{Retired: e.Retired, Survivor: keyFrom(is[moving[0]])}
	if e.Op == "unmerge" {
		told.Survivor = keyFrom(was[moving[0]])
	}
	for _, owner := range moving {
		if was[owner] == is[owner] {
			continue
		}
		ref, err := f.reference(e.Kind, owner)
		if err != nil {
			return err
		}
		moves := []move{{Reference: ref, Transition: transition}}
		if e.Kind == Patient {
			moves = append(moves, move{Owner: owner, Transition: transition})
		}
		for _, m := range moves {
			if err := f.tell(told, m); err != nil {
				return err
			}
		}
	}
	for _, key := range concerned {
		if err := f.retie(e.Kind, key, version{transition: transition, event: event, merge: told}); err != nil {
			return err
		}
	}
	return nil
}

// tell notes a move, and lists the records that go with it.
func (f *fold) tell(told *RecordMerge, m move) error {
	f.moves = append(f.moves, m)
	prefix := m.prefix()
	names, err := f.scan(prefix, nil, -1)
	if err != nil {
		return err
	}
	told.Moved += len(names)
	for _, name := range names[:min(len(names), max(0, mostListed-len(told.Records)))] {
		kind, key, _ := strings.Cut(strings.TrimPrefix(string(name[len(prefix):]), "r/"), "/")
		told.Records = append(told.Records, RecordKey{Kind: Kind(kind), Key: keyFrom(key)})
	}
	return nil
}

// retie works the ties of one that edges join out again, and pends a version
// where they changed.
func (f *fold) retie(kind Kind, key string, v version) error {
	s, err := f.load(kind, key)
	if err != nil || s == nil {
		return err
	}
	next, err := f.tied(kind, key)
	if err != nil {
		return err
	}
	if s.ties != nil && s.ties.Leads != nil {
		if next == nil {
			next = &ties{}
		}
		next.Leads = s.ties.Leads
	}
	v.it, v.before, v.previous = &Item{Kind: kind, Key: s.key}, s.shown(), s.label()
	if s.version == 0 {
		v.before, v.previous = nil, ""
	}
	restored := false
	if v.merge != nil && v.transition == "correction" {
		if restored, err = f.restore(s); err != nil {
			return err
		}
	}
	if !restored && s.ties.text() == next.text() {
		f.unchanged(s)
		return nil
	}
	s.ties = next
	f.pend(s, v)
	return nil
}

// retieSurvivors shows what messages add to a retired patient's identifiers on
// those whom he was merged into.
func (f *fold) retieSurvivors() error {
	for _, p := range f.pending {
		s := p.s
		if s.kind != Patient || p.v.born || s.ties == nil || s.ties.Into == nil || fhir.Equal(p.v.before.Get("identifier"), s.shown().Get("identifier")) {
			continue
		}
		keys, err := f.downstream(Patient, s.key.String())
		if err != nil {
			return err
		}
		for _, key := range keys[1:] {
			if err := f.retie(Patient, key, version{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// tied gives the ties of a patient, an account or a visit as the edges have them.
func (f *fold) tied(kind Kind, key string) (*ties, error) {
	var out ties
	tieTo := func(other string) (*tie, error) {
		s, err := f.peek(kind, other)
		if err != nil || s == nil {
			return nil, err
		}
		t := &tie{Key: s.key, Reference: Kinds()[kind] + "/" + s.resource.ID()}
		for _, id := range s.resource.Get("identifier").Items() {
			t.Identifiers = append(t.Identifiers, string(id.JSON()))
		}
		return t, nil
	}
	root, err := f.resolve(kind, key)
	if err != nil {
		return nil, err
	}
	if root != key {
		e, err := f.edgeOf(kind, key)
		if err != nil {
			return nil, err
		}
		if out.Into, err = tieTo(e.To); err != nil {
			return nil, err
		}
		if out.Into != nil {
			out.Into.Identifiers, out.Survivor = nil, root
		}
	}
	from, err := f.upstream(kind, key, true)
	if err != nil {
		return nil, err
	}
	sort.Strings(from)
	for _, other := range from {
		if other == key {
			continue
		}
		t, err := tieTo(other)
		if err != nil {
			return nil, err
		}
		e, err := f.edgeOf(kind, other)
		if err != nil {
			return nil, err
		}
		if t != nil {
			t.Direct = e.To == key
			out.From = append(out.From, *t)
		}
	}
	var links []string
	if kind == Patient {
		if links, err = f.links(key); err != nil {
			return nil, err
		}
	}
	for _, other := range links {
		t, err := tieTo(other)
		if err != nil {
			return nil, err
		}
		if t != nil {
			t.Identifiers = nil
			out.Also = append(out.Also, *t)
		}
	}
	if out.Into == nil && out.From == nil && out.Also == nil {
		return nil, nil
	}
	return &out, nil
}

func (f *fold) reference(kind Kind, key string) (string, error) {
	s, err := f.peek(kind, key)
	if err != nil {
		return "", err
	}
	typ := Kinds()[kind]
	if s == nil {
		k := keyFrom(key)
		return typ + "/" + fhir.ID(typ, k.Assigner, k.ID), nil
	}
	return typ + "/" + s.resource.ID(), nil
}
