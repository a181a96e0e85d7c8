package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/liaison-health/liaison/pipelines"
)

// An appendRequest is stored or refused, whichever comes first.
type appendRequest struct {
	entry []byte
	pos   uint64
	err   chan error
	ended atomic.Bool
}

// end takes the request for the one who asks; false: it was the other.
func (r *appendRequest) end() bool { return r.ended.CompareAndSwap(false, true) }

// Append puts an entry behind the journal and returns when it is on disk. Many
// callers share one fsync.
func (s *Store) Append(entry []byte) (uint64, error) {
	switch {
	case s.Failed():
		return 0, pipelines.ErrClosed
	case s.Full():
		return 0, pipelines.ErrFull
	}
	pos, err := s.append(entry)
	if err == nil && s.Failed() {
		return 0, pipelines.ErrClosed
	}
	return pos, err
}

func (s *Store) append(entry []byte) (uint64, error) {
	r := &appendRequest{entry: entry, err: make(chan error, 1)}
	refusing := s.volume.refusing()
	select {
	case s.appends <- r:
	case <-refusing:
		return 0, pipelines.ErrFull
	case <-s.stopping:
		return 0, pipelines.ErrClosed
	}
	select {
	case err := <-r.err:
		return r.pos, err
	case <-refusing:
		if r.end() {
			return 0, pipelines.ErrFull
		}
		err := <-r.err
		return r.pos, err
	case <-s.done:
		select {
		case err := <-r.err:
			return r.pos, err
		default:
			return 0, pipelines.ErrClosed
		}
	}
}

func (s *Store) commitAppends() {
	defer close(s.done)
	var group []*appendRequest
	for {
		group = group[:0]
		select {
		case r := <-s.appends:
			group = append(group, r)
		case <-s.stopping:
			select {
			case r := <-s.appends:
				group = append(group, r)
			default:
				return
			}
		}
		for size := len(group[0].entry); size < 4<<20 && len(group) < 1024; {
			select {
			case r := <-s.appends:
				group = append(group, r)
				size += len(r.entry)
				continue
			default:
			}
			break
		}
		s.commitGroup(group)
	}
}

func (s *Store) commitGroup(group []*appendRequest) {
	group = slices.DeleteFunc(group, func(r *appendRequest) bool { return r.ended.Load() })
	if len(group) == 0 {
		return
	}
	b := s.db.NewBatch(pebble.WithInitialSizeBytes(32 << 10))
	pos, size := s.last, uint64(0)
	var err error
	for _, r := range group {
		pos++
		r.pos = pos
		size += uint64(len(r.entry))
		if err = b.Set(key(spaceJournal, pos), r.entry, nil); err != nil {
			break
		}
	}
	if err == nil {
		err = b.Set(meta(metaAppended), binary.BigEndian.AppendUint64(nil, s.appended+size), nil)
	}
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	err = errors.Join(err, b.Close())
	if err == nil && !ended(group) {
		for _, r := range group {
			r.err <- pipelines.ErrFull
		}
		_ = s.takeOut(pos) // a disk that fails here has ended the process
		return
	}
	if err == nil {
		s.last = pos
		s.appended += size
		s.size.Add(int64(size))
		s.tail.Store(pos)
		s.mu.Lock()
		close(s.grown)
		s.grown = make(chan struct{})
		s.mu.Unlock()
	} else {
		err = fmt.Errorf("append to journal: %w", err)
	}
	for _, r := range group {
		r.err <- err
	}
}

// ended takes all requests of a group; false: some were refused meanwhile.
func ended(group []*appendRequest) bool {
	all := true
	for _, r := range group {
		all = r.end() && all
	}
	return all
}

// takeOut deletes the entries behind the last up to a position. The disk has
// them in the end, but some sender was told that it has not, and will send again.
func (s *Store) takeOut(pos uint64) error {
	b := s.db.NewBatch()
	err := errors.Join(
		b.DeleteRange(key(spaceJournal, s.last+1), key(spaceJournal, pos+1), nil),
		b.Set(meta(metaAppended), binary.BigEndian.AppendUint64(nil, s.appended), nil),
		b.Commit(pebble.Sync),
	)
	return errors.Join(err, b.Close())
}
