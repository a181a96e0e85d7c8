package records

import (
	"encoding/json"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// Ties are what a record's state says because of other records, and what is
// shown of the resource beside what its messages said. They come and go
// without touching the messages' elements, so that they can be undone.
type ties struct {
	Into       *tie   `json:"into,omitempty"`     // the patient this one was merged into
	Survivor   string `json:"survivor,omitempty"` // at the end of all merges, where there is Into
	From       []tie  `json:"from,omitempty"`     // the patients merged into this one, and into those
	Also       []tie  `json:"also,omitempty"`     // linked patients (A24)
	Reverses   *Key   `json:"reverses,omitempty"`
	ReversedBy *Key   `json:"reversedBy,omitempty"`
	Partly     bool   `json:"partly,omitempty"` // the reversal is of another amount

	Parts []partOp `json:"parts,omitempty"` // services and resources that messages spoke of one by one
}

// A tie is one other patient.
type tie struct {
	Key         Key      `json:"key"`
	Reference   string   `json:"reference"`
	Direct      bool     `json:"direct,omitempty"`      // no other patient stands between
	Identifiers []string `json:"identifiers,omitempty"` // FHIR Identifiers, as JSON
}

func (t *ties) text() string {
	if t == nil {
		return ""
	}
	out, err := json.Marshal(t)
	if err != nil { // strings and booleans only
		return ""
	}
	return string(out)
}

// label is the state as a consumer sees it.
func (s *state) label() string {
	switch {
	case s.ties == nil:
	case s.ties.Into != nil:
		return "merged"
	case s.ties.ReversedBy != nil && !s.ties.Partly:
		return "aborted"
	}
	return s.state
}

// shown is the resource as a consumer sees it: what messages set, and what the
// record's state and ties say. It is the resource itself where that is the same.
func (s *state) shown() *fhir.Node {
	if s.resource == nil {
		return nil
	}
	out := s.resource
	own := func() *fhir.Node {
		if out == s.resource {
			out = out.Shallow()
		}
		return out
	}
	switch s.kind {
	case Appointment:
		if s.ties != nil && len(s.ties.Parts) > 0 {
			s.ties.showParts(own())
		}
		state := s.label()
		if state != "" && out.Str("status") != state {
			own().Set("status", fhir.NewString(state))
		}
		if state != "cancelled" && state != "noshow" && out.Get("cancelationReason") != nil { // R4 app-4
			own().Delete("cancelationReason")
		}
	case Charge:
		if state := s.label(); state == "aborted" && out.Str("status") != state {
			own().Set("status", fhir.NewString(state))
		}
	case Patient:
		if s.ties != nil {
			s.ties.show(own())
		}
	}
	return out
}

// show puts the links, the merged patients' identifiers and active: false on a
// patient that is a shallow copy.
func (t *ties) show(n *fhir.Node) {
	if t.Into != nil {
		n.Set("active", fhir.NewBool(false))
	}
	link := func(to *tie, kind string) {
		other := fhir.NewObject().SetString("reference", to.Reference)
		extend(n, "link", fhir.NewObject().Set("other", other).SetString("type", kind))
	}
	if t.Into != nil {
		link(t.Into, "replaced-by")
	}
	for i := range t.From {
		from := &t.From[i]
		if from.Direct {
			link(from, "replaces")
		}
		for _, text := range from.Identifiers {
			id, err := fhir.ParseJSON([]byte(text))
			if err == nil && at(n, "identifier:"+about("identifier", id)) == nil {
				extend(n, "identifier", id)
			}
		}
	}
	for i := range t.Also {
		link(&t.Also[i], "seealso")
	}
}

// extend appends to a list without changing the one that is there.
func extend(n *fhir.Node, name string, item *fhir.Node) {
	list := fhir.NewArray()
	if have := n.Get(name); have != nil {
		list.Kids = append(list.Kids, have.Items()...)
	}
	item.Name = ""
	list.Kids = append(list.Kids, item)
	n.Set(name, list)
}

// carried is the resource with its JSON: the sender's own bytes where nothing
// has touched it.
func (s *state) carried() *resource {
	shown := s.shown()
	if shown == s.resource && s.raw != nil {
		return &resource{node: shown, json: s.raw}
	}
	return &resource{node: shown}
}
