package records_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
)

// asks is what the tables ask of a visit by its trigger: state, event, cancels.
func asks(trigger string) (state, event string, cancels []string) {
	row := map[string]string{
		"A01": "in-progress admitted", "A02": "in-progress transferred", "A03": "finished discharged", "A04": "arrived registered",
		"A05": "planned preadmitted", "A06": "in-progress class-changed", "A07": "in-progress class-changed", "A10": "arrived arrived", "A14": "planned pending-admission", "A15": "- transfer-pending", "A16": "- discharge-pending",
		"A21": "onleave on-leave", "A22": "in-progress returned", "A54": "- doctor-changed", "A61": "- consultant-changed",
		"A11": "cancelled cancelled A01 A04", "A12": "- transfer-cancelled A02", "A13": "in-progress reopened A03", "A23": "entered-in-error deleted",
		"A25": "- discharge-pending-cancelled A16", "A26": "- transfer-pending-cancelled A15", "A27": "cancelled admission-pending-cancelled A14",
		"A38": "cancelled preadmission-cancelled A05", "A52": "in-progress leave-cancelled A21", "A53": "onleave return-cancelled A22",
		"A55": "- doctor-change-cancelled A54", "A62": "- consultant-change-cancelled A61", "A08": "- -",
	}[trigger]
	words := strings.Fields(row)
	dash := func(s string) string { return strings.TrimPrefix(s, "-") }
	return dash(words[0]), strings.TrimPrefix(words[1], "-"), words[2:]
}

// visitMessage is one message of a visit: its trigger, and by name the place, the
// prior place, the pending place and the doctor that it gives: "A02 place=B prior=A".
func visitMessage(n, order int, text string) *records.Change {
	words := strings.Fields(text)
	state, event, cancels := asks(words[0])
	it := encounterItem(words[0], state, event, nil)
	it.Cancels = cancels
	locations := fhir.NewArray()
	status := map[string]string{"place": "active", "prior": "completed", "pending": "reserved"}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		switch {
		case status[name] != "":
			locations.Kids = append(locations.Kids, fhir.NewObject().Set("location", fhir.NewObject().SetString("reference", "Location/"+value)).SetString("status", status[name]))
		case name == "doctor":
			it.Resource.Append("participant", fhir.NewObject().Set("individual", fhir.NewObject().SetString("reference", "Practitioner/"+value)))
		case name == "start", name == "end":
			it.Resource.Set("period", fhir.NewObject().SetString(name, value))
		case name == "status":
			it.Resource.SetString("status", value)
		}
	}
	if len(locations.Kids) > 0 {
		it.Resource.Set("location", locations)
	}
	return change(n, "a", order, 1, patientItem(1), it)
}

// shows reads a visit back: state, resource's status, place, pending place, doctor.
func shows(t require.TestingT, r *records.Record) map[string]string {
	var e struct {
		Status      string
		Location    []struct{ Location, Status json.RawMessage }
		Participant []struct{ Individual struct{ Reference string } }
	}
	require.NoError(t, json.Unmarshal(r.Resource, &e))
	out := map[string]string{"state": r.State, "status": e.Status}
	for _, l := range e.Location {
		name := map[string]string{`"active"`: "place", `"reserved"`: "pending", `"completed"`: "prior"}[string(l.Status)]
		var ref struct{ Reference string }
		require.NoError(t, json.Unmarshal(l.Location, &ref))
		out[name] = strings.TrimPrefix(ref.Reference, "Location/")
	}
	for _, p := range e.Participant {
		out["doctor"] = strings.TrimPrefix(p.Individual.Reference, "Practitioner/")
	}
	return out
}

// What cancels bring back, whatever order the messages come in. The last word of
// a case is what the visit shows in the end.
func TestCancels(t *testing.T) {
	for _, c := range []struct{ messages, want string }{
		// A11: the state before the admission, else cancelled
		{"A01; A11", "state=cancelled"},
		{"A05; A01; A11", "state=planned"},
		{"A01; A01; A11", "state=cancelled"}, // the admission was sent twice
		{"A04; A01; A11", "state=arrived"},
		{"A04; A01; A11; A11", "state=cancelled"},
		{"A01; A02; A21; A11", "state=cancelled"}, // and all that came after it
		{"A08 status=in-progress; A01; A11", "state=cancelled"},
		{"A11", "state=cancelled"},
		// A13: what was before the discharge, never only planned
		{"A01; A03; A13", "state=in-progress"},
		{"A04; A03; A13", "state=arrived"},
		{"A01; A21; A03; A13", "state=onleave"},
		{"A05; A03; A13", "state=in-progress"},
		{"A03; A13; A03", "state=finished"},
		{"A13", "state=in-progress"},
		// leave of absence
		{"A01; A21; A52", "state=in-progress"},
		{"A01; A21; A22; A53", "state=onleave"},
		{"A01; A22; A53", "state=onleave"},
		{"A52", "state=in-progress"},
		{"A01; A21; A52; A53", "state=onleave"},
		// what was only planned
		{"A14; A27", "state=cancelled"},
		{"A05; A14; A27", "state=planned"},
		{"A05; A38", "state=cancelled"},
		{"A01; A16; A25", "state=in-progress"},
		{"A01 place=A; A15 place=A pending=B; A26 place=A pending=B", "state=in-progress place=A pending="},
		{"A01 place=A; A15 place=A pending=B; A26", "state=in-progress place=A"},
		{"A01; A10 place=X", "state=in-progress place=X"}, // an inpatient at an examination
		{"A05; A10", "state=arrived"},
		{"A01; A23", "state=entered-in-error"},
		// A12: the place before the transfer
		{"A01 place=A; A02 place=B prior=A; A12 place=A", "place=A state=in-progress"},         // as the standard has it
		{"A01 place=A; A02 place=B prior=A; A12 place=B prior=A", "place=A state=in-progress"}, // repeats the transfer
		{"A01 place=A; A02 place=B prior=A; A12", "place=A"},
		{"A01 place=A; A02 place=B; A08 place=B; A12 place=B", "place=A"},
		{"A02 place=B prior=A; A12 place=B prior=A", "place=A"}, // the admission is unknown
		{"A02 place=B prior=A; A12", "place=A"},
		{"A01 place=A; A02 place=B; A02 place=C; A12 place=C", "place=B"},
		{"A01 place=A; A02 place=B; A02 place=C; A12 place=C; A12 place=B", "place=A"},
		{"A01 place=A; A02 place=B; A12 place=D", "place=D"}, // the sender knows better
		{"A01 place=A; A02 place=B; A12 place=A; A02 place=C", "place=C"},
		{"A01 place=A; A12 place=A", "place=A"},
		{"A01 place=A; A21; A02 place=B; A12 place=A", "place=A state=in-progress"},
		{"A01 place=A; A02 place=B; A08 place=C; A12 place=B", "place=C"},      // moved again since
		{"A01 place=A; A02 place=B; A01 place=A", "place=B state=in-progress"}, // the admission is sent again
		{"A01 place=A; A02 place=B; A03 place=B; A01 place=A", "place=B"},
		{"A01 place=A; A02 place=B; A01 place=C", "place=C"},
		{"A01 place=A; A02 place=B; A02 place=A; A01 place=A", "place=A"},
		{"A01 place=A; A02 place=B; A01 place=A; A02 place=C; A12 place=C", "place=B"},
		// an admission of the same time after the discharge is the same one, sent again
		{"A01 start=2026-03-10; A03; A01 start=2026-03-10", "state=finished"},
		{"A04 start=2026-03-10; A03; A04 start=2026-03-10", "state=finished"},
		{"A01 start=2026-03-10; A03; A01 start=2026-03-10; A13", "state=in-progress"},
		{"A01 start=2026-03-10; A03; A13; A01 start=2026-03-10", "state=in-progress"},
		{"A01 start=2026-03-10; A03; A01 start=2026-03-12", "state=in-progress"}, // another one
		{"A01; A03; A01", "state=in-progress"},
		{"A04 start=2026-03-10 place=A; A01 start=2026-03-10 place=B; A04 start=2026-03-10 place=A", "state=in-progress place=B"},
		{"A04 start=2026-03-10; A06 start=2026-03-10; A03; A06 start=2026-03-10", "state=finished"},
		{"A04 start=2026-03-10; A03; A06 start=2026-03-10", "state=in-progress"},
		{"A01 start=2026-03-10; A21; A01 start=2026-03-10", "state=onleave"},
		{"A04 start=2026-03-10; A03; A01 start=2026-03-10", "state=in-progress"}, // admitted out of the emergency department
		{"A04 start=2026-03-10; A01 start=2026-03-10; A11; A01 start=2026-03-10", "state=in-progress"},
		{"A01 start=2026-03-10; A11; A01 start=2026-03-10", "state=in-progress"},
		// who is there waits for another bed
		{"A04; A14", "state=arrived"},
		{"A01; A14; A27", "state=in-progress"},
		{"A04; A05; A38", "state=arrived"},
		// doctors
		{"A01 doctor=X; A54 doctor=Y; A61 doctor=Z; A55", "doctor=Z"}, // the other change stays
		{"A01 doctor=X; A54 doctor=Y; A55 doctor=X", "doctor=X"},
		{"A01 doctor=X; A54 doctor=Y; A55 doctor=Y", "doctor=X"},
		{"A01 doctor=X; A54 doctor=Y; A55", "doctor=X"},
		{"A01 doctor=X; A61 doctor=Y; A62", "doctor=X"},
		{"A01 doctor=X; A54 doctor=Y; A12 place=A", "doctor=Y"},
	} {
		t.Run(c.messages+" is "+c.want, func(t *testing.T) {
			check := recordstest.New(t)
			list := strings.Split(c.messages, "; ")
			orders := permutations(len(list))
			for i := 0; i < len(orders); i += max(1, len(orders)/24) {
				order := orders[i]
				w := newWorldWith(t, check)
				for n, i := range order {
					w.fold(visitMessage(n+1, i+1, list[i]))
				}
				got := shows(t, w.last(records.Encounter))
				for _, want := range strings.Fields(c.want) {
					name, value, _ := strings.Cut(want, "=")
					require.Equal(t, value, got[name], "%s, in the order %v", name, order)
				}
				require.Equal(t, got["state"], got["status"], "the resource's status follows")
				w.holds()
			}
		})
	}
}

func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{{}}
	}
	var out [][]int
	for _, p := range permutations(n - 1) {
		for at := 0; at <= len(p); at++ {
			out = append(out, slices.Insert(slices.Clone(p), at, n-1))
		}
	}
	return out
}

// Every order of many messages of a visit ends in one state, place and doctor.
func TestCancelsInAnyOrder(t *testing.T) {
	check := recordstest.New(t)
	triggers := []string{"A01", "A02", "A02", "A03", "A04", "A05", "A08", "A10", "A11", "A12", "A12", "A13", "A21", "A22", "A52", "A53", "A54", "A55", "A61", "A62"}
	rapid.Check(t, func(t *rapid.T) {
		var list []string
		for range rapid.IntRange(2, 9).Draw(t, "messages") {
			text := rapid.SampledFrom(triggers).Draw(t, "trigger")
			for _, name := range []string{"place", "prior", "doctor"} {
				if rapid.Bool().Draw(t, name) {
					text += " " + name + "=" + rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "value")
				}
			}
			if rapid.Bool().Draw(t, "start") {
				text += " start=" + rapid.SampledFrom([]string{"2026-03-10", "2026-03-12"}).Draw(t, "time")
			}
			list = append(list, text)
		}
		fold := func(order []int) map[string]string {
			w := newWorldWith(t, check)
			for n, i := range order {
				w.fold(visitMessage(n+1, i+1, list[i]))
			}
			w.holds()
			return shows(t, w.last(records.Encounter))
		}
		inOrder := make([]int, len(list))
		for i := range inOrder {
			inOrder[i] = i
		}
		require.Equal(t, fold(inOrder), fold(rapid.Permutation(inOrder).Draw(t, "order")), list)
	})
}

// What an admission after the discharge is: the same one again, which a consumer does
// not take for a new stay, or another stay, of which nothing has ended.
func TestAdmittedAgain(t *testing.T) {
	w := newWorld(t)
	tell := func(n int, text, event, warning string) string {
		w.fold(visitMessage(n, n, text))
		r := w.last(records.Encounter)
		require.Equal(t, "encounter."+event, r.EventType, text)
		if warning == "" {
			require.Nil(t, r.Quality, text)
		} else {
			require.Contains(t, r.Quality.Warnings, warning, text)
		}
		return string(r.Resource)
	}
	tell(1, "A01 place=A start=2026-03-10", "admitted", "")
	require.Contains(t, tell(2, "A03 place=A end=2026-03-11", "discharged", ""), `"end"`)
	require.Contains(t, tell(3, "A01 place=A start=2026-03-10", "updated", "admission-repeated"), `"end"`)
	require.NotContains(t, tell(4, "A01 place=B start=2026-03-12", "admitted", "readmitted"), `"end"`)
	require.Contains(t, tell(5, "A03 place=B end=2026-03-13", "discharged", ""), `"end":"2026-03-13"`)
	w.holds()
}

// An event that changes nothing is one all the same, once.
func TestEventsOfAVisit(t *testing.T) {
	w := newWorld(t)
	tell := func(n int, text, want string) {
		made := w.fold(visitMessage(n, n, text))
		if want == "" {
			require.Empty(t, made, text)
			return
		}
		require.Equal(t, "encounter."+want, w.last(records.Encounter).EventType, text)
		require.NotEmpty(t, made, text)
	}
	tell(1, "A01 place=A", "admitted")
	tell(2, "A16 place=A", "discharge-pending")
	tell(3, "A16 place=A", "")
	tell(4, "A25 place=A", "discharge-pending-cancelled")
	tell(5, "A16 place=A", "discharge-pending")
	tell(6, "A02 place=B prior=A", "transferred")
	tell(7, "A12 place=B prior=A", "transfer-cancelled")
	require.NotContains(t, fmt.Sprint(w.last(records.Encounter).Quality), "transfer-cancelled-without-move")
	tell(8, "A54 place=A doctor=Y", "doctor-changed")
	tell(9, "A55 place=A", "doctor-change-cancelled")
	w.holds()
}

// Many values of a place are kept, and not more: the transfer is still known
// after updates that only repeat the place.
func TestRepeatsDoNotPushOutATransfer(t *testing.T) {
	w := newWorld(t)
	w.fold(visitMessage(1, 1, "A01 place=A"))
	w.fold(visitMessage(2, 2, "A02 place=B"))
	size := 0
	for n := 3; n < 60; n++ {
		w.fold(visitMessage(n, n, "A08 place=B"))
		if n == 40 {
			size = w.size()
		}
	}
	require.Equal(t, size, w.size(), "what is kept of a visit is bounded")
	w.fold(visitMessage(60, 60, "A12 place=B"))
	require.Equal(t, "A", shows(t, w.last(records.Encounter))["place"])
}

func (w *world) size() int {
	n := 0
	for k, v := range w.state {
		n += len(k) + len(v)
	}
	return n
}
