package faulttest

import (
	"cmp"
	"slices"
)

// A State is what the newest version of a record says, as far as the model
// knows better.
type State struct {
	State   string
	Value   string // of a patient the family name, of an encounter the service, of an appointment the start, of a charge the amount
	Patient string // whose it is now
}

// Reference is the state that the messages of a feed lead to, by what their
// generator meant by them and in their senders' own order, whatever order they
// came in and how often. Records are named KIND/ID.
func Reference(feed *Feed) map[string]State {
	r := &reference{records: map[string]State{}, survivor: map[string]string{}}
	for _, sent := range feed.Senders {
		ordered := slices.Clone(sent)
		slices.SortFunc(ordered, func(a, b *Message) int { return cmp.Compare(a.Seq, b.Seq) })
		for _, m := range ordered {
			if m.Poison == "" {
				r.apply(m)
			}
		}
	}
	for name, s := range r.records {
		s.Patient = r.end(s.Patient)
		r.records[name] = s
	}
	return r.records
}

type reference struct {
	records  map[string]State
	survivor map[string]string
}

// end follows merges to the patient who is left.
func (r *reference) end(patient string) string {
	for r.survivor[patient] != "" {
		patient = r.survivor[patient]
	}
	return patient
}

func (r *reference) apply(m *Message) {
	r.records["patient/"+m.Patient] = State{State: "active", Value: m.Family, Patient: m.Patient}
	if m.Retired != "" {
		r.survivor[m.Retired] = m.Patient
		// What a retired patient was called last is nobody's question.
		r.records["patient/"+m.Retired] = State{State: "merged", Patient: m.Retired}
	}
	if m.Visit != "" {
		r.records["encounter/"+m.Visit] = State{State: m.VisitState, Value: m.Service, Patient: m.Patient}
	}
	if m.Appointment != "" {
		r.records["appointment/"+m.Appointment] = State{State: m.AppointmentState, Value: m.Time, Patient: m.Patient}
	}
	switch {
	case m.Charge == "":
	case m.Reverses:
		s := r.records["charge/"+m.Charge]
		s.State = "aborted"
		r.records["charge/"+m.Charge] = s
		r.records["credit/"+m.Charge] = State{State: "billable", Value: "-" + m.Amount, Patient: m.Patient}
	default:
		r.records["charge/"+m.Charge] = State{State: "billable", Value: m.Amount, Patient: m.Patient}
	}
}

// Records names the records that a message is about.
func (m *Message) Records() []string {
	out := []string{"patient/" + m.Patient}
	for _, r := range [][2]string{{"patient/", m.Retired}, {"encounter/", m.Visit}, {"appointment/", m.Appointment}} {
		if r[1] != "" {
			out = append(out, r[0]+r[1])
		}
	}
	switch {
	case m.Charge == "":
	case m.Reverses:
		out = append(out, "credit/"+m.Charge) // and the charge, unless the credit came first
	default:
		out = append(out, "charge/"+m.Charge)
	}
	return out
}
