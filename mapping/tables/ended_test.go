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

// A number without an authority may be two patients': each order stays its patient's,
// until a merge makes one of them.
func TestNumberOfTwoPatients(t *testing.T) {
	f := newFeed(t)
	send := func(minute int, patient, drug, control string) *records.Record {
		return of(f.send(header("RDE^O11", minute), segment("PID", map[int]string{3: patient + "^^^ALDER^MR", 5: "Roe"}),
			segment("ORC", map[int]string{1: control, 2: "77"}), segment("RXE", map[int]string{2: drug + "^^L", 3: "5", 5: "mg"})), records.MedicationOrder)
	}
	warned := func(r *records.Record) []string {
		if r.Quality == nil {
			return nil
		}
		return r.Quality.Warnings
	}
	one := send(1, "M1", "WAR", "NW")
	require.Empty(t, warned(one))
	other := send(2, "M2", "WAR", "NW")
	require.Equal(t, "77#M2", other.Key.ID)
	require.Equal(t, uint64(1), other.Version)
	require.Equal(t, []string{"number-of-another-patient"}, warned(other))
	one = send(3, "M1", "WAR", "DC")
	require.Equal(t, "77 2 stopped", fmt.Sprint(one.Key.ID, " ", one.Version, " ", one.State))
	other = send(4, "M2", "WAR", "HD")
	require.Equal(t, "77#M2 2 on-hold", fmt.Sprint(other.Key.ID, " ", other.Version, " ", other.State))
	require.Empty(t, warned(other))
	f.send(header("ADT^A40^ADT_A39", 5), segment("PID", map[int]string{3: "M2^^^ALDER^MR", 5: "Roe"}), segment("MRG", map[int]string{1: "M1^^^ALDER^MR"}))
	require.Empty(t, warned(send(6, "M1", "WAR", "RL")), "one patient, merged")

	given := newFeed(t)
	for i, patient := range []string{"M1", "M2"} { // the authority's number is one order
		r := of(given.send(header("RDE^O11", i), segment("PID", map[int]string{3: patient + "^^^ALDER^MR", 5: "Roe"}),
			segment("ORC", map[int]string{1: "NW", 2: "77^CPOE"}), segment("RXE", map[int]string{2: "WAR^^L", 3: "5", 5: "mg"})), records.MedicationOrder)
		require.Equal(t, "77", r.Key.ID)
		require.Equal(t, i == 1, slices.Contains(warned(r), "patient-changed"))
	}
}

// A number without an authority: what one patient's messages ask for does not bear on
// another's order. A result that is filed under another patient moves its order.
func TestOrdersOfTwoPatients(t *testing.T) {
	order := func(patient, control string, codes ...string) []string {
		out := []string{segment("PID", map[int]string{3: patient + "^^^ALDER^MR", 5: "Roe"})}
		for _, code := range codes {
			out = append(out, segment("ORC", map[int]string{1: control, 2: "A1"}), segment("OBR", map[int]string{2: "A1", 4: code + "^^L"}))
		}
		if codes == nil {
			out = append(out, segment("ORC", map[int]string{1: control, 2: "A1"}))
		}
		return out
	}
	result := func(patient, status string) []string {
		return []string{segment("PID", map[int]string{3: patient + "^^^ALDER^MR", 5: "Roe"}), segment("OBR", map[int]string{2: "A1", 3: "F1^LAB", 4: "BMP^^L", 25: status}), segment("OBX", map[int]string{1: "1", 2: "NM", 3: "K^^L", 5: "4", 11: status})}
	}
	require.Equal(t, []string{"A1 1 active order.created", "A1#M2 1 active order.created", "A1 2 revoked order.cancelled", "A1#M2 2 revoked order.cancelled"}, told(t, records.Order, []sent{
		{"ORM^O01", 1, "", order("M1", "NW", "BMP")}, {"ORM^O01", 2, "", order("M2", "NW", "BMP")}, {"ORM^O01", 3, "", order("M1", "CA", "BMP")}, {"ORM^O01", 4, "", order("M2", "CA")},
	}))
	require.Equal(t, []string{
		"A1#BMP 1 active order.created", "A1#CBC 1 active order.created", "A1#BMP#M2 1 active order.created", "A1#CBC#M2 1 active order.created",
		"A1#CBC#M2 2 revoked order.cancelled", "A1#BMP 2 revoked order.cancelled", "A1#CBC 2 revoked order.cancelled",
	}, told(t, records.Order, []sent{
		{"ORM^O01", 1, "", order("M1", "NW", "BMP", "CBC")}, {"ORM^O01", 2, "", order("M2", "NW", "BMP", "CBC")}, {"ORM^O01", 3, "", order("M2", "CA", "CBC")}, {"ORM^O01", 4, "", order("M1", "CA")},
	}))
	require.Equal(t, []string{"A1 1 completed order.completed", "A1 2 completed order.updated"}, told(t, records.Order, []sent{{"ORU^R01", 1, "", result("M1", "F")}, {"ORU^R01", 2, "", result("M2", "C")}}))
	f := newFeed(t)
	f.send(append([]string{header("ORU^R01", 1)}, result("M1", "F")...)...)
	moved := of(f.send(append([]string{header("ORU^R01", 2)}, result("M2", "C")...)...), records.Order)
	require.Equal(t, "M2", moved.Subject.Survivor.ID)
	require.Contains(t, moved.Quality.Warnings, "patient-changed")
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
