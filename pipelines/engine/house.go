package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/store"
)

// keepHouse watches the free space, drops what is older than is kept, and
// lets the deduplication index forget.
func (e *Engine) keepHouse(ctx context.Context, done <-chan struct{}) error {
	tick := time.NewTicker(e.cfg.Housekeeping)
	defer tick.Stop()
	told := ""
	for {
		now := e.clock()
		err := errors.Join(e.watchSpace(), e.retain(now))
		if len(e.cfg.Settings) > 0 {
			if ticked := e.ticking(now); !errors.Is(ticked, pipelines.ErrFull) {
				err = errors.Join(err, ticked)
			}
		}
		if err = errors.Join(err, e.sweep(ctx)); err != nil && err.Error() != told {
			told = err.Error()
			e.cfg.Log.Error("housekeeping", "error", err)
		}
		select {
		case <-tick.C:
		case <-done:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// freeSpace is what the volume of a directory still takes: nothing where it is
// read-only.
func freeSpace(dir string) (uint64, error) {
	if err := unix.Access(dir, unix.W_OK); errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) {
		return 0, nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of the data: %w", err)
	}
	return available(&st), nil
}

// fewestFiles is how many files a volume has to take still: a store that cannot
// make its next one ends the process.
const fewestFiles = 128

// available is the free space of a volume, none where it has too few inodes left
// to use it.
func available(st *unix.Statfs_t) uint64 {
	if st.Files > 0 && st.Ffree < fewestFiles {
		return 0
	}
	return st.Bavail * uint64(st.Bsize)
}

// watchSpace stops the intake below the watermark and lets it go on above.
func (e *Engine) watchSpace() error {
	if e.cfg.FreeSpace == 0 {
		return nil
	}
	free, err := e.cfg.Free(e.cfg.Dir)
	if err != nil {
		return err
	}
	full := free < e.cfg.FreeSpace
	if e.store.SetFull(full) != full {
		if full {
			e.cfg.Log.Error("too little space, too few inodes, or read-only: nothing is taken until there is more", "free", free, "needed", e.cfg.FreeSpace)
		} else {
			e.cfg.Log.Info("there is space again", "free", free)
		}
	}
	e.metrics.free.Set(float64(free))
	return nil
}

// retain cuts the journal where it is older or larger than is kept, with the
// outcomes and the events of what it drops, never past the checkpoint or an
// unpublished event. What is kept as a whole is never read for it.
func (e *Engine) retain(now time.Time) error {
	if e.cfg.Retention == 0 && e.cfg.RetentionSize == 0 {
		return nil
	}
	_, _, _, published := e.Progress()
	var cut store.Mark
	left := e.store.JournalBytes()
	bytes := int64(0)
	err := e.store.Marks(func(m store.Mark) (bool, error) {
		tooOld := e.cfg.Retention > 0 && now.Sub(m.Received) > e.cfg.Retention
		tooMuch := e.cfg.RetentionSize > 0 && left > e.cfg.RetentionSize
		if m.Event > published || !tooOld && !tooMuch {
			return false, nil
		}
		cut = m
		left -= m.Bytes
		bytes += m.Bytes
		return true, nil
	})
	if err != nil || cut.Position == 0 {
		return err
	}
	return e.store.Retain(cut.Position, cut.Event, bytes)
}
