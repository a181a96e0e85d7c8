//go:build unix

package pipelines_test

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines"
)

// Connections take no more of the process's open files than leaves the store its
// own: who comes too many is closed and said, and who goes makes room.
func TestConnectionsLeaveOpenFiles(t *testing.T) {
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var said bytes.Buffer
	d := pipelines.NewDescriptors(slog.New(slog.NewTextHandler(&said, nil)))
	counted := d.Listener(l, "adt")
	accepted := make(chan net.Conn, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := counted.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	few := before
	few.Cur = 60
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few))
	defer func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)) }()
	require.Equal(t, 30, d.MostConnections())
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		return c
	}
	var held []net.Conn
	for range 30 {
		c := dial() // its own end is of this process too, and given back
		held = append(held, <-accepted)
		require.NoError(t, c.Close())
	}
	turnedAway := dial()
	_, err = turnedAway.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, turnedAway.Close())
	require.NoError(t, held[0].Close())
	_ = held[0].Close() // a second time gives nothing back
	c := dial()
	held[0] = <-accepted
	require.NoError(t, c.Close())
	again := dial()
	_, err = again.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, again.Close())
	require.NoError(t, l.Close())
	<-ended
	for _, c := range held {
		require.NoError(t, c.Close())
	}
	require.Equal(t, 2, bytes.Count(said.Bytes(), []byte("ulimit -n")))
}
