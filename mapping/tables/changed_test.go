package tables_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// Each change says where the consumer finds what it holds, and where it is now;
// that it does, every feed checks.
func TestChangedPaths(t *testing.T) {
	t.Run("an entry behind one that went", func(t *testing.T) {
		f := newFeed(t)
		booking := func(trigger string, minute int, people ...string) []string {
			at := header("SIU^"+trigger, minute)
			out := []string{at, "SCH||A7^ALDER|||||||30|MIN|^^^20260312090000|||||||||||||Booked", segment("PID", person()), "RGS|1"}
			return append(out, people...)
		}
		f.send(booking("S12", 0, "AIL|1||OR1^^^ALDER|||20260312090000", "AIP|1||1^One|||20260312090000", "AIP|2||2^Two|||20260312090000")...)
		r := of(f.send(booking("S14", 5, "AIP|1||2^Two|||20260312091500")...), records.Appointment)
		require.NotNil(t, r)
		moved := 0
		for _, c := range r.Changed {
			if c.NewPath != "" {
				moved++
			}
		}
		require.NotZero(t, moved, "%+v", r.Changed)
	})
	t.Run("entries in another order", func(t *testing.T) {
		f := newFeed(t)
		one, two := "^PRN^PH^^1^617^5550105", "^PRN^CP^^1^617^5550777"
		f.send(a31(0, map[int]string{13: one + "~" + two})...)
		r := of(f.send(a31(10, map[int]string{13: two + "~" + one})...), records.Patient)
		require.NotNil(t, r)
		require.Len(t, r.Changed, 1)
		require.Equal(t, "telecom", r.Changed[0].Path)
		f.send(a31(20, map[int]string{13: two + "~^PRN^PH^^1^617^5550105^12"})...)
	})
}
