package pipelines_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines"
)

// Many senders of one source together bring in what its rate allows and a tenth
// of a second's worth at once; after a pause no more than that is made up for.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipelines.NewPace(50)
		began := time.Now()
		var senders sync.WaitGroup
		for range 10 {
			senders.Go(func() {
				for range 20 {
					require.NoError(t, p.Wait(t.Context()))
				}
			})
		}
		senders.Wait()
		require.Equal(t, (200-1-5)*20*time.Millisecond, time.Since(began))
		<-time.After(time.Minute)
		began = time.Now()
		for range 16 {
			require.NoError(t, p.Wait(t.Context()))
		}
		require.Equal(t, 10*20*time.Millisecond, time.Since(began))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, p.Wait(ctx), context.Canceled)
		require.NoError(t, pipelines.NewPace(0).Wait(ctx), "no rate, no bound")
	})
}
