package records_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
)

// A registration tells that the patient came to the appointment of that visit,
// found by its number among the visit's or by the visit's number that the
// scheduling system gave (HL7 v2.5.1 §3.3.4, §3.3.10).
func TestArrivalByRegistration(t *testing.T) {
	for name, c := range map[string]struct {
		number  string // of the visit
		with    string // the visit that the appointment was booked with
		start   string
		who     int
		status  string // of the appointment before
		arrives bool
	}{
		"the appointment's number":     {"A", "", "2026-03-10T09:00:00Z", 1, "", true},
		"the visit of the booking":     {"V9", "V9", "2026-03-10T09:00:00Z", 1, "", true},
		"another visit":                {"V8", "V9", "2026-03-10T09:00:00Z", 1, "", false},
		"another patient":              {"A", "", "2026-03-10T09:00:00Z", 2, "", false},
		"an appointment of next month": {"A", "", "2026-04-10T09:00:00Z", 1, "", false},
		"a cancelled one":              {"A", "", "2026-03-10T09:00:00Z", 1, "S15", false},
		"one that was kept":            {"A", "", "2026-03-10T09:00:00Z", 1, "fulfilled", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			visit := func(number string) *fhir.Node {
				n := fhir.NewResource("Encounter").SetString("id", fhir.ID("Encounter", "urn:x:visits", number)).SetString("status", "arrived")
				return n.Append("identifier", fhir.NewObject().SetString("system", "urn:x:visits").SetString("value", number))
			}
			booking := siu{trigger: "S12", start: c.start}.change(1, 1, "A")
			booking.Items[1].Resource.Append("identifier", fhir.NewObject().SetString("system", "urn:oid:1.2.4").SetString("value", "A"))
			if c.with != "" {
				to := fhir.NewObject().SetString("reference", "Appointment/"+booking.Items[1].Resource.ID())
				booking.Related = append(booking.Related, visit(c.with).Append("appointment", to))
			}
			w.fold(booking)
			switch c.status {
			case "S15":
				w.fold(siu{trigger: "S15", start: c.start}.change(2, 2, "A"))
			case "fulfilled":
				w.fold(siu{trigger: "S14", start: c.start, status: "fulfilled"}.change(2, 2, "A"))
			}
			before := w.last(records.Appointment)
			it := records.Item{
				Kind: records.Encounter, Key: records.Key{Assigner: "urn:x:visits", ID: c.number}, Action: records.Upsert,
				Trigger: "A04", State: "arrived", Event: "registered", Resource: visit(c.number),
			}
			register := change(3, "adt", 1, c.who, patientItem(c.who), it)
			register.Occurred = "2026-03-10T08:50:00Z"
			register.Implied = []records.Implied{{Kind: records.Appointment, State: "arrived", Event: "arrived"}}
			w.fold(register)
			r := w.last(records.Appointment)
			if !c.arrives {
				require.Equal(t, before.Version, r.Version)
				return
			}
			require.Equal(t, "appointment.arrived", r.EventType)
			require.Equal(t, "arrived", r.State)
			require.Equal(t, "inferred", r.Transition)
			require.Contains(t, string(r.Resource), `"status":"arrived"`)
			again := change(4, "adt", 2, c.who, patientItem(c.who), it)
			again.Occurred, again.Implied = register.Occurred, register.Implied
			w.fold(again)
			require.Equal(t, r.Version, w.last(records.Appointment).Version, "once")
			w.holds()
		})
	}
}

// Registrations by the sender of the appointments count for the appointment that
// they mean as it stood then, unless they are taken back, in whatever order the
// messages come: also where the booking, an earlier cancel or another time of it comes after them.
func TestArrivalAsItStood(t *testing.T) {
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		var messages []func() *records.Change
		for n := range rapid.IntRange(2, 7).Draw(t, "messages") {
			id := rapid.SampledFrom([]string{"A0", "A1"}).Draw(t, "appointment")
			if rapid.IntRange(0, 2).Draw(t, "registration") == 0 {
				numbers := rapid.SampledFrom([][]string{{"A0"}, {"A1"}, {"A0", "A1"}}).Draw(t, "numbers")
				register := func(trigger, state, event string, order int, cancels ...string) *records.Change {
					visit := fhir.NewResource("Encounter").SetString("id", fhir.ID("Encounter", "urn:x:visits", numbers[0])).SetString("status", "arrived")
					for _, number := range numbers {
						visit.Append("identifier", fhir.NewObject().SetString("system", "urn:x:visits").SetString("value", number))
					}
					it := records.Item{
						Kind: records.Encounter, Key: records.Key{Assigner: "urn:x:visits", ID: fmt.Sprint("V", n)}, Action: records.Upsert,
						Trigger: trigger, State: state, Event: event, Cancels: cancels, Resource: visit,
					}
					visit.SetString("id", fhir.ID("Encounter", "urn:x:visits", it.Key.ID))
					c := change(order, "a", order, 1, patientItem(1), it)
					c.Occurred = "2026-03-10T08:50:00Z"
					return c
				}
				messages = append(messages, func() *records.Change {
					c := register("A04", "arrived", "registered", n+1)
					c.Implied = []records.Implied{{Kind: records.Appointment, State: "arrived", Event: "arrived"}}
					return c
				})
				if rapid.Bool().Draw(t, "taken back") {
					messages = append(messages, func() *records.Change { return register("A11", "cancelled", "cancelled", n+20, "A01", "A04") })
				}
				continue
			}
			m := siu{
				trigger: rapid.SampledFrom([]string{"S12", "S13", "S14", "S15"}).Draw(t, "trigger"),
				start:   rapid.SampledFrom([]string{"2026-03-10T09:00:00Z", "2026-03-10T12:00:00Z", "2026-04-01T09:00:00Z"}).Draw(t, "start"),
			}
			messages = append(messages, func() *records.Change {
				c := m.change(n+1, n+1, id)
				c.Items[1].Resource.Append("identifier", fhir.NewObject().SetString("system", "urn:oid:1.2.4").SetString("value", id))
				return c
			})
		}
		schedules := func() *records.Change { // the sender does
			return siu{trigger: "S12", start: "2026-01-01T09:00:00Z"}.change(100, 0, "first")
		}
		inAnyOrder(t, check, schedules, messages, "A0", "A1")
	})
}
