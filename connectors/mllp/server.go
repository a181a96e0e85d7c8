package mllp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/liaison-health/liaison/pipelines"
)

// Config says how a server listens and answers.
type Config struct {
	Name         string
	Listen       string // host:port
	TLS          *tls.Config
	MaxFrame     int                    // bytes; 0: 16 MiB
	Connections  int                    // at once; 0: 256
	FrameTimeout time.Duration          // from start to end block; 0: 30 s
	IdleTimeout  time.Duration          // between frames; 0: 30 min
	Drain        time.Duration          // how long stopping may take to answer what was read; 0: 10 s
	Processed    bool                   // answer after the outcome instead of after the journal
	Charset      string                 // for messages without MSH-18
	Sequences    Sequences              // of senders that number their messages; nil: MSH-13 is not looked at
	Room         *pipelines.Room        // shared by all sources; nil: no bound
	Descriptors  *pipelines.Descriptors // shared by all sources; nil: no bound
	Outcomes     pipelines.Outcomes
	Answered     func(source, code string) // counts answers; may be nil
	Log          *slog.Logger
}

// lingerTime is how long a peer whose frame was refused may go on sending until
// it reads the answer.
const lingerTime = 2 * time.Second

// A Server is a source of HL7 v2 messages.
type Server struct {
	cfg      Config
	listener net.Listener

	mu       sync.Mutex
	conns    map[*conn]struct{}
	stopping bool
	work     sync.WaitGroup
	answers  answerIDs
	turn     sync.Mutex // of messages with a sequence number
}

// Listen opens the port, so that one in use shows at once; Run serves it.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	cfg.MaxFrame = orElse(cfg.MaxFrame, 16<<20)
	cfg.Connections = orElse(cfg.Connections, 256)
	cfg.FrameTimeout = orElse(cfg.FrameTimeout, 30*time.Second)
	cfg.IdleTimeout = orElse(cfg.IdleTimeout, 30*time.Minute)
	cfg.Drain = orElse(cfg.Drain, 10*time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Answered == nil {
		cfg.Answered = func(string, string) {}
	}
	lc := net.ListenConfig{KeepAlive: time.Minute}
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("source %s: listen: %w", cfg.Name, err)
	}
	l = cfg.Descriptors.Listener(l, cfg.Name)
	if cfg.TLS != nil {
		l = tls.NewListener(l, cfg.TLS)
	}
	s := &Server{cfg: cfg, listener: l, conns: map[*conn]struct{}{}}
	s.answers.prefix = "L" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-"
	return s, nil
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Name implements pipelines.Source.
func (s *Server) Name() string { return s.cfg.Name }

// Addr is where the server listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close gives the port back when Run was never called.
func (s *Server) Close() error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close listener: %w", err)
	}
	return nil
}

// Run implements pipelines.Source: it serves until ctx is done, then takes no
// more connections, answers what it has read, and closes.
func (s *Server) Run(ctx context.Context, in pipelines.Intake) error {
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	stopped := context.AfterFunc(ctx, s.stop)
	defer stopped()
	err := s.accept(ctx, work, in)
	s.stop()
	done := make(chan struct{})
	go func() { s.work.Wait(); close(done) }()
	timer := time.NewTimer(s.cfg.Drain)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		abandon()
		s.cut()
		<-done
	}
	return err
}

func (s *Server) accept(ctx, work context.Context, in pipelines.Intake) error {
	wait := 5 * time.Millisecond
	for {
		c, err := s.listener.Accept()
		switch {
		case err == nil:
			wait = 5 * time.Millisecond
			s.serve(work, c, in)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("source %s: %w", s.cfg.Name, err)
		default: // too many open files, a connection gone: go on, slower
			s.cfg.Log.Warn("accept failed", "source", s.cfg.Name, "error", err.Error())
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil
			}
			wait = min(2*wait, time.Second)
		}
	}
}

func (s *Server) serve(work context.Context, raw net.Conn, in pipelines.Intake) {
	c := &conn{server: s, conn: raw, peer: raw.RemoteAddr().String(), in: in}
	s.mu.Lock()
	full := len(s.conns) >= s.cfg.Connections
	if full || s.stopping {
		s.mu.Unlock()
		s.cfg.Log.Warn("connection refused", "source", s.cfg.Name, "peer", c.peer, "full", full)
		_ = raw.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.work.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.work.Done()
		defer func() {
			if failure := recover(); failure != nil { // one connection never ends the server
				s.cfg.Log.Error("connection failed", "source", s.cfg.Name, "peer", c.peer, "stack", string(debug.Stack()))
			}
			_ = raw.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
		c.run(work)
	}()
}

// stop ends intake: no new connections, no further reads.
func (s *Server) stop() {
	_ = s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for c := range s.conns {
		c.halt()
	}
}

// cut closes what did not end by itself.
func (s *Server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.conn.Close()
	}
}

// A conn is one sender.
type conn struct {
	server *Server
	conn   net.Conn
	peer   string
	in     pipelines.Intake

	mu     sync.Mutex
	halted bool
}

// halt makes the next read from the network fail; what was read is answered.
func (c *conn) halt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.halted = true
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
}

func (c *conn) deadline(d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.halted {
		return nil
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	return nil
}

func (c *conn) run(ctx context.Context) {
	cfg := &c.server.cfg
	if err := c.handshake(ctx); err != nil {
		c.ended(fmt.Errorf("TLS: %w", err))
		return
	}
	a := answerer{conn: c, ctx: ctx}
	f := newFrames(&asker{conn: c.conn, before: a.flush}, cfg.MaxFrame, cfg.IdleTimeout, cfg.FrameTimeout, c.deadline, func(reason string, bytes int) {
		cfg.Log.Warn("mllp framing", "source", cfg.Name, "peer", c.peer, "what", reason, "bytes", bytes)
	})
	share := cfg.Room.Enter(int64(cfg.MaxFrame))
	f.room = func(bytes int) (bool, error) { return share.Grow(ctx, int64(bytes)) }
	f.leave = share.Leave
	defer f.done()
	for {
		raw, err := f.next()
		if err == nil {
			err = a.handle(raw)
		} else if errors.Is(err, errTooLong) {
			a.reject(f.partial, "104", errTooLong.Error())
		}
		if err != nil {
			if a.flush() == nil && errors.Is(err, errTooLong) {
				c.linger()
			}
			c.ended(err)
			return
		}
	}
}

// An asker sends the answers that stand ready before it waits for the network, so
// that a pipelined sender gets many at once, and nobody waits for what the sender
// has not sent.
type asker struct {
	conn   net.Conn
	before func() error
}

func (a *asker) Read(p []byte) (int, error) {
	if err := a.before(); err != nil {
		return 0, err
	}
	return a.conn.Read(p) //nolint:wrapcheck // io.EOF and time-outs are the caller's to tell apart
}

// handshake does what TLS needs before the first frame, within the time of a
// frame: a peer that connects and says nothing does not hold its place for the
// idle time.
func (c *conn) handshake(ctx context.Context) error {
	t, ok := c.conn.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.server.cfg.FrameTimeout)
	defer cancel()
	if err := c.deadline(c.server.cfg.FrameTimeout); err != nil {
		return err
	}
	return t.HandshakeContext(ctx)
}

// linger closes the side that writes and reads what the peer still sends, for a
// limited time: closing with bytes unread would take the answer from it.
func (c *conn) linger() {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.deadline(lingerTime) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c.conn)
}

func (c *conn) ended(err error) {
	c.mu.Lock()
	halted := c.halted
	c.mu.Unlock()
	if halted || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return
	}
	c.server.cfg.Log.Info("connection closed", "source", c.server.cfg.Name, "peer", c.peer, "why", err.Error())
}
