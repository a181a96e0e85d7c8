package faulttest_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines/faulttest"
)

// A caller is one connection whose bytes the test chooses.
type caller struct {
	w *world
	net.Conn
	r *bufio.Reader
}

func (w *world) call() *caller {
	w.t.Helper()
	conn, err := dial(w.t.Context(), w.subject.address(0))
	require.NoError(w.t, err)
	require.NoError(w.t, conn.SetDeadline(time.Now().Add(patience())))
	w.t.Cleanup(func() { _ = conn.Close() })
	return &caller{w: w, Conn: conn, r: bufio.NewReader(conn)}
}

// say writes bytes; the peer may be gone already.
func (c *caller) say(pieces ...[]byte) {
	for _, p := range pieces {
		_, _ = c.Write(p)
	}
}

// expect reads the answers to messages, in their order.
func (c *caller) expect(messages ...*faulttest.Message) {
	c.w.t.Helper()
	for _, m := range messages {
		code, names, err := readAnswer(c.r)
		require.NoError(c.w.t, err, "the answer to %s", m.Control)
		c.w.ledger.Answer(m, code, names, 0)
		require.Equal(c.w.t, "AA", code)
		require.Equal(c.w.t, m.Control, names)
	}
}

// hangs up in the middle: what is on its way is lost.
func (c *caller) reset() {
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// 6. Frames cut at every place, several in one piece, with noise between them,
// begun anew, and connections that are reset within one: exactly the messages
// that were sent whole are taken, each answered once and in order.
func TestFraming(t *testing.T) {
	each(t, scale(faulttest.Scale{Senders: 1, Messages: 12}, faulttest.Scale{Senders: 1, Messages: 200}), func(w *world) {
		w.plan.MaxFrame = 64 << 10
		w.start()
		sent := w.feed.Senders[0]
		c := w.call()
		for n, m := range sent {
			w.ledger.Send(m)
			whole := frame(m.Raw)
			switch n % 4 {
			case 0: // cut at every place
				for cut := 1 + n%3; cut < len(whole); cut += howMany(29, 1) {
					c.say(whole[:cut], whole[cut:])
					c.expect(m)
				}
			case 1: // with what may stand between frames, and a frame that never ended
				c.say([]byte("\r\n \x00"), whole[:len(whole)/2], whole, []byte("\n"))
				c.expect(m)
			case 2: // many in one piece
				c.say(bytes.Repeat(whole, 5))
				c.expect(m, m, m, m, m)
			default: // reset within the frame, then whole
				for cut := 1; cut < len(whole)-2; cut += howMany(41, 7) {
					broken := w.call()
					broken.say(whole[:cut])
					broken.reset()
					w.fault()
				}
				c.say(whole)
				c.expect(m)
			}
		}
		w.holds()
	})
}

// 6. A frame without an end and one that trickles end their connection with
// bounded memory, and the good connection beside them goes on.
func TestEndlessFrames(t *testing.T) {
	alone(t, scale(faulttest.Scale{Senders: 1, Messages: 10}, faulttest.Scale{Senders: 1, Messages: 200}), func(w *world) {
		w.plan.MaxFrame, w.plan.FrameTimeout, w.plan.Connections = 256<<10, 400*time.Millisecond, 4096
		w.start()
		good, before := w.call(), heap()
		var bad sync.WaitGroup
		for range howMany(20, 200) {
			c := w.call()
			w.fault()
			bad.Go(func() { // endless
				chunk := bytes.Repeat([]byte("x"), 32<<10)
				c.say([]byte{0x0b}, []byte("MSH|^~\\&|S|F|||20260101||ADT^A08|1|P|2.5.1\r"))
				for range howMany(64, 32<<10) {
					if _, err := c.Write(chunk); err != nil {
						break
					}
				}
				_, _ = io.Copy(io.Discard, c)
			})
		}
		for range howMany(20, 2000) { // begun, and then silent
			c := w.call()
			w.fault()
			c.say([]byte{0x0b}, []byte("MSH|^~"))
			bad.Go(func() { _, _ = io.Copy(io.Discard, c) })
		}
		for _, m := range w.feed.Senders[0] {
			w.ledger.Send(m)
			good.say(frame(m.Raw))
			good.expect(m)
		}
		bad.Wait() // the source has ended every one of them
		require.Less(w.t, heap(), before+uint64(howMany(32, 512))<<20, "bytes of memory")
		w.holds()
	})
}

// 12. More connections than the process may have open files, connecting again
// all at once: none is lost for good, and the process lives.
func TestConnections(t *testing.T) {
	each(t, scale(faulttest.Scale{Senders: 120, Messages: 2}, faulttest.Scale{Senders: 10_000, Messages: 2}), func(w *world) {
		w.onDisk()
		files := uint64(howMany(100, 4096))
		p, err := w.spawn(orders{Files: files, Connections: 20_000})
		require.NoError(w.t, err)
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Duration(howMany(2, 10))*time.Minute)
		defer cancel()
		var senders sync.WaitGroup
		for n := range w.feed.Senders {
			senders.Go(func() {
				for _, m := range w.feed.Senders[n] { // each on a new connection: a storm of them
					l := &line{w: w}
					l.deliver(ctx, m)
					l.close()
				}
			})
		}
		senders.Wait()
		w.fault()
		select {
		case err := <-p.ended:
			require.NoError(w.t, err, "the process ended: %s", p.errs.String())
		default:
		}
		require.NoError(w.t, ctx.Err(), "not everything was answered: %s", p.errs.String())
		require.NoError(w.t, p.input.Close())
		require.NoError(w.t, w.gone(p), p.errs.String())
		w.start()
		w.holds()
	})
}
