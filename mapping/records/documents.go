package records

import "github.com/liaison-health/liaison/mapping/fhir"

// documentState is what a document is good for: no longer the one to read
// (superseded, entered-in-error), else how far its making has come (docStatus,
// HL7 table 0271), else that it is current.
func documentState(n *fhir.Node) string {
	if status := n.Str("status"); status != "current" && status != "" {
		return status
	}
	if status := n.Str("docStatus"); status != "" {
		return status
	}
	return n.Str("status")
}

// documentEvent names what a message tells of a document (HL7 v2.5.1 §9.5).
func documentEvent(s *state, v *version) string {
	asked := v.asks(s)
	switch {
	case asked != "":
		return asked
	case s.label() == "superseded" && v.previous != "superseded":
		return "superseded"
	}
	switch v.it.Trigger {
	case "T05", "T06":
		return "addendum"
	case "T07", "T08":
		return "edited"
	case "T09", "T10":
		if v.born {
			return "replacement"
		}
	}
	if !v.born && s.label() != v.previous {
		return "status-changed"
	}
	return byState(s.label(), v)
}
