package redis_test

import (
	"net"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/connectors/connectortest"
	"github.com/liaison-health/liaison/connectors/redis"
	"github.com/liaison-health/liaison/pipelines"
)

func TestConformance(t *testing.T) {
	connectortest.EarlyFilter(t, connectortest.FilterHarness{Open: func(t *testing.T) connectortest.FilterEndpoint {
		server := miniredis.RunT(t)
		return endpoint(t, server.Addr(), "site",
			func(*testing.T) { server.FastForward(2 * time.Hour) }, func(*testing.T) { server.FlushAll() })
	}})
}

// endpoint is a filter behind a relay that can be stalled.
func endpoint(t *testing.T, address, key string, expire, forget func(*testing.T)) connectortest.FilterEndpoint {
	t.Helper()
	r := newRelay(t, address)
	open := func(t *testing.T) pipelines.EarlyFilter {
		return filter(t, r.listener.Addr().String(), func(c *redis.Config) {
			c.Key = []byte(key)
			c.Timeout = 100 * time.Millisecond
			c.Pause = time.Millisecond
		})
	}
	return connectortest.FilterEndpoint{Filter: open(t), Expire: expire, Forget: forget, Stall: r.stall, Again: open}
}

// A relay passes bytes on to a server, or holds them back.
type relay struct {
	listener net.Listener
	gate     chan chan struct{} // holds the current gate; a closed gate lets pass
}

func newRelay(t *testing.T, address string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	open := make(chan struct{})
	close(open)
	r := &relay{listener: l, gate: make(chan chan struct{}, 1)}
	r.gate <- open
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", address)
			if err != nil {
				_ = in.Close()
				continue
			}
			go r.pass(in, out)
			go r.pass(out, in)
		}
	}()
	return r
}

func (r *relay) pass(from, to net.Conn) {
	defer func() { _ = from.Close(); _ = to.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		g := <-r.gate
		r.gate <- g
		<-g
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (r *relay) stall(t *testing.T) (resume func()) {
	t.Helper()
	closed := make(chan struct{})
	<-r.gate
	r.gate <- closed
	return func() { close(closed) }
}
