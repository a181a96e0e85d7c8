package records

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// mostListed is how many moved records a merge lists; it counts all.
const mostListed = 1000

// A move is a patient's records that go under another's, or come back.
type move struct {
	Owner      string // the patient that messages name
	Transition string // merge, or correction where one is undone
}

// A continuation is a merge that goes on: what is left, and the message that
// asked for it.
type continuation struct {
	Moves    []move
	After    []byte // within the first of Moves
	Origin   Origin
	Received time.Time
	Occurred string
	Zone     string
	Pipeline string
	Version  string
}

// edge applies what a message or an operator says of two patients.
func (f *fold) edge(e *Edge) error {
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
	case "merge", "unmerge":
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
	if e.Op == "merge" {
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
		To: survivor, Key: e.Survivor, Sender: f.c.Stamp.Sender, Order: f.c.Stamp.Order, Journal: f.c.Origin.Journal,
	})
	if err != nil {
		return err
	}
	return f.carry(retired)
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

// known makes sure that both patients are records: of one that no message has
// told, his key.
func (f *fold) known(e *Edge) error {
	for _, k := range [...]Key{e.Retired, e.Survivor} {
		s, err := f.load(e.Kind, k.String())
		if err != nil || s != nil {
			if s != nil {
				f.unchanged(s)
			}
			if err != nil {
				return err
			}
			continue
		}
		s = &state{kind: e.Kind, key: k, owner: k.String(), subject: k.String(), born: k.String(), state: "active"}
		id := fhir.ID("Patient", k.Assigner, k.ID)
		s.resource = fhir.NewResource("Patient").SetString("id", id)
		if told := f.nodes["Patient/"+id]; told != nil {
			s.resource = told.node.Clone()
			s.resource.Delete("link")
			s.resource.Delete("active")
		} else {
			s.resource.Append("identifier", fhir.NewObject().SetString("system", k.Assigner).SetString("value", k.ID))
		}
		f.pend(s, version{it: &Item{Kind: e.Kind, Key: k}, born: true, event: "patient.registered"})
	}
	return nil
}

// carry takes what messages newer than the merge said of the retired patient
// before the merge came over to the survivor, where it belongs.
func (f *fold) carry(retired string) error {
	key, err := f.resolve(Patient, retired)
	if err != nil || key == retired {
		return err
	}
	from, err := f.peek(Patient, retired)
	if err != nil || from == nil || !from.late(f.c.Stamp) {
		return err
	}
	to, err := f.load(Patient, key)
	if err != nil || to == nil {
		return err
	}
	v := version{it: &Item{Kind: Patient, Key: to.key}, before: to.shown(), previous: to.label()}
	next := to.resource.Shallow()
	for _, set := range from.heard(f.c.Stamp.Sender).at {
		if set.order <= f.c.Stamp.Order || set.element[0] == '@' || set.element == wholeResource || strings.HasPrefix(set.element, "identifier") {
			continue
		}
		if to.newer(Stamp{Sender: f.c.Stamp.Sender, Order: set.order}, set.element) {
			put(next, set.element, at(from.resource, set.element).Clone())
		}
	}
	to.seen(Stamp{Sender: f.c.Stamp.Sender, Order: from.heard(f.c.Stamp.Sender).last})
	to.resource = next
	f.pend(to, v)
	return nil
}

// told gives every patient whom the merge concerns his version, and notes
// whose records follow.
func (f *fold) told(e *Edge, concerned, moving []string, was, is map[string]string) error {
	transition, event := "merge", "patient.merged"
	if e.Op == "unmerge" {
		transition, event = "correction", "patient.unmerged"
	}
	told := &RecordMerge{Retired: e.Retired, Survivor: keyFrom(is[moving[0]])}
	if e.Op == "unmerge" {
		told.Survivor = keyFrom(was[moving[0]])
	}
	for _, owner := range moving {
		if was[owner] == is[owner] {
			continue
		}
		f.moves = append(f.moves, move{Owner: owner, Transition: transition})
		prefix := subjectKey(owner)
		names, err := f.scan(prefix, nil, -1)
		if err != nil {
			return err
		}
		told.Moved += len(names)
		for _, name := range names[:min(len(names), max(0, mostListed-len(told.Records)))] {
			kind, key, _ := strings.Cut(strings.TrimPrefix(string(name[len(prefix):]), "r/"), "/")
			told.Records = append(told.Records, RecordKey{Kind: Kind(kind), Key: keyFrom(key)})
		}
	}
	for _, key := range concerned {
		if err := f.retie(key, version{transition: transition, event: event, merge: told}); err != nil {
			return err
		}
	}
	return nil
}

// retie works a patient's ties out again, and pends a version where they
// changed.
func (f *fold) retie(key string, v version) error {
	s, err := f.load(Patient, key)
	if err != nil || s == nil {
		return err
	}
	next, err := f.tied(key)
	if err != nil {
		return err
	}
	if s.ties.text() == next.text() {
		f.unchanged(s)
		return nil
	}
	v.it, v.before, v.previous = &Item{Kind: Patient, Key: s.key}, s.shown(), s.label()
	if s.version == 0 {
		v.before, v.previous = nil, ""
	}
	s.ties = next
	f.pend(s, v)
	return nil
}

// tied gives a patient's ties as the edges have them.
func (f *fold) tied(key string) (*ties, error) {
	var out ties
	tieTo := func(other string) (*tie, error) {
		s, err := f.peek(Patient, other)
		if err != nil || s == nil {
			return nil, err
		}
		t := &tie{Key: s.key, Reference: "Patient/" + s.resource.ID()}
		for _, id := range s.resource.Get("identifier").Items() {
			t.Identifiers = append(t.Identifiers, string(id.JSON()))
		}
		return t, nil
	}
	root, err := f.resolve(Patient, key)
	if err != nil {
		return nil, err
	}
	if root != key {
		e, err := f.edgeOf(Patient, key)
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
	from, err := f.upstream(Patient, key, true)
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
		e, err := f.edgeOf(Patient, other)
		if err != nil {
			return nil, err
		}
		if t != nil {
			t.Direct = e.To == key
			out.From = append(out.From, *t)
		}
	}
	links, err := f.links(key)
	if err != nil {
		return nil, err
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

// move gives the records of patients their version under another patient, a
// chunk at a time.
func (f *fold) move(m *continuation) error {
	left := f.chunk
	for len(m.Moves) > 0 {
		prefix := subjectKey(m.Moves[0].Owner)
		names, err := f.scan(prefix, m.After, left)
		if err != nil {
			return err
		}
		for _, name := range names {
			m.After = name
			if err := f.moved(name[len(prefix):], m.Moves[0]); err != nil {
				return err
			}
		}
		if left -= len(names); left == 0 {
			break
		}
		m.Moves, m.After = m.Moves[1:], nil
	}
	if len(m.Moves) == 0 {
		return nil
	}
	c := f.c
	m.Origin, m.Received, m.Occurred, m.Zone, m.Pipeline, m.Version = c.Origin, c.Received, c.Occurred, c.ZoneSource, c.Pipeline, c.Version
	next, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write merge continuation: %w", err)
	}
	f.out.Continuation = next
	return nil
}

// moved puts one record under its owner's survivor.
func (f *fold) moved(name []byte, m move) error {
	kind, key, _ := strings.Cut(strings.TrimPrefix(string(name), "r/"), "/")
	s, err := f.load(Kind(kind), key)
	if err != nil || s == nil {
		return err
	}
	to, err := f.resolve(Patient, s.owner)
	if err != nil {
		return err
	}
	if s.subject == to || s.owner != m.Owner {
		f.unchanged(s)
		return nil
	}
	v := version{it: &Item{Kind: s.kind, Key: s.key}, before: s.shown(), previous: s.label(), transition: m.Transition, event: kind + ".moved"}
	refs := map[string]string{}
	for _, patient := range [...]string{s.subject, s.owner} {
		from, err := f.reference(patient)
		if err != nil {
			return err
		}
		if refs[from], err = f.reference(to); err != nil {
			return err
		}
	}
	s.resource = s.resource.Clone()
	if redirect(s.resource, refs) {
		s.raw = nil
	}
	s.subject = to
	f.pend(s, v)
	return nil
}

func (f *fold) reference(patient string) (string, error) {
	s, err := f.peek(Patient, patient)
	if err != nil {
		return "", err
	}
	if s == nil {
		k := keyFrom(patient)
		return "Patient/" + fhir.ID("Patient", k.Assigner, k.ID), nil
	}
	return "Patient/" + s.resource.ID(), nil
}

// Resume goes on with a merge until Effects.Continuation is nil.
func (f *Folder) Resume(v View, token []byte) (*Effects, error) {
	var m continuation
	if err := json.Unmarshal(token, &m); err != nil {
		return nil, fmt.Errorf("read merge continuation: %w", err)
	}
	run := f.fold(v, &Change{Origin: m.Origin, Received: m.Received, Occurred: m.Occurred, ZoneSource: m.Zone, Pipeline: m.Pipeline, Version: m.Version})
	if err := run.move(&m); err != nil {
		return nil, err
	}
	if err := run.flush(); err != nil {
		return nil, err
	}
	return run.out, nil
}
