//go:build integration

package redis_test

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/connectors/connectortest"
)

// TestRealConformance runs the suite against a redis-server of the test's own.
func TestRealConformance(t *testing.T) {
	address := os.Getenv("LIAISON_REDIS")
	require.NotEmpty(t, address, "LIAISON_REDIS is host:port of a server")
	client := goredis.NewClient(&goredis.Options{Addr: address})
	defer func() { require.NoError(t, client.Close()) }()
	var n atomic.Int64
	connectortest.EarlyFilter(t, connectortest.FilterHarness{Open: func(t *testing.T) connectortest.FilterEndpoint {
		expire := func(t *testing.T) { // every key's window ends now
			for _, k := range client.Keys(t.Context(), "*").Val() {
				require.NoError(t, client.PExpire(t.Context(), k, time.Millisecond).Err())
			}
			require.Eventually(t, func() bool { return client.DBSize(t.Context()).Val() == 0 }, time.Minute, time.Millisecond)
		}
		forget := func(t *testing.T) { require.NoError(t, client.FlushAll(t.Context()).Err()) }
		return endpoint(t, address, fmt.Sprintf("site-%d", n.Add(1)), expire, forget)
	}})
}
