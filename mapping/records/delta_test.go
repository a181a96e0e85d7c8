package records_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
)

// A one is a service or resource of a message: who, its action code, its set.
type one struct{ who, action, set string }

func resourceful(trigger string, action records.Action, ones ...one) records.Item {
	it := appointmentItem("A", map[string]string{"start": "2026-03-20T09:00:00Z", "end": "2026-03-20T10:00:00Z", "status": "booked"}, "", "")
	it.Defaulted = []string{"status"}
	it.Trigger, it.Action = trigger, action
	extension := func(name, value string) *fhir.Node {
		e := fhir.NewObject().SetString("url", "https://liaison.health/fhir/StructureDefinition/"+name)
		if name == "resource-action" {
			return e.SetString("valueCode", value)
		}
		return e.SetString("valueString", value)
	}
	it.Resource.Append("participant", fhir.NewObject().Set("actor", fhir.NewObject().SetString("reference", "Patient/"+patient(1).ID())).SetString("status", "accepted"))
	for _, o := range ones {
		p := fhir.NewObject()
		if o.action != "" {
			p.Append("extension", extension("resource-action", o.action))
		}
		if o.set != "" {
			p.Append("extension", extension("resource-set", o.set))
		}
		it.Resource.Append("participant", p.Set("actor", fhir.NewObject().SetString("reference", "Practitioner/"+o.who)).SetString("status", "accepted"))
	}
	return it
}

func team(t interface{ Helper() }, r *records.Record) []string {
	t.Helper()
	n, err := fhir.ParseJSON(r.Resource)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, p := range n.Get("participant").Items() {
		if ref := p.Str("actor.reference"); ref != "" && ref[0:7] != "Patient" {
			out = append(out, ref[len("Practitioner/"):])
		}
	}
	return out
}

// S18 to S22 speak of one service or resource and leave the others (HL7 v2.5.1
// §10.4.7 to §10.4.11).
func TestResourcesOneByOne(t *testing.T) {
	first := []one{{"a", "A", "AIP 1/1"}, {"b", "A", "AIP 1/2"}, {"c", "", "AIP 1/3"}}
	for name, c := range map[string]struct {
		trigger string
		action  records.Action
		ones    []one
		team    []string
		event   string
		warning string
	}{
		"S18 adds":                              {"S18", records.Delta, []one{{"d", "A", "AIP 1/1"}}, []string{"a", "b", "c", "d"}, "resource.added", ""},
		"S18 without a code":                    {"S18", records.Delta, []one{{"d", "", "AIP 1/9"}}, []string{"a", "b", "c", "d"}, "resource.added", ""},
		"S19 puts another in a place":           {"S19", records.Delta, []one{{"d", "U", "AIP 1/2"}}, []string{"a", "d", "c"}, "resource.changed", ""},
		"S19 of the same":                       {"S19", records.Delta, []one{{"b", "U", "AIP 1/7"}}, []string{"a", "b", "c"}, "resource.changed", ""},
		"S20 by its code":                       {"S20", records.Removal, []one{{"b", "D", "AIP 1/1"}, {"a", "X", "AIP 1/2"}}, []string{"a", "c"}, "resource.removed", ""},
		"S20 of the only one named":             {"S20", records.Removal, []one{{"b", "", ""}}, []string{"a", "c"}, "resource.removed", ""},
		"S22 of the one that is not named":      {"S22", records.Removal, []one{{"a", "", ""}, {"c", "", ""}}, []string{"a", "c"}, "resource.removed", ""},
		"S21 of a place":                        {"S21", records.Removal, []one{{"", "D", "AIP 1/3"}}, []string{"a", "b"}, "resource.removed", ""},
		"S20 of one that nobody knows":          {"S20", records.Removal, []one{{"x", "D", "AIP 4/3"}}, []string{"a", "b", "c"}, "resource.removed", "resource-unknown"},
		"S14 with a code that takes one out":    {"S14", records.Delta, []one{{"b", "D", ""}, {"e", "A", ""}}, []string{"a", "c", "e"}, "modified", ""},
		"S14 with all there is":                 {"S14", records.Upsert, []one{{"e", "A", ""}}, []string{"e"}, "modified", ""},
		"S19 that says nothing new but the set": {"S19", records.Delta, []one{{"a", "U", "AIP 2/1"}}, []string{"a", "b", "c"}, "resource.changed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.fold(change(1, "a", 1, 1, patientItem(1), resourceful("S12", records.Upsert, first...)))
			it := resourceful(c.trigger, c.action, c.ones...)
			if c.trigger != "S14" {
				it.Event = c.event
			}
			if c.ones[0].who == "" { // names nobody
				last := it.Resource.Get("participant").Kids[1]
				last.Delete("actor")
			}
			w.fold(change(2, "a", 2, 1, patientItem(1), it))
			r := w.last(records.Appointment)
			require.Equal(t, uint64(2), r.Version)
			require.Equal(t, "appointment."+c.event, r.EventType)
			require.Equal(t, c.team, team(t, r))
			require.NotContains(t, string(r.Resource), "resource-action", "what a message does is no part of the appointment")
			if c.warning != "" {
				require.Contains(t, r.Quality.Warnings, c.warning)
			}
			w.holds()
		})
	}
}

// Whatever order a sender's messages come in, the same services and resources
// are left.
func TestResourcesInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var changes []*records.Change
		want := map[string]bool{}
		for i := range rapid.IntRange(2, 6).Draw(t, "messages") {
			who := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "who")
			var it records.Item
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				it = resourceful("S14", records.Upsert, one{who, "", ""})
				want = map[string]bool{who: true}
			case 1:
				it = resourceful("S18", records.Delta, one{who, "A", ""})
				want[who] = true
			case 2:
				it = resourceful("S20", records.Removal, one{who, "D", ""})
				delete(want, who)
			}
			changes = append(changes, change(i+1, "a", i+1, 1, patientItem(1), it))
		}
		w := newWorld(t)
		for _, c := range rapid.Permutation(changes).Draw(t, "order") {
			w.fold(c)
		}
		got := map[string]bool{}
		for _, who := range team(t, w.last(records.Appointment)) {
			got[who] = true
		}
		require.Equal(t, want, got)
	})
}

func slotItem(state, event string) []records.Item {
	k := records.Key{Assigner: "urn:x:slots", ID: "S1"}
	n := fhir.NewResource("Slot").SetString("id", fhir.ID("Slot", k.Assigner, k.ID)).SetString("status", state)
	n.SetString("start", "2026-03-20T09:30:00Z").SetString("end", "2026-03-20T12:00:00Z")
	n.Set("schedule", fhir.NewObject().SetString("reference", "Schedule/s1"))
	return []records.Item{{Kind: records.Slot, Key: k, Action: records.Upsert, Resource: n, Trigger: "S23", State: state, Event: event}}
}

// Blocked time that overlaps a booking of the same resource is told on both
// sides; opened again, it is not.
func TestBlockedSlot(t *testing.T) {
	schedule := fhir.NewResource("Schedule").SetString("id", "s1").Append("actor", fhir.NewObject().SetString("reference", "Practitioner/a"))
	w := newWorld(t)
	block := func(n int, state, event string) []*records.Record {
		c := change(n, "a", n, 1, slotItem(state, event)...)
		c.Subject = nil
		c.Related = append(c.Related, schedule)
		return w.fold(c)
	}
	w.fold(change(1, "a", 1, 1, patientItem(1), resourceful("S12", records.Upsert, one{"a", "", ""})))
	made := block(2, "busy-unavailable", "blocked")
	require.Len(t, made, 2)
	require.Equal(t, "slot.blocked", w.last(records.Slot).EventType)
	require.Contains(t, w.last(records.Slot).Quality.Warnings, "slot-overlaps-booked")
	require.Equal(t, "appointment.conflict", w.last(records.Appointment).EventType)
	require.Equal(t, "booked", w.last(records.Appointment).State)
	w.fold(change(3, "a", 3, 1, patientItem(1), resourceful("S14", records.Upsert, one{"b", "", ""})))
	require.Nil(t, w.last(records.Appointment).Quality, "another is not blocked")
	w.fold(change(4, "a", 4, 1, patientItem(1), resourceful("S14", records.Upsert, one{"a", "", ""})))
	require.Contains(t, w.last(records.Appointment).Quality.Warnings, "slot-blocked")
	require.Len(t, block(5, "free", "opened"), 1)
	require.Equal(t, "free", w.last(records.Slot).State)
	w.fold(change(6, "a", 6, 1, patientItem(1), resourceful("S14", records.Upsert, one{"a", "", ""}, one{"b", "", ""})))
	require.Nil(t, w.last(records.Appointment).Quality, "opened again")
	w.holds()
}

// A message without any service or resource leaves those that are known: what
// the tables fill in for want of a participant is nobody.
func TestNobodyIsNobody(t *testing.T) {
	w := newWorld(t)
	w.fold(change(1, "a", 1, 1, patientItem(1), resourceful("S12", records.Upsert, one{"a", "", ""})))
	it := resourceful("S14", records.Upsert)
	unknown := fhir.NewObject().SetString("url", "http://hl7.org/fhir/StructureDefinition/data-absent-reason").SetString("valueCode", "unknown")
	it.Resource.Set("participant", fhir.NewArray(fhir.NewObject().Set("actor", fhir.NewObject().Append("extension", unknown)).SetString("status", "needs-action")))
	it.Resource.SetString("comment", "later")
	it.Defaulted = append(it.Defaulted, "participant")
	w.fold(change(2, "a", 2, 1, patientItem(1), it))
	require.Equal(t, []string{"a"}, team(t, w.last(records.Appointment)))
	require.NotContains(t, string(w.last(records.Appointment).Resource), "data-absent-reason")
}
