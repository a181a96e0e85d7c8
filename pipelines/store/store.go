// Package store keeps journal, deduplication index, record state, outbox,
// outcomes and quarantine in one Pebble database, so that what belongs together
// is written together.
package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/klauspost/compress/s2"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
)

// The key spaces. Numbers are big-endian, so that key order is journal order.
const (
	spaceJournal    = 'j' // position → entry
	spaceOutcome    = 'o' // position → outcome
	spaceDedup      = 'd' // digest → position, received
	spaceIdentity   = 'i' // identity without the content → position, received, digest of the last content
	spaceMark       = 'p' // position that a batch ended with → last event by then
	spaceState      = 'k' // the records' own keys
	spaceOutbox     = 'b' // number → event
	spaceQuarantine = 'q' // position → entry
	spaceMeta       = 'c' // names
)

// An FS is a file system that a store lies on.
type FS = vfs.FS

// Options say how a store is opened.
type Options struct {
	FS       FS // nil: the disk
	ReadOnly bool
	Cache    int64 // bytes of blocks and memory tables kept in memory; 0: 96 MiB
	// Fatal ends the process: an fsync or a write to the log failed, so nothing
	// may be answered any more. It must not return.
	Fatal func(format string, args ...any)
	// Report hears what failed in the background and is tried again, at most
	// once a minute, without keys and values; nil: nobody.
	Report func(text string)
}

// A Store is one partition's state.
type Store struct {
	db       *pebble.DB
	last     uint64 // last position in the journal, owned by the committer
	appends  chan *appendRequest
	done     chan struct{}
	stopping chan struct{}
	mu       sync.Mutex
	grown    chan struct{} // closed and replaced when the journal grows
	tail     atomic.Uint64
	full     atomic.Bool
	typical  atomic.Int64  // size of a batch, as the last ones were
	first    atomic.Uint64 // position of the oldest journal entry that is kept
	appended uint64        // bytes ever put into the journal, owned by the committer
	size     atomic.Int64  // bytes that the journal holds
	trouble  *trouble
	volume   *volume
}

// Open opens or makes the store in a directory.
func Open(dir string, o Options) (*Store, error) {
	size := cmp.Or(o.Cache, 96<<20)
	cache := pebble.NewCache(size) // the memory tables are taken off it
	defer cache.Unref()
	trouble := &trouble{fatal: o.Fatal, report: o.Report}
	volume := newVolume(trouble)
	options := &pebble.Options{
		FS: &disk{FS: cmp.Or(o.FS, vfs.Default), trouble: trouble, volume: volume}, EventListener: trouble.listener(), Logger: trouble,
		ReadOnly: o.ReadOnly, Cache: cache, MemTableSize: uint64(size / 6), MaxOpenFiles: int(min(pipelines.OpenFiles()/4, 1000)),
		MemTableStopWritesThreshold: 4, L0CompactionThreshold: 8, L0StopWritesThreshold: 40, DisableWAL: false,
		FormatMajorVersion: pebble.FormatNewest, WALBytesPerSync: 1 << 20, BytesPerSync: 1 << 20,
	}
	if o.FS == nil {
		options.WithFSDefaults() // notes when the disk is slow
	}
	// Messages, events and resources are written once and seldom read: they are
	// kept beside the tree, which stays small enough to be remembered.
	options.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled: true, MinimumSize: 256, MaxBlobReferenceDepth: 10, RewriteMinimumAge: 5 * time.Minute, TargetGarbageRatio: 0.3,
		}
	}
	for i := range options.Levels { // most keys that the fold asks for are not there
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(filepath.Join(dir, "store"), options)
	if err != nil {
		return nil, fmt.Errorf("open store in %s: %w", dir, err)
	}
	s := &Store{db: db, trouble: trouble, volume: volume, appends: make(chan *appendRequest, 1024), done: make(chan struct{}), stopping: make(chan struct{}), grown: make(chan struct{})}
	if s.last, err = s.lastNumber(spaceJournal); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := s.openJournal(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.tail.Store(s.last)
	if o.ReadOnly {
		close(s.done)
	} else {
		volume.open()
		go s.commitAppends()
	}
	return s, nil
}

// Close waits for appends under way and closes the database.
func (s *Store) Close() error {
	select {
	case <-s.stopping:
	default:
		close(s.stopping)
	}
	s.StopWaiting()
	<-s.done
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// StopWaiting lets writes fail that wait for the volume to take them, which ends
// the process with its reason: one that stops does not wait for ever.
func (s *Store) StopWaiting() { s.volume.stop() }

// Refusing gives a channel that is closed while the volume takes nothing: what
// is committed then is not durable before it does.
func (s *Store) Refusing() <-chan struct{} { return s.volume.refusing() }

func key(space byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{space}, n)
}

func meta(name string) []byte { return append([]byte{spaceMeta}, name...) }

func (s *Store) lastNumber(space byte) (uint64, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{space}, UpperBound: []byte{space + 1}})
	if err != nil {
		return 0, fmt.Errorf("read store: %w", err)
	}
	defer it.Close()
	if !it.Last() {
		return 0, it.Error()
	}
	return binary.BigEndian.Uint64(it.Key()[1:]), nil
}

func (s *Store) get(k []byte) ([]byte, error) {
	v, closer, err := s.db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read store: %w", err)
	}
	out := bytes.Clone(v)
	if out == nil {
		out = []byte{}
	}
	return out, closer.Close()
}

func (s *Store) number(name string) (uint64, error) {
	v, err := s.get(meta(name))
	if err != nil || len(v) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// Number reads a named counter: the checkpoint, the outbox cursor.
func (s *Store) Number(name string) (uint64, error) { return s.number(name) }

// SetFull says whether appends are refused for want of room, and gives what
// was said before.
func (s *Store) SetFull(full bool) (before bool) { return s.full.Swap(full) }

// Full says that appends are refused: somebody set it so, or the volume takes
// nothing.
func (s *Store) Full() bool { return s.full.Load() || s.volume.refusesNow() }

// Failed says that an fsync, or a write to the log, has failed: the process
// ends, and until it has ended nothing may be answered positively, what is on
// disk neither.
func (s *Store) Failed() bool { return s.trouble.failed.Load() }

// Tail is the last position in the journal that is on disk.
func (s *Store) Tail() uint64 { return s.tail.Load() }

// Grown gives a channel that closes when the journal grows.
func (s *Store) Grown() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grown
}

// Entries visits journal entries from a position on, until visit says stop. The
// bytes are valid during the visit only. What is readable in Pebble but not on
// disk yet is not visited: a power cut would take it away.
func (s *Store) Entries(from uint64, visit func(pos uint64, entry []byte) (bool, error)) error {
	tail := s.Tail()
	return s.scan(spaceJournal, from, func(pos uint64, entry []byte) (bool, error) {
		if pos > tail {
			return false, nil
		}
		return visit(pos, entry)
	})
}

// Outbox visits events from a number on.
func (s *Store) Outbox(from uint64, visit func(n uint64, event []byte) (bool, error)) error {
	return s.scan(spaceOutbox, from, visit)
}

// Quarantine visits quarantined messages from a position on.
func (s *Store) Quarantine(from uint64, visit func(pos uint64, info []byte) (bool, error)) error {
	return s.scan(spaceQuarantine, from, visit)
}

func (s *Store) scan(space byte, from uint64, visit func(uint64, []byte) (bool, error)) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: key(space, from), UpperBound: []byte{space + 1}})
	if err != nil {
		return fmt.Errorf("read store: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		more, err := visit(binary.BigEndian.Uint64(it.Key()[1:]), it.Value())
		if err != nil || !more {
			return err
		}
	}
	return it.Error()
}

// Entry reads one journal entry, nil where there is none on disk.
func (s *Store) Entry(pos uint64) ([]byte, error) {
	if pos > s.Tail() {
		return nil, nil
	}
	return s.get(key(spaceJournal, pos))
}

// Outcome reads a message's outcome; false while it has none.
func (s *Store) Outcome(pos uint64) (pipelines.Outcome, bool, error) {
	var o pipelines.Outcome
	v, err := s.get(key(spaceOutcome, pos))
	if err != nil || v == nil {
		return o, false, err
	}
	return o, true, json.Unmarshal(v, &o)
}

// Event reads one event as it is stored, nil where there is none.
func (s *Store) Event(n uint64) ([]byte, error) { return s.get(key(spaceOutbox, n)) }

// DecodeEvent reads what Event wrote, into into where it has room.
func DecodeEvent(into, stored []byte) ([]byte, error) {
	out, err := s2.Decode(into, stored)
	if err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	return out, nil
}

// Meta reads a named value.
func (s *Store) Meta(name string) ([]byte, error) { return s.get(meta(name)) }

// Held reads one quarantined message, nil where there is none.
func (s *Store) Held(pos uint64) ([]byte, error) { return s.get(key(spaceQuarantine, pos)) }

// Get implements records.View.
func (s *Store) Get(k []byte) ([]byte, error) { return s.get(append([]byte{spaceState}, k...)) }

// StateKeys visits the keys of the records' state, as long as it is told to.
func (s *Store) StateKeys(visit func(k []byte) bool) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceState}, UpperBound: []byte{spaceState + 1}})
	if err != nil {
		return fmt.Errorf("read store: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok && visit(it.Key()[1:]); ok = it.Next() {
	}
	return it.Error()
}

// Scan implements records.View.
func (s *Store) Scan(prefix, after []byte, limit int) ([]records.KV, error) {
	lower := append([]byte{spaceState}, prefix...)
	upper := append(bytes.Clone(lower), 0xff)
	if after != nil {
		lower = append(append([]byte{spaceState}, after...), 0)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("read store: %w", err)
	}
	defer it.Close()
	var out []records.KV
	for ok := it.First(); ok && len(out) < limit; ok = it.Next() {
		out = append(out, records.KV{Key: bytes.Clone(it.Key()[1:]), Value: bytes.Clone(it.Value())})
	}
	return out, it.Error()
}
