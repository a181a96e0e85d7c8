package records

import (
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// statusOf reads the state that a resource itself tells.
func statusOf(kind Kind, n *fhir.Node) string {
	if kind == Patient {
		if n.Str("active") == "false" {
			return "inactive"
		}
		return "active"
	}
	return n.Str("status")
}

// prepare adapts an item by its kind before it is merged.
func prepare(it *Item, s *state, born bool) {
	if it.Resource == nil {
		return
	}
	switch it.Kind {
	case Encounter:
		if it.State == "" && !born && it.Action != Snapshot {
			it.Resource = it.Resource.Clone()
			it.Resource.Delete("status")
		}
		if it.Event == "discharge-cancelled" { // A13: the visit goes on
			it.Deletes = append(it.Deletes, "period.end", "hospitalization.dischargeDisposition", "hospitalization.destination")
		}
	case Appointment:
		if it.State == "noshow" && refused(s, it, "noshow") {
			it.Resource = it.Resource.Clone()
			it.Resource.Delete("status")
		}
	case Patient:
		if !born {
			it.Resource = it.Resource.Clone()
			keepIdentifiers(it.Resource, s.resource)
		}
	default:
	}
}

// eventOf names what a version tells: the most telling of what changed.
func eventOf(s *state, v *version) string {
	kind, asked := string(s.kind), v.it.Event
	has := func(prefix string) bool {
		for _, d := range v.changed {
			if d.Path == prefix || strings.HasPrefix(d.Path, prefix+".") || strings.HasPrefix(d.Path, prefix+"[") {
				return true
			}
		}
		return false
	}
	switch s.kind {
	case Appointment:
		if !v.born && (asked == "booked" || asked == "modified" || asked == "") && s.state == "booked" {
			asked = "modified"
			if has("start") {
				asked = "rescheduled"
			}
		}
		if asked == "" || !v.born && asked == "modified" && s.state != v.previous {
			asked = s.state
		}
	case Encounter:
		if asked == "" {
			asked = "updated"
		}
	case Patient:
		if asked == "" || asked == "registered" {
			asked = "demographics.updated"
			if v.born {
				asked = "registered"
			}
		}
	case Order:
		if asked == "" {
			asked = byState(s.state, v, map[string]string{
				"revoked": "cancelled", "on-hold": "held", "completed": "completed", "entered-in-error": "deleted",
			})
		}
	case Result:
		if asked == "" {
			asked = s.state
			if asked == "" || !v.born && s.state == v.previous {
				asked = "updated"
			}
		}
	case Charge:
		if asked == "" {
			asked = chargeEvent(s.resource, v.born)
		}
	default:
		if asked == "" {
			asked = byState(s.state, v, map[string]string{"cancelled": "cancelled", "inactive": "closed"})
		}
	}
	if asked == "" {
		asked = "updated"
	}
	return kind + "." + asked
}

func byState(state string, v *version, names map[string]string) string {
	if name := names[state]; name != "" && (v.born || state != v.previous) {
		return name
	}
	if v.born {
		return "created"
	}
	return "updated"
}

// chargeEvent reads the kind of transaction that the charge carries (FT1-6).
func chargeEvent(n *fhir.Node, born bool) string {
	kind := ""
	for _, e := range n.Get("extension").Items() {
		if strings.HasSuffix(e.Str("url"), "/transaction-type") {
			kind = e.Str("valueCodeableConcept.coding[0].code") + e.Str("valueCode") + e.Str("valueCoding.code")
		}
	}
	if !born {
		return "corrected"
	}
	switch kind {
	case "CD":
		return "reversed"
	case "PY":
		return "payment"
	case "AJ":
		return "adjusted"
	case "CO":
		return "copay"
	default:
		return "posted"
	}
}

// inferred says whether a first version comes from a message that supposes an
// earlier one, which has not been seen.
func inferred(it *Item) bool {
	switch it.Trigger {
	case "S13", "S14", "S15", "S16", "S17", "S26", "A02", "A03", "A06", "A07", "A08", "A11", "A12", "A13", "A31":
		return it.Kind == Appointment || it.Kind == Encounter
	}
	return false
}
