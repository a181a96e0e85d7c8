package tables_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/gate"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/tables"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata/mapping")

// newYork is the zone of the sources in these tests.
var newYork = sync.OnceValues(func() (*time.Location, error) { return hl7v2.LoadLocation("America/New_York") })

// received is when every message of these tests came in.
func received() time.Time { return time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC) }

// mapOne maps one message as a source in New York does.
func mapOne(t testing.TB, m *tables.Mapper, raw []byte) (bundle []byte, report tables.Report) {
	t.Helper()
	msg, err := hl7v2.Parse(raw)
	require.NoError(t, err)
	location, err := newYork()
	require.NoError(t, err)
	result, err := m.Map(msg, tables.Context{
		Source: "test", Location: location, Received: received(), Journal: 1, SHA256: strings.Repeat("0", 64),
		Systems: map[string]string{"ALDER": "urn:oid:2.16.840.1.113883.19.4.6"},
	})
	require.NoError(t, err)
	defer m.Release(result)
	return result.AppendBundle(nil), result.Report
}

// lines writes a Bundle with one entry a line, so that a diff can be read.
func lines(t *testing.T, bundle []byte, report tables.Report) []byte {
	t.Helper()
	var b struct {
		Entry []json.RawMessage
	}
	require.NoError(t, json.Unmarshal(bundle, &b))
	var out bytes.Buffer
	for _, e := range b.Entry {
		out.Write(e)
		out.WriteByte('\n')
	}
	made, err := json.Marshal(report)
	require.NoError(t, err)
	out.Write(made)
	out.WriteByte('\n')
	return out.Bytes()
}

// Every message of testdata/mapping maps to its golden Bundle, which the gate
// finds nothing wrong with, whose references resolve, and where every valued
// leaf of the message is accounted for.
func TestGolden(t *testing.T) {
	schema := fhir.NewSchema()
	mapper, err := compiled(schema)
	require.NoError(t, err)
	check, err := gate.New(schema)
	require.NoError(t, err)
	files, err := filepath.Glob("../../testdata/mapping/*.hl7")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".hl7"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			raw = bytes.ReplaceAll(bytes.TrimSpace(raw), []byte("\n"), []byte("\r"))
			bundle, report := mapOne(t, mapper, raw)
			again, second := mapOne(t, mapper, raw)
			require.Equal(t, string(bundle), string(again), "a second run")
			require.Equal(t, report, second)
			require.Empty(t, check.CheckJSON(bundle))
			kept := 0
			for _, u := range report.Unmapped {
				if u.Kept {
					kept++
				}
			}
			require.Equal(t, kept, report.Extension)
			require.Equal(t, report.Leaves, report.Found+report.Structural+len(report.Unmapped), "every leaf")
			made := lines(t, bundle, report)
			goldenFile := strings.TrimSuffix(file, ".hl7") + ".jsonl"
			if *update {
				require.NoError(t, os.WriteFile(goldenFile, made, 0o644))
			}
			want, err := os.ReadFile(goldenFile)
			require.NoError(t, err)
			require.Equal(t, string(want), string(made))
		})
	}
}
