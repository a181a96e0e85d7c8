package connectortest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/liaison-health/liaison/pipelines"
)

// A Send gives one message to a source and waits for what becomes of it.
// positive: the source has said that the message is safe (AA, 2xx, a file in
// done/). Not positive and no error: the source has refused it. An error: there
// was no answer, because the connection ended or ctx did.
type Send func(ctx context.Context, payload []byte) (positive bool, err error)

// An Endpoint is a source and the way to it.
type Endpoint struct {
	Source pipelines.Source
	// Connect gives one sender. What it opens it closes by t.Cleanup. A sender
	// whose connection was closed connects again by itself.
	Connect func(t *testing.T) Send
	// Pipeline gives many messages at once, without waiting for answers in
	// between, and says how many were answered positively: many frames in one
	// write, many messages in one file. Nil where the transport has no such thing.
	Pipeline func(ctx context.Context, payloads [][]byte) (positive int, err error)
}

// A SourceHarness says how one kind of source is tested.
type SourceHarness struct {
	// Format of what it takes.
	Format pipelines.Format
	// Open makes a source with an address or a directory of its own. The suite
	// runs it. outcomes is for sources that answer after the outcome.
	Open func(t *testing.T, outcomes pipelines.Outcomes) Endpoint
	// Retries: the source itself tries again what may pass (ErrFull, ErrClosed,
	// a failure without a name), instead of telling a sender; it should do so
	// within milliseconds in tests. For files.
	Retries bool
	// Payload makes message n; nil: V2 or FHIR, by Format.
	Payload func(n int) []byte
}

// Source checks a source against pipelines.Source and the promises of an
// answer. Each check opens a source of its own.
func Source(t *testing.T, h SourceHarness) {
	t.Helper()
	if h.Payload == nil {
		h.Payload = func(n int) []byte { return payload(h.Format, n) }
	}
	checks := []struct {
		name string
		run  func(*testing.T, SourceHarness)
	}{
		{"a positive answer only after Accept returned", answersAfterAccept},
		{"no positive answer after an error", noPositiveAfterError},
		{"a full journal is tried again", fullThenRoom},
		{"a stopping engine takes nothing", closed},
		{"bytes are carried unchanged", bytesUnchanged},
		{"the message says where it is from", fromWhere},
		{"order is kept", orderKept},
		{"many senders", manySenders},
		{"stopping answers what was read", gracefulStop},
		{"an idle source stops", idleStop},
		{"nothing is taken after the stop", nothingAfterStop},
		{"a panic ends one message only", survivesPanic},
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			leftovers(t)
			c.run(t, h)
		})
	}
}

// leftovers checks at the test's end, after all other clean-up, that no
// goroutine has stayed.
func leftovers(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// A rig is a source that runs.
type rig struct {
	in     *Intake
	end    Endpoint
	cancel context.CancelFunc
	done   chan error
}

func start(t *testing.T, h SourceHarness) *rig {
	t.Helper()
	r := &rig{in: &Intake{}, done: make(chan error, 1)}
	r.end = h.Open(t, r.in)
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	go func() { r.done <- r.end.Source.Run(ctx, r.in) }()
	t.Cleanup(func() {
		r.cancel()
		r.stopped(t)
		require.False(t, r.in.Changed(), "a message's bytes changed while Accept had them")
	})
	return r
}

// stopped waits for Run to return, and wants nil of it.
func (r *rig) stopped(t *testing.T) {
	t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		require.NoError(t, err, "Run")
	case <-time.After(patience):
		require.Fail(t, "Run has not returned after its context ended")
	}
}

// An answer is what a Send gave.
type answer struct {
	positive bool
	err      error
}

func background(ctx context.Context, send Send, payload []byte) <-chan answer {
	out := make(chan answer, 1)
	go func() {
		positive, err := send(ctx, payload)
		out <- answer{positive, err}
	}()
	return out
}

func within(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(context.Background(), patience)
}

// positive sends a message and wants a positive answer.
func positive(t *testing.T, send Send, payload []byte) {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	ok, err := send(ctx, payload)
	require.NoError(t, err)
	require.True(t, ok, "the answer is not positive")
}

func answersAfterAccept(t *testing.T, h SourceHarness) {
	r := start(t, h)
	send := r.end.Connect(t)
	release := r.in.Hold()
	defer release()
	ctx, cancel := within(t)
	defer cancel()
	got := background(ctx, send, h.Payload(1))
	require.True(t, r.in.Called(ctx, 1), "Accept is not called")
	select {
	case a := <-got:
		require.Fail(t, "an answer before Accept returned", "%+v", a)
	case <-time.After(moment):
	}
	release()
	a := <-got
	require.NoError(t, a.err)
	require.True(t, a.positive)
	require.Equal(t, []string{string(h.Payload(1))}, r.in.Bytes())
}

// negative sends a message that the intake does not take. A source that
// retries gives no answer: the sender stops waiting.
func negative(t *testing.T, r *rig, send Send, payload []byte, retries bool) {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	before := r.in.Calls()
	got := background(ctx, send, payload)
	require.True(t, r.in.Called(ctx, before+1), "Accept is not called")
	if retries {
		select {
		case a := <-got:
			require.False(t, a.positive, "a positive answer for a message that was not taken")
			return
		case <-time.After(moment):
			cancel()
		}
	}
	a := <-got
	require.False(t, a.positive, "a positive answer for a message that was not taken")
	if !retries {
		require.NoError(t, a.err, "a sender that is refused must be told")
	}
}

func noPositiveAfterError(t *testing.T, h SourceHarness) {
	rows := map[string]struct {
		err    error
		passes bool
	}{
		"an unknown failure": {errors.New("write: no such device"), true},
		"a wrapped ErrFull":  {fmt.Errorf("accept: %w", pipelines.ErrFull), true},
		"refused for good":   {&pipelines.Refused{Code: "AR", Condition: "202", Place: "MSH-11", Reason: "this source does not take this"}, false},
		"refused with AE":    {&pipelines.Refused{Code: "AE", Condition: "207", Reason: "not now"}, false},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			r := start(t, h)
			r.in.Answer(func(*pipelines.Message) error { return row.err })
			negative(t, r, r.end.Connect(t), h.Payload(1), h.Retries && row.passes)
			require.Empty(t, r.in.Taken())
		})
	}
}

func fullThenRoom(t *testing.T, h SourceHarness) {
	r := start(t, h)
	send := r.end.Connect(t)
	r.in.Answer(func(*pipelines.Message) error { return pipelines.ErrFull })
	if h.Retries {
		ctx, cancel := within(t)
		defer cancel()
		got := background(ctx, send, h.Payload(1))
		require.True(t, r.in.Called(ctx, 3), "what did not fit is not tried again")
		r.in.Answer(nil)
		a := <-got
		require.NoError(t, a.err)
		require.True(t, a.positive)
	} else {
		negative(t, r, send, h.Payload(1), false)
		r.in.Answer(nil)
		positive(t, send, h.Payload(1))
	}
	require.Equal(t, []string{string(h.Payload(1))}, r.in.Bytes())
}

func closed(t *testing.T, h SourceHarness) {
	r := start(t, h)
	r.in.Answer(func(*pipelines.Message) error { return pipelines.ErrClosed })
	negative(t, r, r.end.Connect(t), h.Payload(1), h.Retries)
	require.Empty(t, r.in.Taken())
	r.cancel()
	r.stopped(t)
}

func bytesUnchanged(t *testing.T, h SourceHarness) {
	r := start(t, h)
	send := r.end.Connect(t)
	for name, payload := range odd(h.Format) {
		positive(t, send, payload)
		got := r.in.Bytes()
		require.Equal(t, string(payload), got[len(got)-1], name)
	}
}

func fromWhere(t *testing.T, h SourceHarness) {
	r := start(t, h)
	require.NotEmpty(t, r.end.Source.Name())
	positive(t, r.end.Connect(t), h.Payload(1))
	m := r.in.Taken()[0]
	require.Equal(t, r.end.Source.Name(), m.Source)
	require.Equal(t, h.Format, m.Format)
	require.NotEmpty(t, m.Peer, "an operator must see who has sent a message")
	if h.Format == pipelines.FHIR {
		var meta struct {
			Method string `json:"method"`
		}
		require.NoError(t, json.Unmarshal(m.Meta, &meta), "Meta of a FHIR message is JSON")
		require.Contains(t, []string{"POST", "PUT"}, meta.Method)
		return
	}
	require.Empty(t, m.Meta)
}

func orderKept(t *testing.T, h SourceHarness) {
	const n = 40
	var want []string
	var all [][]byte
	for i := range n {
		want, all = append(want, string(h.Payload(i))), append(all, h.Payload(i))
	}
	t.Run("one after another", func(t *testing.T) {
		r := start(t, h)
		send := r.end.Connect(t)
		for _, p := range all {
			positive(t, send, p)
		}
		require.Equal(t, want, r.in.Bytes())
	})
	t.Run("all at once", func(t *testing.T) {
		r := start(t, h)
		if r.end.Pipeline == nil {
			return
		}
		ctx, cancel := within(t)
		defer cancel()
		got, err := r.end.Pipeline(ctx, all)
		require.NoError(t, err)
		require.Equal(t, n, got, "positive answers")
		require.Equal(t, want, r.in.Bytes())
	})
}

func manySenders(t *testing.T, h SourceHarness) {
	const senders, each = 6, 10
	r := start(t, h)
	ctx, cancel := within(t)
	defer cancel()
	var wg sync.WaitGroup
	answers := make([][]answer, senders)
	for s := range senders {
		send := r.end.Connect(t)
		wg.Go(func() {
			for i := range each {
				ok, err := send(ctx, h.Payload(s*1000+i))
				answers[s] = append(answers[s], answer{ok, err})
			}
		})
	}
	wg.Wait()
	seen := map[string]int{}
	for i, raw := range r.in.Bytes() {
		require.NotContains(t, seen, raw, "a message was taken twice")
		seen[raw] = i
	}
	require.Len(t, seen, senders*each)
	for s := range senders {
		last := -1
		for i, a := range answers[s] {
			require.NoError(t, a.err)
			require.True(t, a.positive)
			at, ok := seen[string(h.Payload(s*1000+i))]
			require.True(t, ok, "a message that was answered positively was not taken")
			require.Greater(t, at, last, "a sender's messages are out of order")
			last = at
		}
	}
}

func gracefulStop(t *testing.T, h SourceHarness) {
	r := start(t, h)
	send := r.end.Connect(t)
	release := r.in.Hold()
	defer release()
	ctx, cancel := within(t)
	defer cancel()
	got := background(ctx, send, h.Payload(1))
	require.True(t, r.in.Called(ctx, 1), "Accept is not called")
	r.cancel()
	select {
	case err := <-r.done:
		r.done <- err
		require.Fail(t, "Run returned while Accept had a message")
	case a := <-got:
		require.Fail(t, "an answer before Accept returned", "%+v", a)
	case <-time.After(moment):
	}
	release()
	a := <-got
	require.NoError(t, a.err, "what was read before the stop is answered")
	require.True(t, a.positive)
	r.stopped(t)
	require.Len(t, r.in.Taken(), 1)
}

func idleStop(t *testing.T, h SourceHarness) {
	t.Run("before anything came", func(t *testing.T) {
		r := start(t, h)
		r.cancel()
		r.stopped(t)
	})
	t.Run("with a sender connected", func(t *testing.T) {
		r := start(t, h)
		positive(t, r.end.Connect(t), h.Payload(1))
		r.cancel()
		r.stopped(t)
	})
	t.Run("stopped before it ran", func(t *testing.T) {
		end := h.Open(t, &Intake{})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		done := make(chan error, 1)
		go func() { done <- end.Source.Run(ctx, &Intake{}) }()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(patience):
			require.Fail(t, "Run has not returned")
		}
	})
}

func nothingAfterStop(t *testing.T, h SourceHarness) {
	r := start(t, h)
	send := r.end.Connect(t)
	positive(t, send, h.Payload(1))
	r.cancel()
	r.stopped(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*moment)
	defer cancel()
	ok, _ := send(ctx, h.Payload(2))
	require.False(t, ok)
	require.Len(t, r.in.Taken(), 1)
	require.Equal(t, 1, r.in.Calls(), "Accept was called after Run returned")
}

func survivesPanic(t *testing.T, h SourceHarness) {
	r := start(t, h)
	poison := string(h.Payload(666))
	var none []error
	r.in.Answer(func(m *pipelines.Message) error {
		if string(m.Raw) == poison {
			return none[len(m.Raw)] // out of range: a fault of the engine
		}
		return nil
	})
	other := r.end.Connect(t)
	positive(t, other, h.Payload(1))
	ctx, cancel := within(t)
	defer cancel()
	ok, _ := r.end.Connect(t)(ctx, []byte(poison))
	require.False(t, ok, "a positive answer for a message that was not taken")
	require.NoError(t, ctx.Err(), "the sender of the poison waits for ever")
	positive(t, other, h.Payload(2))
	positive(t, r.end.Connect(t), h.Payload(3))
	require.Len(t, r.in.Taken(), 3)
}
