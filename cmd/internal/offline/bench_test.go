package offline_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/load"
	"github.com/liaison-health/liaison/cmd/internal/offline"
	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/testdata"
)

// BenchmarkRecords is the way from bytes to records over a hospital's day with
// fresh identifiers in each round, one message an operation; the state starts
// anew with each round.
func BenchmarkRecords(b *testing.B) {
	mapper, err := tables.Load(fhir.NewSchema())
	require.NoError(b, err)
	zone, err := hl7v2.LoadLocation("America/New_York")
	require.NoError(b, err)
	day, err := testdata.Day()
	require.NoError(b, err)
	var templates []load.Template
	for _, m := range day {
		if m.Type != "Bundle" && m.Note == "" {
			templates = append(templates, load.NewTemplate(m.Raw))
		}
	}
	var line *offline.Pipeline
	var raw []byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		round, at := i/len(templates), i%len(templates)
		if at == 0 {
			line = offline.New(&engine.Pipeline{Source: "adt", Mapper: mapper, Location: zone}, nil)
		}
		raw = templates[at].AppendTo(raw[:0], "b", round)
		if _, err := line.Records(raw); err != nil {
			b.Fatal(err)
		}
	}
}
