package tables_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// An amount that can mean two things is guessed nowhere: the record has it as it was
// sent, a warning with its place, and no number.
func TestAmountsOfTwoMeanings(t *testing.T) {
	for _, text := range []string{"1,250", "15,00"} {
		ft1 := line("CG T1 99213 "+text, map[int]string{12: text, 15: text, 22: text})
		in1 := segment("IN1", map[int]string{1: "1", 2: "PPO", 3: "INS1", 36: "POL1", 37: text, 38: text, 40: text, 41: text})
		in2 := segment("IN2", map[int]string{29: "RX^AT^" + text})
		gt1 := segment("GT1", map[int]string{1: "1", 2: "G1", 3: "Doe^Jo", 27: text})
		made := newFeed(t).send(header("DFT^P03", 1), billed("100", "AC1"), ft1, gt1, in1, in2)
		for kind, want := range map[records.Kind]struct {
			places string
			times  int
		}{
			records.Charge:   {"FT1-11.1.1 FT1-12.1.1 FT1-15.1.1 FT1-22.1.1", 4},
			records.Coverage: {"IN1-37.1.1 IN1-38.1.1 IN1-40.1.1 IN1-41.1.1 IN2-29.3", 5},
			records.Account:  {"GT1-27.1.1", 1},
		} {
			r := of(made, kind)
			require.NotNil(t, r, kind)
			for place := range strings.FieldsSeq(want.places) {
				require.Contains(t, r.Quality.Warnings, "number "+place, kind)
			}
			carried := string(r.Resource)
			if kind == records.Account { // its guarantor's
				for _, n := range r.Related {
					carried += string(n)
				}
			}
			require.GreaterOrEqual(t, strings.Count(carried, `"`+text), want.times, kind)
			require.NotContains(t, string(r.Resource), `"priceOverride":{"value"`)
		}
	}
}
