package records

import (
	"slices"
	"strings"
)

// apart keeps what can be taken back of a merge: for the survivor what only its
// own messages said, and for the retired one what its messages said since, which
// show on the survivor. There is nothing to keep until such a message comes.
func (f *fold) apart(it *Item, s *state) error {
	if !s.kind.Joins() || s.resource == nil {
		return nil
	}
	if it.of == nil {
		if s.apart != nil {
			s.apart.take(it, f.c.Stamp)
		}
		return nil
	}
	if err := s.split(); err != nil {
		return err
	}
	retired, err := f.load(it.Kind, it.of.Key.String())
	if err != nil || retired == nil {
		return err
	}
	if err := retired.split(); err != nil {
		return err
	}
	prepare(it.of)
	retired.apart.take(it.of, f.c.Stamp)
	name := recordKey(retired.kind, retired.key.String())
	if f.changes[string(name)] == nil { // else it is written with its version
		if f.encode(retired, retired.carried()) {
			f.put(name, retired.stored)
		}
		f.states[string(name)] = retired
	}
	return nil
}

// split begins to keep a record apart.
func (s *state) split() error {
	if s.apart != nil {
		return nil
	}
	own := *s
	own.ties, own.marks = nil, nil
	var err error
	s.apart, err = decodeState(own.encode(nil, s.resource.JSON(), false))
	return err
}

// take sets what an item says of a record that is kept apart.
func (s *state) take(it *Item, st Stamp) {
	held := s.resource
	s.merge(it, st, held)
	s.recall(it, st, held)
	if s.kind == Encounter {
		s.visit(it, st)
	} else {
		s.transit(it, st)
	}
	s.seen(st)
}

// restore gives a record back what it is once a merge is undone: what its own
// messages said, and those of the ones that are merged into it still.
func (f *fold) restore(s *state) (bool, error) {
	key := s.key.String()
	root, err := f.resolve(s.kind, key)
	if err != nil || s.apart == nil || root != key {
		return false, err
	}
	own := s.apart
	s.apart, s.resource, s.raw, s.stamps, s.once, s.state, s.by = nil, own.resource, own.raw, own.stamps, own.once, own.state, own.by
	others, err := f.upstream(s.kind, key, true)
	if err != nil {
		return false, err
	}
	type merged struct {
		edge  *mergeEdge
		state *state
	}
	var still []merged
	for _, other := range others[1:] {
		from, err := f.peek(s.kind, other)
		if err != nil {
			return false, err
		}
		edge, err := f.edgeOf(s.kind, other)
		if err != nil {
			return false, err
		}
		if from != nil {
			still = append(still, merged{edge, from})
		}
	}
	slices.SortStableFunc(still, func(a, b merged) int { return int(a.edge.Journal) - int(b.edge.Journal) })
	for _, m := range still {
		if err := s.inheritSince(m.state, m.edge); err != nil {
			return false, err
		}
	}
	return true, nil
}

// inheritSince takes over what messages newer than the merge said of the retired
// one.
func (s *state) inheritSince(from *state, edge *mergeEdge) error {
	told := from
	if from.apart != nil {
		told = from.apart
	}
	next := s.resource
	for i := range told.stamps {
		sender := &told.stamps[i]
		for _, set := range sender.at {
			since := sender.name == edge.Sender && set.order > edge.Order || told != from && from.order(sender.name, set.element) != set.order
			if !since || !carries(set.element) {
				continue
			}
			if err := s.split(); err != nil {
				return err
			}
			if st := (Stamp{Sender: sender.name, Order: set.order}); s.newer(st, set.element) {
				if next == s.resource {
					next = next.Shallow()
				}
				put(next, set.element, at(told.resource, set.element).Clone())
			}
		}
		if s.apart != nil {
			s.seen(Stamp{Sender: sender.name, Order: sender.last})
		}
	}
	if next != s.resource {
		s.resource, s.raw = next, nil
	}
	return nil
}

// carries says whether an element of a retired one shows on the survivor: what
// it is called by stays its own.
func carries(element string) bool {
	return element[0] != '@' && element != wholeResource && !strings.HasPrefix(element, "identifier")
}

// order is that of the message of a sender which set an element, or "".
func (s *state) order(sender, element string) string {
	if from := s.heard(sender); from != nil {
		for i := range from.at {
			if from.at[i].element == element {
				return from.at[i].order
			}
		}
	}
	return ""
}
