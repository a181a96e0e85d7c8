package engine

import (
	"context"
	"hash/maphash"
	"sync/atomic"

	"github.com/liaison-health/liaison/pipelines/store"
)

// keys say of a key of the records' state that it was never written: most that
// the fold asks for are new, and to find nothing costs the store more than to
// find something. They are a Bloom filter of one word a key: one that was written
// is never said to be absent, one that was not nearly always is, up to some
// millions; beyond that they say less and less, and nothing wrong.
//
// What the fold writes it notes itself, what was there before is read in the
// background; until that is done every key may be there.
type keys struct {
	seed  maphash.Seed
	words []atomic.Uint64
	whole atomic.Bool
}

const (
	keyWords = 1 << 19 // 4 MiB
	mostKeys = 1 << 24 // keys that are read: of more it would say next to nothing
)

func newKeys() *keys {
	return &keys{seed: maphash.MakeSeed(), words: make([]atomic.Uint64, keyWords)}
}

// bits are the word of a key and its four bits there.
func (k *keys) bits(key []byte) (*atomic.Uint64, uint64) {
	h := maphash.Bytes(k.seed, key)
	return &k.words[h>>45], 1<<(h&63) | 1<<(h>>6&63) | 1<<(h>>12&63) | 1<<(h>>18&63)
}

func (k *keys) add(key []byte) {
	word, bits := k.bits(key)
	if word.Load()&bits != bits {
		word.Or(bits)
	}
}

// absent says that a key was surely never written.
func (k *keys) absent(key []byte) bool {
	if !k.whole.Load() {
		return false
	}
	word, bits := k.bits(key)
	return word.Load()&bits != bits
}

// read notes the keys that are stored.
func (k *keys) read(ctx context.Context, s *store.Store) error {
	count := 0
	err := s.StateKeys(func(key []byte) bool {
		k.add(key)
		count++
		return count < mostKeys && (count%1024 != 0 || ctx.Err() == nil)
	})
	if err == nil && ctx.Err() == nil && count < mostKeys {
		k.whole.Store(true)
	}
	return err
}
