package records

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A move is records that go under another patient, account or visit, or come
// back: a patient's (Owner), or those that refer to a resource (Reference).
type move struct {
	Owner      string  `json:",omitempty"` // the patient that messages name
	Reference  string  `json:",omitempty"` // Account/… or Encounter/…
	Transition string  // merge, or correction where one is undone
	Series     string  `json:",omitempty"` // of appointments that a discontinuation cancels instead
	Ending     *ending `json:",omitempty"`
	Waiting    string  `json:",omitempty"` // the reference by which records waited for the Owner
}

// prefix is what the names of the records stand under.
func (m *move) prefix() []byte {
	if m.Ending != nil {
		return seriesKey(m.Series)
	}
	if m.Waiting != "" {
		return waitingKey(m.Waiting)
	}
	if m.Reference != "" {
		return referrerKey(m.Reference)
	}
	return subjectKey(m.Owner)
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

// move gives the records of patients their version under another patient, a
// chunk at a time.
func (f *fold) move(m *continuation) error {
	left := f.chunk
	for len(m.Moves) > 0 {
		prefix := m.Moves[0].prefix()
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

// moved puts one record under its owner's survivor, and leads its references to
// those of their resources.
func (f *fold) moved(name []byte, m move) error {
	if m.Ending != nil {
		return f.moveEnding(name, m.Ending)
	}
	if m.Waiting != "" {
		return f.adopt(name, m)
	}
	kind, key, _ := strings.Cut(strings.TrimPrefix(string(name), "r/"), "/")
	s, err := f.load(Kind(kind), key)
	if err != nil || s == nil {
		return err
	}
	v := version{it: &Item{Kind: s.kind, Key: s.key}, before: s.shown(), previous: s.label(), transition: m.Transition, event: kind + ".moved"}
	was, leads, raw, resource := s.subject, s.ties.leads(), s.raw, s.resource
	if err := f.settle(s, nil, true); err != nil {
		return err
	}
	if s.subject != was && s.kind != Patient {
		if s.kind == Charge { // a credit may come under the survivor
			if err := f.listPrints(s); err != nil {
				return err
			}
		}
	} else if s.ties.leads() == leads {
		s.subject, s.raw, s.resource = was, raw, resource
		f.unchanged(s)
		return nil
	}
	if s.version == 0 {
		v.before, v.previous = nil, ""
	}
	f.pend(s, v)
	return nil
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
