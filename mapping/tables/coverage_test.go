package tables_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// Two policies of one plan, neither with its number, are two coverages: the second is
// not lost in the first, which has ended. The same message again changes nothing.
func TestPoliciesWithoutNumbers(t *testing.T) {
	in1 := func(n, plan, start, end string) string {
		return segment("IN1", map[int]string{1: n, 2: plan, 3: "BCBS", 4: "Blue", 12: start, 13: end})
	}
	for _, plan := range []string{"PPO", ""} {
		f := newFeed(t)
		send := func(minute int) (periods []string) {
			for _, r := range f.send(header("ADT^A08", minute), segment("PID", person()), segment("PV1", map[int]string{2: "I", 19: "V1^^^ALDER"}), in1("1", plan, "20260101", "20260301"), in1("2", plan, "20260301", "")) {
				if r.Kind != records.Coverage {
					continue
				}
				var n struct{ Period struct{ Start, End string } }
				require.NoError(t, json.Unmarshal(r.Resource, &n))
				periods = append(periods, n.Period.Start+" "+n.Period.End)
				require.Contains(t, r.Quality.Warnings, "repeated-number IN1[2]")
			}
			return periods
		}
		require.Equal(t, []string{"2026-01-01 2026-03-01", "2026-03-01 "}, send(1))
		require.Empty(t, send(2))
	}
}
