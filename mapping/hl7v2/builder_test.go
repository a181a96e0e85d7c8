package hl7v2_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

func TestBuilder(t *testing.T) {
	b := hl7v2.NewBuilder(hl7v2.DefaultDelimiters())
	b.Segment("MSH").Set("MSH-3", "LIAISON").Set("MSH-9.1", "ADT").Set("MSH-9.2", "A01")
	b.Segment("PID").Set("PID-3[2].1", "99").Set("PID-3.1", "4711").Set("PID-3.4.2", "1.2.3").Set("PID-5.1", "O'Neil & Sons").SetNull("PID-8")
	b.Segment("OBX").Set("OBX-1", "1").Segment("OBX").Set("OBX-1", "2").Set("OBX[1]-5", "first").Set("OBX-5[3]", "third")
	b.Segment("ZZZ")
	require.NoError(t, b.Err())
	require.Equal(t, "MSH|^~\\&|LIAISON||||||ADT^A01\rPID|||4711^^^&1.2.3~99||O'Neil \\T\\ Sons|||\"\"\rOBX|1||||first\rOBX|2||||~~third\rZZZ\r", string(b.Bytes()))
	b.Set("PID-3[2]", "whole").Set("PID-3.4", "").Set("PID-5", "a^b")
	require.Contains(t, string(b.Bytes()), "PID|||4711^^^~whole||a\\S\\b|||\"\"\r")

	five := hl7v2.NewBuilder(hl7v2.Delimiters{Field: '#', Component: '*', Repetition: '!', Escape: '?', Subcomponent: '%', Truncation: '$'})
	require.Equal(t, "MSH#*!?%$#?F?\rBTS#1\r", string(five.Segment("MSH").Set("MSH-3", "#").Segment("BTS").Set("BTS-1", "1").Bytes()))
	require.Equal(t, "MSH|^~\\&\r", string(hl7v2.NewBuilder(hl7v2.Delimiters{}).Segment("MSH").Bytes()))
}

func TestBuilderEditsAMessage(t *testing.T) {
	m := parse(t, admit)
	b := hl7v2.NewBuilder(m.Delimiters())
	for i := range m.Len() {
		b.Append(m.Segment(i))
	}
	require.NoError(t, b.Err())
	require.Equal(t, admit, string(b.Bytes()))
	b.Set("PID-5.2", "Berta").Set("MSH-10", "C2")
	edited := parse(t, string(b.Bytes()))
	require.Equal(t, "Berta", text(t, edited.Get("PID-5.2")))
	require.Equal(t, "C2", edited.Header().ControlID)
	require.Equal(t, "Müller", text(t, edited.Get("PID-5.1")))
	require.Equal(t, admit, string(m.Raw()), "the original stays")
}

func TestBuilderErrors(t *testing.T) {
	for name, b := range map[string]*hl7v2.Builder{
		"no place":      hl7v2.NewBuilder(hl7v2.Delimiters{}).Segment("PID").Set("PID", "x"),
		"nonsense":      hl7v2.NewBuilder(hl7v2.Delimiters{}).Segment("PID").Set("?", "x"),
		"no segment":    hl7v2.NewBuilder(hl7v2.Delimiters{}).Segment("PID").Set("PV1-1", "x"),
		"no occurrence": hl7v2.NewBuilder(hl7v2.Delimiters{}).Segment("PID").Set("PID[2]-1", "x"),
		"delimiters":    hl7v2.NewBuilder(hl7v2.Delimiters{}).Segment("MSH").Set("MSH-2", "x"),
		"too far":       hl7v2.NewBuilder(hl7v2.Delimiters{}).Segment("PID").SetNull("PID-3[99999999]"),
		"name":          hl7v2.NewBuilder(hl7v2.Delimiters{}).Segment("P|D"),
		"charset":       hl7v2.NewBuilder(hl7v2.Delimiters{}).Segment("MSH").Charset("KLINGON"),
		"character":     hl7v2.NewBuilder(hl7v2.Delimiters{}).Segment("MSH").Charset("8859/1").Set("MSH-3", "Ω"),
		"ascii":         hl7v2.NewBuilder(hl7v2.Delimiters{}).Segment("MSH").Charset("ASCII").Set("MSH-3", "ü"),
		"other message": hl7v2.NewBuilder(hl7v2.Delimiters{}).Append(parse(t, "MSH#*!?%#A").Segment(0)),
	} {
		require.Error(t, b.Err(), name)
		require.NotPanics(t, func() { b.Set("PID-1", "x").Bytes() }, name)
	}
}

// What was set last at a place is what is read there.
func TestBuilderSetsWhatIsRead(t *testing.T) {
	places := []string{"PID-3", "PID-3.1", "PID-3[2].1", "PID-3[2].4.1", "PID-3[2].4.2", "PID-5.1", "PID-5.2", "PID-8", "PID-11[3].6"}
	rapid.Check(t, func(t *rapid.T) {
		b := hl7v2.NewBuilder(hl7v2.DefaultDelimiters()).Segment("MSH").Segment("PID")
		for range rapid.IntRange(0, 5).Draw(t, "before") {
			b.Set(rapid.SampledFrom(places).Draw(t, "earlier place"), rapid.String().Draw(t, "earlier text"))
		}
		place, want := rapid.SampledFrom(places).Draw(t, "place"), rapid.String().Draw(t, "text")
		b.Set(place, want)
		require.NoError(t, b.Err())
		m, err := hl7v2.Parse(b.Bytes())
		require.NoError(t, err)
		if place == "PID-3" { // the whole field
			require.LessOrEqual(t, m.Get(place).Repetitions(), 1)
		}
		got, err := m.Get(place).Text()
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}
