package tables_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// sch books or changes an occurrence of the series S1 (SCH-3), "" of none named.
func sch(trigger string, minute int, occurrence, day, reason string) []string {
	fields := map[int]string{2: "S1^ALDER", 3: occurrence, 4: "G1^ALDER", 6: reason, 9: "30", 10: "MIN", 11: "^^^202603" + day + "0900"}
	if trigger == "S12" {
		fields[25] = "Booked"
	}
	return []string{header("SIU^"+trigger, minute), segment("SCH", fields), segment("PID", person()), "RGS|1"}
}

// A discontinued series says of each occurrence why, whichever comes first.
func TestSeriesReason(t *testing.T) {
	f := newFeed(t)
	for i := range 3 {
		f.send(sch("S12", i, fmt.Sprint(i+1), fmt.Sprint(15+i), "")...)
	}
	made := f.send(sch("S16", 10, "2", "16", "ILL^Patient ill^L")...)
	require.Len(t, made, 3)
	for _, r := range append(made, of(f.send(sch("S12", 5, "4", "18", "")...), records.Appointment)) {
		require.Equal(t, "cancelled", r.State, r.Key)
		require.Contains(t, string(r.Resource), `"code":"ILL"`, r.Key)
	}
	r := of(f.send(sch("S15", 20, "3", "17", "PAT^Patient^L")...), records.Appointment)
	require.Contains(t, string(r.Resource), `"code":"PAT"`, "what is said of it itself counts")
}

// A message about a series that names no occurrence is taken for an appointment
// of its own, and says so.
func TestSeriesWithoutOccurrence(t *testing.T) {
	for name, c := range map[string]struct {
		booked, cancelled string
		warns             bool
	}{
		"occurrences are known": {"1", "", true}, "an occurrence that is not known": {"1", "2", false}, "no series": {"", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			f.send(sch("S12", 0, c.booked, "15", "")...)
			r := of(f.send(sch("S15", 5, c.cancelled, "15", "")...), records.Appointment)
			warnings := []string(nil)
			if r.Quality != nil {
				warnings = r.Quality.Warnings
			}
			if c.warns {
				require.Contains(t, warnings, "series-without-occurrence")
			} else {
				require.NotContains(t, warnings, "series-without-occurrence")
			}
		})
	}
	f := newFeed(t)
	r := of(f.send(sch("S15", 5, "", "15", "")...), records.Appointment)
	require.True(t, r.Quality == nil || len(r.Quality.Warnings) == 0, "no occurrence is known")
}
