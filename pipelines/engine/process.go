package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
)

// A written batch is readable, and on its way to the disk.
type written struct {
	position, event uint64
	durable         func() error
}

const (
	mostWritten = 4       // batches on their way to the disk
	mostBytes   = 3 << 19 // of a batch: what comes behind goes into another
)

// process takes the journal in batches until stop closes and nothing is left.
// While one batch is folded, the next is parsed and mapped, and the last ones
// are on their way to the disk.
func (e *Engine) process(ctx context.Context, stop <-chan struct{}) error {
	group, ctx := errgroup.WithContext(ctx)
	ctx, end := context.WithCancel(ctx)
	defer end()
	ready := make(chan []*prepared)
	e.written = make(chan written, mostWritten)
	group.Go(func() error {
		var err error
		for w := range e.written { // to the end, so that the folding never waits for nobody
			if err != nil {
				continue
			}
			if err = e.happen(w); err != nil {
				end() // nothing more is read
			}
		}
		return err
	})
	group.Go(func() error {
		defer close(ready)
		return e.read(ctx, stop, ready)
	})
	group.Go(func() error {
		defer close(e.written)
		background()
		for list := range ready {
			if err := e.fold(list); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// read prepares the journal's entries in batches. Once it is to stop it goes on
// to the journal's end, but not for longer than a while.
func (e *Engine) read(ctx context.Context, stop <-chan struct{}, ready chan<- []*prepared) error {
	from := e.current() + 1
	workers := make(chan work, e.cfg.Batch)
	defer close(workers)
	for range e.cfg.Workers {
		go e.worker(workers)
	}
	var late <-chan time.Time
	for {
		select {
		case <-late:
			return nil
		default:
		}
		if late == nil && e.cfg.Finish > 0 && closed(stop) {
			late = time.After(e.cfg.Finish)
		}
		grown := e.store.Grown()
		list, err := e.batch(from, workers)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			select {
			case ready <- list:
			case <-ctx.Done():
				return nil
			}
			from = list[len(list)-1].entry.pos + 1
			continue
		}
		select {
		case <-grown:
		case <-stop:
			if e.store.Tail() < from {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (e *Engine) current() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.checkpoint
}

// batch reads and prepares the next entries.
func (e *Engine) batch(from uint64, workers chan<- work) ([]*prepared, error) {
	if from > e.store.Tail() {
		return nil, nil
	}
	var list []*prepared
	size := 0
	err := e.store.Entries(from, func(pos uint64, data []byte) (bool, error) {
		en, err := decodeEntry(pos, bytes.Clone(data))
		p := &prepared{entry: en}
		if err != nil {
			p.entry = &entry{Type: typeMessage, pos: pos, raw: bytes.Clone(data), size: len(data)}
			p.problem = &problem{Reason: pipelines.JournalDamaged, Text: err.Error()}
		}
		list = append(list, p)
		size += len(data)
		return len(list) < e.cfg.Batch && size < 8<<20, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	e.prepareAll(list, workers)
	return list, nil
}

// prepareAll parses and maps in parallel.
func (e *Engine) prepareAll(list []*prepared, workers chan<- work) {
	var wg sync.WaitGroup
	for _, p := range list {
		if p.entry.Type != typeRetry {
			wg.Add(1)
			workers <- work{p: p, done: &wg}
		}
	}
	wg.Wait()
}

// fold applies a prepared batch in journal order and writes it.
func (e *Engine) fold(list []*prepared) error {
	w := e.newWriting()
	if err := w.forget(); err != nil {
		return err
	}
	for i, p := range list {
		if p.entry.Type == typeRetry { // it runs what a message before it left in quarantine
			if i > 0 && list[i-1].entry.pos > e.folded.position {
				if err := w.commit(list[i-1].entry.pos, nil); err != nil {
					return err
				}
				w = e.newWriting()
			}
			e.prepare(p)
		}
		w.mark.Bytes += int64(p.entry.size)
		w.mark.Received = p.entry.received()
		more, err := w.entry(p)
		if p.result != nil {
			p.mapper.Release(p.result)
		}
		if err != nil {
			return err
		}
		last := i == len(list)-1
		switch {
		case more != nil: // a merge of many records goes on in writes of its own
			if err := w.commit(p.entry.pos, more); err != nil {
				return err
			}
			if err := e.resume(); err != nil || last {
				return err
			}
			w = e.newWriting()
		case w.batch.Size()+w.state > mostBytes && !last:
			if err := w.commit(p.entry.pos, nil); err != nil {
				return err
			}
			w = e.newWriting()
		}
	}
	return w.commit(list[len(list)-1].entry.pos, nil)
}

// happen waits until a batch is durable; only then has it happened.
func (e *Engine) happen(w written) error {
	if err := w.durable(); err != nil {
		return err
	}
	e.failpoint("after-commit")
	e.reached(w.position, w.event)
	return nil
}

// resume goes on with a merge that was under way. One that cannot go on is put
// in quarantine, and what comes behind it goes on.
func (e *Engine) resume() error {
	for {
		token, err := e.store.Meta("continuation")
		if err != nil || token == nil {
			return err
		}
		w := e.newWriting()
		effects, err := w.isolated(func() (*records.Effects, error) { return e.folder.Resume(w, token) })
		if err != nil {
			if err := w.stopped(e.folded.position, err); err != nil {
				return fmt.Errorf("resume merge: %w", err)
			}
			effects = &records.Effects{}
		}
		if _, err := w.apply(effects, time.Time{}); err != nil {
			return err
		}
		if err := w.commit(e.folded.position, effects.Continuation); err != nil {
			return err
		}
	}
}

// entry folds one entry; it gives the continuation of a merge.
func (w *writing) entry(p *prepared) ([]byte, error) {
	en := p.entry
	switch en.Type {
	case typeDrop:
		return nil, w.drop(en)
	case typeSettings:
		return nil, errors.Join(w.batch.Meta("settings", fmt.Appendf(nil, "%s %d", en.SHA256, en.pos)), w.outcome(en.pos, pipelines.Outcome{Status: pipelines.Unchanged}))
	case typeTick:
		return nil, errors.Join(w.tick(en), w.outcome(en.pos, pipelines.Outcome{Status: pipelines.Unchanged}))
	}
	if p.target == nil && p.problem == nil { // nothing to retry any more
		return nil, w.outcome(en.pos, pipelines.Outcome{Status: pipelines.Unchanged})
	}
	if p.gated {
		w.metrics.gate.WithLabelValues(p.target.Source).Inc()
	}
	found, err := w.duplicate(p)
	if err != nil {
		return nil, err
	}
	if found.first != 0 && !found.held && !found.again {
		return nil, w.repeated(en, found)
	}
	if p.problem != nil {
		return nil, w.quarantine(p, found)
	}
	p.change.Warnings = append(p.change.Warnings, found.flags...)
	effects, err := w.isolated(func() (*records.Effects, error) {
		if p.correction != nil {
			return w.folder.Correct(w, p.change, p.correction)
		}
		return w.folder.Fold(w, p.change)
	})
	if err != nil {
		if p.problem = w.reason(err); p.problem == nil {
			return nil, err
		}
		return nil, errors.Join(w.renew(en, &found), w.quarantine(p, found))
	}
	ids, err := w.apply(effects, p.target.received())
	if err != nil {
		return nil, err
	}
	o := pipelines.Outcome{Status: pipelines.Published, Events: ids, Flags: append(found.flags, effects.Flags...), Last: w.event}
	if len(ids) == 0 {
		o.Status = pipelines.Unchanged
	}
	if found.again && !found.other && len(ids) == 0 {
		return effects.Continuation, w.repeated(en, found)
	}
	if err := w.renew(en, &found); err != nil {
		return nil, err
	}
	if of := cmp.Or(en.Of, found.first); of != 0 { // out of quarantine
		if err := errors.Join(w.release(of, o), w.edited(en, p.target)); err != nil {
			return nil, err
		}
	}
	return effects.Continuation, w.outcome(en.pos, o)
}

// repeated gives a message that was here before its outcome.
func (w *writing) repeated(en *entry, f found) error {
	w.metrics.duplicates.Inc()
	return w.outcome(en.pos, pipelines.Outcome{Status: pipelines.Duplicate, Of: f.first})
}

// renew gives an update that was here before and has an effect its place in the
// index: it is the first one of its repeats from now on.
func (w *writing) renew(en *entry, f *found) error {
	if !f.again {
		return nil
	}
	f.first, f.again = 0, false
	return w.note(en, 0)
}

// reason says why a fold failed; nil when it was the store, which is not the
// message's fault.
func (w *writing) reason(err error) *problem {
	var failed *foldError
	switch {
	case w.read != nil:
		return nil
	case errors.As(err, &failed):
		return &problem{Reason: pipelines.Panicked, Text: "the message could not be folded"}
	case errors.Is(err, records.ErrTooLarge):
		return &problem{Reason: pipelines.RecordTooLarge, Text: "a record of this message is larger than kafka.record_bytes, even with its attachments by reference"}
	default:
		w.cfg.Log.Error("a message cannot be folded", "error", err)
		return &problem{Reason: pipelines.Failed, Text: "the records' state does not take this message"}
	}
}

type foldError struct{}

func (*foldError) Error() string { return "the message could not be folded" }

// isolated keeps a panic to one message.
func (w *writing) isolated(do func() (*records.Effects, error)) (effects *records.Effects, err error) {
	defer func() {
		if failure := recover(); failure != nil {
			w.panicked("fold", 0, debug.Stack())
			effects, err = nil, &foldError{}
		}
	}()
	w.failpoint("fold")
	return do()
}
