package hl7v2_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

func sizedADT() string {
	raw := admit
	for len(raw) < 1700 {
		raw += "NK1|1|Keller^Otto^M|SPO^Spouse^HL70063|12 Lane^^Town^^12345|(555)010-0199||EC||||||||||||||||||||||\r"
	}
	return raw
}

// BenchmarkParse indexes a 1.7 KB ADT and reads five values of it.
func BenchmarkParse(b *testing.B) {
	raw := []byte(sizedADT())
	var m hl7v2.Message
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Parse(raw); err != nil {
			b.Fatal(err)
		}
		pid, _ := m.Find("PID", 0)
		if len(pid.Field(3).Component(1).Raw())+len(pid.Field(5).Component(2).Raw())+len(pid.Field(7).Raw())+
			len(pid.Field(8).Raw())+len(m.Segment(0).Field(10).Raw()) == 0 {
			b.Fatal("no values")
		}
	}
}

// BenchmarkNaiveSplit is what splitting strings costs for the same message.
func BenchmarkNaiveSplit(b *testing.B) {
	raw := sizedADT()
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		fields := 0
		for _, segment := range strings.Split(raw, "\r") {
			for _, field := range strings.Split(segment, "|") {
				for _, repetition := range strings.Split(field, "~") {
					fields += len(strings.Split(repetition, "^"))
				}
			}
		}
		if fields == 0 {
			b.Fatal("no fields")
		}
	}
}

func TestParsingAgainAllocatesNothing(t *testing.T) {
	raw := []byte(sizedADT())
	var m hl7v2.Message
	require.NoError(t, m.Parse(raw))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if m.Parse(raw) != nil {
			panic("parse")
		}
	}))
}
