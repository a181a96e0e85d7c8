package store

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// The names of the journal's own figures.
const (
	metaBase     = "journal-base"     // the last position that was dropped
	metaAppended = "journal-appended" // bytes ever appended
	metaDropped  = "journal-dropped"  // bytes ever dropped
)

// openJournal finds where the journal begins and what it holds, without
// reading it.
func (s *Store) openJournal() error {
	base, err := s.number(metaBase)
	if err != nil {
		return err
	}
	if s.appended, err = s.number(metaAppended); err != nil {
		return err
	}
	dropped, err := s.number(metaDropped)
	if err != nil {
		return err
	}
	s.last = max(s.last, base)
	s.first.Store(base + 1)
	s.size.Store(int64(s.appended - dropped))
	return nil
}

// First is the position of the oldest journal entry that is kept.
func (s *Store) First() uint64 { return s.first.Load() }

// JournalBytes is what the journal's entries hold together.
func (s *Store) JournalBytes() int64 { return s.size.Load() }

// A Mark is a place where the journal may be cut, so that events and outcomes
// go with their messages.
type Mark struct {
	Position uint64    // the last entry before the cut
	Event    uint64    // the last event that the entries up to there made
	Bytes    int64     // of the entries since the mark before
	Received time.Time // of the last entry
}

// Mark writes a mark.
func (b *Batch) Mark(m Mark) error {
	v := binary.BigEndian.AppendUint64(nil, m.Event)
	v = binary.BigEndian.AppendUint64(v, uint64(m.Bytes))
	v = binary.BigEndian.AppendUint64(v, uint64(m.Received.UnixNano()))
	return wrap(b.b.Set(key(spaceMark, m.Position), v, nil))
}

// Marks visits the marks in the order of the journal.
func (s *Store) Marks(visit func(Mark) (bool, error)) error {
	return s.scan(spaceMark, s.First(), func(position uint64, v []byte) (bool, error) {
		if len(v) != 24 {
			return true, nil
		}
		return visit(Mark{
			Position: position, Event: binary.BigEndian.Uint64(v), Bytes: int64(binary.BigEndian.Uint64(v[8:])),
			Received: time.Unix(0, int64(binary.BigEndian.Uint64(v[16:]))),
		})
	})
}

// Retain drops journal entries, outcomes and marks up to a mark's position,
// which are so many bytes of the journal, and the outbox up to its event. One
// caller at a time.
func (s *Store) Retain(position, event uint64, bytes int64) error {
	dropped, err := s.number(metaDropped)
	if err != nil {
		return err
	}
	events, err := s.number("outbox-base")
	if err != nil {
		return err
	}
	first := s.first.Load()
	b := s.db.NewBatch()
	err = errors.Join(
		b.DeleteRange(key(spaceJournal, first), key(spaceJournal, position+1), nil),
		b.DeleteRange(key(spaceOutcome, first), key(spaceOutcome, position+1), nil),
		b.DeleteRange(key(spaceMark, first), key(spaceMark, position+1), nil),
		b.DeleteRange(key(spaceOutbox, events+1), key(spaceOutbox, event+1), nil),
		b.Set(meta("outbox-base"), binary.BigEndian.AppendUint64(nil, event), nil),
		b.Set(meta(metaBase), binary.BigEndian.AppendUint64(nil, position), nil),
		b.Set(meta(metaDropped), binary.BigEndian.AppendUint64(nil, dropped+uint64(bytes)), nil),
	)
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	if err != nil {
		return wrap(err)
	}
	s.first.Store(position + 1)
	s.size.Add(-bytes)
	return nil
}
