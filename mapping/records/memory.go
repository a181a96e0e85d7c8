package records

import (
	"sort"
	"strings"
)

// Memory is a View over a map: for mapping without a store.
type Memory map[string][]byte

// Get implements View.
func (m Memory) Get(key []byte) ([]byte, error) { return m[string(key)], nil }

// Scan implements View.
func (m Memory) Scan(prefix, after []byte, limit int) ([]KV, error) {
	var keys []string
	for k := range m {
		if strings.HasPrefix(k, string(prefix)) && (after == nil || k > string(after)) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	var out []KV
	for _, k := range keys[:min(limit, len(keys))] {
		out = append(out, KV{Key: []byte(k), Value: m[k]})
	}
	return out, nil
}

// Apply writes what a fold made.
func (m Memory) Apply(e *Effects) {
	for _, kv := range e.Writes {
		if kv.Value == nil {
			delete(m, string(kv.Key))
		} else {
			m[string(kv.Key)] = kv.Value
		}
	}
}
