package tables_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/gate"
)

// Every segment of every structure, wherever its syntax has it, is taken by a
// line of the message table: a message of all of them leaves nothing unread.
func TestStructures(t *testing.T) {
	schema := fhir.NewSchema()
	mapper, err := compiled(schema)
	require.NoError(t, err)
	check, err := gate.New(schema)
	require.NoError(t, err)
	samples := segmentSamples(t)
	files, err := filepath.Glob("messages/*.yaml")
	require.NoError(t, err)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			for trigger, segments := range messages(t, file, samples) {
				bundle, report := mapOne(t, mapper, []byte(strings.Join(segments, "\r")+"\r"))
				require.Empty(t, report.Unmapped, "%s of %v", trigger, segments)
				require.Empty(t, check.CheckJSON(bundle), trigger)
			}
		})
	}
}

// messages puts together one message for each trigger of a message table.
func messages(t *testing.T, file string, samples map[string]string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	find := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(string(data))
		require.NotNil(t, m, pattern)
		return m[1]
	}
	structure := find(`(?m)^structure: (\w+)`)
	kind, _, _ := strings.Cut(structure, "_")
	var body []string
	for _, word := range regexp.MustCompile(`\w+:?`).FindAllString(find(`(?m)^syntax: "(.*)"`), -1) {
		if strings.HasSuffix(word, ":") || word == "MSH" {
			continue
		}
		require.Contains(t, samples, word, "testdata/mapping/segments.txt")
		body = append(body, samples[word])
	}
	out := map[string][]string{}
	for line := range strings.Lines(find(`(?m)^triggers: \|\n((?:  .*\n)+)`)) {
		trigger := strings.Fields(line)[0]
		event := trigger
		if !strings.Contains(event, "^") {
			event = kind + "^" + event
		}
		out[trigger] = slices.Concat([]string{`MSH|^~\&|ADT1|ALDER|||20260310044000-0400||` + event + "^" + structure + "|M1|P|2.8"}, body)
	}
	require.NotEmpty(t, out)
	return out
}

// segmentSamples are the lines of segments.txt by their segment.
func segmentSamples(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile("../../testdata/mapping/segments.txt")
	require.NoError(t, err)
	samples := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), "|"); ok && !strings.HasPrefix(line, "#") {
			samples[name] = strings.TrimSpace(line)
		}
	}
	return samples
}
