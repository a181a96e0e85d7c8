package hl7v2

import "math/bits"

// names counts the segments of each name while a message is indexed: a table
// with open addressing, kept from one message to the next.
type names struct {
	table []nameCount // its length is a power of two
	used  int
}

type nameCount struct {
	name  uint32 // 0: free; no name is 0
	count int32
}

func (n *names) reset() {
	clear(n.table)
	n.used = 0
}

// count adds one to a name's count and gives it.
func (n *names) count(name uint32) int32 {
	if 2*n.used >= len(n.table) {
		n.grow()
	}
	c := n.find(name)
	if c.name == 0 {
		c.name = name
		n.used++
	}
	c.count++
	return c.count
}

func (n *names) find(name uint32) *nameCount {
	mask := uint32(len(n.table) - 1)
	at := name * 0x9e3779b1 >> (32 - bits.Len32(mask)) // Fibonacci hashing
	for {
		c := &n.table[at&mask]
		if c.name == name || c.name == 0 {
			return c
		}
		at++
	}
}

func (n *names) grow() {
	had := n.table
	n.table = make([]nameCount, max(64, 2*len(had)))
	for _, c := range had {
		if c.name != 0 {
			*n.find(c.name) = c
		}
	}
}
