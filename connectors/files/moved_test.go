package files_test

import (
	"context"
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
