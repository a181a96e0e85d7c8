package engine_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines"
)

// Stopping does not wait for a journal that is far ahead: what is left has its
// outcome after the next start.
func TestStopWithBacklog(t *testing.T) {
	h := newHouse(t)
	h.cfg.Finish, h.cfg.Batch = time.Nanosecond, 4
	h.open()
	var positions []uint64
	for n := range 100 {
		positions = append(positions, h.send(adt(fmt.Sprintf("B%d", n), "4100001", fmt.Sprintf("Name%d", n))))
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, h.engine.Run(stopped))
	tail, checkpoint, _, _ := h.engine.Progress()
	require.Equal(t, positions[99], tail)
	require.Less(t, checkpoint, tail, "it went on to the end")
	h.stop()
	h.cfg.Finish = 0
	h.open().run()
	for _, pos := range positions {
		require.Equal(t, pipelines.Published, h.outcome(pos).Status)
	}
	h.drained()
}
