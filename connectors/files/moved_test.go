package files_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/connectors/connectortest"
	"github.com/liaison-health/liaison/connectors/files"
	"github.com/liaison-health/liaison/pipelines"
)

// replacing does something while the first outcome is awaited.
type replacing struct {
	do   func()
	done bool
}

func (o *replacing) Wait(context.Context, uint64) (pipelines.Outcome, error) {
	if !o.done {
		o.done = true
		o.do()
	}
	return pipelines.Outcome{Status: pipelines.Published}, nil
}

// A sender may put its next file under the name of one whose outcomes are
// awaited: that one is taken too.
func TestReplacedWhileItIsTaken(t *testing.T) {
	dir := t.TempDir()
	o := &replacing{do: func() { require.NoError(t, drop(dir, "a.hl7", []byte(v2(7, 8)))) }}
	w := start(t, dir, &connectortest.Intake{}, func(c *files.Config) { c.Processed, c.Outcomes = true, o })
	w.put("a.hl7", v2(1, 2))
	for range 5 {
		w.look()
	}
	require.Equal(t, []string{v2(1), v2(2), v2(7), v2(8)}, w.in.Bytes())
}

// A report never takes the place of a file that was taken before.
func TestReportBesideAFileOfItsName(t *testing.T) {
	w := start(t, t.TempDir(), &connectortest.Intake{}, nil)
	w.put("a.hl7.report.json", `{"resourceType":"Patient","id":"p1"}`)
	w.settle()
	w.put("a.hl7", v2(1))
	w.settle()
	found := false
	entries, _ := os.ReadDir(filepath.Join(w.dir, "done"))
	for _, e := range entries {
		data, _ := os.ReadFile(filepath.Join(w.dir, "done", e.Name()))
		found = found || string(data) == `{"resourceType":"Patient","id":"p1"}`
	}
	require.True(t, found, "the taken file is kept")
}
