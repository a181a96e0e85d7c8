package pipelines

import (
	"cmp"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
)

// mostReserved is how many open files are kept for what is no sender's
// connection: the store's tables, the brokers, Redis, operations.
const mostReserved = 1280

// Descriptors keeps the senders' connections of all sources together from
// taking the open files that the store needs: a process that cannot open its
// next file has to end. It goes by the limit of the process (RLIMIT_NOFILE) as
// it is when a connection comes. A nil Descriptors has no bound.
type Descriptors struct {
	log  *slog.Logger
	held atomic.Int64
}

// NewDescriptors makes a Descriptors that says in the log, where there is one,
// whom it turned away.
func NewDescriptors(log *slog.Logger) *Descriptors {
	return &Descriptors{log: cmp.Or(log, slog.New(slog.DiscardHandler))}
}

// MostConnections is how many connections all sources may hold together: what
// the process may open less 1,280 files, but at least half.
func (d *Descriptors) MostConnections() int {
	limit := OpenFiles()
	if d == nil || limit >= math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit - min(limit/2, mostReserved))
}

// Listener gives a listener whose connections count, and that closes those for
// which no open file is left.
func (d *Descriptors) Listener(l net.Listener, source string) net.Listener {
	if d == nil {
		return l
	}
	return &countedListener{l, d, source}
}

type countedListener struct {
	net.Listener
	of     *Descriptors
	source string
}

// Accept waits for a connection that may stay.
func (l *countedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err //nolint:wrapcheck // the listener's own
		}
		most := l.of.MostConnections()
		if l.of.held.Add(1) <= int64(most) {
			return &countedConn{Conn: c, of: l.of}, nil
		}
		l.of.held.Add(-1)
		l.of.log.Warn("connection refused", "source", l.source, "peer", c.RemoteAddr().String(), "reason", "the process may not open more files (ulimit -n)", "most", most)
		_ = c.Close()
	}
}

type countedConn struct {
	net.Conn
	of   *Descriptors
	once sync.Once
}

// Close gives the open file back.
func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.of.held.Add(-1) })
	return err //nolint:wrapcheck // the connection's own
}

// CloseWrite ends what is sent, where the connection can.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite() //nolint:wrapcheck // the connection's own
	}
	return net.ErrClosed
}
