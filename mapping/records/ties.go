package records

import (
	"encoding/json"
	"fmt"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// Ties are what a record's state says because of other records, and what is
// shown of the resource beside what its messages said. They come and go
// without touching the messages' elements, so that they can be undone.
type ties struct {
	Into       *tie   `json:"into,omitempty"`     // the patient, account or visit this one was merged into
	Survivor   string `json:"survivor,omitempty"` // at the end of all merges, where there is Into
	From       []tie  `json:"from,omitempty"`     // those merged into this one, and into those
	Also       []tie  `json:"also,omitempty"`     // linked patients (A24)
	Reverses   *Key   `json:"reverses,omitempty"`
	ReversedBy *Key   `json:"reversedBy,omitempty"`
	More       []Key  `json:"more,omitempty"`   // credits of the charge beside the first
	Partly     bool   `json:"partly,omitempty"` // the credits are of another amount
	Leads      []lead `json:"leads,omitempty"`  // where references go instead: what they name was merged or moved

	Parts []partOp `json:"parts,omitempty"` // services and resources that messages spoke of one by one
}

// A lead is a reference that is shown as another.
type lead struct {
	From string `json:"from"`
	To   string `json:"to"`
}

func (t *ties) leads() string {
	if t == nil {
		return ""
	}
	return fmt.Sprint(t.Leads)
}

// credits are all of a charge.
func (t *ties) credits() []Key {
	if t == nil || t.ReversedBy == nil {
		return nil
	}
	return append([]Key{*t.ReversedBy}, t.More...)
}

// empty says whether nothing is tied.
func (t *ties) empty() bool {
	return t.Into == nil && t.From == nil && t.Also == nil && t.Reverses == nil && t.ReversedBy == nil && t.Leads == nil && t.Parts == nil
}

// A tie is one other patient, account or visit.
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
		if state != "cancelled" && out.Get("cancelationReason") != nil { // R4 app-4
			own().Delete("cancelationReason")
		}
	case Order, MedicationOrder, NutritionOrder, SupplyRequest:
		if state := s.state; state != "" && out.Str("status") != state && (state == "completed" || s.refusedAny()) { // who placed it does not undo its result
			own().Set("status", fhir.NewString(state))
		}
	case Charge:
		if state := s.label(); state == "aborted" && out.Str("status") != state {
			own().Set("status", fhir.NewString(state))
		}
	case Allergy:
		out = s.verified(out)
	case Patient:
		if n := s.active(out); n != nil {
			out = n
		}
		if s.ties != nil {
			s.ties.show(own())
		}
	case Encounter:
		if s.state != "" && out.Str("status") != s.state {
			own().Set("status", fhir.NewString(s.state))
		}
		if s.left() {
			for _, path := range ended() {
				put(own(), path, nil)
			}
		}
		if s.ties != nil {
			s.ties.replaced(own(), "entered-in-error")
		}
	case Account:
		if s.state != "" && out.Str("status") != s.state {
			own().Set("status", fhir.NewString(s.state))
		}
		if s.ties != nil {
			s.ties.replaced(own(), "inactive")
		}
	}
	if s.ties != nil && s.ties.Leads != nil {
		out = s.ties.led(out)
	}
	return out
}

// active shows of a patient whether his record was entered in error, nil where
// that is what messages have set.
func (s *state) active(n *fhir.Node) *fhir.Node {
	deleted := s.state == "entered-in-error"
	if deleted == (n.Str("active") == "false") || !deleted && s.state != "active" {
		return nil
	}
	n = n.Shallow()
	if n.Delete("active"); deleted {
		n.Set("active", fhir.NewBool(false))
	}
	return n
}

// verified shows an allergy without a clinical status where it was entered in
// error, and not as that where it is there again (R4 ait-2).
func (s *state) verified(n *fhir.Node) *fhir.Node {
	gone := "verificationStatus"
	wrong := n.Str("verificationStatus.coding[0].code") == "entered-in-error"
	if s.state == "entered-in-error" {
		gone, wrong = "clinicalStatus", n.Get("clinicalStatus") != nil
	}
	if wrong {
		n = n.Shallow()
		n.Delete(gone)
	}
	return n
}

// replaced shows on an account or a visit, a shallow copy, what it was merged
// into, and the identifiers of those merged into it.
func (t *ties) replaced(n *fhir.Node, status string) {
	if t.Into != nil {
		n.Set("status", fhir.NewString(status))
		extend(n, "extension", fhir.NewObject().SetString("url", replacedBy).Set("valueReference", fhir.NewObject().SetString("reference", t.Into.Reference)))
	}
	t.identifiers(n)
}

// replacedBy is the URL of the extension that names what an account or a visit
// was merged into.
const replacedBy = "https://liaison.health/fhir/StructureDefinition/replaced-by"

// led is the resource with the references that lead elsewhere.
func (t *ties) led(n *fhir.Node) *fhir.Node {
	to := make(map[string]string, len(t.Leads))
	for _, l := range t.Leads {
		to[l.From] = l.To
	}
	n = n.Clone()
	redirect(n, to)
	return n
}

// show puts the links, the merged patients' identifiers and active: false on a
// patient that is a shallow copy.
func (t *ties) show(n *fhir.Node) {
	if t.Into != nil {
		n.Set("active", fhir.NewBool(false))
	}
	link := func(to *tie, kind string) {
		for _, have := range n.Get("link").Items() { // a FHIR client says it itself
			if have.Str("type") == kind && have.Str("other.reference") == to.Reference {
				return
			}
		}
		other := fhir.NewObject().SetString("reference", to.Reference)
		extend(n, "link", fhir.NewObject().Set("other", other).SetString("type", kind))
	}
	if t.Into != nil {
		link(t.Into, "replaced-by")
	}
	for i := range t.From {
		if from := &t.From[i]; from.Direct {
			link(from, "replaces")
		}
	}
	t.identifiers(n)
	for i := range t.Also {
		link(&t.Also[i], "seealso")
	}
}

// identifiers shows those of what was merged into this one.
func (t *ties) identifiers(n *fhir.Node) {
	for i := range t.From {
		for _, text := range t.From[i].Identifiers {
			id, err := fhir.ParseJSON([]byte(text))
			if err == nil && at(n, about("identifier", id).path("identifier")) == nil {
				extend(n, "identifier", id)
			}
		}
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
