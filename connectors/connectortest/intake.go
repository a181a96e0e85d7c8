package connectortest

import (
	"bytes"
	"context"
	"sync"

	"github.com/liaison-health/liaison/pipelines"
)

// An Intake is a journal in memory that does what a test tells it. Its zero
// value takes everything. It is safe for concurrent use.
type Intake struct {
	mu      sync.Mutex
	answer  func(*pipelines.Message) error
	gate    chan struct{}
	calls   int
	taken   []pipelines.Message
	changed bool
	moved   chan struct{} // closed at each call
}

// Answer sets what Accept does from now on: nil takes the message, an error
// refuses it.
func (i *Intake) Answer(fn func(*pipelines.Message) error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = fn
}

// Hold lets Accept wait until release is called.
func (i *Intake) Hold() (release func()) {
	gate := make(chan struct{})
	i.mu.Lock()
	defer i.mu.Unlock()
	i.gate = gate
	return sync.OnceFunc(func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.gate = nil
		close(gate)
	})
}

// Accept implements pipelines.Intake.
func (i *Intake) Accept(ctx context.Context, m *pipelines.Message) (pipelines.Receipt, error) {
	raw := bytes.Clone(m.Raw)
	i.mu.Lock()
	i.calls++
	if i.moved != nil {
		close(i.moved)
		i.moved = nil
	}
	gate, answer := i.gate, i.answer
	i.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return pipelines.Receipt{}, ctx.Err() //nolint:wrapcheck // as an engine that gives up
		}
	}
	if answer != nil {
		if err := answer(m); err != nil {
			return pipelines.Receipt{}, err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.changed = i.changed || !bytes.Equal(raw, m.Raw)
	kept := *m
	kept.Raw, kept.Meta = raw, bytes.Clone(m.Meta)
	i.taken = append(i.taken, kept)
	return pipelines.Receipt{Position: uint64(len(i.taken))}, nil
}

// Wait implements pipelines.Outcomes: everything taken is published.
func (i *Intake) Wait(context.Context, uint64) (pipelines.Outcome, error) {
	return pipelines.Outcome{Status: pipelines.Published}, nil
}

// Taken are the messages that Accept has taken, in their order.
func (i *Intake) Taken() []pipelines.Message {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]pipelines.Message(nil), i.taken...)
}

// Bytes are the bytes of what Accept has taken, in their order.
func (i *Intake) Bytes() []string {
	taken := i.Taken()
	out := make([]string, len(taken))
	for n := range taken {
		out[n] = string(taken[n].Raw)
	}
	return out
}

// Calls is how often Accept was called.
func (i *Intake) Calls() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.calls
}

// Changed says whether a message's bytes changed while Accept had them.
func (i *Intake) Changed() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.changed
}

// Called returns when Accept has been called n times in all, or false when ctx
// ends before.
func (i *Intake) Called(ctx context.Context, n int) bool {
	for {
		i.mu.Lock()
		if i.calls >= n {
			i.mu.Unlock()
			return true
		}
		if i.moved == nil {
			i.moved = make(chan struct{})
		}
		moved := i.moved
		i.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}
