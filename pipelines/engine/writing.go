package engine

import (
	"errors"
	"sort"
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/store"
)

// A writing is the atomic write of one batch in the making.
type writing struct {
	*Engine
	batch *store.Batch
	over  map[string][]byte   // what the batch makes of the state, nil: nothing; written once, when it is whole
	state int                 // bytes of it, at most
	names map[string][]string // its keys by what they begin with, as far as two bytes
	event uint64
	dedup dedup
	mark  store.Mark // of what the batch has taken from the journal
	read  error      // of the store, while folding
}

// Get implements records.View over what the batch has written so far.
func (w *writing) Get(k []byte) ([]byte, error) {
	if w.cache.absent(k) {
		return nil, nil
	}
	if v, ok := w.over[string(k)]; ok {
		return v, nil
	}
	if v, ok := w.cache.get(k); ok {
		return v, nil
	}
	if w.keys.absent(k) {
		return nil, nil
	}
	v, err := w.store.Get(k)
	if err == nil {
		w.cache.put(string(k), v)
	} else {
		w.read = err
	}
	return v, err
}

// spaceLen is how long the names of the spaces of the records' keys are: each is
// a letter and a slash, but for hf/, which nobody scans.
const spaceLen = 2

// put notes what a message makes of the state.
func (w *writing) put(kv records.KV) {
	name := string(kv.Key)
	if _, again := w.over[name]; !again {
		w.names[name[:spaceLen]] = append(w.names[name[:spaceLen]], name)
	}
	w.over[name] = kv.Value
	w.state += len(kv.Value)
	w.keys.add(kv.Key)
	w.cache.wrote(kv.Key, kv.Value)
}

// Holds implements records.Holder.
func (w *writing) Holds(k, v []byte) bool { return w.cache.holds(k, v) }

// Scan implements records.View.
func (w *writing) Scan(prefix, after []byte, limit int) ([]records.KV, error) {
	own := w.names[string(prefix[:spaceLen])]
	base, err := w.store.Scan(prefix, after, limit+len(own))
	if err != nil {
		w.read = err
		return nil, err
	}
	var out []records.KV
	for _, kv := range base {
		if _, ok := w.over[string(kv.Key)]; !ok {
			out = append(out, kv)
		}
	}
	for _, k := range own {
		if v := w.over[k]; v != nil && strings.HasPrefix(k, string(prefix)) && (after == nil || k > string(after)) {
			out = append(out, records.KV{Key: []byte(k), Value: v})
		}
	}
	sort.Slice(out, func(i, j int) bool { return string(out[i].Key) < string(out[j].Key) })
	return out[:min(limit, len(out))], nil
}

func (e *Engine) newWriting() *writing {
	return &writing{Engine: e, batch: e.store.NewBatch(), over: map[string][]byte{}, names: map[string][]string{}, event: e.folded.event}
}

// commit writes the batch with its checkpoint.
func (w *writing) commit(pos uint64, continuation []byte) error {
	err := errors.Join(
		w.batch.State(w.over),
		w.batch.Number("checkpoint", pos), w.batch.Number("events", w.event), w.batch.Meta("continuation", continuation),
	)
	if w.mark.Bytes > 0 { // not of a merge that goes on: its events stay with the next mark
		w.mark.Position, w.mark.Event = pos, w.event
		err = errors.Join(err, w.batch.Mark(w.mark))
	}
	if err != nil {
		return err
	}
	w.failpoint("before-commit")
	durable, err := w.batch.Apply()
	if err != nil {
		return err
	}
	w.folded = written{position: pos, event: w.event, durable: durable}
	if w.written == nil { // before the processing
		return w.happen(w.folded)
	}
	w.written <- w.folded
	return nil
}

// apply puts effects into the batch and gives the events' ids.
func (w *writing) apply(effects *records.Effects, received time.Time) ([]string, error) {
	for _, kv := range effects.Writes {
		w.put(kv)
	}
	var ids []string
	for i := range effects.Events {
		ev := &effects.Events[i]
		w.event++
		if err := w.batch.Event(w.event, w.encodeEvent(ev, received)); err != nil {
			return nil, err
		}
		ids = append(ids, ev.ID)
	}
	w.folder.Reuse(effects)
	return ids, nil
}

// outcome writes a message's fate, unless retention has taken the message.
func (w *writing) outcome(pos uint64, o pipelines.Outcome) error {
	if pos < w.store.First() {
		return nil
	}
	return w.batch.Outcome(pos, o)
}
