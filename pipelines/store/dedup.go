package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A Sighting is a message as the deduplication index knows it.
type Sighting struct {
	Position uint64
	Received time.Time
	Digest   [32]byte // of an identity only: its last content
}

func (g *Sighting) encode() []byte {
	v := binary.BigEndian.AppendUint64(nil, g.Position)
	return binary.BigEndian.AppendUint64(v, uint64(g.Received.UnixNano()))
}

func decodeSighting(v []byte) Sighting {
	return Sighting{Position: binary.BigEndian.Uint64(v), Received: time.Unix(0, int64(binary.BigEndian.Uint64(v[8:])))}
}

func dedupKey(space byte, digest [32]byte) []byte { return append([]byte{space}, digest[:]...) }

// Seen finds the message of an identity and content in the deduplication index.
func (s *Store) Seen(digest [32]byte) (Sighting, bool, error) {
	v, err := s.get(dedupKey(spaceDedup, digest))
	if err != nil || len(v) != 16 {
		return Sighting{}, false, err
	}
	return decodeSighting(v), true, nil
}

// Latest finds the last message of an identity, whatever its content.
func (s *Store) Latest(identity [32]byte) (Sighting, bool, error) {
	v, err := s.get(dedupKey(spaceIdentity, identity))
	if err != nil || len(v) != 48 {
		return Sighting{}, false, err
	}
	g := decodeSighting(v)
	copy(g.Digest[:], v[16:])
	return g, true, nil
}

// Remember writes a message into the deduplication index: identity with
// content, and with identity not zero the identity alone.
func (b *Batch) Remember(identity [32]byte, g Sighting) error {
	if identity != [32]byte{} {
		if err := b.b.Set(dedupKey(spaceIdentity, identity), append(g.encode(), g.Digest[:]...), nil); err != nil {
			return wrap(err)
		}
	}
	return wrap(b.b.Set(dedupKey(spaceDedup, g.Digest), g.encode(), nil))
}

// Expired looks for what the deduplication index holds from before a time, at
// up to scan entries behind a key that it gave before (nil: from the first). It
// gives up to most keys, and where to go on, nil at the end.
func (s *Store) Expired(after []byte, before time.Time, scan, most int) (keys [][]byte, next []byte, err error) {
	for _, space := range []byte{spaceDedup, spaceIdentity} {
		lower := []byte{space}
		switch {
		case after != nil && after[0] > space:
			continue
		case after != nil && after[0] == space:
			lower = append(bytes.Clone(after), 0)
		}
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{space + 1}})
		if err != nil {
			return nil, nil, fmt.Errorf("read store: %w", err)
		}
		for ok := it.First(); ok; ok = it.Next() {
			if v := it.Value(); len(v) >= 16 && decodeSighting(v).Received.Before(before) {
				keys = append(keys, bytes.Clone(it.Key()))
			}
			if scan--; scan <= 0 || len(keys) >= most {
				return keys, bytes.Clone(it.Key()), it.Close()
			}
		}
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			return nil, nil, fmt.Errorf("read store: %w", err)
		}
	}
	return keys, nil, nil
}

// Forget takes keys that Expired gave out of the deduplication index, but for
// those that were written anew since. It comes before what else the batch
// remembers.
func (b *Batch) Forget(keys [][]byte, before time.Time) error {
	for _, k := range keys {
		v, err := b.s.get(k)
		if err != nil {
			return err
		}
		if len(v) >= 16 && decodeSighting(v).Received.Before(before) {
			if err := b.b.Delete(k, nil); err != nil {
				return wrap(err)
			}
		}
	}
	return nil
}
