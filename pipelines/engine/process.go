package engine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/store"
)

// A prepared entry is one that was parsed and mapped, which needs no order.
type prepared struct {
	entry   *entry
	target  *entry // what a retry runs: the quarantined message
	change  *records.Change
	result  *tables.Result
	mapper  *tables.Mapper
	problem *problem
	head    hl7v2.Header
	gated   bool   // the gate found something
	stack   []byte // of a panic while mapping
	update  bool   // FHIR: it puts a resource in the place of what is held
}

// A problem is why a message goes to quarantine.
type problem struct {
	Reason      pipelines.Reason
	Place, Text string
}

// A written batch is readable, and on its way to the disk.
type written struct {
	position, event uint64
	durable         func() error
}

const (
	mostWritten = 4       // batches on their way to the disk
	mostBytes   = 4 << 20 // of a batch: what comes behind goes into another
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

// read prepares the journal's entries in batches.
func (e *Engine) read(ctx context.Context, stop <-chan struct{}, ready chan<- []*prepared) error {
	from := e.current() + 1
	workers := make(chan work, e.cfg.Batch)
	defer close(workers)
	for range e.cfg.Workers {
		go e.worker(workers)
	}
	for {
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

// work is one entry for a worker.
type work struct {
	p    *prepared
	done *sync.WaitGroup
}

// worker prepares entries until there are no more.
func (e *Engine) worker(entries <-chan work) {
	background()
	for w := range entries {
		e.prepare(w.p)
		w.done.Done()
	}
}

// panicked tells where the program failed. What it failed with is not told: it
// may hold a patient's data.
func (e *Engine) panicked(doing string, pos uint64, stack []byte) {
	e.cfg.Log.Error("a fault in Liaison, kept to one message", "doing", doing, "journal", pos, "stack", string(stack))
}

// prepare turns one entry into a change, or into a problem. A panic is a
// problem of this message alone.
func (e *Engine) prepare(p *prepared) {
	defer func() {
		if failure := recover(); failure != nil {
			e.panicked("prepare", p.entry.pos, debug.Stack())
			p.change, p.result, p.problem = nil, nil, &problem{Reason: pipelines.Panicked, Text: "the message could not be processed"}
		}
	}()
	if p.problem == nil && p.entry.Type == typeUnmerge {
		p.prepareUnmerge()
		return
	}
	if p.problem != nil || p.entry.Type != typeMessage && p.entry.Type != typeRetry {
		return
	}
	e.failpoint("prepare")
	p.target = p.entry
	if p.entry.Type == typeRetry {
		q, err := e.quarantined(p.entry.Of)
		if err != nil || q == nil {
			return // nothing to retry any more
		}
		p.target = q.entry()
		if len(p.entry.raw) > 0 { // edited
			p.target.raw = p.entry.raw
		}
	}
	en := p.target
	pipeline, ok := e.pipelines[en.Source]
	if !ok {
		p.problem = &problem{Reason: pipelines.UnknownSource, Text: "the source is not configured any more"}
		return
	}
	if en.Format == pipelines.FHIR {
		e.prepareFHIR(p, en)
		return
	}
	pipeline.prepareV2(p, en)
	if len(p.stack) > 0 {
		e.panicked("map", p.entry.pos, p.stack)
	}
}

func (pl *Pipeline) prepareV2(p *prepared, en *entry) {
	msg, err := hl7v2.Parse(en.raw)
	if err == nil && pl.DefaultCharset != "" {
		err = msg.SetDefaultCharset(pl.DefaultCharset)
	}
	if err != nil {
		p.problem = &problem{Reason: pipelines.Syntax, Text: err.Error()}
		var syntax *hl7v2.SyntaxError
		if errors.As(err, &syntax) {
			p.problem.Place = syntax.Place.String()
		}
		return
	}
	p.head = msg.Header()
	res, err := pl.Mapper.Map(msg, tables.Context{
		Source: pl.Source, Location: pl.Location, DefaultAssigner: pl.DefaultAssigner, Systems: pl.Systems,
		Received: time.Unix(0, en.Received).UTC(), Journal: en.pos, SHA256: en.SHA256,
	})
	if err != nil {
		p.problem = &problem{Reason: pipelines.Unmappable, Text: err.Error()}
		var un *tables.Unmappable
		if errors.As(err, &un) {
			p.problem, p.stack = &problem{Reason: pipelines.ReasonOf(un.Code), Place: un.Place.String(), Text: un.Reason}, un.Stack
		}
		return
	}
	if pl.Gate != nil && (pl.Sample <= 1 || en.pos%pl.Sample == 0) {
		if place, reason := pl.Gate(res); reason != "" {
			p.gated = true
			if pl.Sample <= 1 {
				p.problem = &problem{Reason: pipelines.InvalidFHIR, Place: place, Text: reason}
				pl.Mapper.Release(res)
				return
			}
			res.Change.Warnings = append(res.Change.Warnings, "gate "+place+": "+reason)
		}
	}
	p.change, p.result, p.mapper = res.Change, res, pl.Mapper
}

func (e *Engine) prepareFHIR(p *prepared, en *entry) {
	var req records.FHIRRequest
	if len(en.Meta) > 0 {
		if err := json.Unmarshal(en.Meta, &req); err != nil {
			p.problem = &problem{Reason: pipelines.Syntax, Text: "the request's description is damaged"}
			return
		}
	}
	req.Body = en.raw
	req.Origin = records.Origin{Source: en.Source, SHA256: en.SHA256, Journal: en.pos}
	req.Received = time.Unix(0, en.Received).UTC()
	change, err := records.FromFHIR(req)
	if err != nil {
		p.problem = &problem{Reason: pipelines.InvalidFHIR, Text: err.Error()}
		return
	}
	p.change, p.update = change, req.Updates()
	p.head = hl7v2.Header{Code: change.Origin.Message}
}

// A writing is the atomic write of one batch in the making.
type writing struct {
	*Engine
	batch *store.Batch
	over  map[string][]byte // what the batch makes of the state, nil: nothing; written once, when it is whole
	state int               // bytes of it, at most
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
	v, err := w.store.Get(k)
	if err == nil {
		w.cache.put(string(k), v)
	} else {
		w.read = err
	}
	return v, err
}

// Holds implements records.Holder.
func (w *writing) Holds(k, v []byte) bool { return w.cache.holds(k, v) }

// Scan implements records.View.
func (w *writing) Scan(prefix, after []byte, limit int) ([]records.KV, error) {
	base, err := w.store.Scan(prefix, after, limit+len(w.over))
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
	for k, v := range w.over {
		if v != nil && strings.HasPrefix(k, string(prefix)) && (after == nil || k > string(after)) {
			out = append(out, records.KV{Key: []byte(k), Value: v})
		}
	}
	sort.Slice(out, func(i, j int) bool { return string(out[i].Key) < string(out[j].Key) })
	return out[:min(limit, len(out))], nil
}

func (e *Engine) newWriting() *writing {
	return &writing{Engine: e, batch: e.store.NewBatch(), over: map[string][]byte{}, event: e.folded.event}
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
	effects, err := w.isolated(func() (*records.Effects, error) { return w.folder.Fold(w, p.change) })
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

// apply puts effects into the batch and gives the events' ids.
func (w *writing) apply(effects *records.Effects, received time.Time) ([]string, error) {
	for _, kv := range effects.Writes {
		w.state += len(kv.Value)
		w.over[string(kv.Key)] = kv.Value
		w.cache.wrote(kv.Key, kv.Value)
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
