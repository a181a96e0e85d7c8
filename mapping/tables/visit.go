package tables

import (
	"slices"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
)

// place tells of each item the visit and the account that it belongs to: itself,
// what it refers to, the visit that refers to it (a patient's), else the only one
// of the message. Where the message has one, that is the change's.
func (r *run) place(c *records.Change) {
	for _, kind := range [...]records.Kind{records.Encounter, records.Account} {
		var known []*entry
		for _, e := range r.entries {
			if records.KindOf(e.typ) == kind && (e.record || e.key.Assigner != "" && e.key.Type != "message") {
				known = append(known, e)
			}
		}
		if len(known) == 0 {
			continue
		}
		only := (*records.Key)(nil)
		if len(known) == 1 {
			only = new(known[0].key)
		}
		if kind == records.Encounter {
			c.Visit = only
		} else {
			c.Account = only
		}
		for i := range c.Items {
			it, of := &c.Items[i], only
			if of == nil {
				of = belongs(it.Resource, known)
			}
			if kind == records.Encounter {
				it.Visit = of
			} else {
				it.Account = of
			}
		}
	}
}

// belongs picks the visit or account of a resource among several, nil where that
// is not said.
func belongs(n *fhir.Node, known []*entry) *records.Key {
	self := n.ResourceType() + "/" + n.ID()
	refers := n.AppendReferences(nil)
	var to *entry
	for _, e := range known {
		ref := e.typ + "/" + e.id
		if ref == self {
			return new(e.key)
		}
		if !slices.Contains(refers, ref) && !slices.Contains(e.node.AppendReferences(nil), self) {
			continue
		}
		if to != nil {
			return nil
		}
		to = e
	}
	if to == nil {
		return nil
	}
	return new(to.key)
}
