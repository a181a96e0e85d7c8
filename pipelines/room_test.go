package pipelines_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines"
)

const mib = 1 << 20

// Many messages that grow to any size hold no more than there is in all, and all
// of them come to their end: none wait for each other.
func TestRoomIsBoundedAndNeverStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := pipelines.NewRoom(20 * mib)
		random := rand.New(rand.NewPCG(1, 2))
		var held, most atomic.Int64
		var senders sync.WaitGroup
		for range 64 {
			largest := int64(1+random.IntN(24)) * mib
			ends := 1 + random.Int64N(min(largest, 20*mib))
			pause := time.Duration(1+random.IntN(50)) * time.Millisecond
			senders.Go(func() {
				share := room.Enter(largest)
				last := int64(0)
				for at := int64(1); ; at = min(at+mib/2, ends) {
					_, err := share.Grow(t.Context(), at)
					require.NoError(t, err)
					most.Store(max(most.Load(), held.Add(at-last)))
					last = at
					<-time.After(pause)
					if at == ends {
						break
					}
				}
				held.Add(-last)
				share.Leave()
				share.Leave()
			})
		}
		senders.Wait()
		require.LessOrEqual(t, most.Load(), int64(20*mib))
		require.Greater(t, most.Load(), int64(10*mib), "and the room is used")
	})
}

// A message takes what was read of it: senders that began one that may become
// large leave room for one that is.
func TestRoomOfSlowSenders(t *testing.T) {
	room := pipelines.NewRoom(20 * mib)
	var slow []*pipelines.Share
	for range 6 {
		s := room.Enter(8 * mib)
		waited, err := s.Grow(t.Context(), mib+1)
		require.NoError(t, err)
		require.False(t, waited)
		slow = append(slow, s)
	}
	large := room.Enter(8 * mib)
	waited, err := large.Grow(t.Context(), 8*mib)
	require.NoError(t, err)
	require.False(t, waited)
	late, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = room.Enter(8*mib).Grow(late, 2*mib)
	require.ErrorIs(t, err, context.Canceled, "there is no more")
	large.Leave()
	_, err = room.Enter(8*mib).Grow(t.Context(), 2*mib)
	require.NoError(t, err, "who gave up is not in the way")
	for _, s := range slow {
		s.Leave()
	}
	var none *pipelines.Room
	_, err = none.Enter(1).Grow(t.Context(), 1<<40)
	require.NoError(t, err, "no room, no bound")
	none.Enter(1).Leave()
}
