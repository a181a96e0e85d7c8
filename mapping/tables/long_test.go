package tables_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/tables"
)

// longReport is a report of so many results, all of one order.
func longReport(results int) []byte {
	var b strings.Builder
	b.WriteString("MSH|^~\\&|LAB|ALDER|||20260310090000||ORU^R01^ORU_R01|C1|P|2.5.1\rPID|1||100^^^ALDER^MR||Doe^Jo\rOBR|1|P1^CPOE|F1^LAB|2823-3^K^LN\r")
	for i := range results {
		fmt.Fprintf(&b, "OBX|%d|NM|T%d^x^L||%d|u|||||F\rNTE|1|L|a note\r", i+1, i, i)
	}
	return []byte(b.String())
}

// longAdmission is an admission with so many diagnoses: they all stand in one
// group of the structure.
func longAdmission(diagnoses int) []byte {
	var b strings.Builder
	b.WriteString("MSH|^~\\&|ADT|ALDER|||20260310090000||ADT^A01^ADT_A01|C1|P|2.5.1\rEVN|A01\rPID|1||100^^^ALDER^MR||Doe^Jo\rPV1|1|I\r")
	for i := range diagnoses {
		fmt.Fprintf(&b, "DG1|%d||K%d^x^I10||20260310|A\r", i+1, i)
	}
	return []byte(b.String())
}

// longBill is a bill with so many charges of one batch.
func longBill(charges int) []byte {
	var b strings.Builder
	b.WriteString("MSH|^~\\&|FIN|ALDER|||20260310090000||DFT^P03^DFT_P03|C1|P|2.5.1\rEVN|P03\rPID|1||100^^^ALDER^MR||Doe^Jo\r")
	for i := range charges {
		fmt.Fprintf(&b, "FT1|%d|T1||20260310||CG|K%d^x^L\r", i+1, i)
	}
	return []byte(b.String())
}

// mapping gives what maps one message again and again.
func mapping(tb testing.TB, raw []byte) func() {
	tb.Helper()
	m, err := compiled(fhir.NewSchema())
	require.NoError(tb, err)
	msg, err := hl7v2.Parse(raw)
	require.NoError(tb, err)
	return func() {
		r, err := m.Map(msg, tables.Context{Source: "lab", Received: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)})
		require.NoError(tb, err)
		m.Release(r)
	}
}

// What a message costs grows with its length, not with its square: that were 16
// times as much. What a race run takes out of pools is half as much again.
func TestLongMessages(t *testing.T) {
	for name, long := range map[string]func(int) []byte{"report": longReport, "admission": longAdmission, "bill": longBill} {
		few, many := testing.AllocsPerRun(2, mapping(t, long(1500))), testing.AllocsPerRun(2, mapping(t, long(6000)))
		require.Less(t, many, 8*few, "%s: allocations for four times as much", name)
	}
}

// A feed names the same practitioners all day: those that were here before cost
// far less than new ones, and become the same.
func TestKnownPractitioners(t *testing.T) {
	m, err := compiled(fhir.NewSchema())
	require.NoError(t, err)
	admit := func(first int) string {
		var b strings.Builder
		b.WriteString("MSH|^~\\&|ADT|ALDER|||20260310090000||ADT^A01^ADT_A01|C1|P|2.5.1\rEVN|A01\rPID|1||100^^^ALDER^MR||Doe^Jo\r")
		for i := range 40 {
			fmt.Fprintf(&b, "ROL|%d|AD|AT|%d^Greene^Tamsin^^^Dr^MD^^CLINIC&1.2.3&ISO||||||||^^PH^^^617^5550100\r", i, first+i)
		}
		b.WriteString("PV1|1|I|WEST^1^A^ALDER\r")
		msg, err := hl7v2.Parse([]byte(b.String()))
		require.NoError(t, err)
		r, err := m.Map(msg, tables.Context{Source: "adt", Received: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)})
		require.NoError(t, err)
		defer m.Release(r)
		return string(r.AppendBundle(nil))
	}
	first := 1000
	fresh := testing.AllocsPerRun(5, func() { first += 100; admit(first) })
	made := admit(100)
	require.Less(t, testing.AllocsPerRun(5, func() { admit(100) }), 0.6*fresh, "allocations")
	require.Equal(t, made, admit(100))
	m, err = compiled(fhir.NewSchema())
	require.NoError(t, err)
	require.Equal(t, made, admit(100), "made anew")
}

// BenchmarkLong is the time of one segment in messages of different length:
// it should be the same.
func BenchmarkLong(b *testing.B) {
	for _, of := range []struct {
		name string
		make func(int) []byte
	}{{"report", longReport}, {"admission", longAdmission}, {"bill", longBill}} {
		for _, n := range []int{100, 1000, 10000} {
			b.Run(fmt.Sprintf("%s/%d", of.name, n), func(b *testing.B) {
				once := mapping(b, of.make(n))
				b.ReportAllocs()
				for b.Loop() {
					once()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/each")
			})
		}
	}
}

// A message that is longer than any should be goes to quarantine.
func TestTooManySegments(t *testing.T) {
	m, err := compiled(fhir.NewSchema())
	require.NoError(t, err)
	msg, err := hl7v2.Parse(longAdmission(50_000))
	require.NoError(t, err)
	_, err = m.Map(msg, tables.Context{Source: "adt"})
	var unmappable *tables.Unmappable
	require.ErrorAs(t, err, &unmappable)
	require.Equal(t, "too-many-segments", unmappable.Code)
}
