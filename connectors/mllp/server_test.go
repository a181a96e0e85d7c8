package mllp_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/liaison-health/liaison/connectors/mllp"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/pipelines"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// intake is a journal of the test's own.
type intake struct {
	mu      sync.Mutex
	got     [][]byte
	err     func(raw []byte) error
	outcome pipelines.Outcome
}

func (i *intake) Accept(_ context.Context, m *pipelines.Message) (pipelines.Receipt, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err != nil {
		if err := i.err(m.Raw); err != nil {
			return pipelines.Receipt{}, err
		}
	}
	i.got = append(i.got, m.Raw)
	return pipelines.Receipt{Position: uint64(len(i.got))}, nil
}

func (i *intake) Wait(context.Context, uint64) (pipelines.Outcome, error) { return i.outcome, nil }

func (i *intake) messages() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := make([]string, len(i.got))
	for k, m := range i.got {
		out[k] = string(m)
	}
	return out
}

// serve runs a server until the test ends, or until the returned stop.
func serve(t *testing.T, in *intake, change func(*mllp.Config)) (address string, stop func() error) {
	t.Helper()
	cfg := mllp.Config{Name: "adt", Listen: "127.0.0.1:0", Outcomes: in, MaxFrame: 64 << 10, FrameTimeout: 5 * time.Second}
	if change != nil {
		change(&cfg)
	}
	s, err := mllp.Listen(t.Context(), cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, in) }()
	var once sync.Once
	var result error
	stop = func() error {
		once.Do(func() { cancel(); result = <-done })
		return result
	}
	t.Cleanup(func() { require.NoError(t, stop()) })
	return s.Addr(), stop
}

func adt(id string, more ...string) string {
	return "MSH|^~\\&|EPIC|NORTH|LIAISON|NORTH|20260310083000||ADT^A08^ADT_A01|" + id + "|P|2.5.1" + strings.Join(more, "") + "\rEVN|A08|20260310083000\rPID|1||4711^^^NORTH^MR||Doe^Jane\r"
}

func frame(m string) string { return "\x0b" + m + "\x1c\r" }

// exchange writes the parts one by one, ends its side, and reads all answers.
func exchange(t *testing.T, address string, parts ...string) []hl7v2.Ack {
	t.Helper()
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	for _, p := range parts {
		if _, err := io.WriteString(c, p); err != nil {
			break // the server has closed: what it answered counts
		}
	}
	_ = c.(*net.TCPConn).CloseWrite()
	all, _ := io.ReadAll(c)
	var acks []hl7v2.Ack
	for _, part := range bytes.Split(all, []byte{0x1c, '\r'}) {
		if len(part) == 0 {
			continue
		}
		require.Equal(t, byte(0x0b), part[0])
		got, err := hl7v2.ParseAcks(part[1:])
		require.NoError(t, err)
		acks = append(acks, got...)
	}
	return acks
}

// TestFraming holds every row of the framing table with the bytes cut in two
// at every offset.
func TestFraming(t *testing.T) {
	a, b := adt("1"), adt("2")
	rows := []struct {
		name  string
		bytes string
		want  []string
	}{
		{"one frame", frame(a), []string{a}},
		{"two frames in one write", frame(a) + frame(b), []string{a, b}},
		{"a frame and the beginning of another", frame(a) + "\x0bMSH|^~\\&|X", []string{a}},
		{"a line feed behind the end", frame(a) + "\n" + frame(b), []string{a, b}},
		{"blank lines and zeros between frames", "\r\n\x00" + frame(a) + "\r\n\r\n\x00\x00 " + frame(b), []string{a, b}},
		{"garbage before the start", "GET / HTTP/1.1\r\n\r\n" + frame(a), []string{a}},
		{"an end block without carriage return, then the next frame", "\x0b" + a + "\x1c" + frame(b), []string{a, b}},
		{"an end block without carriage return, then the end", "\x0b" + a + "\x1c", []string{a}},
		{"a new start before the end", "\x0bMSH|^~\\&|LOST" + frame(a), []string{a}},
		{"an end block byte within the data", frame(strings.Replace(a, "Doe", "D\x1coe", 1)), []string{strings.Replace(a, "Doe", "D\x1coe", 1)}},
		{"double framing", "\x0b\x0b" + a + "\x1c\r\x1c\r" + frame(b), []string{a, b}},
		{"the connection ends within a frame", frame(a) + "\x0b" + b, []string{a}},
		{"an empty frame", "\x0b\x1c\r" + frame(a), []string{a}},
		{"lines ended by LF", frame(strings.ReplaceAll(a, "\r", "\n")), []string{strings.ReplaceAll(a, "\r", "\n")}},
		{"lines ended by CR LF, no line end at last", frame(strings.TrimSuffix(strings.ReplaceAll(a, "\r", "\r\n"), "\r\n")), []string{strings.TrimSuffix(strings.ReplaceAll(a, "\r", "\r\n"), "\r\n")}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			in := &intake{}
			address, _ := serve(t, in, nil)
			for cut := range len(row.bytes) {
				in.mu.Lock()
				in.got = nil
				in.mu.Unlock()
				acks := exchange(t, address, row.bytes[:cut], row.bytes[cut:])
				require.Equal(t, row.want, in.messages(), "cut at %d", cut)
				require.Len(t, acks, len(row.want), "cut at %d", cut)
				for i, ack := range acks {
					require.Equal(t, hl7v2.AckCode("AA"), ack.Code)
					require.Contains(t, row.want[i], "|"+ack.ControlID+"|P|")
				}
			}
		})
	}
}

// A message with the bytes of a frame in it is not sent: it would arrive as
// another.
func TestClientKeepsFramesWhole(t *testing.T) {
	in := &intake{}
	address, _ := serve(t, in, nil)
	c, err := mllp.Dial(t.Context(), address, nil, 20*time.Second)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	for _, bad := range []string{"\x0b", "\x1c\r", "\x1c\r\x0bMSH|^~\\&|A|B|||||ADT^A08|2|P|2.5\r"} {
		_, err := c.Send(t.Context(), []byte(adt("C1")+"NTE|1||a"+bad+"b\r"))
		require.ErrorIs(t, err, mllp.ErrFramed)
	}
	_, err = c.Send(t.Context(), []byte(adt("C2")+"\x1c"))
	require.ErrorIs(t, err, mllp.ErrFramed)
	_, err = c.Send(t.Context(), []byte(adt("C3")+"NTE|1||a\x1cb\r"))
	require.NoError(t, err, "an end block alone ends nothing")
	require.Len(t, in.messages(), 1)
}

// What stands behind a frame in the same piece keeps its answer from nobody: a
// line feed, blanks, or the beginning of the next frame.
func TestAnswerDoesNotWait(t *testing.T) {
	for _, behind := range []string{"\n", "\r\n", " ", "\x00", "\x0bMSH|^~"} {
		address, _ := serve(t, &intake{}, nil)
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = io.WriteString(c, frame(adt("C1"))+behind)
		require.NoError(t, err)
		answer, err := bufio.NewReader(c).ReadString(0x1c)
		require.NoError(t, err, "no answer before %q is dealt with", behind)
		require.Contains(t, answer, "MSA|AA|C1")
		require.NoError(t, c.Close())
	}
}

// A sender that never writes the carriage return and waits gets its answer.
func TestEndBlockThenSilence(t *testing.T) {
	address, _ := serve(t, &intake{}, nil)
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_, err = io.WriteString(c, "\x0b"+adt("1")+"\x1c")
	require.NoError(t, err)
	answer, err := bufio.NewReader(c).ReadString('\x1c')
	require.NoError(t, err)
	require.Contains(t, answer, "MSA|AA|1")
}

func TestLimits(t *testing.T) {
	t.Run("a frame without end is refused and bounded", func(t *testing.T) {
		in := &intake{}
		address, _ := serve(t, in, nil)
		acks := exchange(t, address, "\x0b"+adt("1"), strings.Repeat("x", 1<<20))
		require.Empty(t, in.messages())
		require.Len(t, acks, 1)
		require.Equal(t, hl7v2.AckCode("AR"), acks[0].Code)
	})
	t.Run("half a frame, then silence", func(t *testing.T) {
		in := &intake{}
		address, _ := serve(t, in, func(c *mllp.Config) { c.FrameTimeout = 50 * time.Millisecond })
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		_, err = io.WriteString(c, "\x0bMSH|")
		require.NoError(t, err)
		rest, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Empty(t, rest)
		require.Empty(t, in.messages())
	})
	t.Run("an idle connection", func(t *testing.T) {
		address, _ := serve(t, &intake{}, func(c *mllp.Config) { c.IdleTimeout = 50 * time.Millisecond })
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
	t.Run("no frame at all", func(t *testing.T) {
		address, _ := serve(t, &intake{}, nil)
		require.Empty(t, exchange(t, address, strings.Repeat("no frames here", 1000)))
	})
	t.Run("more connections than allowed", func(t *testing.T) {
		address, _ := serve(t, &intake{}, func(c *mllp.Config) { c.Connections = 1 })
		first, err := mllp.Dial(t.Context(), address, nil, 0)
		require.NoError(t, err)
		defer func() { _ = first.Close() }()
		_, err = first.Send(t.Context(), []byte(adt("1")))
		require.NoError(t, err)
		require.Empty(t, exchange(t, address, frame(adt("2"))))
		_, err = first.Send(t.Context(), []byte(adt("3")))
		require.NoError(t, err)
	})
}

func TestAnswers(t *testing.T) {
	quarantined := pipelines.Outcome{Status: pipelines.Quarantined, Place: "PID-3", Reason: "no patient id"}
	rows := []struct {
		name      string
		more      string // from MSH-13 on
		err       error
		outcome   pipelines.Outcome
		processed bool
		want      string
	}{
		{name: "original mode", want: "AA"},
		{name: "no room", err: pipelines.ErrFull, want: "AE"},
		{name: "stopping", err: pipelines.ErrClosed, want: "AE"},
		{name: "an unknown failure", err: errors.New("disk"), want: "AE"},
		{name: "refused", err: &pipelines.Refused{Code: "AR", Condition: "202", Place: "MSH-11", Reason: "test data"}, want: "AR"},
		{name: "after the outcome", processed: true, outcome: pipelines.Outcome{Status: pipelines.Published}, want: "AA"},
		{name: "after the outcome, quarantined", processed: true, outcome: quarantined, want: "AE"},
		{name: "stored, quarantined later", outcome: quarantined, want: "AA"},
		{name: "commit only", more: "|||AL|NE", want: "CA"},
		{name: "commit only, no room", more: "|||AL|NE", err: pipelines.ErrFull, want: "CE"},
		{name: "application only", more: "|||NE|AL", want: "AA"},
		{name: "both", more: "|||AL|AL", outcome: pipelines.Outcome{Status: pipelines.Published}, want: "CA AA"},
		{name: "both, quarantined", more: "|||AL|AL", outcome: quarantined, want: "CA AE"},
		{name: "on error only, none", more: "|||ER|NE", want: ""},
		{name: "on error only, refused", more: "|||ER|NE", err: &pipelines.Refused{Code: "AR", Condition: "202", Reason: "test data"}, want: "CR"},
		{name: "application on error, quarantined", more: "|||NE|ER", outcome: quarantined, want: "AE"},
		{name: "application on error, none", more: "|||NE|ER", outcome: pipelines.Outcome{Status: pipelines.Unchanged}, want: ""},
		{name: "never", more: "|||NE|NE", want: ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			in := &intake{outcome: row.outcome, err: func([]byte) error { return row.err }}
			address, _ := serve(t, in, func(c *mllp.Config) { c.Processed = row.processed })
			var codes []string
			for _, ack := range exchange(t, address, frame(adt("77", row.more))) {
				require.Equal(t, "77", ack.ControlID)
				codes = append(codes, string(ack.Code))
				if !ack.Code.Positive() {
					require.NotEmpty(t, ack.Errors)
				}
			}
			require.Equal(t, row.want, strings.Join(codes, " "))
		})
	}
	t.Run("the reason of a quarantine in the words of table 0357", func(t *testing.T) {
		for reason, code := range map[pipelines.Reason]string{
			pipelines.UnsupportedMessage: "200", pipelines.Undecodable: "102", pipelines.Syntax: "100", pipelines.NothingMapped: "207",
		} {
			in := &intake{outcome: pipelines.Outcome{Status: pipelines.Quarantined, Place: "MSH-9", Reason: string(reason)}}
			address, _ := serve(t, in, func(c *mllp.Config) { c.Processed = true })
			acks := exchange(t, address, frame(adt("77")))
			require.Equal(t, code, acks[0].Errors[0].Code, reason)
		}
	})
	t.Run("an acknowledgement is never answered", func(t *testing.T) {
		in := &intake{}
		address, _ := serve(t, in, nil)
		require.Empty(t, exchange(t, address, frame("MSH|^~\\&|A|B|C|D|20260310||ACK|9|P|2.5.1\rMSA|AA|1\r")))
		require.Empty(t, in.messages())
	})
	t.Run("what is no message", func(t *testing.T) {
		address, _ := serve(t, &intake{}, nil)
		acks := exchange(t, address, frame("HELLO"))
		require.Len(t, acks, 1)
		require.Equal(t, hl7v2.AckCode("AR"), acks[0].Code)
	})
}

func TestBatch(t *testing.T) {
	in := &intake{}
	address, _ := serve(t, in, nil)
	batch := "BHS|^~\\&|EPIC|NORTH|LIAISON|NORTH|20260310||||B1\r" + adt("1") + adt("2") + "BTS|2\r"
	acks := exchange(t, address, frame(batch))
	require.Len(t, acks, 2)
	require.Len(t, in.messages(), 2)
	cut := "BHS|^~\\&|EPIC|NORTH|LIAISON|NORTH|20260310||||B2\r" + adt("3") + "BTS|2\r"
	acks = exchange(t, address, frame(cut))
	require.Len(t, acks, 1)
	require.Equal(t, []string{"AE", "B2"}, []string{string(acks[0].Code), acks[0].ControlID}, "the batch may be sent again, whole")
	require.Len(t, in.messages(), 2, "of a batch that was cut short nothing is taken")
	in.outcome = pipelines.Outcome{Status: pipelines.Published}
	both := "BHS|^~\\&|EPIC|NORTH|LIAISON|NORTH|20260310||||B3\r" + adt("6", "|||AL|AL") + adt("7", "|||AL|AL") + "BTS|2\r"
	acks = exchange(t, address, frame(both))
	var codes []string
	for _, ack := range acks {
		codes = append(codes, string(ack.Code)+" "+ack.ControlID)
	}
	require.Equal(t, []string{"CA 6", "AA 6", "CA 7", "AA 7"}, codes)
	require.Equal(t, 1, frames(t, address, frame(both)), "one batch of acknowledgements")
	acks = exchange(t, address, frame(adt("4")+adt("5")))
	require.Len(t, acks, 2, "two messages in a frame are two messages")
}

// A frame of many messages is answered as they are taken; a batch, which has one
// answer, has a bound.
func TestManyInOneFrame(t *testing.T) {
	in := &intake{}
	address, _ := serve(t, in, func(c *mllp.Config) { c.MaxFrame = 4 << 20 })
	acks := exchange(t, address, frame(strings.Repeat(adt("1"), 3000)))
	require.Len(t, acks, 3000)
	acks = exchange(t, address, frame("BHS|^~\\&|EPIC|NORTH|LIAISON|NORTH|20260310||||B1\r"+strings.Repeat("MSH|^~\\&\r", 10_001)+"BTS|10001\r"))
	require.Len(t, acks, 1)
	require.NotEqual(t, hl7v2.AckCode("AA"), acks[0].Code)
	require.Len(t, in.messages(), 3000)
}

// A peer that sends empty frames without end loses its connection, and nobody
// else anything.
func TestEmptyFrames(t *testing.T) {
	address, _ := serve(t, &intake{}, nil)
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	for empty := []byte(strings.Repeat("\x0b\x1c\r", 64<<10)); err == nil; {
		_, err = c.Write(empty)
	}
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.Close())
	require.Len(t, exchange(t, address, "\x0b\x1c\r"+frame(adt("1"))), 1)
}

// frames counts the frames of an answer.
func frames(t *testing.T, address, message string) int {
	t.Helper()
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_, err = io.WriteString(c, message)
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	all, err := io.ReadAll(c)
	require.NoError(t, err)
	return bytes.Count(all, []byte("\x1c\r"))
}

// A peer that connects over TLS and says nothing does not keep its place.
func TestSilentHandshake(t *testing.T) {
	address, _ := serve(t, &intake{}, func(c *mllp.Config) {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		c.FrameTimeout = 50 * time.Millisecond
	})
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

// With room for one large message, a second waits unread until the first is
// answered; small ones go by.
func TestRoom(t *testing.T) {
	entered, release := make(chan string, 4), make(chan struct{})
	in := &intake{}
	large := func(id string) string {
		return adt(id) + "NTE|1||" + strings.Repeat("x", 2*pipelines.LargeMessage) + "\r"
	}
	blocked := blocking{intake: in, entered: entered, release: release}
	s, err := mllp.Listen(t.Context(), mllp.Config{Name: "adt", Listen: "127.0.0.1:0", Room: pipelines.NewRoom(1), FrameTimeout: 5 * time.Second})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, &blocked) }()
	var group sync.WaitGroup
	for _, id := range []string{"first", "second"} {
		group.Go(func() {
			acks := exchange(t, s.Addr(), frame(large(id)))
			if len(acks) != 1 || !acks[0].Code.Positive() {
				t.Errorf("%s: %v", id, acks)
			}
		})
	}
	<-entered
	require.Len(t, exchange(t, s.Addr(), frame(adt("small"))), 1)
	select {
	case <-entered:
		t.Error("the second large message is taken in while the first is")
	case <-time.After(200 * time.Millisecond):
	}
	close(release)
	group.Wait()
	require.Len(t, in.messages(), 3)
	cancel()
	require.NoError(t, <-done)
}

// Senders that began a large frame and stand still hold what they have sent of
// it, not what a frame may be: a large frame of another goes by.
func TestRoomOfSlowSenders(t *testing.T) {
	in := &intake{}
	address, _ := serve(t, in, func(c *mllp.Config) {
		c.MaxFrame, c.Room, c.FrameTimeout = 4*pipelines.LargeMessage, pipelines.NewRoom(16*pipelines.LargeMessage), time.Minute
	})
	large := adt("large") + "NTE|1||" + strings.Repeat("x", pipelines.LargeMessage+pipelines.LargeMessage/2) + "\r"
	for range 6 {
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		_, err = io.WriteString(c, "\x0b"+large)
		require.NoError(t, err)
	}
	require.Len(t, exchange(t, address, frame(large)), 1)
	require.Len(t, in.messages(), 1)
}

// blocking holds large messages until it is released.
type blocking struct {
	*intake
	entered chan string
	release chan struct{}
}

func (b *blocking) Accept(ctx context.Context, m *pipelines.Message) (pipelines.Receipt, error) {
	if len(m.Raw) > pipelines.LargeMessage {
		b.entered <- ""
		<-b.release
	}
	return b.intake.Accept(ctx, m)
}

// The client gives a message the answers that name it, in pieces or not, and
// passes over those of others.
func TestClientMatches(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	ack := func(code, id string) string {
		return frame("MSH|^~\\&|B|B|A|A|20260310||ACK|1|P|2.5.1\rMSA|" + code + "|" + id + "\r")
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := l.Accept()
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = c.Close() })
		r := bufio.NewReader(c)
		for _, answers := range []string{ack("AA", "7") + ack("AE", "1"), ack("CA", "2") + ack("AA", "2"), ack("AA", "")} {
			if _, err := r.ReadString('\r'); err != nil { // the frame's first segment; the rest is read with the next
				return
			}
			for i := range len(answers) {
				_, _ = io.WriteString(c, answers[i:i+1])
			}
			if _, err := r.ReadString('\x1c'); err != nil {
				return
			}
			_, _ = r.ReadByte()
		}
	}()
	c, err := mllp.Dial(t.Context(), l.Addr().String(), nil, 5*time.Second)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	answer, err := c.Send(t.Context(), []byte(adt("1")))
	require.NoError(t, err)
	require.Contains(t, string(answer), "MSA|AE|1")
	answers, err := c.Answers(t.Context(), []byte(adt("2", "|||AL|AL")))
	require.NoError(t, err)
	require.Len(t, answers, 2)
	require.Contains(t, string(answers[1]), "MSA|AA|2")
	again, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := c.Send(again, []byte(adt("3")))
		answered <- err
	}()
	<-served
	cancel()
	require.ErrorIs(t, <-answered, mllp.ErrNoAnswer, "a positive answer without a name is nobody's")
}

// What was read before the stop is answered, nothing after it is taken.
func TestStop(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{})
	in := &intake{}
	in.err = func([]byte) error { close(entered); <-release; return nil }
	address, stop := serve(t, in, nil)
	c, err := mllp.Dial(t.Context(), address, nil, 0)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	answered := make(chan string, 1)
	go func() {
		answer, err := c.Send(context.Background(), []byte(adt("1")))
		answered <- fmt.Sprint(string(answer), err)
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	close(release)
	require.NoError(t, <-stopped)
	require.Contains(t, <-answered, "MSA|AA|1")
	_, err = mllp.Dial(t.Context(), address, nil, 0)
	require.Error(t, err)
}

// A panic of the intake ends one connection, not the server.
func TestPanic(t *testing.T) {
	in := &intake{}
	in.err = func(raw []byte) error {
		if bytes.Contains(raw, []byte("|666|")) {
			panic("poison")
		}
		return nil
	}
	address, _ := serve(t, in, nil)
	require.Empty(t, exchange(t, address, frame(adt("666"))))
	require.Len(t, exchange(t, address, frame(adt("1"))), 1)
}

func BenchmarkServer(b *testing.B) {
	in := &intake{}
	s, err := mllp.Listen(b.Context(), mllp.Config{Name: "adt", Listen: "127.0.0.1:0"})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, in) }()
	raw := []byte(adt("1"))
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	b.RunParallel(func(pb *testing.PB) {
		c, err := mllp.Dial(ctx, s.Addr(), nil, 0)
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		for pb.Next() {
			if _, err := c.Send(ctx, raw); err != nil {
				b.Error(err)
				return
			}
		}
	})
	cancel()
	require.NoError(b, <-done)
}

// A sender that has not read its answers and goes on sending a frame that is too
// long gets all of them, and the reason for the close: closing with bytes unread
// would have the network throw away what was not delivered.
func TestLastAnswersBeforeClose(t *testing.T) {
	in := &intake{}
	address, _ := serve(t, in, nil)
	narrow := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) { // answers wait at the server
		set := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2048) })
		return errors.Join(err, set)
	}}
	c, err := narrow.DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	const messages = 400
	var all strings.Builder
	for n := range messages {
		all.WriteString(frame(adt(fmt.Sprint(n))))
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, all.String()+frame(adt("long")+strings.Repeat("NTE|1\r", 60<<10)))
		sent <- err
	}()
	require.Eventually(t, func() bool { return len(in.messages()) == messages }, time.Minute, time.Millisecond)
	answers, err := io.ReadAll(c)
	require.NoError(t, err)
	require.NoError(t, <-sent)
	require.Equal(t, messages+1, bytes.Count(answers, []byte{0x1c, '\r'}))
	last, err := hl7v2.ParseAck(answers[bytes.LastIndexByte(answers, 0x0b)+1:])
	require.NoError(t, err)
	require.Equal(t, "104", last.Errors[0].Code)
}

// sequences keeps the expected numbers, and can fail.
type sequences struct {
	mu   sync.Mutex
	next map[string]int64
	err  error
}

func (s *sequences) Expected(sender string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next, ok := s.next[sender]; ok {
		return next, nil
	}
	return -1, nil
}

func (s *sequences) Expect(sender string, next int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.next[sender] = next
	}
	return s.err
}

func numbered(id, number string, more ...string) string {
	return frame(strings.Replace(adt(id, more...), "|P|2.5.1", "|P|2.5.1|"+number, 1))
}

// A source that holds its senders to their sequence numbers takes what comes in
// its turn, and answers the rest with the number that it waits for (HL7 v2.5.1
// §2.10.1); a sender without numbers is taken as ever.
func TestSequenceNumbers(t *testing.T) {
	in, kept := &intake{}, &sequences{next: map[string]int64{}}
	use := func(c *mllp.Config) { c.Sequences = kept }
	address, stop := serve(t, in, use)
	acks := exchange(t, address, numbered("A", "0"), numbered("B", "5"), numbered("C", "6"), numbered("D", "6"), numbered("E", "9"), numbered("F", "x"), numbered("G", "7"), frame(adt("H")))
	var have []string
	for _, ack := range acks {
		have = append(have, ack.ControlID+" "+string(ack.Code)+" "+ack.Expected)
	}
	require.Equal(t, []string{"A AA -1", "B AA 6", "C AA 7", "D AE 7", "E AE 7", "F AE 7", "G AA 8", "H AA "}, have)
	require.Equal(t, "MSH-13", acks[4].Errors[0].Location.String())
	var taken []string
	for _, raw := range in.messages() {
		taken = append(taken, strings.Split(raw, "|")[9])
	}
	require.Equal(t, []string{"B", "C", "G", "H"}, taken)

	require.NoError(t, stop()) // the number is kept
	address, _ = serve(t, in, use)
	other := strings.Replace(numbered("O", "100"), "|EPIC|", "|OTHER|", 1)
	acks = exchange(t, address, numbered("I", "9"), numbered("J", "0"), numbered("K", "-1"), numbered("L", "1"), other, numbered("M", "2", "||AL|NE"), numbered("N", "9", "||AL|NE"))
	have = nil
	for _, ack := range acks {
		have = append(have, ack.ControlID+" "+string(ack.Code)+" "+ack.Expected)
	}
	require.Equal(t, []string{"I AE 8", "J AA 8", "K AA -1", "L AA 2", "O AA 101", "M CA 3", "N CE 3"}, have)

	in.err = func([]byte) error { return pipelines.ErrFull }
	acks = exchange(t, address, numbered("P", "3"))
	require.Equal(t, []string{"AE", ""}, []string{string(acks[0].Code), acks[0].Expected}, "its turn is still to come")
	in.err = nil
	kept.err = errors.New("no disk")
	acks = exchange(t, address, numbered("P", "3"))
	require.Equal(t, "AE", string(acks[0].Code), "not answered before the number is kept")
	kept.err = nil
	acks = exchange(t, address, numbered("P", "3"))
	require.Equal(t, []string{"AA", "4"}, []string{string(acks[0].Code), acks[0].Expected})
}

// Without the option the numbers say nothing.
func TestNoSequenceNumbers(t *testing.T) {
	in := &intake{}
	address, _ := serve(t, in, nil)
	acks := exchange(t, address, numbered("A", "5"), numbered("B", "3"))
	require.Equal(t, []string{"AA", "", "AA", ""}, []string{string(acks[0].Code), acks[0].Expected, string(acks[1].Code), acks[1].Expected})
}
