package records

import (
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// statusOf reads the state that a resource itself tells.
func statusOf(kind Kind, n *fhir.Node) string {
	switch kind {
	case Patient:
		if n.Str("active") == "false" {
			return "inactive"
		}
		return "active"
	case Location:
		if state := bedState(n.Str("operationalStatus.code")); state != "" {
			return state
		}
	case Allergy:
		if n.Str("verificationStatus.coding[0].code") == "entered-in-error" {
			return "entered-in-error"
		}
		if status := n.Str("clinicalStatus.coding[0].code"); status != "" {
			return status
		}
	}
	switch kind {
	case Document:
		return documentState(n)
	case Practitioner:
		switch n.Str("active") {
		case "false":
			return "inactive"
		case "true":
			return "active"
		}
		return ""
	case Goal:
		return n.Str("lifecycleStatus")
	case Problem:
		if n.Str("verificationStatus.coding[0].code") == "entered-in-error" {
			return "entered-in-error"
		}
		return n.Str("clinicalStatus.coding[0].code")
	default:
		return n.Str("status")
	}
}

// stateless says of which kinds a resource often tells no state: they are active
// until a message says otherwise.
func stateless(kind Kind) bool {
	switch kind {
	case Practitioner, Location, Device, CatalogItem, MasterFile, Problem, Goal, AdverseEvent:
		return true
	default:
		return false
	}
}

// bedState names a bed's status (HL7 table 0116).
func bedState(code string) string {
	switch code {
	case "C":
		return "closed"
	case "H":
		return "housekeeping"
	case "O":
		return "occupied"
	case "U":
		return "unoccupied"
	case "K":
		return "contaminated"
	case "I":
		return "isolated"
	}
	return ""
}

// prepare adapts an item by its kind before it is merged; it gives the action
// codes of an appointment's services and resources.
func prepare(it *Item) (codes map[*fhir.Node]string) {
	if it.Resource == nil {
		return nil
	}
	switch it.Kind {
	case Encounter:
		// A13 (HL7 v2.5.1 §3.3.13): the visit goes on. A25 (§3.3.25): it is no longer
		// known when and to where it ends.
		if it.Event == "reopened" || it.Event == "discharge-pending-cancelled" {
			it.Deletes = append(slices.Clone(it.Deletes), ended()...)
		}
		if it.Trigger == "A26" {
			it.Resource = withoutReserved(it.Resource)
		}
	case Appointment:
		// A booking's state is the filler's (SCH-25), where it says one.
		if status := it.Resource.Str("status"); it.State == "booked" && status != "" && !it.fills("status") {
			it.State = status
		}
		it.Resource, codes = actions(it.Resource)
	case Patient:
		if it.Trigger != "" && it.Resource.Get("link") != nil {
			it.Resource = withoutMerges(it.Resource)
		}
	default:
	}
	return codes
}

// ended are the elements of a visit that say when and to where it ended.
func ended() []string {
	return []string{"period.end", "hospitalization.dischargeDisposition", "hospitalization.destination"}
}

// withoutMerges leaves out the links of a merge (MRG): they are ties, which can
// be undone.
func withoutMerges(n *fhir.Node) *fhir.Node {
	kept := fhir.NewArray()
	for _, link := range n.Get("link").Items() {
		if kind := link.Str("type"); kind != "replaces" && kind != "replaced-by" {
			kept.Kids = append(kept.Kids, link)
		}
	}
	n = n.Shallow()
	if n.Delete("link"); len(kept.Kids) > 0 {
		n.Set("link", kept)
	}
	return n
}

// fills says whether the tables filled an element in for want of a value.
func (it *Item) fills(name string) bool {
	for _, d := range it.Defaulted {
		if d == name {
			return true
		}
	}
	return false
}

// has says whether an element, or a part of it, changed.
func (v *version) has(element string) bool {
	for i := range v.changed {
		path := v.changed[i].Path
		if strings.HasPrefix(path, element) && (len(path) == len(element) || path[len(element)] == '.' || path[len(element)] == '[') {
			return true
		}
	}
	return false
}

// eventOf names what a version tells: the most telling of what changed.
func eventOf(s *state, v *version) string {
	name := ""
	switch s.kind {
	case Appointment:
		name = appointmentEvent(s, v)
	case Encounter:
		name = encounterEvent(s, v)
	case Patient:
		if name = v.asks(s); name == "registered" || name == "merged" {
			name = ""
		}
		if name == "" && v.born {
			return "registered"
		}
		if name == "" && v.previous == "entered-in-error" && s.label() != v.previous {
			return "registered"
		}
		if name == "" {
			return relabelled(v, "demographics.updated")
		}
	case Result:
		if name = v.asks(s); name == "" {
			if name = s.label(); name == "" || !v.born && name == v.previous {
				name = "updated"
			}
			if name == "updated" && v.corrected {
				name = "corrected"
			}
		}
	case Document:
		name = documentEvent(s, v)
	case Charge:
		if name = v.asks(s); name == "" {
			name = chargeEvent(s.resource, v.born)
		}
	case Location:
		if name = v.asks(s); name == "" && (v.born || s.label() != v.previous) && bedState(s.resource.Str("operationalStatus.code")) != "" {
			name = "status-changed"
		}
		if name == "" && v.born {
			name = "created"
		}
	default:
		if name = v.asks(s); name == "" {
			name = byState(s.label(), v)
		}
	}
	if name == "" || name == "updated" {
		return relabelled(v, "updated")
	}
	return name
}

// relabelled: a change of confidentiality tells more than another update.
func relabelled(v *version, otherwise string) string {
	if v.born {
		return otherwise
	}
	for i := range v.changed {
		d := &v.changed[i]
		if strings.HasPrefix(d.Path, "meta.security") || d.Path == "meta" && (d.Old.Get("security") != nil || d.New.Get("security") != nil) {
			return "label.changed"
		}
	}
	return otherwise
}

func encounterEvent(s *state, v *version) string {
	asked := v.asks(s)
	switch {
	case asked == "cancelled" && s.label() != "cancelled": // it was planned before, or the patient is there
		return "admission-cancelled"
	case v.again(s):
		return ""
	case asked != "":
		return asked
	}
	if v.it.Trigger == "" && (v.born || s.label() != v.previous) {
		if name := visitEvent(s, v.previous); name != "" {
			return name
		}
	}
	switch {
	case v.born:
		return "updated"
	case v.has("class"):
		return "class-changed"
	case v.has("location") && bedOf(v.before) != bedOf(s.shown()):
		return "bed-changed"
	}
	return ""
}

// visitEvent names the event of a state that a visit comes to without a trigger that
// tells it, as a FHIR client's does: as the trigger that leads to it is named.
func visitEvent(s *state, previous string) string {
	inpatient := false
	switch s.resource.Str("class.code") { // HL7 ActCode: admitted to a bed
	case "IMP", "ACUTE", "NONAC", "OBSENC", "SS":
		inpatient = true
	}
	switch state := s.label(); {
	case state == "planned":
		return "preadmitted"
	case state == "onleave":
		return "left"
	case state == "finished":
		return "discharged"
	case state == "cancelled":
		return state
	case state == "entered-in-error":
		return "deleted"
	case state == "in-progress" && previous == "onleave":
		return "returned"
	case state == "in-progress" && previous == "finished":
		return "reopened"
	case state == "in-progress" && inpatient:
		return "admitted"
	case state == "in-progress" && previous != "arrived" && previous != "triaged", state == "arrived" && previous != "triaged", state == "triaged" && previous != "arrived":
		return "registered"
	}
	return ""
}

// bedOf is where a patient is.
func bedOf(n *fhir.Node) string {
	for _, place := range n.Get("location").Items() {
		if status := place.Str("status"); status == "active" || status == "" {
			return place.Str("location.reference")
		}
	}
	return ""
}

// byState names an event by the state that a record comes to.
func byState(state string, v *version) string {
	if v.born || state != v.previous {
		switch state {
		case "revoked", "cancelled":
			return "cancelled"
		case "stopped":
			return "discontinued"
		case "not-done":
			return "not-done"
		case "on-hold", "suspended":
			return "held"
		case "inactive":
			return "closed"
		case "entered-in-error":
			return "deleted"
		case "completed":
			return "completed"
		}
	}
	if v.born {
		return "created"
	}
	return "updated"
}

// inferred says whether a first version comes from a message that supposes an
// earlier one, which has not been seen.
func inferred(it *Item) bool {
	switch it.Trigger {
	case "S13", "S14", "S15", "S16", "S17", "S18", "S19", "S20", "S21", "S22", "S26", "A02", "A03", "A06", "A07", "A08", "A11", "A12", "A13", "A31",
		"A15", "A16", "A21", "A22", "A23", "A25", "A26", "A27", "A32", "A33", "A38", "A52", "A53", "A54", "A55", "A61", "A62":
		return it.Kind == Appointment || it.Kind == Encounter
	}
	return false
}

// corrects says whether a version puts right what an earlier one said wrongly.
func corrects(s *state, v *version) bool {
	if v.born || s.label() == v.previous && len(v.changed) == 0 {
		return false
	}
	switch s.kind {
	case Result:
		return v.corrected || s.label() == "corrected" || s.label() == "amended" || s.label() == "entered-in-error" && v.previous != "entered-in-error"
	case Charge:
		return true
	default:
		return false
	}
}

// warn notes what is odd about a version of a record that was known.
func (v *version) warn(s *state) {
	if v.born || v.late {
		return
	}
	switch {
	case v.it.Trigger == "A12" && s.kind == Encounter && !v.has("location"):
		v.warnings = append(v.warnings, "transfer-cancelled-without-move")
	case s.kind == Encounter && v.again(s):
		v.warnings = append(v.warnings, "admission-repeated")
	case s.kind == Encounter && admits(v.it.Trigger) && v.previous == "finished":
		v.warnings = append(v.warnings, "readmitted")
	case s.kind != Appointment:
	case v.it.Trigger == "S12" && len(v.changed) > 0 && s.label() == v.previous:
		v.warnings = append(v.warnings, "booked-again")
	case v.it.Trigger == "S13" && !v.moved():
		v.warnings = append(v.warnings, "rescheduled-without-time")
	case v.it.Trigger == "S14" && v.moved():
		v.warnings = append(v.warnings, "modified-with-time")
	}
}
