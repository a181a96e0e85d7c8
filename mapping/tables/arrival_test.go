package tables_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// A registration that is taken back (A11 of A04, A32 of A10) takes the patient's
// coming to the appointment of that visit back too, whoever tells of the
// appointment and in whatever order the messages come.
func TestArrivalTakenBack(t *testing.T) {
	from := func(message, sender string) string { return strings.ReplaceAll(message, "|ADT1|", "|"+sender+"|") }
	visit := segment("PV1", map[int]string{1: "1", 2: "O", 19: "V409^^^ALDER^VN"})
	booking := []string{header("SIU^S12", 0), "SCH||A7^ALDER|||||||30|MIN|^^^20260310040000|||||||||||||Booked", segment("PID", person()), visit, "RGS|1"}
	adt := func(trigger string, minute int) []string {
		return []string{header("ADT^"+trigger, minute), segment("PID", person()), visit}
	}
	booked := func(sender string) []string {
		return append([]string{from(booking[0], sender)}, booking[1:]...)
	}
	for name, c := range map[string]struct {
		sender   string // of the appointment
		messages []string
		minutes  []int
		want     string
	}{
		"one sender":                     {"ADT1", []string{"A05", "A04", "A11"}, []int{1, 2, 3}, "booked"},
		"two senders":                    {"SCH1", []string{"A05", "A04", "A11"}, []int{1, 2, 3}, "booked"},
		"the cancel first":               {"ADT1", []string{"A05", "A11", "A04"}, []int{1, 3, 2}, "booked"},
		"registered again":               {"ADT1", []string{"A04", "A11", "A04"}, []int{1, 2, 3}, "arrived"},
		"registered again, two senders":  {"SCH1", []string{"A04", "A11", "A04"}, []int{1, 2, 3}, "arrived"},
		"an admission taken back":        {"ADT1", []string{"A04", "A01", "A11"}, []int{1, 2, 3}, "arrived"},
		"that comes after its cancel":    {"ADT1", []string{"A04", "A11", "A01"}, []int{1, 3, 2}, "arrived"},
		"that and the registration":      {"ADT1", []string{"A04", "A01", "A11", "A11"}, []int{1, 2, 3, 4}, "booked"},
		"an arrival":                     {"ADT1", []string{"A10", "A32"}, []int{1, 2}, "booked"},
		"an arrival, two senders":        {"SCH1", []string{"A10", "A32"}, []int{1, 2}, "booked"},
		"a visit that never was":         {"ADT1", []string{"A05", "A38"}, []int{1, 2}, "booked"},
		"an admission, then two senders": {"SCH1", []string{"A04", "A01", "A11"}, []int{1, 2, 3}, "arrived"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			f.send(booked(c.sender)...)
			var last *records.Record
			for i, trigger := range c.messages {
				if r := of(f.send(adt(trigger, c.minutes[i])...), records.Appointment); r != nil {
					last = r
				}
			}
			if last == nil {
				require.Equal(t, "booked", c.want)
				return
			}
			require.Equal(t, c.want, last.State)
			if last.Version > 2 && c.want == "booked" {
				require.Equal(t, "appointment.arrival-cancelled", last.EventType)
				require.Equal(t, "arrived", last.PreviousState)
			}
		})
	}
}

// A cancelled admission that leaves the visit as it was planned, or as the
// patient came, does not cancel the visit.
func TestAdmissionCancelled(t *testing.T) {
	adt := func(f *feed, trigger string, minute int) *records.Record {
		return of(f.send(header("ADT^"+trigger, minute), segment("PID", person()), segment("PV1", map[int]string{1: "1", 2: "I", 19: "V409^^^ALDER^VN"})), records.Encounter)
	}
	f := newFeed(t)
	adt(f, "A05", 1)
	adt(f, "A01", 2)
	r := adt(f, "A11", 3)
	require.Equal(t, "planned", r.State)
	require.Equal(t, "encounter.admission-cancelled", r.EventType)
	f = newFeed(t)
	adt(f, "A01", 2)
	r = adt(f, "A11", 3)
	require.Equal(t, "cancelled", r.State)
	require.Equal(t, "encounter.cancelled", r.EventType)
}
