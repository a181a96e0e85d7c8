package engine_test

import (
	"context"
	"sync"

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
