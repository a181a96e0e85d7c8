package engine_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines"
)

// A memory is an early filter that forgets and lies when told.
type memory struct {
	mu   sync.Mutex
	at   map[[32]byte]uint64
	lies uint64
}

func newMemory() *memory { return &memory{at: map[[32]byte]uint64{}} }

// lie makes every position that it knows another one.
func (m *memory) lie() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.at {
		m.lies++
		if m.at[k] += m.lies; m.lies%3 == 0 {
			delete(m.at, k)
		}
	}
}

func (m *memory) Lookup(_ context.Context, digest [32]byte) (uint64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pos, ok := m.at[digest]
	return pos, ok, nil
}

func (m *memory) Remember(_ context.Context, entries []pipelines.FilterEntry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		if _, ok := m.at[e.Digest]; !ok {
			m.at[e.Digest] = e.Position
		}
	}
	return nil
}

// everything is an early filter that knows every message: it has outlived the
// data.
type everything struct{}

func (everything) Lookup(context.Context, [32]byte) (uint64, bool, error)  { return 1, true, nil }
func (everything) Remember(context.Context, []pipelines.FilterEntry) error { return nil }

// away is an early filter that does not answer.
type away struct{}

var errAway = errors.New("no answer")

func (away) Lookup(context.Context, [32]byte) (uint64, bool, error)  { return 0, false, errAway }
func (away) Remember(context.Context, []pipelines.FilterEntry) error { return errAway }

// An early filter that does not answer is told once, not with every message.
func TestFilterAway(t *testing.T) {
	var text bytes.Buffer
	h := newHouse(t)
	h.filter, h.cfg.Log = away{}, slog.New(slog.NewTextHandler(&text, nil))
	h.open().run()
	h.admissions(0, 3)
	h.drained()
	h.stop()
	require.Equal(t, 1, strings.Count(text.String(), "does not answer"), text.String())
}
