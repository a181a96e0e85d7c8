package records_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
)

// A siu is one scheduling message in plain words.
type siu struct {
	trigger string
	start   string
	status  string // SCH-25; "": what the tables fill in
	reason  string // SCH-6
	room    string
	comment string
	series  string // SCH-4
	bare    bool   // without the patient's segments
}

func (m siu) change(n, order int, id string) *records.Change {
	rows := map[string][2]string{
		"S12": {"booked", "booked"}, "S13": {"booked", "rescheduled"}, "S14": {}, "S15": {"cancelled", "cancelled"},
		"S16": {"cancelled", "discontinued"}, "S17": {"entered-in-error", "deleted"}, "S26": {"noshow", "noshow"},
	}
	it := appointmentItem(id, map[string]string{"start": m.start, "comment": m.comment, "status": m.status}, rows[m.trigger][0], rows[m.trigger][1])
	it.Trigger = m.trigger
	if m.status == "" {
		it.Resource.SetString("status", "booked")
		it.Defaulted = []string{"status"}
	}
	if m.start == "" {
		it.Resource.Set("_start", fhir.NewObject().Append("extension", fhir.NewObject().SetString("url", "http://hl7.org/fhir/StructureDefinition/data-absent-reason").SetString("valueCode", "unknown")))
		it.Defaulted = append(it.Defaulted, "_start")
	}
	if m.reason != "" {
		it.Resource.Set("cancelationReason", fhir.NewObject().SetString("text", m.reason))
	}
	if m.series != "" {
		kind := fhir.NewObject().Append("coding", fhir.NewObject().SetString("code", "PGN"))
		it.Resource.Append("identifier", fhir.NewObject().Set("type", kind).SetString("system", "urn:x:groups").SetString("value", m.series))
	}
	actor := func(ref string) *fhir.Node {
		return fhir.NewObject().Set("actor", fhir.NewObject().SetString("reference", ref)).SetString("status", "accepted")
	}
	who := patient(1)
	if !m.bare {
		it.Resource.Append("participant", actor("Patient/"+who.ID()))
	}
	if m.room != "" {
		it.Resource.Append("participant", actor("Location/"+m.room))
	}
	if m.bare {
		c := change(n, "a", order, 1, it)
		c.Subject = nil
		return c
	}
	c := change(n, "a", order, 1, patientItem(1), it)
	if m.room != "" {
		c.Related = append(c.Related, fhir.NewResource("Location").SetString("id", m.room).SetString("name", "Room "+m.room))
	}
	return c
}

// What each event does to an appointment, step by step: the event and state of
// its last version, and a warning (HL7 v2.5.1 §10.3).
func TestAppointmentEvents(t *testing.T) {
	at := func(trigger, start string) siu { return siu{trigger: trigger, start: start} }
	const nine, ten = "2026-03-20T09:00:00Z", "2026-03-20T10:00:00Z"
	for name, c := range map[string]struct {
		steps                      []siu
		event, state, warning, end string
	}{
		"S12":                            {[]siu{at("S12", nine)}, "booked", "booked", "", "normal"},
		"S12 as the filler has it":       {[]siu{{trigger: "S12", start: nine, status: "waitlist"}}, "booked", "waitlist", "", "normal"},
		"S12 again with other content":   {[]siu{at("S12", nine), {trigger: "S12", start: nine, comment: "x"}}, "modified", "booked", "booked-again", "normal"},
		"S12 again with another time":    {[]siu{at("S12", nine), at("S12", ten)}, "rescheduled", "booked", "booked-again", "normal"},
		"S13 of none":                    {[]siu{at("S13", nine)}, "rescheduled", "booked", "", "inferred"},
		"S13":                            {[]siu{at("S12", nine), at("S13", ten)}, "rescheduled", "booked", "", "normal"},
		"S13 without another time":       {[]siu{at("S12", nine), {trigger: "S13", start: nine, comment: "x"}}, "modified", "booked", "rescheduled-without-time", "normal"},
		"S13 of the same instant":        {[]siu{at("S12", nine), at("S13", "2026-03-20T05:00:00-04:00")}, "modified", "booked", "rescheduled-without-time", "normal"},
		"S14 of the same instant":        {[]siu{at("S12", nine), at("S14", "2026-03-20T05:00:00-04:00")}, "modified", "booked", "", "normal"},
		"S14 that deletes":               {[]siu{at("S12", nine), {trigger: "S14", start: nine, status: "entered-in-error"}}, "deleted", "entered-in-error", "", "normal"},
		"S15 again with another reason":  {[]siu{at("S12", nine), {trigger: "S15", reason: "ill"}, {trigger: "S15", reason: "away"}}, "modified", "cancelled", "", "normal"},
		"S17 again with other content":   {[]siu{at("S12", nine), at("S17", nine), {trigger: "S17", start: nine, comment: "x"}}, "modified", "entered-in-error", "", "normal"},
		"S14":                            {[]siu{at("S12", nine), {trigger: "S14", start: nine, comment: "x"}}, "modified", "booked", "", "normal"},
		"S14 with another time":          {[]siu{at("S12", nine), at("S14", ten)}, "rescheduled", "booked", "modified-with-time", "normal"},
		"S14 that cancels":               {[]siu{at("S12", nine), {trigger: "S14", start: nine, status: "cancelled"}}, "cancelled", "cancelled", "", "normal"},
		"S14 that books again":           {[]siu{at("S12", nine), at("S15", nine), {trigger: "S14", start: nine, status: "booked"}}, "booked", "booked", "", "normal"},
		"S13 after cancelling":           {[]siu{at("S12", nine), at("S15", nine), at("S13", nine)}, "booked", "booked", "rescheduled-without-time", "normal"},
		"S14 that arrives":               {[]siu{at("S12", nine), {trigger: "S14", start: nine, status: "arrived"}}, "arrived", "arrived", "", "normal"},
		"S14 silent of a cancellation":   {[]siu{at("S12", nine), at("S15", nine), {trigger: "S14", start: nine, comment: "x"}}, "modified", "cancelled", "", "normal"},
		"S15":                            {[]siu{at("S12", nine), {trigger: "S15", reason: "ill"}}, "cancelled", "cancelled", "", "normal"},
		"S15 of none":                    {[]siu{at("S15", nine)}, "cancelled", "cancelled", "", "inferred"},
		"S17":                            {[]siu{at("S12", nine), at("S17", nine)}, "deleted", "entered-in-error", "", "normal"},
		"S26":                            {[]siu{at("S12", nine), at("S26", nine)}, "noshow", "noshow", "", "normal"},
		"S26 after the arrival":          {[]siu{at("S12", nine), {trigger: "S14", start: nine, status: "arrived"}, {trigger: "S26", start: nine, reason: "absent"}}, "modified", "arrived", "noshow-after-arrival", "normal"},
		"booked again after cancelling":  {[]siu{at("S12", nine), {trigger: "S15", reason: "ill"}, at("S12", ten)}, "booked", "booked", "", "normal"},
		"S16":                            {[]siu{at("S12", nine), at("S16", nine)}, "discontinued", "cancelled", "", "normal"},
		"a state the sender never names": {[]siu{at("S12", nine), {trigger: "S14", start: nine, status: "checked-in"}, {trigger: "S14", start: nine, comment: "x"}}, "modified", "checked-in", "", "normal"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for i, m := range c.steps {
				w.fold(m.change(i+1, i+1, "A"))
			}
			r := w.last(records.Appointment)
			require.Equal(t, "appointment."+c.event, r.EventType)
			require.Equal(t, c.state, r.State)
			require.Equal(t, c.end, r.Transition)
			require.Contains(t, string(r.Resource), `"status":"`+c.state+`"`)
			if c.warning != "" {
				require.Contains(t, r.Quality.Warnings, c.warning)
			} else {
				require.Nil(t, r.Quality)
			}
			if c.state != "cancelled" && c.state != "noshow" {
				require.NotContains(t, string(r.Resource), "cancelationReason", "R4 app-4")
			}
			require.NotContains(t, string(r.Resource), `_start`, "the time that an earlier message gave stays")
			w.holds()
		})
	}
}

// What comes late is named for what it still does: a state that it does not bring
// about, a time that it does not set, it does not tell.
func TestEventsOfLate(t *testing.T) {
	const nine, ten = "2026-03-20T09:00:00Z", "2026-03-20T10:00:00Z"
	type sent struct {
		siu
		order int
	}
	for name, c := range map[string]struct {
		steps        []sent
		event, state string
	}{
		"S14 after S15":             {[]sent{{siu{trigger: "S12", start: nine}, 1}, {siu{trigger: "S15"}, 3}, {siu{trigger: "S14", start: nine, comment: "x"}, 2}}, "modified", "cancelled"},
		"S12 after S15":             {[]sent{{siu{trigger: "S15"}, 3}, {siu{trigger: "S12", start: nine}, 1}}, "modified", "cancelled"},
		"S13 after S15":             {[]sent{{siu{trigger: "S15"}, 3}, {siu{trigger: "S13", start: nine}, 1}}, "modified", "cancelled"},
		"S15 before a new booking":  {[]sent{{siu{trigger: "S12", start: nine}, 1}, {siu{trigger: "S12", start: ten}, 3}, {siu{trigger: "S15"}, 2}}, "modified", "booked"},
		"S13 before another":        {[]sent{{siu{trigger: "S12", start: nine}, 1}, {siu{trigger: "S13", start: ten}, 3}, {siu{trigger: "S13", start: nine}, 2}}, "modified", "booked"},
		"S17 before another":        {[]sent{{siu{trigger: "S12", start: nine}, 1}, {siu{trigger: "S17"}, 3}, {siu{trigger: "S17"}, 2}}, "modified", "entered-in-error"},
		"S12 of another's S15":      {[]sent{{siu{trigger: "S12", start: nine}, 2}, {siu{trigger: "S15"}, 3}, {siu{trigger: "S12", start: nine}, 1}}, "modified", "cancelled"},
		"S15 that nothing followed": {[]sent{{siu{trigger: "S12", start: nine}, 1}, {siu{trigger: "S14", start: nine, comment: "x"}, 3}, {siu{trigger: "S15"}, 2}}, "cancelled", "cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for i, m := range c.steps {
				w.fold(m.change(i+1, m.order, "A"))
			}
			r := w.last(records.Appointment)
			require.Equal(t, "late", r.Transition)
			require.Equal(t, c.state, r.State)
			require.Equal(t, "appointment."+c.event, r.EventType)
		})
	}
}

// A reschedule tells the old and the new time and what it releases, with the
// released resource itself, though no message of now speaks of it.
func TestRescheduleReleases(t *testing.T) {
	w := newWorld(t)
	w.fold(siu{trigger: "S12", start: "2026-03-20T09:00:00Z", room: "old"}.change(1, 1, "A"))
	w.fold(siu{trigger: "S13", start: "2026-03-20T10:00:00Z", room: "new"}.change(2, 2, "A"))
	r := w.last(records.Appointment)
	released := false
	for _, c := range r.Changed {
		switch {
		case c.Path == "start":
			require.Equal(t, `"2026-03-20T09:00:00Z" "2026-03-20T10:00:00Z"`, string(c.Old)+" "+string(c.New))
		case strings.Contains(string(c.Old), "Location/old"):
			require.True(t, strings.HasPrefix(c.Path, "participant["))
			require.Nil(t, c.New, "no new: released")
			released = true
		}
	}
	require.True(t, released)
	require.Contains(t, fmt.Sprintf("%s", r.Related), `"Room old"`)
	require.Contains(t, fmt.Sprintf("%s", r.Related), `"Room new"`)
}

// A message without the patient's segments keeps the patient, and the record
// carries what is known of him.
func TestPatientKnownFromEarlier(t *testing.T) {
	w := newWorld(t)
	first := siu{trigger: "S12", start: "2026-03-20T09:00:00Z"}.change(1, 1, "A")
	first.Items[0].Resource.SetString("birthDate", "1950-01-01")
	w.fold(first)
	w.fold(siu{trigger: "S13", start: "2026-03-20T10:00:00Z", room: "r", bare: true}.change(2, 2, "A"))
	r := w.last(records.Appointment)
	require.Equal(t, "appointment.rescheduled", r.EventType)
	require.Equal(t, "P1", r.Subject.Survivor.ID)
	require.Len(t, r.Subject.IDs, 1)
	require.Contains(t, string(r.Resource), "Patient/"+patient(1).ID())
	require.Contains(t, fmt.Sprintf("%s", r.Related), `"1950-01-01"`)
	// A later message that names the patient but tells less of him.
	w.fold(siu{trigger: "S14", start: "2026-03-20T10:00:00Z", comment: "x"}.change(3, 3, "A"))
	require.Contains(t, fmt.Sprintf("%s", w.last(records.Appointment).Related), `"1950-01-01"`, "what is held, not only what the message says")
}

// A discontinuation cancels what is still to come of the series and leaves what
// has been, or was kept.
func TestSeriesDiscontinued(t *testing.T) {
	w := newWorld(t)
	for i, start := range []string{"2026-03-01T09:00:00Z", "2026-03-09T09:00:00Z", "2026-03-16T09:00:00Z", "2026-03-23T09:00:00Z", "2026-03-30T09:00:00Z"} {
		w.fold(siu{trigger: "S12", start: start, series: "G1"}.change(i+1, i+1, fmt.Sprint("A", i)))
	}
	w.fold(siu{trigger: "S12", start: "2026-03-30T09:00:00Z", series: "G2"}.change(6, 6, "other"))
	w.fold(siu{trigger: "S14", start: "2026-03-09T09:00:00Z", series: "G1", status: "fulfilled"}.change(7, 7, "A1"))
	made := w.fold(siu{trigger: "S16", start: "2026-03-16T09:00:00Z", series: "G1"}.change(8, 8, "A2"))
	require.Len(t, made, 3)
	for _, r := range made {
		require.Equal(t, "appointment.discontinued", r.EventType)
	}
	for id, want := range map[string]string{"A0": "booked", "A1": "fulfilled", "A2": "cancelled", "A3": "cancelled", "A4": "cancelled", "other": "booked"} {
		require.Equal(t, want, w.lastOf(records.Appointment, id).State, id)
	}
	w.fold(siu{trigger: "S16", start: "2026-03-01T09:00:00Z", series: "G1"}.change(9, 9, "A0"))
	require.Equal(t, "booked", w.lastOf(records.Appointment, "A0").State, "what has been stays")
	w.holds()
}

// A discontinuation bears on what was booked before it, in whatever order the
// messages come.
func TestDiscontinuedInAnyOrder(t *testing.T) {
	messages := func() []*records.Change {
		return []*records.Change{
			siu{trigger: "S12", start: "2026-03-16T09:00:00Z", series: "G1"}.change(1, 1, "A0"),
			siu{trigger: "S12", start: "2026-03-23T09:00:00Z", series: "G1"}.change(2, 2, "A1"),
			siu{trigger: "S16", start: "2026-03-16T09:00:00Z", series: "G1"}.change(3, 3, "A0"),
			siu{trigger: "S14", start: "2026-03-16T09:00:00Z", series: "G1", comment: "x"}.change(4, 4, "A0"),
			siu{trigger: "S12", start: "2026-03-30T09:00:00Z", series: "G1"}.change(5, 5, "A2"),
		}
	}
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		w := newWorldWith(t, check)
		for _, i := range rapid.Permutation([]int{0, 1, 2, 3, 4}).Draw(t, "order") {
			w.fold(messages()[i])
		}
		w.holds()
		for id, state := range map[string]string{"A0": "cancelled", "A1": "cancelled", "A2": "booked"} {
			require.Equal(t, state, w.lastOf(records.Appointment, id).State, id)
		}
	})
}

// Discontinuations bear on the appointments of a series as they stood then: an
// update that was sent before and comes after counts as if it had come in time.
func TestDiscontinuedAsItStood(t *testing.T) {
	starts := []string{"2026-03-01T09:00:00Z", "2026-03-09T09:00:00Z", "2026-03-16T09:00:00Z", "2026-03-30T09:00:00Z"} // two have been
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		var messages []func() *records.Change
		for n := range rapid.IntRange(2, 7).Draw(t, "messages") {
			m := siu{
				trigger: rapid.SampledFrom([]string{"S12", "S13", "S14", "S15", "S16"}).Draw(t, "trigger"), series: "G1",
				start:  rapid.SampledFrom(starts).Draw(t, "start"),
				status: rapid.SampledFrom([]string{"", "", "fulfilled", "pending"}).Draw(t, "status"),
			}
			id := rapid.SampledFrom([]string{"A0", "A1", "A2"}).Draw(t, "appointment")
			messages = append(messages, func() *records.Change { return m.change(n+1, n+1, id) })
		}
		inAnyOrder(t, check, nil, messages, "A0", "A1", "A2")
	})
}

// A long series is discontinued to its end, a number of appointments a step.
func TestLongSeries(t *testing.T) {
	state, folder := records.Memory{}, records.NewFolder(0, 0)
	const n = 1100
	for i := range n {
		effects, err := folder.Fold(state, siu{trigger: "S12", start: "2026-03-23T09:00:00Z", series: "G1"}.change(i+1, i+1, fmt.Sprintf("A%04d", i)))
		require.NoError(t, err)
		state.Apply(effects)
	}
	effects, err := folder.Fold(state, siu{trigger: "S16", start: "2026-03-23T09:00:00Z", series: "G1"}.change(2000, 2000, "A0000"))
	cancelled := 0
	for steps := 1; ; steps++ {
		require.NoError(t, err)
		require.LessOrEqual(t, len(effects.Events), 300, "a step is bounded")
		for i := range effects.Events {
			if effects.Events[i].Type == "appointment.discontinued" {
				cancelled++
			}
		}
		if state.Apply(effects); effects.Continuation == nil {
			require.Greater(t, steps, 3)
			break
		}
		effects, err = folder.Resume(state, effects.Continuation)
	}
	require.Equal(t, n, cancelled)
}
