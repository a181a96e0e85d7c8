package engine_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
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

// Where it is to go to the journal's end, stopping does.
func TestStopAtTheEnd(t *testing.T) {
	h := newHouse(t)
	h.cfg.Finish, h.cfg.Batch = -1, 4
	h.open()
	for n := range 100 {
		h.send(adt(fmt.Sprintf("B%d", n), "4100001", fmt.Sprintf("Name%d", n)))
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, h.engine.Run(stopped))
	tail, checkpoint, _, _ := h.engine.Progress()
	require.Equal(t, tail, checkpoint)
}

// readOnly makes the house's disk one that becomes read-only when told.
func (h *house) readOnly() (broken *atomic.Bool, ended chan string) {
	broken, ended = &atomic.Bool{}, make(chan string, 64)
	kinds := []errorfs.OpKind{errorfs.OpCreate, errorfs.OpRename, errorfs.OpReuseForWrite, errorfs.OpFileWrite}
	h.fs = errorfs.Wrap(h.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && slices.Contains(kinds, op.Kind) {
			return syscall.EROFS
		}
		return nil
	}))
	h.fatal = func(format string, args ...any) { // as a process that ends: it does not return
		ended <- fmt.Sprintf(format, args...)
		select {}
	}
	return broken, ended
}

// A process that is told to stop while the volume takes nothing ends, with the
// reason.
func TestStopReadOnly(t *testing.T) {
	h := newHouse(t)
	h.cfg.Finish, h.cfg.Drain = time.Millisecond, time.Millisecond
	broken, ended := h.readOnly()
	h.open()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _ = h.engine.Run(ctx) }()
	for n := 0; ; n++ {
		if n == 20 {
			broken.Store(true)
		}
		if _, err := h.accept(adt(fmt.Sprintf("R%d", n), "4100001", fmt.Sprintf("Name%d", n))); err != nil {
			require.ErrorIs(t, err, pipelines.ErrFull)
			break
		}
	}
	require.True(t, h.engine.Full())
	cancel()
	select {
	case why := <-ended:
		require.Contains(t, why, "read-only file system")
	case <-time.After(patience):
		require.Fail(t, "it does not end")
	}
}

// A sender that numbers its messages is not kept waiting for its number to be
// written.
func TestSequenceNumberReadOnly(t *testing.T) {
	h := newHouse(t)
	broken, _ := h.readOnly()
	h.open().run()
	require.NoError(t, h.engine.Expect("s", 7))
	broken.Store(true)
	for range 2 { // one that meets the volume, and one that knows of it
		require.ErrorIs(t, h.engine.Expect("s", 8), pipelines.ErrFull)
	}
	broken.Store(false)
	require.Eventually(t, func() bool { return h.engine.Expect("s", 8) == nil }, patience, time.Millisecond)
	next, err := h.engine.Expected("s")
	require.NoError(t, err)
	require.Equal(t, int64(8), next)
}
