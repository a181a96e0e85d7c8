package records

import (
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// merge takes the message's elements over the record's, element group by
// element group, each only from a message that is not older than the one of
// the same sender that set it before. So every order of one sender's messages
// ends in one resource. What the tables filled in for want of a value never
// replaces one.
func (s *state) merge(it *Item, st Stamp, before *fhir.Node) {
	if it.Resource == nil {
		return
	}
	if before == nil {
		s.resource = it.Resource.Clone()
		s.resource.Name = ""
		for _, g := range groups(s.resource) {
			s.note(it.order(st, g.path), g.path)
		}
		for _, path := range it.Deletes { // what a reopened visit says of its end
			s.remove(s.resource, st, path)
		}
		s.resource.Prune()
		if it.Action == Snapshot {
			s.note(st, wholeResource)
		}
		s.raw = it.Raw
		return
	}
	next := before.Shallow() // what stays is shared with the version before
	touched, traced := false, false
	for _, g := range groups(it.Resource) {
		changed, moved := s.set(next, it, st, g)
		touched, traced = touched || changed, traced || moved
	}
	if it.Action == Snapshot && s.newer(st, wholeResource) {
		for _, g := range groups(before) {
			if at(it.Resource, g.path) == nil && s.may(st, g.path) {
				put(next, g.path, nil)
				touched = true
			}
		}
	}
	for _, path := range it.Deletes {
		touched = s.remove(next, st, path) || touched
	}
	if !touched {
		if traced {
			s.resource = next
		}
		return
	}
	s.choose(next, it, st)
	next.Prune()
	s.raw, s.resource = it.Raw, next
}

// set takes one element group over. It says whether that changes the group, and
// whether it changes only which fields its entries are of.
func (s *state) set(next *fhir.Node, it *Item, st Stamp, g element) (touched, traced bool) {
	order := it.order(st, g.path)
	if order != st && !s.yields(next, order, g.path) {
		return false, false
	}
	if !s.newer(order, g.path) {
		return false, false
	}
	if absent := "_" + g.path; next.Get(absent) != nil && it.Resource.Get(absent) == nil {
		next.Delete(absent)
		touched = true
	}
	node, have := s.standing(order, g), at(next, g.path)
	if !fhir.Equal(have, node) {
		put(next, g.path, node.Clone())
		return true, false
	}
	if !sameOrigins(have, node) {
		put(next, g.path, node.Clone())
		traced = true
	}
	return touched, traced
}

// yields says whether an element may take what no message says: it is absent,
// or no more than that itself.
func (s *state) yields(next *fhir.Node, weak Stamp, path string) bool {
	if path[0] == '_' && next.Get(path[1:]) != nil {
		return false // a reason why a value is absent, where it is known
	}
	if at(next, path) == nil {
		return true
	}
	from := s.heard(weak.Sender)
	for i := 0; from != nil && i < len(from.at); i++ {
		if from.at[i].element == path {
			return strings.HasPrefix(from.at[i].order, weakest)
		}
	}
	return false
}

// remove takes out what a message sets to `""`: the element, and those of its
// parts that nothing newer has set; or of a list what one field made.
func (s *state) remove(next *fhir.Node, st Stamp, path string) bool {
	if !s.newer(st, path) {
		return false
	}
	if list, field, ok := strings.Cut(path, ":"); ok {
		if field, part, ok := strings.Cut(field, PartOf); ok {
			return s.withdrawPart(next, st, list, fhir.ParseOrigin(field), part)
		}
		return s.withdraw(next, st, list, fhir.ParseOrigin(field))
	}
	touched, parted := false, false
	for _, g := range groups(next) {
		if g.path != path && !covers(path, g.path) {
			continue
		}
		if parted = true; s.may(st, g.path) {
			put(next, g.path, nil)
			touched = true
		}
	}
	if !parted && at(next, path) != nil { // a part of a group
		put(next, path, nil)
		touched = true
	}
	return touched
}

// order is the stamp under which an item sets an element: what the tables
// filled in, and the status in a message whose trigger speaks of none, come
// before everything that a message says.
func (it *Item) order(st Stamp, path string) Stamp {
	weak := path == "status" && it.silent()
	for _, name := range it.Defaulted {
		weak = weak || name == path || strings.HasPrefix(path, name+":")
	}
	if weak {
		st.Order = weakest + st.Order
	}
	return st
}

// weakest begins the order of what no message says; it is before any other.
const weakest = "!"

// silent says whether an item says nothing of the state, so that the one it
// carries is only good where no other is known: an update of a visit, of a
// patient or of an account, or a status that the tables filled in.
func (it *Item) silent() bool {
	if it.State != "" || it.Action == Snapshot {
		return false
	}
	for _, name := range it.Defaulted {
		if name == "status" {
			return true
		}
	}
	return it.Kind == Encounter || it.Kind == Patient || it.Kind == Account
}
