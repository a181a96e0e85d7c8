package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/klauspost/compress/s2"

	"github.com/liaison-health/liaison/pipelines"
)

// A Batch is one atomic write.
type Batch struct {
	s           *Store
	b           *pebble.Batch
	key, packed []byte // to write with again
}

// NewBatch starts one. It is good for one Commit.
func (s *Store) NewBatch() *Batch { return &Batch{s: s, b: s.batch()} }

// batch takes a Pebble batch, with the memory of one that was closed.
func (s *Store) batch() *pebble.Batch {
	return s.db.NewBatch(pebble.WithInitialSizeBytes(max(64<<10, int(s.typical.Load()))), pebble.WithMaxRetainedSizeBytes(4<<20))
}

// under gives a key in a space; it is good until the next.
func (b *Batch) under(space byte, name string) []byte {
	b.key = append(append(b.key[:0], space), name...)
	return b.key
}

// Size is how many bytes the batch has so far.
func (b *Batch) Size() int { return b.b.Len() }

// State writes the records' own keys.
func (b *Batch) State(writes map[string][]byte) error {
	names := slices.AppendSeq(make([]string, 0, len(writes)), maps.Keys(writes))
	slices.Sort(names) // which the memory tables take faster
	for _, name := range names {
		k, v := b.under(spaceState, name), writes[name]
		var err error
		if v == nil {
			err = b.b.Delete(k, nil)
		} else {
			err = b.b.Set(k, v, nil)
		}
		if err != nil {
			return fmt.Errorf("write state: %w", err)
		}
	}
	return nil
}

// Event puts an event into the outbox, compressed.
func (b *Batch) Event(n uint64, event []byte) error {
	b.packed = s2.Encode(b.packed[:cap(b.packed)], event)
	return wrap(b.b.Set(key(spaceOutbox, n), b.packed, nil))
}

// Outcome writes a message's fate.
func (b *Batch) Outcome(pos uint64, o pipelines.Outcome) error {
	v, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("write outcome: %w", err)
	}
	return wrap(b.b.Set(key(spaceOutcome, pos), v, nil))
}

// Number writes a named counter.
func (b *Batch) Number(name string, n uint64) error {
	return wrap(b.b.Set(meta(name), binary.BigEndian.AppendUint64(nil, n), nil))
}

// Meta writes a named value; nil deletes it.
func (b *Batch) Meta(name string, value []byte) error {
	if value == nil {
		return wrap(b.b.Delete(meta(name), nil))
	}
	return wrap(b.b.Set(meta(name), value, nil))
}

// Quarantine writes or, with nil, takes out a quarantined message.
func (b *Batch) Quarantine(pos uint64, info []byte) error {
	if info == nil {
		return wrap(b.b.Delete(key(spaceQuarantine, pos), nil))
	}
	return wrap(b.b.Set(key(spaceQuarantine, pos), info, nil))
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("write store: %w", err)
	}
	return nil
}

// Commit makes the batch durable, all or nothing.
func (b *Batch) Commit() error {
	durable, err := b.Apply()
	if err != nil {
		return err
	}
	return durable()
}

// Apply makes the batch readable, all or nothing, and gives a function that
// returns once it is durable, as everything before it. It is called once. A
// batch that the disk did not take is fatal, as it is in Append: Pebble ends the
// process for those who wait within it only, and until the next append a resend
// would still be answered from the index.
func (b *Batch) Apply() (durable func() error, err error) {
	b.s.typical.Store(int64(min(b.b.Len()+b.b.Len()/8, 2<<20)))
	if err := b.s.db.ApplyNoSyncWait(b.b, pebble.Sync); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return func() error {
		err := b.b.SyncWait()
		if err != nil {
			b.s.trouble.end("commit: %v", err)
		}
		if err = errors.Join(err, b.b.Close()); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		return nil
	}, nil
}
