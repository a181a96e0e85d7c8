package engine

import (
	"bytes"
	"hash/maphash"

	"github.com/liaison-health/liaison/mapping/records"
)

// A cache keeps what the fold read and wrote last, absent keys included. There
// is one writer, so it is never behind the store. It has two generations: when
// the young one is full it becomes the old one, and what is used comes back.
type cache struct {
	most       int // bytes of a generation
	young, old map[string][]byte
	size       int
	seed       maphash.Seed
	held       [2]map[uint64]uint64 // of resources: fingerprint of the key to that of the value, two generations
	merges     map[string]bool      // every merge edge that is stored: most are asked for in vain
}

const longestValue = 64 << 10 // bytes of a value that is kept

const heldMost = 1 << 17 // fingerprints of a generation

func newCache(most int) *cache {
	return &cache{
		most: most, young: map[string][]byte{}, old: map[string][]byte{}, seed: maphash.MakeSeed(),
		held: [2]map[uint64]uint64{{}, {}}, merges: map[string]bool{},
	}
}

// load reads the merge edges.
func (c *cache) load(view records.View) error {
	var after []byte
	for {
		pairs, err := view.Scan([]byte(mergeSpace), after, 1024)
		if err != nil || len(pairs) == 0 {
			return err
		}
		for _, kv := range pairs {
			c.merges[string(kv.Key)] = true
		}
		after = pairs[len(pairs)-1].Key
	}
}

// mergeSpace is what the keys of merge edges begin with.
const mergeSpace = "m/"

// absent says that a key is surely not stored.
func (c *cache) absent(k []byte) bool {
	return bytes.HasPrefix(k, []byte(mergeSpace)) && !c.merges[string(k)]
}

func (c *cache) get(k []byte) ([]byte, bool) {
	if v, ok := c.young[string(k)]; ok {
		return v, true
	}
	v, ok := c.old[string(k)]
	if ok {
		c.put(string(k), v)
	}
	return v, ok
}

// put takes the value over: it must not change any more. A very long one is not
// kept.
func (c *cache) put(k string, v []byte) {
	if len(v) > longestValue {
		delete(c.young, k)
		delete(c.old, k)
		return
	}
	if c.size += len(k) + len(v) + 64; c.size > c.most {
		c.old, c.young, c.size = c.young, map[string][]byte{}, 0
	}
	c.young[k] = v
}

// holds says whether a resource was written with this value last, as far as is
// remembered.
func (c *cache) holds(k, v []byte) bool {
	name := maphash.Bytes(c.seed, k)
	for _, generation := range c.held {
		if have, ok := generation[name]; ok {
			return have == maphash.Bytes(c.seed, v)
		}
	}
	return false
}

// wrote keeps what was written: records whole, resources by their fingerprint.
func (c *cache) wrote(k, v []byte) {
	if bytes.HasPrefix(k, []byte(mergeSpace)) {
		c.merges[string(k)] = true
	}
	switch {
	case bytes.HasPrefix(k, []byte("s/")): // only scanned, never read alone
	case bytes.HasPrefix(k, []byte("hf/")): // only read for what comes late
		if _, ok := c.get(k); ok {
			c.put(string(k), v)
		}
	case bytes.HasPrefix(k, []byte("f/")):
		if len(c.held[0]) >= heldMost {
			c.held[0], c.held[1] = map[uint64]uint64{}, c.held[0]
		}
		c.held[0][maphash.Bytes(c.seed, k)] = maphash.Bytes(c.seed, v)
		if _, ok := c.get(k); ok {
			c.put(string(k), v)
		}
	default:
		c.put(string(k), v)
	}
}
