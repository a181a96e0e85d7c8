package tables_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
)

// A drug order has the doses of the message that last told of them: a new dose takes
// the old one's place, and what it does not tell, timing or route, stays.
func TestDoses(t *testing.T) {
	pid := segment("PID", person())
	orc := func(control string) string {
		return segment("ORC", map[int]string{1: control, 2: "R1^CPOE", 3: "X1^RX"})
	}
	rxe := func(dose string) string { return segment("RXE", map[int]string{2: "WAR^Warfarin^L", 3: dose, 5: "mg"}) }
	tq1 := func(n, timing string) string { return segment("TQ1", map[int]string{1: n, 3: timing}) }
	const rxr = "RXR|PO^Oral^L"
	for name, c := range map[string]struct {
		list []sent
		want []string // timing, route and dose of each
	}{
		"as ordered":     {nil, []string{"BID PO 5"}},
		"another dose":   {[]sent{{"RDE^O11", 9, "", []string{pid, orc("XO"), rxe("2")}}}, []string{"BID PO 2"}},
		"another timing": {[]sent{{"RDE^O11", 9, "", []string{pid, orc("XO"), tq1("1", "QD"), rxe("5"), rxr}}}, []string{"QD PO 5"}},
		"a dispense":     {[]sent{{"RDS^O13", 9, "", []string{pid, orc("RE"), rxe("5"), segment("RXD", map[int]string{1: "1", 2: "WAR^Warfarin^L", 3: "20260310090000", 4: "10", 7: "RX9"})}}}, []string{"BID PO 5"}},
		"two, then one": {[]sent{
			{"RDE^O11", 9, "", []string{pid, orc("XO"), tq1("1", "QAM"), tq1("2", "QPM"), rxe("5"), rxr}},
			{"RDE^O11", 10, "", []string{pid, orc("XO"), tq1("1", "QAM"), rxe("5"), rxr}},
		}, []string{"QAM PO 5"}},
		"an older change that comes late": {[]sent{
			{"RDE^O11", 10, "", []string{pid, orc("XO"), rxe("2")}},
			{"RDE^O11", 9, "", []string{pid, orc("XO"), tq1("1", "QD"), rxe("4")}},
		}, []string{"QD PO 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			var last *records.Record
			for _, m := range append([]sent{{"RDE^O11", 8, "", []string{pid, orc("NW"), tq1("1", "BID"), rxe("5"), rxr}}}, c.list...) {
				if r := of(f.send(append([]string{header(m.kind, m.minute)}, m.segments...)...), records.MedicationOrder); r != nil {
					last = r
				}
			}
			n, err := fhir.ParseJSON(last.Resource)
			require.NoError(t, err)
			var got []string
			for _, d := range n.Get("dosageInstruction").Items() {
				timing := d.Str("timing.code.coding[0].code")
				got = append(got, strings.TrimSpace(fmt.Sprint(timing, " ", d.Str("route.coding[0].code"), " ", d.Str("doseAndRate[0].doseQuantity.value"))))
			}
			require.Equal(t, c.want, got, "%s", last.Resource)
		})
	}
}
