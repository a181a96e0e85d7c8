package tables_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
)

// What is booked of an appointment is its services, rooms, devices and people; who
// placed, filled or entered it (SCH-12, SCH-16, SCH-20) is not. A message takes away
// only what it speaks of.
func TestBookedResources(t *testing.T) {
	const start, later = "20260401090000", "20260401100000"
	contact := map[int]string{16: "CL08^Clerk^Cleo", 20: "CL08^Clerk^Cleo"}
	sch := func(at, status string, more map[int]string) string {
		fields := map[int]string{1: "P1^CPOE", 2: "F1^SCHED", 11: "^^30^" + at, 25: status}
		for k, v := range more {
			fields[k] = v
		}
		return segment("SCH", fields)
	}
	pid := segment("PID", person())
	aip := func(set, action, who, at string) string {
		return segment("AIP", map[int]string{1: set, 2: action, 3: who + "^Amari^Ada", 6: at})
	}
	booked := []string{
		pid, "RGS|1|A", "AIS|1|A|CHK^Check^L|" + start, "AIS|2|A|ECG^ECG^L|" + start,
		"AIL|1|A|R1|||" + start, aip("1", "A", "2209", start),
	}
	first := append([]string{sch(start, "", contact)}, booked...)
	all := []string{"AIL R1 09:00", "AIP 2209 09:00", "AIS CHK", "AIS ECG"}
	for name, c := range map[string]struct {
		sent  [][]string // the segments behind MSH; the first word is the trigger
		want  []string
		state string
		event string
	}{
		"all":                          {nil, all, "booked", "booked"},
		"one of two services goes":     {[][]string{{"S22", sch(start, "", contact), pid, "RGS|1", "AIS|2|D|ECG^ECG^L"}}, []string{"AIL R1 09:00", "AIP 2209 09:00", "AIS CHK"}, "booked", "resource.removed"},
		"the only one named goes":      {[][]string{{"S20", sch(start, "", contact), pid, "RGS|1", aip("1", "", "2209", "")}}, []string{"AIL R1 09:00", "AIS CHK", "AIS ECG"}, "booked", "resource.removed"},
		"a contact who is booked goes": {[][]string{{"S20", sch(start, "", map[int]string{16: "2209^Amari^Ada"}), pid, "RGS|1", aip("1", "D", "2209", "")}}, []string{"AIL R1 09:00", "AIS CHK", "AIS ECG"}, "booked", "resource.removed"},
		"a contact's own booking":      {[][]string{{"S19", sch(start, "", map[int]string{16: "2209^Amari^Ada"}), pid, "RGS|1", aip("1", "U", "2209", later)}}, []string{"AIL R1 09:00", "AIP 2209 10:00", "AIS CHK", "AIS ECG"}, "booked", "resource.changed"},
		"S13 without its groups":       {[][]string{{"S13", sch(later, "", contact), pid}}, all, "booked", "rescheduled"},
		"S14 without its groups":       {[][]string{{"S14", sch(start, "", map[int]string{16: "CL09^Clark^Kim"}), pid}}, all, "booked", "modified"},
		"S15 without its groups":       {[][]string{{"S15", sch(start, "", contact), pid}}, all, "cancelled", "cancelled"},
		"S26 without its groups":       {[][]string{{"S26", sch(start, "", contact), pid}}, all, "noshow", "noshow"},
		"booked again":                 {[][]string{{"S15", sch(start, "", contact), pid}, append([]string{"S12", sch(later, "", contact)}, booked...)}, all, "booked", "booked"},
		"the same booked again":        {[][]string{{"S15", sch(start, "", contact), pid}, append([]string{"S12", sch(start, "", contact)}, booked...)}, all, "booked", "booked"},
		"moved after it was cancelled": {[][]string{{"S15", sch(start, "", contact), pid}, {"S13", sch(later, "", contact), pid}}, all, "booked", "rescheduled"},
		"moved after it was missed":    {[][]string{{"S26", sch(start, "", contact), pid}, {"S13", sch(later, "", contact), pid}}, all, "booked", "rescheduled"},
		"changed after it was cancelled": {
			[][]string{{"S15", sch(start, "", contact), pid}, {"S14", sch(start, "", map[int]string{16: "CL09^Clark^Kim"}), pid}},
			all, "cancelled", "modified",
		},
		"another room, then none": {
			[][]string{{"S19", sch(start, "", contact), pid, "RGS|1", "AIL|1|U|R2|||" + start}, {"S21", sch(start, "", contact), pid, "RGS|1", "AIL|1|D|R2"}},
			[]string{"AIP 2209 09:00", "AIS CHK", "AIS ECG"},
			"booked", "resource.removed",
		},
		"another room, then nobody": {
			[][]string{{"S19", sch(start, "", contact), pid, "RGS|1", "AIL|1|U|R2|||" + start}, {"S20", sch(start, "", contact), pid, "RGS|1", aip("1", "", "2209", "")}},
			[]string{"AIL R2 09:00", "AIS CHK", "AIS ECG"},
			"booked", "resource.removed",
		},
		"one person in two groups": {
			[][]string{
				{"S18", sch(start, "", contact), pid, "RGS|2|A", aip("1", "A", "2209", later)},
				{"S20", sch(start, "", contact), pid, "RGS|2", aip("1", "D", "2209", later)},
			},
			all, "booked", "resource.removed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			var made []*records.Record
			known := map[string]string{} // what the messages call the resources, by id
			for i, m := range append([][]string{append([]string{"S12"}, first...)}, c.sent...) {
				made = f.send(append([]string{header("SIU^"+m[0], i)}, m[1:]...)...)
				for _, e := range f.entries {
					known[e.ID] = e.Resource.Str("identifier[0].value")
				}
			}
			r := of(made, records.Appointment)
			require.NotNil(t, r)
			require.Equal(t, c.state, r.State)
			require.Equal(t, "appointment."+c.event, r.EventType)
			n, err := fhir.ParseJSON(r.Resource)
			require.NoError(t, err)
			var got []string
			for _, s := range n.Get("serviceType").Items() {
				got = append(got, "AIS "+s.Str("coding[0].code"))
			}
			for _, p := range n.Get("participant").Items() {
				kind, id, _ := strings.Cut(p.Str("actor.reference"), "/")
				at := p.Str("period.start")
				if len(at) < 16 {
					continue // the patient, a contact
				}
				name := map[string]string{"Location": "AIL ", "Practitioner": "AIP "}[kind]
				got = append(got, name+known[id]+" "+at[11:16])
			}
			slices.Sort(got)
			require.Equal(t, c.want, got)
		})
	}
}
