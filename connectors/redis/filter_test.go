package redis_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/liaison-health/liaison/connectors/redis"
	"github.com/liaison-health/liaison/connectors/redis/embedded"
	"github.com/liaison-health/liaison/pipelines"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func filter(t *testing.T, address string, change func(*redis.Config)) *redis.Filter {
	t.Helper()
	cfg := redis.Config{Address: address, Key: []byte("site"), Timeout: time.Second, Window: time.Hour}
	if change != nil {
		change(&cfg)
	}
	f, err := redis.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestFilter(t *testing.T) {
	server := miniredis.RunT(t)
	f := filter(t, server.Addr(), nil)
	ctx := t.Context()
	_, ok, err := f.Lookup(ctx, [32]byte{1})
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, f.Remember(ctx, []pipelines.FilterEntry{{Digest: [32]byte{1}, Position: 41}, {Digest: [32]byte{2}, Position: 42}, {Digest: [32]byte{1}, Position: 99}}))
	pos, ok, err := f.Lookup(ctx, [32]byte{1})
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, uint64(41), pos, "the first position stays")

	t.Run("another site's values are not believed", func(t *testing.T) {
		other := filter(t, server.Addr(), func(c *redis.Config) { c.Key = []byte("other") })
		_, ok, err := other.Lookup(ctx, [32]byte{1})
		require.NoError(t, err)
		require.False(t, ok)
	})
	t.Run("poisoned values are not believed", func(t *testing.T) {
		keys := server.Keys()
		require.Len(t, keys, 2)
		first, err := server.Get(keys[0])
		require.NoError(t, err)
		second, err := server.Get(keys[1])
		require.NoError(t, err)
		for _, poison := range []string{"", "x", second, "\x00\x00\x00\x00\x00\x00\x00\x07" + first[8:]} {
			require.NoError(t, server.Set(keys[0], poison))
			for _, d := range [][32]byte{{1}, {2}} {
				if pos, ok, _ := f.Lookup(ctx, d); ok {
					require.Equal(t, uint64(40)+uint64(d[0]), pos)
				}
			}
		}
		require.NoError(t, server.Set(keys[0], first))
	})
	t.Run("nothing but digests is kept", func(t *testing.T) {
		for _, k := range server.Keys() {
			require.Regexp(t, `^liaison:d:[0-9a-f]{40}$`, k)
		}
	})
	t.Run("the window ends", func(t *testing.T) {
		server.FastForward(time.Hour + time.Second)
		_, ok, err := f.Lookup(ctx, [32]byte{2})
		require.NoError(t, err)
		require.False(t, ok)
	})
}

// A server that never answers costs its time-out a few times, then nothing.
func TestSlowServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	f := filter(t, l.Addr().String(), func(c *redis.Config) { c.Timeout = 20 * time.Millisecond; c.Failures = 2; c.Pause = time.Hour })
	for range 2 {
		start := time.Now()
		_, ok, err := f.Lookup(context.Background(), [32]byte{1})
		require.Error(t, err)
		require.False(t, ok)
		require.Less(t, time.Since(start), 2*time.Second)
	}
	_, _, err = f.Lookup(context.Background(), [32]byte{1})
	require.ErrorIs(t, err, redis.ErrPaused)
	require.ErrorIs(t, f.Remember(context.Background(), []pipelines.FilterEntry{{Position: 1}}), redis.ErrPaused)
}

func TestServerGoneAndBack(t *testing.T) {
	server := miniredis.RunT(t)
	f := filter(t, server.Addr(), func(c *redis.Config) { c.Pause = time.Nanosecond })
	require.NoError(t, f.Remember(t.Context(), []pipelines.FilterEntry{{Digest: [32]byte{1}, Position: 1}}))
	server.Close()
	_, ok, err := f.Lookup(t.Context(), [32]byte{1})
	require.Error(t, err)
	require.False(t, ok)
	require.NoError(t, server.Restart())
	require.Eventually(t, func() bool {
		pos, ok, err := f.Lookup(context.Background(), [32]byte{1})
		return err == nil && ok && pos == 1
	}, time.Minute, 5*time.Millisecond)
	server.FlushAll()
	_, ok, err = f.Lookup(t.Context(), [32]byte{1})
	require.NoError(t, err)
	require.False(t, ok)
}

func TestEmbedded(t *testing.T) {
	s, err := embedded.Start(0)
	require.NoError(t, err)
	defer s.Close()
	f := filter(t, s.Addr(), nil)
	require.NoError(t, f.Remember(t.Context(), []pipelines.FilterEntry{{Digest: [32]byte{1}, Position: 7}}))
	pos, ok, err := f.Lookup(t.Context(), [32]byte{1})
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, uint64(7), pos)
	require.NoError(t, f.Close())
}
