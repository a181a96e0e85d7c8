package store_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/store"
)

func open(t *testing.T, fs vfs.FS) *store.Store {
	t.Helper()
	s, err := store.Open("data", store.Options{FS: fs, Fatal: func(format string, args ...any) { t.Errorf(format, args...) }})
	require.NoError(t, err)
	return s
}

func entries(t *testing.T, s *store.Store) map[uint64]string {
	t.Helper()
	out := map[uint64]string{}
	require.NoError(t, s.Entries(0, func(pos uint64, entry []byte) (bool, error) {
		out[pos] = string(entry)
		return true, nil
	}))
	return out
}

// A power cut at any moment, with any part of what was not synced lost: every
// append that was answered is in the journal, at its place and whole.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(12) {
		fs := vfs.NewCrashableMem()
		s := open(t, fs)
		random := rand.New(rand.NewPCG(seed, 7))
		var mu sync.Mutex
		acked := map[uint64]string{}
		var cut *vfs.MemFS
		known := map[uint64]string{} // acknowledged when the power went
		cutAfter := 20 + random.IntN(200)
		var senders sync.WaitGroup
		for sender := range 8 {
			senders.Go(func() {
				for n := range 60 {
					text := fmt.Sprintf("entry %d of %d", n, sender)
					pos, err := s.Append([]byte(text))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					acked[pos] = text
					if len(acked) == cutAfter {
						for k, v := range acked {
							known[k] = v
						}
						cut = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(100), RNG: random})
					}
					mu.Unlock()
				}
			})
		}
		senders.Wait()
		require.NoError(t, s.Close())
		again := open(t, cut)
		have := entries(t, again)
		for pos, text := range known {
			require.Equal(t, text, have[pos], "seed %d: an acknowledged entry after the power cut", seed)
		}
		for pos := uint64(1); pos <= again.Tail(); pos++ {
			require.Contains(t, have, pos, "positions have no gap")
		}
		next, err := again.Append([]byte("next"))
		require.NoError(t, err)
		require.Equal(t, again.Tail(), next)
		require.NoError(t, again.Close())
	}
}

// A batch is there as a whole or not at all.
func TestBatchIsAtomic(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	for n := range uint64(50) {
		b := s.NewBatch()
		require.NoError(t, b.State(map[string][]byte{"r/x": fmt.Appendf(nil, "%d", n)}))
		require.NoError(t, b.Event(n+1, []byte("event")))
		require.NoError(t, b.Outcome(n+1, pipelines.Outcome{Status: pipelines.Published}))
		require.NoError(t, b.Number("checkpoint", n+1))
		require.NoError(t, b.Commit())
		if n%10 != 9 {
			continue
		}
		cut := open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
		checkpoint, err := cut.Number("checkpoint")
		require.NoError(t, err)
		require.Equal(t, n+1, checkpoint)
		value, err := cut.Get([]byte("r/x"))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(n), string(value))
		_, ok, err := cut.Outcome(n + 1)
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, cut.Close())
	}
	require.NoError(t, s.Close())
}

func TestFullAndClosed(t *testing.T) {
	s := open(t, vfs.NewMem())
	s.SetFull(true)
	_, err := s.Append([]byte("x"))
	require.ErrorIs(t, err, pipelines.ErrFull)
	s.SetFull(false)
	pos, err := s.Append([]byte("x"))
	require.NoError(t, err)
	require.Equal(t, uint64(1), pos)
	require.NoError(t, s.Close())
	_, err = s.Append([]byte("x"))
	require.ErrorIs(t, err, pipelines.ErrClosed)
}

// What retention drops is gone, whole; positions and the running figure of the
// journal's size go on where they were.
func TestRetain(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	for n := range uint64(6) {
		pos, err := s.Append([]byte("0123456789"))
		require.NoError(t, err)
		b := s.NewBatch()
		require.NoError(t, b.Outcome(pos, pipelines.Outcome{Status: pipelines.Published}))
		require.NoError(t, b.Event(2*n+1, []byte("event")))
		require.NoError(t, b.Event(2*n+2, []byte("event")))
		require.NoError(t, b.Mark(store.Mark{Position: pos, Event: 2*n + 2, Bytes: 10, Received: time.Unix(int64(n), 0)}))
		require.NoError(t, b.Commit())
	}
	require.EqualValues(t, 60, s.JournalBytes())
	require.NoError(t, s.Retain(2, 4, 20))
	require.NoError(t, s.Retain(5, 10, 30))
	check := func() {
		require.Equal(t, uint64(6), s.First())
		require.EqualValues(t, 10, s.JournalBytes())
		require.Equal(t, map[uint64]string{6: "0123456789"}, entries(t, s))
		_, ok, err := s.Outcome(5)
		require.NoError(t, err)
		require.False(t, ok)
		_, ok, err = s.Outcome(6)
		require.NoError(t, err)
		require.True(t, ok)
		gone, err := s.Event(10)
		require.NoError(t, err)
		require.Nil(t, gone)
		kept, err := s.Event(11)
		require.NoError(t, err)
		require.NotNil(t, kept)
		var marks []store.Mark
		require.NoError(t, s.Marks(func(m store.Mark) (bool, error) { marks = append(marks, m); return true, nil }))
		require.Len(t, marks, 1)
		require.Equal(t, uint64(12), marks[0].Event)
	}
	check()
	require.NoError(t, s.Close())
	s = open(t, fs)
	check()
	require.NoError(t, s.Retain(6, 12, 10))
	require.NoError(t, s.Close())
	s = open(t, fs) // nothing is left, and positions are not given again
	require.Zero(t, s.JournalBytes())
	pos, err := s.Append([]byte("y"))
	require.NoError(t, err)
	require.Equal(t, uint64(7), pos)
	require.EqualValues(t, 1, s.JournalBytes())
	require.NoError(t, s.Close())
}

// The index gives what it holds from before a time, a part at a time, and
// forgets it, but for what was written anew in between.
func TestForget(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer func() { require.NoError(t, s.Close()) }()
	remember := func(n byte, at int64) {
		b := s.NewBatch()
		require.NoError(t, b.Remember([32]byte{n, 1}, store.Sighting{Position: uint64(n), Received: time.Unix(at, 0), Digest: [32]byte{n, 2}}))
		require.NoError(t, b.Commit())
	}
	for n := range byte(100) {
		remember(n, int64(n))
	}
	before := time.Unix(50, 0)
	var keys [][]byte
	var after []byte
	for {
		some, next, err := s.Expired(after, before, 7, 3)
		require.NoError(t, err)
		require.LessOrEqual(t, len(some), 3)
		keys = append(keys, some...)
		if after = next; next == nil {
			break
		}
	}
	require.Len(t, keys, 100, "fifty digests and their identities")
	remember(10, 70) // seen again before it was forgotten
	b := s.NewBatch()
	require.NoError(t, b.Forget(keys, before))
	require.NoError(t, b.Commit())
	for n := range byte(100) {
		g, ok, err := s.Seen([32]byte{n, 2})
		require.NoError(t, err)
		require.Equal(t, n >= 50 || n == 10, ok, "%d", n)
		latest, found, err := s.Latest([32]byte{n, 1})
		require.NoError(t, err)
		require.Equal(t, ok, found)
		if ok {
			require.Equal(t, uint64(n), g.Position)
			require.Equal(t, [32]byte{n, 2}, latest.Digest)
		}
	}
}
