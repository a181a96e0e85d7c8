package engine

import (
	"context"
	"time"

	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/store"
)

// A dedup is what a batch adds to the deduplication index before it is
// written. The index decides in the journal's order, inside a batch too.
type dedup struct {
	seen   map[digest]uint64
	latest map[digest]digest // by identity: the last content
	held   map[uint64]*Held  // written to quarantine by this batch; nil: taken out
}

// found is what the index says of a message.
type found struct {
	first uint64   // where the same message stands; 0: nowhere
	held  bool     // it is in quarantine: this is another try of it
	again bool     // it is an update that was here before: without effect it is a duplicate
	other bool     // another content stood under its identity since
	flags []string // of a message that is processed
}

// duplicate decides whether a message was here before, and notes it. What an
// update puts in place may have been replaced since, by a Bundle, another
// source or v2 too, which only the fold knows.
func (w *writing) duplicate(p *prepared) (found, error) {
	en := p.entry
	if en.Type != typeMessage || en.Digest == (digest{}) {
		return found{}, nil
	}
	first, latest, err := w.lookUp(en)
	if err != nil {
		return found{}, err
	}
	out := found{}
	other := latest != digest{} && latest != en.Digest
	if first != 0 {
		h, err := w.quarantinedNow(first)
		if err != nil {
			return found{}, err
		}
		out.first, out.held = first, h != nil
		out.again, out.other = h == nil, other
		if h == nil && !p.update {
			return found{first: first}, nil
		}
	}
	if other && en.Format == pipelines.HL7v2 {
		out.flags = []string{pipelines.ControlIDReuse}
	}
	if out.again { // its place is its first one's, unless it has an effect
		return out, nil
	}
	return out, w.note(en, first)
}

// lookUp finds the same message, and what stood last under its identity.
func (w *writing) lookUp(en *entry) (first uint64, latest digest, err error) {
	first, inBatch := w.dedup.seen[en.Digest]
	if !inBatch {
		g, ok, err := w.store.Seen(en.Digest)
		if err != nil {
			return 0, latest, err
		}
		if ok && g.Position != en.pos && w.counts(g, en.received()) {
			first = g.Position
		}
	}
	if en.Identity == (digest{}) {
		return first, latest, nil
	}
	latest, inBatch = w.dedup.latest[en.Identity]
	if !inBatch {
		g, ok, err := w.store.Latest(en.Identity)
		if err != nil {
			return 0, latest, err
		}
		if ok && w.counts(g, en.received()) {
			latest = g.Digest
		}
	}
	return first, latest, nil
}

// counts says whether an entry of the index still bears on a message.
func (e *Engine) counts(g store.Sighting, received time.Time) bool {
	return g.Received.UnixNano() >= e.floor.Load() && received.Sub(g.Received) <= e.cfg.Window
}

// note puts a message that is processed into the index. Another try of one
// that is there keeps its first place, so that the window is not prolonged.
func (w *writing) note(en *entry, first uint64) error {
	if w.dedup.seen == nil {
		w.dedup.seen, w.dedup.latest = map[digest]uint64{}, map[digest]digest{}
	}
	if en.Identity != (digest{}) {
		w.dedup.latest[en.Identity] = en.Digest
	}
	if first != 0 {
		return nil
	}
	w.dedup.seen[en.Digest] = en.pos
	return w.batch.Remember(en.Identity, store.Sighting{Position: en.pos, Received: en.received(), Digest: en.Digest})
}

// tick moves the time before which the index forgets. It is the journal's
// clock that does, so that a replay forgets the same; what a sender's message
// was received before a tick that stands before it in the journal is bounded
// by the slack.
func (w *writing) tick(en *entry) error {
	if floor := en.received().Add(-w.cfg.Window - slack(w.cfg.Window)).UnixNano(); floor > w.floor.Load() {
		w.floor.Store(floor)
		return w.batch.Number("dedup-floor", uint64(floor))
	}
	return nil
}

// slack is how far received times may run back without a change of results.
func slack(window time.Duration) time.Duration { return window / 7 }

// An expiry is a part of the index that may be forgotten.
type expiry struct {
	keys   [][]byte
	before time.Time
}

// The bounds of one look for what may be forgotten.
const (
	expiryScan = 20_000
	expiryKeys = 256
)

// sweep looks for what the index may forget, a part at a time, and hands it to
// the processing, which alone writes the index.
func (e *Engine) sweep(ctx context.Context) error {
	floor, err := e.store.Number("dedup-floor")
	if err != nil || floor == 0 {
		return err
	}
	before := time.Unix(0, int64(floor))
	if e.swept.done && !before.After(e.swept.before) {
		return nil
	}
	for scanned := 0; scanned < expiryScan; scanned += expiryKeys {
		keys, next, err := e.store.Expired(e.swept.after, before, expiryScan, expiryKeys)
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			select {
			case e.expired <- expiry{keys: keys, before: before}:
			case <-ctx.Done():
				return nil
			default: // the processing has enough to do: the same part again, later
				return nil
			}
		}
		e.swept.after, e.swept.before, e.swept.done = next, before, next == nil
		if next == nil || len(keys) < expiryKeys {
			return nil
		}
	}
	return nil
}

// forget begins a batch with what the index may forget.
func (w *writing) forget() error {
	select {
	case x := <-w.expired:
		return w.batch.Forget(x.keys, x.before)
	default:
		return nil
	}
}
