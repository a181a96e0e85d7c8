package hl7v2_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

func TestSequenceNumbers(t *testing.T) {
	for name, c := range map[string]struct {
		expected int64
		number   string
		accept   bool
		next     int64
		answer   string // MSA-4
		code     string // of the error
	}{
		"none":                    {7, "", true, 7, "", ""},
		"expected":                {7, "7", true, 8, "8", ""},
		"first of a link":         {-1, "42", true, 43, "43", ""},
		"too late":                {7, "5", false, 7, "7", "207"},
		"gap":                     {7, "9", false, 7, "7", "207"},
		"restart":                 {7, "0", false, 7, "7", ""},
		"restart, none yet":       {-1, "0", false, -1, "-1", ""},
		"resynchronise":           {7, "-1", false, -1, "-1", ""},
		"no number":               {7, "x", false, 7, "7", "102"},
		"negative":                {7, "-2", false, 7, "7", "102"},
		"larger than any counter": {-1, "99999999999999999999", false, -1, "-1", "102"},
	} {
		v := hl7v2.CheckSequence(c.expected, c.number)
		require.Equal(t, []any{c.accept, c.next, c.answer}, []any{v.Accept, v.Next, v.Expected}, name)
		if c.code == "" {
			require.Nil(t, v.Error, name)
			continue
		}
		require.Equal(t, c.code, v.Error.Code, name)
		require.Equal(t, "MSH-13", v.Error.Location.String())
	}
}

// A link from its start: number after number, a resend, a resynchronisation.
func TestALinkWithSequenceNumbers(t *testing.T) {
	expected := int64(-1)
	for _, step := range []struct {
		number string
		accept bool
	}{{"0", false}, {"100", true}, {"101", true}, {"101", false}, {"102", true}, {"-1", false}, {"7", true}, {"8", true}} {
		v := hl7v2.CheckSequence(expected, step.number)
		require.Equal(t, step.accept, v.Accept, step.number)
		expected = v.Next
	}
	require.EqualValues(t, 9, expected)
}
