package hl7v2_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

var update = flag.Bool("update", false, "rewrite the expected part of testdata/hl7v2")

// A case is a message and, behind a line of dashes, what is read from it: each
// leaf with its place, times, and the acknowledgement.
func TestCases(t *testing.T) {
	names, err := filepath.Glob(filepath.Join("..", "..", "testdata", "hl7v2", "*.txt"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			require.NoError(t, err)
			input, want, _ := strings.Cut(string(data), "----\n")
			got := describe(t, []byte(input))
			if *update {
				require.NoError(t, os.WriteFile(name, []byte(input+"----\n"+got), 0o644))
				return
			}
			require.Equal(t, want, got)
		})
	}
}

func describe(t *testing.T, raw []byte) string {
	var out strings.Builder
	lines := func(message []byte) string { return strings.ReplaceAll(string(message), "\r", "\n") }
	m, err := hl7v2.Parse(raw)
	if err != nil {
		failure := hl7v2.AckError{Code: "100", Text: "not readable"}
		var syntax *hl7v2.SyntaxError
		if errors.As(err, &syntax) {
			failure.Location = syntax.Place
		}
		return fmt.Sprintf("refused: %v\n\n%s", err, lines(hl7v2.BuildReject(raw, "L1", noon, failure)))
	}
	fmt.Fprintf(&out, "%s, version %q, %s\n", m.Header().Type(), m.Header().Version, m.Charset())
	for i := range m.Len() {
		s := m.Segment(i)
		for n := 1; n <= s.Fields(); n++ {
			for r := 1; r <= s.Field(n).Repetitions(); r++ {
				v := s.Field(n).Repetition(r)
				for c := 1; c <= v.Components(); c++ {
					for u := 1; u <= v.Component(c).Subcomponents(); u++ {
						leaf := v.Component(c).Subcomponent(u)
						out.WriteString(describeLeaf(v, v.Component(c), leaf))
					}
				}
			}
		}
	}
	return out.String() + "\n" + lines(hl7v2.BuildAck(m, hl7v2.AA, "L1", noon))
}

func describeLeaf(repetition, component, leaf hl7v2.Value) string {
	place := leaf.Place()
	if component.IsLeaf() {
		place.Subcomponent = 0
	}
	if repetition.IsLeaf() {
		place.Component = 0
	}
	text, err := leaf.Text()
	switch {
	case err != nil:
		return fmt.Sprintf("error: %v\n", err)
	case leaf.State() == hl7v2.Null:
		return fmt.Sprintf("%s deleted\n", place)
	case leaf.State() != hl7v2.Valued:
		return ""
	}
	line := fmt.Sprintf("%s %q", place, text)
	if isTime(place) {
		at, err := hl7v2.ParseTime(text, nil)
		line += fmt.Sprintf(" = %s (%s), %v", at.DateTime(), at.Zone, err)
	}
	return line + "\n"
}

func isTime(p hl7v2.Place) bool {
	switch fmt.Sprint(p.Segment, p.Field) {
	case "MSH7", "EVN2", "PID7":
		return true
	}
	return false
}
