package records

import (
	"bytes"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A pending is what a message makes of one record: one version, however many
// of its parts speak of the record.
type pending struct {
	s        *state
	v        version
	name     []byte
	carries  []*resource // of the message, no records of their own
	attached []string    // those of them that the record does not refer to
	shows    []string    // those that it refers to in steps which are not of the message
}

// pend notes a record that the message bears on; the version is written when
// the whole message is folded.
func (f *fold) pend(s *state, v version) {
	name := recordKey(s.kind, s.key.String())
	if p := f.changes[string(name)]; p != nil {
		p.v.join(&v)
		return
	}
	p := &pending{s: s, v: v, name: name}
	f.changes[string(name)] = p
	f.pending = append(f.pending, p)
}

// join makes one version of two: an event that is asked for by name tells more
// than one that follows from what changed.
func (v *version) join(o *version) {
	v.late = v.late || o.late
	v.told = v.told || o.told
	v.warnings = append(v.warnings, o.warnings...)
	if o.event != "" {
		v.event, v.transition, v.merge = o.event, o.transition, o.merge
	}
	if v.it.Event == "" && o.it.Event != "" {
		v.it = o.it
	}
}

// unchanged puts back a record that was loaded and not changed.
func (f *fold) unchanged(s *state) {
	name := recordKey(s.kind, s.key.String())
	if f.changes[string(name)] == nil {
		f.states[string(name)] = s
	}
}

// flush writes every pending record: as a version where a consumer learns
// something, else only its stamps.
func (f *fold) flush() error {
	for _, p := range f.pending { // what they show of each other is what they are now
		r := p.s.carried()
		r.record = p
		f.nodes[r.node.ResourceType()+"/"+r.node.ID()] = r
	}
	f.attach()
	for _, p := range f.pending {
		s, v := p.s, &p.v
		shown := f.nodes[s.resource.ResourceType()+"/"+s.resource.ID()]
		v.changed = fhir.Diff(v.before, shown.node)
		if err := f.learn(p); err != nil {
			return err
		}
		if v.born || v.late || v.told || v.event != "" || len(v.changed) > 0 || s.label() != v.previous {
			v.warn(s)
			if err := f.publish(p, shown); err != nil {
				return err
			}
			continue
		}
		if f.encode(s, shown) {
			f.put(p.name, s.stored)
		}
		f.states[string(p.name)] = s
	}
	f.pending = nil
	clear(f.changes)
	return nil
}

// encode makes what is stored of a record, and says whether that is news: the
// JSON of what messages have set, which is what is shown where nothing else is.
func (f *fold) encode(s *state, shown *resource) bool {
	var text []byte
	same := shown.node == s.resource && s.raw == nil
	if same {
		text = f.text(shown)
	} else {
		text = f.json(s.resource)
	}
	f.state = s.encode(f.state[:0], text, same)
	if bytes.Equal(f.state, s.stored) {
		return false
	}
	s.stored = bytes.Clone(f.state)
	return true
}
