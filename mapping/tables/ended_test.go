package tables_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// sent is a message of a feed: its type, when, by whom, and the segments behind MSH.
type sent struct {
	kind     string
	minute   int
	by       string
	segments []string
}

// told sends messages and gives, for each record of a kind that they tell of, its
// number, version, state and event.
func told(t *testing.T, kind records.Kind, list []sent) []string {
	t.Helper()
	f := newFeed(t)
	var got []string
	for _, m := range list {
		msh := header(m.kind, m.minute)
		if m.by != "" {
			msh = msh[:len(`MSH|^~\&|`)] + m.by + msh[len(`MSH|^~\&|ADT1`):]
		}
		for _, r := range f.send(append([]string{msh}, m.segments...)...) {
			if r.Kind == kind {
				got = append(got, fmt.Sprint(r.Key.ID, " ", r.Version, " ", r.State, " ", r.EventType))
			}
		}
	}
	return got
}

// What has ended is not brought back by what only tells a number, a change or a
// transfer, nor by an order that arrives behind its result.
func TestEndedStaysEnded(t *testing.T) {
	pid := segment("PID", person())
	orc := func(control string) []string {
		return []string{pid, segment("ORC", map[int]string{1: control, 2: "P1^CPOE", 3: "F1^LAB"}), segment("OBR", map[int]string{2: "P1^CPOE", 3: "F1^LAB", 4: "CBC^^L"})}
	}
	final := []string{pid, segment("OBR", map[int]string{2: "P1^CPOE", 3: "F1^LAB", 4: "CBC^^L", 25: "F"}), segment("OBX", map[int]string{1: "1", 2: "NM", 3: "HB^^L", 5: "12", 11: "F"})}
	pv1 := func(more map[int]string) []string {
		fields := map[int]string{2: "I", 3: "4W^1^A", 19: "V1^^^ALDER", 44: "20260310060000"}
		for k, v := range more {
			fields[k] = v
		}
		return []string{pid, segment("PV1", fields)}
	}
	for name, c := range map[string]struct {
		kind records.Kind
		list []sent
		want []string
	}{
		"an order behind its result": {records.Order, []sent{{"ORU^R01", 9, "LAB", final}, {"ORM^O01", 8, "CPOE", orc("NW")}}, []string{
			"P1 1 completed order.completed", "P1 2 completed order.updated",
		}},
		"a change of a completed order": {records.Order, []sent{{"ORM^O01", 8, "CPOE", orc("NW")}, {"ORU^R01", 9, "LAB", final}, {"ORM^O01", 10, "LAB", orc("XX")}}, []string{
			"P1 1 active order.created", "P1 2 completed order.completed", "P1 3 completed order.updated",
		}},
		"a change of a cancelled order": {records.Order, []sent{{"ORM^O01", 8, "", orc("NW")}, {"ORM^O01", 9, "", orc("OC")}, {"ORM^O01", 10, "", orc("XO")}}, []string{
			"P1 1 active order.created", "P1 2 revoked order.cancelled", "P1 3 revoked order.updated",
		}},
		"a cancellation that is refused": {records.Order, []sent{{"ORM^O01", 8, "CPOE", orc("NW")}, {"ORM^O01", 9, "CPOE", orc("CA")}, {"ORM^O01", 10, "LAB", orc("UC")}}, []string{
			"P1 1 active order.created", "P1 2 revoked order.cancelled", "P1 3 active order.updated",
		}},
		"ordered again": {records.Order, []sent{{"ORM^O01", 8, "", orc("NW")}, {"ORM^O01", 9, "", orc("CA")}, {"ORM^O01", 10, "", orc("NW")}}, []string{
			"P1 1 active order.created", "P1 2 revoked order.cancelled", "P1 3 active order.updated",
		}},
		"a number that is told first": {records.Order, []sent{{"ORM^O01", 8, "LAB", orc("SN")}}, []string{"P1 1 active order.created"}},
		"a transfer behind the discharge": {records.Encounter, []sent{{"ADT^A01", 8, "", pv1(nil)}, {"ADT^A03", 9, "", pv1(map[int]string{45: "20260310090000"})}, {"ADT^A02", 10, "", pv1(map[int]string{3: "5E^2^B", 6: "4W^1^A"})}}, []string{
			"V1 1 in-progress encounter.admitted", "V1 2 finished encounter.discharged", "V1 3 finished encounter.transferred",
		}},
		"reopened": {records.Encounter, []sent{{"ADT^A01", 8, "", pv1(nil)}, {"ADT^A03", 9, "", pv1(map[int]string{45: "20260310090000"})}, {"ADT^A13", 10, "", pv1(nil)}}, []string{
			"V1 1 in-progress encounter.admitted", "V1 2 finished encounter.discharged", "V1 3 in-progress encounter.reopened",
		}},
		"no other bed": {records.Encounter, []sent{{"ADT^A01", 8, "", pv1(nil)}, {"ADT^A02", 9, "", pv1(map[int]string{3: "5E^2^B", 6: "4W^1^A"})}, {"ADT^A08", 10, "", pv1(map[int]string{3: "5E^2^B", 7: "77^New^Nora"})}}, []string{
			"V1 1 in-progress encounter.admitted", "V1 2 in-progress encounter.transferred", "V1 3 in-progress encounter.updated",
		}},
		"another bed": {records.Encounter, []sent{{"ADT^A01", 8, "", pv1(nil)}, {"ADT^A08", 10, "", pv1(map[int]string{3: "5E^2^B"})}}, []string{
			"V1 1 in-progress encounter.admitted", "V1 2 in-progress encounter.bed-changed",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, told(t, c.kind, c.list))
		})
	}
}

// A number without an authority may be two patients': the record says so.
func TestPatientChanged(t *testing.T) {
	f := newFeed(t)
	send := func(minute int, patient, drug string) *records.Record {
		return of(f.send(header("RDE^O11", minute), segment("PID", map[int]string{3: patient + "^^^ALDER^MR", 5: "Roe"}),
			segment("ORC", map[int]string{1: "NW", 2: "77"}), segment("RXE", map[int]string{2: drug + "^^L", 3: "5", 5: "mg"})), records.MedicationOrder)
	}
	r := send(1, "M1", "WAR")
	require.True(t, r.Quality == nil || !slices.Contains(r.Quality.Warnings, "patient-changed"))
	r = send(2, "M2", "INS")
	require.NotNil(t, r.Quality)
	require.Contains(t, r.Quality.Warnings, "patient-changed")
	f.send(header("ADT^A40^ADT_A39", 3), segment("PID", map[int]string{3: "M2^^^ALDER^MR", 5: "Roe"}), segment("MRG", map[int]string{1: "M1^^^ALDER^MR"}))
	r = send(4, "M1", "INS2")
	require.True(t, r.Quality == nil || !slices.Contains(r.Quality.Warnings, "patient-changed"), "one patient, merged")
}

// A result at the point of care has no number and no order that waits for it.
func TestResultWithoutNumbers(t *testing.T) {
	list := []sent{{"ORU^R30", 1, "", []string{
		segment("PID", person()), segment("ORC", map[int]string{1: "NW", 12: "79^Order^Otto"}),
		segment("OBR", map[int]string{4: "GLU^^L", 25: "F"}), segment("OBX", map[int]string{1: "1", 2: "NM", 3: "GLU^^L", 5: "45", 11: "F"}),
	}}}
	require.Empty(t, told(t, records.Order, list))
	require.Len(t, told(t, records.Result, list), 1)
}
