package hl7v2_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// Occurrences are counted by name, in a message of more names than any has and
// in one that is read with the memory of another.
func TestOccurrence(t *testing.T) {
	var b strings.Builder
	b.WriteString("MSH|^~\\&|A\r")
	for round := range 3 {
		for i := range 600 {
			fmt.Fprintf(&b, "Z%02X|%d|%d\r", i%256, round, i/256)
		}
	}
	var m hl7v2.Message
	for _, raw := range []string{b.String(), "MSH|^~\\&|A\rZ01|1\rOBX|1\rZ01|2\r", b.String()} {
		require.NoError(t, m.Parse([]byte(raw)))
		seen := map[string]int{}
		for i := range m.Len() {
			s := m.Segment(i)
			seen[s.Name()]++
			require.Equal(t, seen[s.Name()], s.Occurrence(), "%d", i)
		}
	}
}
