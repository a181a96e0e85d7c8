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
		for _, path := range it.Deletes {
			s.note(st, path)
		}
		if it.Action == Snapshot {
			s.note(st, wholeResource)
		}
		s.raw = it.Raw
		return
	}
	next := before.Shallow() // what stays is shared with the version before
	touched := false
	for _, g := range groups(it.Resource) {
		touched = s.set(next, it, st, g) || touched
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
		return
	}
	next.Prune()
	s.raw, s.resource = it.Raw, next
}

// set takes one element group over.
func (s *state) set(next *fhir.Node, it *Item, st Stamp, g element) bool {
	order := it.order(st, g.path)
	if order != st && !s.yields(next, order, g.path) {
		return false
	}
	if !s.newer(order, g.path) {
		return false
	}
	touched := false
	if absent := "_" + g.path; next.Get(absent) != nil && it.Resource.Get(absent) == nil {
		next.Delete(absent)
		touched = true
	}
	if !fhir.Equal(at(next, g.path), g.node) {
		put(next, g.path, g.node.Clone())
		touched = true
	}
	return touched
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
// parts that nothing newer has set.
func (s *state) remove(next *fhir.Node, st Stamp, path string) bool {
	if !s.newer(st, path) {
		return false
	}
	touched := false
	for _, g := range groups(next) {
		if (g.path == path || covers(path, g.path)) && s.may(st, g.path) {
			put(next, g.path, nil)
			touched = true
		}
	}
	if !touched && at(next, path) != nil && !grouped(path) {
		put(next, path, nil)
		touched = true
	}
	return touched
}

// grouped says whether an element is only ever set by its parts.
func grouped(name string) bool {
	switch name {
	case "period", "hospitalization", "servicePeriod", "meta", "identifier", "participant", "extension", "qualification":
		return true
	}
	return false
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

type element struct {
	path string
	node *fhir.Node
}

// groups are the parts of a resource that a message sets as one: its elements,
// the parts of the elements that several messages fill bit by bit (period.end),
// each identifier (identifier:system|value), and of the participants the
// patient and the others (participant:patient), and the extensions of one URL
// (extension:URL; what no rule took by its place too), and each qualification.
func groups(n *fhir.Node) []element {
	out := make([]element, 0, len(n.Kids)+4)
	for _, k := range n.Kids {
		switch k.Name {
		case "resourceType", "id":
		case "meta":
			for _, sub := range k.Kids {
				if sub.Name != "versionId" && sub.Name != "lastUpdated" {
					out = append(out, element{path: "meta." + sub.Name, node: sub})
				}
			}
		case "period", "hospitalization", "servicePeriod":
			for _, sub := range k.Kids {
				out = append(out, element{path: k.Name + "." + sub.Name, node: sub})
			}
		case "identifier", "participant", "extension", "qualification":
			if k.Kind != fhir.Array {
				out = append(out, element{path: k.Name, node: k})
				continue
			}
			out = parts(out, k)
		default:
			out = append(out, element{path: k.Name, node: k})
		}
	}
	return out
}

// parts groups a list's entries by what they are about.
func parts(out []element, list *fhir.Node) []element {
	first := len(out)
entries:
	for _, item := range list.Kids {
		path := list.Name + ":" + about(list.Name, item)
		for i := first; i < len(out); i++ {
			if out[i].path == path {
				out[i].node.Kids = append(out[i].node.Kids, item)
				continue entries
			}
		}
		out = append(out, element{path: path, node: fhir.NewArray(item)})
	}
	return out
}

func about(list string, item *fhir.Node) string {
	switch list {
	case "identifier":
		return item.Str("system") + "|" + item.Str("value")
	case "extension":
		if url := item.Str("url"); !strings.HasSuffix(url, "/v2-field") {
			return url
		}
		return "v2-field|" + item.Str("extension[0].valueString")
	case "qualification":
		return item.Str("identifier[0].value") + "|" + item.Str("code.coding[0].code") + "|" + item.Str("issuer.reference")
	}
	if strings.HasPrefix(item.Str("actor.reference"), "Patient/") {
		return "patient"
	}
	return "others"
}

// at reads an element group.
func at(n *fhir.Node, path string) *fhir.Node {
	if name, part, ok := strings.Cut(path, ":"); ok {
		var found *fhir.Node
		for _, item := range n.Get(name).Items() {
			if about(name, item) == part {
				if found == nil {
					found = fhir.NewArray()
				}
				found.Kids = append(found.Kids, item)
			}
		}
		return found
	}
	first, rest, nested := strings.Cut(path, ".")
	n = n.Get(first)
	if nested {
		return n.Get(rest)
	}
	return n
}

// put writes an element group; nil deletes it. What it changes below n it
// copies first.
func put(n *fhir.Node, path string, v *fhir.Node) {
	if name, part, ok := strings.Cut(path, ":"); ok {
		putPart(n, name, part, v)
		return
	}
	first, rest, nested := strings.Cut(path, ".")
	if !nested {
		n.Set(first, v)
		return
	}
	child := n.Get(first)
	switch {
	case child != nil:
		child = child.Shallow()
	case v == nil:
		return
	default:
		child = fhir.NewObject()
	}
	child.Set(rest, v)
	n.Set(first, child)
}

func putPart(n *fhir.Node, name, part string, v *fhir.Node) {
	list := fhir.NewArray()
	placed := v == nil
	for _, item := range n.Get(name).Items() {
		if about(name, item) != part {
			list.Kids = append(list.Kids, item)
			continue
		}
		if !placed {
			list.Kids = append(list.Kids, v.Kids...)
			placed = true
		}
	}
	if !placed {
		list.Kids = append(list.Kids, v.Kids...)
	}
	if len(list.Kids) == 0 {
		n.Delete(name)
		return
	}
	n.Set(name, list)
}
