package tables

import (
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
)

// originate notes which field a rule's list entries are made of: its own, or
// where several rules fill one labelled entry that of the first of them. So an
// entry has the same origin whichever of them is valued.
func (s *section) originate(c *crule) {
	segment, field := s.own, 0
	if r, ok := c.field(); ok {
		segment, field = r.segment, r.field
	}
	c.from = fhir.OriginOf(segment, field)
	if len(segment) == 3 && field > 0 && !c.isRef {
		c.ref, c.nullable = ref{segment: segment, field: field}, true
	}
	for i := range c.steps {
		st := &c.steps[i]
		if !st.list {
			continue
		}
		if st.from = c.from; st.label == 0 {
			continue
		}
		if s.makers == nil {
			s.makers = map[int32]fhir.Origin{}
		}
		if first, ok := s.makers[st.label]; ok {
			st.from = first
		} else {
			s.makers[st.label] = c.from
		}
	}
	c.clears = c.clearsOf()
}

// field gives the field that a rule reads, where its value is of no other.
func (c *crule) field() (ref, bool) {
	if len(c.source.terms) != 1 {
		return ref{}, false
	}
	t := &c.source.terms[0]
	if t.kind == termCall && len(t.args) == 1 && len(t.args[0].terms) == 1 {
		t = &t.args[0].terms[0]
	}
	return t.ref, t.kind == termRef && t.ref.segment != "" && t.ref.field > 0
}

// clearsOf says what `""` in a rule's field takes out of a record: the element
// (birthDate, period.end), or of a list the entries that were made of this field
// (telecom:PID-13), or a part of those that another field makes (records.PartOf).
// "" where no such thing can be named: a part of an element that carries
// extensions.
func (c *crule) clearsOf() string {
	var path []string
	for i := range c.steps {
		st := &c.steps[i]
		switch {
		case st.list && (c.from == 0 || st.from == 0):
			return ""
		case st.list && st.from != c.from:
			if part := c.partBehind(i); part != "" {
				return strings.Join(append(path, st.name), ".") + ":" + st.from.String() + records.PartOf + part
			}
			return ""
		case st.list:
			return strings.Join(append(path, st.name), ".") + ":" + c.from.String()
		case st.url != "":
			return ""
		}
		if path = append(path, st.name); st.resource != "" {
			break
		}
	}
	return strings.Join(path, ".")
}

// partBehind names what a rule sets within a list entry: an element, or an
// extension by its URL; "" where it is neither.
func (c *crule) partBehind(i int) string {
	if i+1 >= len(c.steps) {
		return ""
	}
	st := &c.steps[i+1]
	switch {
	case st.url != "":
		return "extension=" + st.url
	case st.list || i+2 != len(c.steps):
		return ""
	}
	return st.name
}

// clear notes that the field is `""` (HL7 v2.5.1 §2.5.3): what it made goes. A
// component that is null does not take away what the rest of its field says.
func (c *crule) clear(f *frame, v hl7v2.Value) {
	if f.self == nil || c.clears == "" || f.base != f.self.node {
		return
	}
	if c.ref.component > 0 && strings.Contains(c.clears, ":") {
		if f.resolve(ref{segment: c.ref.segment, field: c.ref.field}).State() != hl7v2.Null {
			return
		}
	}
	f.run.mark(v, leafFound)
	if !slices.Contains(f.self.deletes, c.clears) {
		f.self.deletes = append(f.self.deletes, c.clears)
	}
}

// cleared gives what the message takes out of a record: not what another of its
// fields fills.
func (e *entry) cleared() []string {
	return slices.DeleteFunc(e.deletes, func(path string) bool {
		path, _, _ = strings.Cut(path, records.PartOf)
		name, field, list := strings.Cut(path, ":")
		at := e.node.At(name)
		if !list {
			return full(at)
		}
		origin := fhir.ParseOrigin(field)
		return slices.ContainsFunc(at.Items(), func(item *fhir.Node) bool { return item.From == origin })
	})
}
