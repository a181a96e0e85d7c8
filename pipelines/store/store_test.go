package store_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
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
		require.NoError(t, b.State([]records.KV{{Key: []byte("r/x"), Value: fmt.Appendf(nil, "%d", n)}}))
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

// What retention drops is gone, and positions go on where they were.
func TestRetain(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	for range 5 {
		_, err := s.Append([]byte("x"))
		require.NoError(t, err)
	}
	require.NoError(t, s.Retain(6, 1))
	require.Empty(t, entries(t, s))
	require.NoError(t, s.Close())
	s = open(t, fs)
	pos, err := s.Append([]byte("y"))
	require.NoError(t, err)
	require.Equal(t, uint64(6), pos)
	digest := [32]byte{1}
	b := s.NewBatch()
	at := time.Unix(5, 0)
	require.NoError(t, b.Remember(digest, 6, at))
	require.NoError(t, b.Commit())
	first, seen, ok, err := s.Seen(digest)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, uint64(6), first)
	require.True(t, at.Equal(seen))
	require.NoError(t, s.Close())
}
