package mllp

import (
	"bytes"
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

// ErrFramed: a message that holds the bytes of a frame would be another one, or
// several, to who receives it.
var ErrFramed = errors.New("the message holds bytes that begin or end an MLLP frame")

// framed says whether a message holds a start block, or an end block with its
// carriage return or at its end.
func framed(raw []byte) bool {
	return bytes.IndexByte(raw, startBlock) >= 0 || bytes.Contains(raw, []byte{endBlock, carriage}) || bytes.HasSuffix(raw, []byte{endBlock})
}

// Close closes the connection.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// Send sends one message, batch or file part in a frame and gives its last
// answer: the application's where the message asks for both (MSH-15 and 16 AL).
// A message that asks for no answer (MSH-15 and 16 NE) gets nil.
func (c *Client) Send(ctx context.Context, raw []byte) ([]byte, error) {
	answers, err := c.Answers(ctx, raw)
	if len(answers) == 0 {
		return nil, err
	}
	return answers[len(answers)-1], err
}

// Answers is Send with every answer, in their order. An answer is one whose
// MSA-2 names the message; another is passed over. A batch, whose answer names
// its messages, has the first that comes.
func (c *Client) Answers(ctx context.Context, raw []byte) ([][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if framed(raw) {
		return nil, ErrFramed
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	c.out = appendFrame(c.out[:0], raw)
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	id, want := "", 1
	if !hl7v2.IsBatch(raw) {
		if msg, err := hl7v2.Parse(raw); err == nil {
			id, want = msg.Header().ControlID, answersOf(msg.Header().AckMode())
		}
	}
	var out [][]byte
	for read := 0; len(out) < want; read++ {
		if read == 16 {
			return out, ErrNoAnswer
		}
		answer, err := c.frames.next()
		if err != nil {
			return out, fmt.Errorf("%w: %w", ErrNoAnswer, err)
		}
		acks, err := hl7v2.ParseAcks(answer)
		if err != nil {
			return append(out, answer), fmt.Errorf("read acknowledgement: %w", err)
		}
		if !names(acks, id) {
			continue
		}
		out = append(out, answer)
		if id != "" && !acks[0].Code.Positive() { // refused: nothing comes behind it
			return out, nil
		}
	}
	return out, nil
}

// names says whether acknowledgements are of a message. A receiver that cannot
// read MSH-10 refuses without naming it; a positive answer names it.
func names(acks []hl7v2.Ack, id string) bool {
	if id == "" || len(acks) == 0 {
		return true
	}
	return acks[0].ControlID == id || acks[0].ControlID == "" && !acks[0].Code.Positive()
}

// answersOf is how many answers a positive outcome has.
func answersOf(m hl7v2.AckMode) int {
	if !m.Enhanced {
		return 1
	}
	n := 0
	for _, c := range []hl7v2.AckWhen{m.Accept, m.Application} {
		if c.Wants(true) {
			n++
		}
	}
	return n
}
