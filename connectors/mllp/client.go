package mllp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// A Client sends messages over one connection, one at a time.
type Client struct {
	mu      sync.Mutex
	conn    net.Conn
	frames  *frames
	out     []byte
	timeout time.Duration
}

// ErrNoAnswer: the connection gave no acknowledgement that names the message.
var ErrNoAnswer = errors.New("no acknowledgement for this message")

// Dial connects; with a TLS configuration over TLS. timeout bounds connecting
// and each answer (0: 30 s).
func Dial(ctx context.Context, address string, t *tls.Config, timeout time.Duration) (*Client, error) {
	timeout = orElse(timeout, 30*time.Second)
	d := &net.Dialer{Timeout: timeout, KeepAlive: time.Minute}
	var conn net.Conn
	var err error
	if t != nil {
		conn, err = (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = d.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	c := &Client{conn: conn, timeout: timeout}
	c.frames = newFrames(conn, 16<<20, timeout, timeout, func(d time.Duration) error { return conn.SetReadDeadline(time.Now().Add(d)) }, func(string, int) {})
	return c, nil
}

// Close closes the connection.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// Send sends one message, batch or file part in a frame and reads its answer:
// the first whose MSA-2 (or BHS-12, of a batch) names it; another is passed
// over. A message that asks for no answer (MSH-15 and 16 NE) gets nil.
func (c *Client) Send(ctx context.Context, raw []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	c.out = appendFrame(c.out[:0], raw)
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	id, silent := "", false
	if !hl7v2.IsBatch(raw) {
		if msg, err := hl7v2.Parse(raw); err == nil {
			h := msg.Header()
			id = h.ControlID
			m := h.AckMode()
			silent = m.Enhanced && !m.Accept.Wants(true) && !m.Application.Wants(true)
		}
	}
	if silent {
		return nil, nil
	}
	for range 16 {
		answer, err := c.frames.next()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
		}
		acks, err := hl7v2.ParseAcks(answer)
		if err != nil {
			return answer, fmt.Errorf("read acknowledgement: %w", err)
		}
		if id == "" || len(acks) > 0 && (acks[0].ControlID == id || acks[0].ControlID == "") {
			return answer, nil
		}
	}
	return nil, ErrNoAnswer
}
