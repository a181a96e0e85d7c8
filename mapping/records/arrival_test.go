package records_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
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
