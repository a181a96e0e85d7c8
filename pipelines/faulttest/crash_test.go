package faulttest_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines/faulttest"
)

// The points at which a subject can be made to crash, on its way of a message
// from the socket to Kafka.
var points = []string{"before-append", "after-append", "prepare", "fold", "before-commit", "after-commit", "between-produce-and-mark"}

// crashAt makes the next subject crash when it comes to a point for the n-th
// time, and gives what its disk then holds: what was not synced is lost, all of
// it or the part that random says, the last write torn.
func (w *world) crashAt(point string, n int) <-chan *vfs.MemFS {
	left := make(chan *vfs.MemFS, 1)
	dead := &atomic.Bool{}
	fs := w.plan.FS.(*vfs.MemFS)
	keep := vfs.CrashCloneCfg{UnsyncedDataPercent: w.random.IntN(101), RNG: rand.New(rand.NewPCG(w.seed, uint64(w.faults)))}
	var count atomic.Int64
	w.plan.Dead = dead
	w.plan.Failpoint = func(name string) {
		if name == point && count.Add(1) == int64(n) {
			dead.Store(true) // first: what was answered before is on the disk that is cloned
			left <- fs.CrashClone(keep)
		}
	}
	return left
}

// crashing drives the feed while the subject crashes again and again at the
// points that next names, until all is answered.
func (w *world) crashing(next func() (point string, n int)) {
	w.t.Helper()
	left := w.crashAt(next())
	w.start()
	w.ledger.Phase("during")
	driven := make(chan error, 1)
	go func() { driven <- w.driving(nil) }()
	for {
		select {
		case fs := <-left:
			w.fault()
			w.plan.FS = fs
			left = w.crashAt(next())
			w.revive(fs)
			continue
		case err := <-driven:
			require.NoError(w.t, err)
		}
		break
	}
	var fs *vfs.MemFS
	require.Eventually(w.t, func() bool { // it may crash behind the last answer
		select {
		case fs = <-left:
			return true
		default:
			tail, checkpoint, _, _ := w.subject.engine.Progress()
			return tail == checkpoint
		}
	}, patience(), time.Millisecond, "what was answered is not processed")
	w.plan.Failpoint, w.plan.Dead = nil, nil
	if fs != nil {
		w.fault()
		w.revive(fs)
	} else {
		w.restart()
	}
}

// 1b. A power cut at every named point, with any part of what was not synced
// lost and the last write torn.
func TestPowerCut(t *testing.T) {
	each(t, scale(faulttest.Scale{Senders: 4, Messages: 25, Merges: true, Poison: 11}, share(200, 40, faulttest.Scale{Merges: true, Poison: 100})), func(w *world) {
		n := 0
		w.crashing(func() (string, int) {
			n++
			return points[n%len(points)], 1 + w.random.IntN(howMany(10, 300))
		})
		require.NotZero(w.t, w.faults)
		w.holds()
	})
}

// 11. Merges while the retired patients' records change, with crashes in the
// middle of them.
func TestMergesCrash(t *testing.T) {
	each(t, scale(faulttest.Scale{Senders: 2, Messages: 60, Merges: true}, share(50, 30, faulttest.Scale{Merges: true})), func(w *world) {
		merges := 0
		for _, sent := range w.feed.Senders {
			for _, m := range sent {
				if m.Retired != "" {
					merges++
				}
			}
		}
		w.crashing(func() (string, int) {
			if w.faults == 0 { // which every feed reaches
				return "fold", 1 + w.random.IntN(12)
			}
			return []string{"before-commit", "after-commit", "fold"}[w.random.IntN(3)], 1 + w.random.IntN(howMany(12, 40))
		})
		require.NotZero(w.t, merges, "the feed has no merge")
		require.NotZero(w.t, w.faults, "nothing crashed")
		w.holds()
	})
}

// A seed makes the same feed again, and another seed another.
func TestSeed(t *testing.T) {
	text := func(seed uint64) (out string) {
		for _, sent := range faulttest.Generate(seed, faulttest.Scale{Senders: 3, Messages: 30, Merges: true, Poison: 7}).Senders {
			for _, m := range sent {
				out += fmt.Sprintf("%s%+v", m.Raw, m.Seq)
			}
		}
		return out
	}
	require.Equal(t, text(1), text(1))
	require.NotEqual(t, text(1), text(2))
}
