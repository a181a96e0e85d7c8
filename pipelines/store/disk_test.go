package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/store"
)

const patience = time.Minute

// A badDisk fails at operations of a kind on files of a name, when told.
type badDisk struct {
	broken   atomic.Bool
	failed   atomic.Int64
	ended    chan string // the reason for which the process would end
	reported chan string
}

func (d *badDisk) open(t *testing.T, name string, failure error, kinds ...errorfs.OpKind) *store.Store {
	t.Helper()
	d.ended, d.reported = make(chan string, 64), make(chan string, 64)
	fs := errorfs.Wrap(vfs.NewCrashableMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !d.broken.Load() || !strings.Contains(op.Path, name) {
			return nil
		}
		for _, kind := range kinds {
			if op.Kind == kind {
				d.failed.Add(1)
				return failure
			}
		}
		return nil
	}))
	s, err := store.Open("data", store.Options{
		FS: fs, Cache: 6 << 20, Report: func(text string) { d.reported <- text },
		Fatal: func(format string, args ...any) { // as a process that ends: it does not return
			d.ended <- fmt.Sprintf(format, args...)
			select {}
		},
	})
	require.NoError(t, err)
	return s
}

func (d *badDisk) ends(t *testing.T, reason string) {
	t.Helper()
	select {
	case text := <-d.ended:
		require.Contains(t, text, reason)
	case <-time.After(patience):
		require.Fail(t, "the process goes on", "%d failures", d.failed.Load())
	}
}

// noise is an entry that does not compress.
func noise(size int) []byte {
	out := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(out)
	return out
}

// Whichever file the fsync that fails is of, the process ends with the reason,
// and nothing is appended from then on.
func TestFailedSync(t *testing.T) {
	sync := []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo}
	for _, name := range []string{".log", ".sst", ".blob", "MANIFEST"} {
		t.Run(name, func(t *testing.T) {
			d := &badDisk{}
			s := d.open(t, name, errors.New("the disk is gone"), sync...)
			d.broken.Store(true)
			go func() {
				for {
					if _, err := s.Append(noise(100 << 10)); err != nil {
						return
					}
				}
			}()
			d.ends(t, "the disk is gone")
			_, err := s.Append([]byte("x"))
			require.ErrorIs(t, err, pipelines.ErrClosed)
			require.True(t, s.Failed())
		})
	}
}

// An fsync that fails behind a batch which nobody waits for ends the process as
// well, whether or not another append follows.
func TestFailedSyncOfApplied(t *testing.T) {
	d := &badDisk{}
	s := d.open(t, ".log", errors.New("the disk is gone"), errorfs.OpFileSync, errorfs.OpFileSyncData)
	b := s.NewBatch()
	require.NoError(t, b.Number("checkpoint", 1))
	d.broken.Store(true)
	_, err := b.Apply()
	require.NoError(t, err)
	d.ends(t, "the disk is gone")
	require.True(t, s.Failed())
}

// Tables that cannot be written end the process, but for want of room: then
// they are written again, which is told once, until there is room.
func TestFailedWriteOfTables(t *testing.T) {
	fill := func(s *store.Store) (appended *atomic.Int64) {
		appended = &atomic.Int64{}
		go func() {
			for appended.Load() < 100 {
				switch _, err := s.Append(noise(100 << 10)); {
				case err == nil:
					appended.Add(1)
				case !errors.Is(err, pipelines.ErrFull):
					return
				}
			}
		}()
		return appended
	}
	for _, name := range []string{".sst", ".blob"} {
		t.Run(name, func(t *testing.T) {
			d := &badDisk{}
			s := d.open(t, name, syscall.EIO, errorfs.OpFileWrite)
			d.broken.Store(true)
			fill(s)
			d.ends(t, "input/output error")
		})
	}
	t.Run("full", func(t *testing.T) {
		d := &badDisk{}
		s := d.open(t, ".sst", syscall.ENOSPC, errorfs.OpCreate)
		d.broken.Store(true)
		appended := fill(s)
		require.Eventually(t, func() bool { return d.failed.Load() > 3 }, patience, time.Millisecond)
		require.Contains(t, <-d.reported, "nothing is taken")
		require.Contains(t, <-d.reported, "the disk is full")
		failed, began := d.failed.Load(), time.Now()
		require.Eventually(t, func() bool { return d.failed.Load() >= failed+12 }, patience, time.Millisecond)
		require.Greater(t, time.Since(began), 100*time.Millisecond, "it is tried again without a pause")
		d.broken.Store(false)
		require.Eventually(t, func() bool { return appended.Load() == 100 }, patience, time.Millisecond)
		require.Empty(t, d.ended)
		require.False(t, s.Failed())
		require.NoError(t, s.Close())
	})
}

// A volume that takes nothing for a while, whatever it is that is to be written,
// refuses what comes and goes on by itself; what was refused is not in the
// journal, and what was taken is.
func TestVolumeTakesNothing(t *testing.T) {
	writes := []errorfs.OpKind{errorfs.OpFileWrite, errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpRename, errorfs.OpOpenDir}
	for _, c := range []struct {
		name, file string
		failure    error
	}{
		{name: "read-only", failure: syscall.EROFS},
		{name: "read-only, the log", file: ".log", failure: syscall.EROFS},
		{name: "read-only, a table", file: ".sst", failure: syscall.EROFS},
		{name: "read-only, values", file: ".blob", failure: syscall.EROFS},
		{name: "read-only, the manifest", file: "MANIFEST", failure: syscall.EROFS},
		{name: "closed to us", file: ".log", failure: syscall.EACCES},
		{name: "full, a table", file: ".sst", failure: syscall.ENOSPC},
		{name: "full for us, a table", file: ".sst", failure: syscall.EDQUOT},
		{name: "full, the log", file: ".log", failure: syscall.ENOSPC},
		{name: "full, values", file: ".blob", failure: syscall.EDQUOT},
		{name: "full, the manifest", file: "MANIFEST", failure: syscall.ENOSPC},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &badDisk{}
			s := d.open(t, c.file, c.failure, writes...)
			taken := map[string]bool{}
			var refused []string
			n := 0
			send := func() error {
				n++
				entry := fmt.Sprintf("%08d", n) + string(noise(100<<10))
				_, err := s.Append([]byte(entry))
				if err == nil {
					taken[entry[:8]] = true
				} else {
					refused = append(refused, entry[:8])
				}
				return err
			}
			for range 3 {
				require.NoError(t, send())
			}
			d.broken.Store(true)
			require.Eventually(t, func() bool { return send() != nil }, patience, time.Microsecond)
			for range 3 {
				require.ErrorIs(t, send(), pipelines.ErrFull)
			}
			require.Contains(t, <-d.reported, c.failure.Error())
			d.broken.Store(false)
			require.Eventually(t, func() bool { return send() == nil }, 5*time.Second, time.Millisecond)
			for range 30 {
				require.NoError(t, send())
			}
			require.NotEmpty(t, refused)
			require.Empty(t, d.ended)
			last := uint64(0)
			require.NoError(t, s.Entries(1, func(pos uint64, entry []byte) (bool, error) {
				last++
				require.Equal(t, last, pos, "positions have no gap")
				require.True(t, taken[string(entry[:8])], "%s was refused", entry[:8])
				delete(taken, string(entry[:8]))
				return true, nil
			}))
			require.Empty(t, taken)
			require.NoError(t, s.Close())
		})
	}
}

// One that still takes nothing when the process stops does not keep it: it ends
// with the reason, whether a write waits or a new log.
func TestCloseReadOnly(t *testing.T) {
	for name, kinds := range map[string][]errorfs.OpKind{
		"a write":   {errorfs.OpFileWrite},
		"a new log": {errorfs.OpCreate, errorfs.OpReuseForWrite},
	} {
		t.Run(name, func(t *testing.T) {
			d := &badDisk{}
			s := d.open(t, ".log", syscall.EROFS, kinds...)
			d.broken.Store(true)
			go func() {
				for b := s.NewBatch(); b.Meta("x", noise(100<<10)) == nil && b.Commit() == nil; b = s.NewBatch() {
				}
			}()
			require.Eventually(t, s.Full, patience, time.Millisecond)
			_, err := s.Append([]byte("x"))
			require.ErrorIs(t, err, pipelines.ErrFull)
			go func() { _ = s.Close() }()
			d.ends(t, "read-only file system")
		})
	}
}

// What is said: that nothing is taken, and that it goes on, each time.
func TestVolumeIsToldOf(t *testing.T) {
	d := &badDisk{}
	s := d.open(t, ".log", syscall.EROFS, errorfs.OpFileWrite)
	for range 2 {
		d.broken.Store(true)
		_, err := s.Append([]byte("x"))
		require.ErrorIs(t, err, pipelines.ErrFull)
		require.Contains(t, <-d.reported, "nothing is taken until 000002.log can be written")
		d.broken.Store(false)
		require.Contains(t, <-d.reported, "written again")
	}
	require.NoError(t, s.Close())
}

// A log that is used again gets its new name before it is opened: one that then
// cannot be opened for a while is not looked for under its old name.
func TestRecycledLog(t *testing.T) {
	fs := &halfReuse{FS: vfs.NewCrashableMem()}
	ended := make(chan string, 8)
	s, err := store.Open("data", store.Options{FS: fs, Cache: 6 << 20, Fatal: func(format string, args ...any) {
		ended <- fmt.Sprintf(format, args...)
		select {}
	}})
	require.NoError(t, err)
	entry := noise(100 << 10)
	require.Eventually(t, func() bool {
		_, err := s.Append(entry)
		return err == nil && fs.failed.Load() > 3 && fs.opened.Load() || len(ended) > 0
	}, patience, time.Microsecond)
	require.Empty(t, ended)
	require.NoError(t, s.Close())
}

// A halfReuse renames a log, and cannot open it the first few times.
type halfReuse struct {
	vfs.FS
	failed atomic.Int64
	opened atomic.Bool
}

func (f *halfReuse) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.Rename(old, name); err != nil {
		return nil, err
	}
	return f.OpenReadWrite(name, category)
}

func (f *halfReuse) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if strings.HasSuffix(name, ".log") && f.failed.Add(1) <= 3 {
		return nil, syscall.EACCES
	}
	f.opened.Store(true)
	return f.FS.OpenReadWrite(name, category, opts...)
}

// A store that cannot be opened says so.
func TestOpenReadOnly(t *testing.T) {
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate {
			return syscall.EROFS
		}
		return nil
	}))
	_, err := store.Open("data", store.Options{FS: fs})
	require.ErrorIs(t, err, syscall.EROFS)
}
