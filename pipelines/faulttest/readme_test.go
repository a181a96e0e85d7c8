package faulttest_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines/faulttest"
)

var update = flag.Bool("update", false, "rewrite what the READMEs tell of testdata/report.json and of the planted faults")

// readmes keeps tests that run side by side from writing a README at once.
var readmes sync.Mutex

// section holds the part of a README between two comments to a text, or with
// -update rewrites it. made makes the new text of the old.
func section(t *testing.T, file, name string, made func(old string) string) {
	t.Helper()
	readmes.Lock()
	defer readmes.Unlock()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	begin := bytes.Index(text, []byte("<!-- "+name+":"))
	end := bytes.Index(text, []byte("<!-- end of "+name+" -->"))
	require.True(t, begin >= 0 && end > begin, "%s has no part %q", file, name)
	begin += bytes.IndexByte(text[begin:], '\n') + 1
	old := string(text[begin:end])
	want := made(old)
	if !*update {
		require.Equal(t, want, old, "%s: go test ./pipelines/faulttest -update", file)
		return
	}
	out := slices.Concat(text[:begin], []byte(want), text[end:])
	require.NoError(t, os.WriteFile(file, out, 0o600))
}

// The READMEs tell what testdata/report.json says: the report of one whole run.
func TestReadmeReport(t *testing.T) {
	file, err := os.Open("testdata/report.json")
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	runs, err := faulttest.ReadReport(file)
	require.NoError(t, err)
	for _, r := range runs {
		require.Empty(t, r.Violations, r.Test)
	}
	section(t, "README.md", "the report", func(string) string { return faulttest.Markdown(runs) })
	section(t, "../../README.md", "the figures", func(string) string { return faulttest.Summary(runs) })
}

// shape is what a violation says without the names in it.
func shape(text string) string {
	text = regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(text, "{…}")
	return regexp.MustCompile(`\S*\d\S*( \S*\d\S*)*`).ReplaceAllString(text, "…")
}

// row is what a planted fault makes the checker say, as a line of the README.
func row(planted string, invariants []string, said map[string]map[string]bool) string {
	var cells []string
	for _, name := range invariants {
		cells = append(cells, name+": "+strings.Join(slices.Sorted(maps.Keys(said[name])), "; "))
	}
	return fmt.Sprintf("| %s | %s |\n", planted, strings.Join(cells, " · "))
}

// documents holds the README's line of a planted fault to what the checker said
// of it. Which of its sentences come up depends on where the fault struck.
func (w *world) documents(planted string, invariants []string, list []faulttest.Violation) {
	w.t.Helper()
	said := map[string]map[string]bool{}
	for _, v := range list {
		if said[v.Invariant] == nil {
			said[v.Invariant] = map[string]bool{}
		}
		said[v.Invariant][shape(v.Text)] = true
	}
	section(w.t, "README.md", "what it says", func(old string) string {
		head := "| " + planted + " | "
		at := strings.Index(old, head)
		if *update {
			lines := strings.SplitAfter(old, "\n")
			lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, head) || l == "" })
			lines = append(lines, row(planted, invariants, said))
			slices.Sort(lines[2:])
			return strings.Join(lines, "")
		}
		require.GreaterOrEqual(w.t, at, 0, "the README does not tell of %q", planted)
		line, _, _ := strings.Cut(old[at+len(head):], " |\n")
		cells := strings.Split(line, " · ")
		require.Len(w.t, cells, len(invariants), planted)
		for i, name := range invariants {
			text, ok := strings.CutPrefix(cells[i], name+": ")
			require.True(w.t, ok, "%s: %s", planted, cells[i])
			require.True(w.t, slices.ContainsFunc(strings.Split(text, "; "), func(s string) bool { return said[name][s] }),
				"%s: the README has %q and the checker said %v", planted, text, slices.Collect(maps.Keys(said[name])))
		}
		return old
	})
}
