package offline_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/offline"
	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/gate"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/testdata"
)

// ours gives the project's own messages: one for each trigger, and every third of
// a day's.
func ours(t *testing.T) [][]byte {
	t.Helper()
	var out [][]byte
	files, err := filepath.Glob("../../../testdata/mapping/*.hl7")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		out = append(out, bytes.ReplaceAll(bytes.TrimSpace(raw), []byte("\n"), []byte("\r")))
	}
	day, err := testdata.Day()
	require.NoError(t, err)
	for i := range day {
		if i%3 == 0 && bytes.HasPrefix(day[i].Raw, []byte("MSH")) && day[i].Note == "" {
			out = append(out, day[i].Raw)
		}
	}
	return out
}

func pipeline(t *testing.T, gated bool) *offline.Pipeline {
	t.Helper()
	schema := fhir.NewSchema()
	mapper, err := tables.Load(schema)
	require.NoError(t, err)
	var check *gate.Gate
	if gated {
		check, err = gate.New(schema)
		require.NoError(t, err)
	}
	location, err := hl7v2.LoadLocation("America/New_York")
	require.NoError(t, err)
	return offline.New(&engine.Pipeline{Source: "hospital", Mapper: mapper, Location: location, DefaultCharset: "8859/1"}, check)
}

// The measures of the mapping over the project's own messages: what `liaison
// map --output report` prints.
func TestQuality(t *testing.T) {
	p := pipeline(t, true)
	var all offline.Summary
	for _, raw := range ours(t) {
		report, err := p.Report(raw)
		require.NoError(t, err)
		var one offline.Summary
		one.Add(report)
		require.InDelta(t, 1, one.Accounted, 0, "%s: every leaf is accounted for", report.ControlID)
		require.Empty(t, report.Output.Unknown, report.ControlID)
		require.Empty(t, report.Gate, report.ControlID)
		require.Zero(t, report.Unresolved, report.ControlID)
		all.Add(report)
	}
	require.GreaterOrEqual(t, all.Retention, 0.97)
	require.InDelta(t, 1, all.Explained, 0)
	require.Greater(t, all.Messages, 100)
	line, err := json.Marshal(&all)
	require.NoError(t, err)
	t.Logf("%s", line)
}

// A second run gives the same bytes, in a process of its own too: nothing that
// is remembered of other messages shows.
func TestSecondRun(t *testing.T) {
	first, second := pipeline(t, false), pipeline(t, false)
	messages := ours(t)
	bundles := make([][]byte, len(messages))
	for i, raw := range messages {
		var err error
		bundles[i], err = first.AppendBundle(nil, raw)
		require.NoError(t, err)
	}
	for i := len(messages) - 1; i >= 0; i-- {
		again, err := second.AppendBundle(nil, messages[i])
		require.NoError(t, err)
		require.Equal(t, string(bundles[i]), string(again))
	}
}

// Segments that say nothing of each other can stand in any order: the resources
// are the same ones.
func TestPermuted(t *testing.T) {
	p := pipeline(t, false)
	changed := 0
	for _, raw := range ours(t) {
		other := permuted(raw)
		if bytes.Equal(bytes.TrimSuffix(raw, []byte("\r")), other) || byMessage(t, p, raw) {
			continue
		}
		changed++
		require.Equal(t, ids(t, p, raw), ids(t, p, other), "%s", other)
	}
	require.Greater(t, changed, 10)
}

// permuted turns the runs of neighbouring segments of one name round, where each
// is a thing of its own, and puts diagnoses before allergies.
func permuted(raw []byte) []byte {
	segments := bytes.Split(bytes.TrimSuffix(raw, []byte("\r")), []byte("\r"))
	name := func(i int) string {
		if i < 0 || i >= len(segments) {
			return ""
		}
		return string(segments[i][:min(3, len(segments[i]))])
	}
	end := func(i int) int {
		j := i
		for name(j) == name(i) && j < len(segments) {
			j++
		}
		return j
	}
	for i := 0; i < len(segments); i = end(i) {
		switch name(i) {
		case "NK1", "AL1", "DG1", "ROL", "GT1", "FT1", "AIG", "AIL", "AIP", "DB1":
			slices.Reverse(segments[i:end(i)])
		}
	}
	for i := 0; i < len(segments); i++ {
		if j := end(i); name(i) == "AL1" && name(j) == "DG1" {
			k := end(j)
			copy(segments[i:k], slices.Concat(segments[j:k], segments[i:j]))
			break
		}
	}
	return bytes.Join(segments, []byte("\r"))
}

// byMessage says whether a record of the message has no business key: then the
// whole message is its key.
func byMessage(t *testing.T, p *offline.Pipeline, raw []byte) bool {
	t.Helper()
	report, err := p.Report(raw)
	require.NoError(t, err)
	return slices.ContainsFunc(report.Warnings, func(n tables.Note) bool { return n.Code == "keyed-by-message" })
}

// ids names the resources of a message.
func ids(t *testing.T, p *offline.Pipeline, raw []byte) []string {
	t.Helper()
	bundle, err := p.AppendBundle(nil, raw)
	require.NoError(t, err)
	var b struct {
		Entry []struct {
			Request struct{ URL string }
		}
	}
	require.NoError(t, json.Unmarshal(bundle, &b))
	var out []string
	for _, e := range b.Entry {
		out = append(out, e.Request.URL)
	}
	slices.Sort(out)
	return out
}
