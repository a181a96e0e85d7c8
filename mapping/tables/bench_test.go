package tables_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/testdata"
)

// BenchmarkMap is the way from bytes to FHIR JSON over a hospital's day, one
// message an operation.
func BenchmarkMap(b *testing.B) {
	mapper, err := compiled(fhir.NewSchema())
	require.NoError(b, err)
	zone, err := hl7v2.LoadLocation("America/New_York")
	require.NoError(b, err)
	day, err := testdata.Day()
	require.NoError(b, err)
	var raws [][]byte
	for _, m := range day {
		if m.Type != "Bundle" && m.Note == "" {
			raws = append(raws, m.Raw)
		}
	}
	c := tables.Context{Source: "adt", Location: zone, Received: time.Date(2026, 3, 11, 0, 0, 0, 0, time.UTC)}
	var msg hl7v2.Message
	var out []byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		raw := raws[i%len(raws)]
		if err := msg.Parse(raw); err != nil {
			b.Fatal(err)
		}
		r, err := mapper.Map(&msg, c)
		if err != nil {
			b.Fatal(err)
		}
		out = r.AppendBundle(out[:0])
		mapper.Release(r)
		b.SetBytes(int64(len(raw)))
	}
}
