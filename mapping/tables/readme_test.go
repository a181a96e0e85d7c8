package tables_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

const (
	tableBegins = "<!-- what is mapped: written by go test ./mapping/tables -run TestReadmeTable -update -->\n"
	tableEnds   = "<!-- end of what is mapped -->\n"
)

// The table of the README says what the tables map: each trigger event with its
// structure, the segments that this can carry and its golden cases.
func TestReadmeTable(t *testing.T) {
	data, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(data), tableBegins)
	require.True(t, ok, "the README has the place of the table: %s", tableBegins)
	_, after, ok := strings.Cut(rest, tableEnds)
	require.True(t, ok, "the README has the end of the table: %s", tableEnds)
	made := before + tableBegins + mapped(t) + tableEnds + after
	if *update {
		require.NoError(t, os.WriteFile("../README.md", []byte(made), 0o644))
		return
	}
	require.Equal(t, string(data), made, "run go test ./mapping/tables -run TestReadmeTable -update")
}

// mapped writes the table: a row a structure.
func mapped(t *testing.T) string {
	t.Helper()
	golden := goldenCases(t)
	files, err := filepath.Glob("messages/*.yaml")
	require.NoError(t, err)
	triggers, cases := 0, 0
	var rows []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		structure := regexp.MustCompile(`(?m)^structure: (\w+)`).FindStringSubmatch(string(data))
		syntax := regexp.MustCompile(`(?m)^syntax: "(.*)"`).FindStringSubmatch(string(data))
		events := regexp.MustCompile(`(?m)^triggers: \|\n((?:  .*\n)+)`).FindStringSubmatch(string(data) + "\n")
		require.True(t, structure != nil && syntax != nil && events != nil, file)
		var cells []string
		code, _, _ := strings.Cut(structure[1], "_")
		for line := range strings.Lines(events[1]) {
			event := strings.Fields(line)[0]
			if !strings.Contains(event, "^") {
				event = code + "^" + event
			}
			cell := event
			for _, name := range golden[event] {
				cell += fmt.Sprintf(" [%s](../testdata/mapping/%s.hl7)", strings.TrimPrefix(name, code+"_"), name)
			}
			if !slices.Contains(cells, cell) && !strings.HasPrefix(event, "#") {
				cells = append(cells, cell)
				triggers++
				cases += len(golden[event])
			}
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s |\n", structure[1], strings.Join(cells, ", "), strings.Join(segmentsOf(syntax[1]), " ")))
	}
	head := fmt.Sprintf("%d trigger events of %d structures, with %d golden cases:\n\n", triggers, len(rows), cases)
	return head + "| structure | trigger events, with their golden cases | segments |\n|---|---|---|\n" + strings.Join(rows, "")
}

// segmentsOf names the segments of a syntax, each once, in its order.
func segmentsOf(syntax string) []string {
	var out []string
	for _, word := range regexp.MustCompile(`\w+:?`).FindAllString(syntax, -1) {
		if !strings.HasSuffix(word, ":") && !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out
}

// goldenCases gives the names of the golden cases by their trigger event.
func goldenCases(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("../../testdata/mapping/*.hl7")
	require.NoError(t, err)
	out := map[string][]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		msg, err := hl7v2.Parse(bytes.ReplaceAll(bytes.TrimSpace(data), []byte("\n"), []byte("\r")))
		require.NoError(t, err, file)
		event := msg.Header().Type()
		out[event] = append(out[event], strings.TrimSuffix(filepath.Base(file), ".hl7"))
	}
	return out
}
