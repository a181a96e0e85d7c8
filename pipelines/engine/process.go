package engine

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
}

// A problem is why a message goes to quarantine.
type problem struct{ Reason, Place, Text string }

// process takes the journal in batches until stop closes and nothing is left.
// While one batch is folded, the next is parsed and mapped.
func (e *Engine) process(ctx context.Context, stop <-chan struct{}) error {
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan []*prepared)
	group.Go(func() error {
		defer close(ready)
		return e.read(ctx, stop, ready)
	})
	group.Go(func() error {
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
	for {
		grown := e.store.Grown()
		list, err := e.batch(from)
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
func (e *Engine) batch(from uint64) ([]*prepared, error) {
	if from > e.store.Tail() {
		return nil, nil
	}
	var list []*prepared
	size := 0
	err := e.store.Entries(from, func(pos uint64, data []byte) (bool, error) {
		en, err := decodeEntry(pos, bytes.Clone(data))
		p := &prepared{entry: en}
		if err != nil {
			p.entry = &entry{Type: "message", pos: pos, raw: bytes.Clone(data)}
			p.problem = &problem{Reason: "journal-damaged", Text: err.Error()}
		}
		list = append(list, p)
		size += len(data)
		return len(list) < e.cfg.Batch && size < 8<<20, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	e.prepareAll(list)
	return list, nil
}

// prepareAll parses and maps in parallel.
func (e *Engine) prepareAll(list []*prepared) {
	var wg sync.WaitGroup
	next := make(chan *prepared, len(list))
	for _, p := range list {
		if p.entry.Type != "retry" {
			next <- p
		}
	}
	close(next)
	for range min(e.cfg.Workers, len(list)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for p := range next {
				e.prepare(p)
			}
		}()
	}
	wg.Wait()
}

// prepare turns one entry into a change, or into a problem. A panic is a
// problem of this message alone.
func (e *Engine) prepare(p *prepared) {
	defer func() {
		if failure := recover(); failure != nil {
			p.change, p.problem = nil, &problem{Reason: "panic", Text: "the message could not be processed"}
		}
	}()
	if p.problem != nil || p.entry.Type == "drop" {
		return
	}
	p.target = p.entry
	if p.entry.Type == "retry" {
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
		p.problem = &problem{Reason: "unknown-source", Text: "the source is not configured any more"}
		return
	}
	if en.Format == pipelines.FHIR {
		e.prepareFHIR(p, en)
		return
	}
	pipeline.prepareV2(p, en)
}

func (pl *Pipeline) prepareV2(p *prepared, en *entry) {
	msg, err := hl7v2.Parse(en.raw)
	if err == nil && pl.DefaultCharset != "" {
		err = msg.SetDefaultCharset(pl.DefaultCharset)
	}
	if err != nil {
		p.problem = &problem{Reason: "syntax", Text: err.Error()}
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
		p.problem = &problem{Reason: "unmappable", Text: err.Error()}
		var un *tables.Unmappable
		if errors.As(err, &un) {
			p.problem = &problem{Reason: un.Code, Place: un.Place.String(), Text: un.Reason}
		}
		return
	}
	if pl.Gate != nil && (pl.Sample <= 1 || en.pos%pl.Sample == 0) {
		if place, reason := pl.Gate(res); reason != "" {
			if pl.Sample <= 1 {
				p.problem = &problem{Reason: "invalid-fhir", Place: place, Text: reason}
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
			p.problem = &problem{Reason: "syntax", Text: "the request's description is damaged"}
			return
		}
	}
	req.Body = en.raw
	req.Origin = records.Origin{Source: en.Source, SHA256: en.SHA256, Journal: en.pos}
	req.Received = time.Unix(0, en.Received).UTC()
	change, err := records.FromFHIR(req)
	if err != nil {
		p.problem = &problem{Reason: "invalid-fhir", Text: err.Error()}
		return
	}
	p.change = change
	p.head = hl7v2.Header{Code: change.Origin.Message}
}

// A writing is the atomic write of one batch in the making.
type writing struct {
	*Engine
	batch *store.Batch
	over  map[string][]byte
	event uint64
	seen  map[[32]byte]uint64
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
	}
	return v, err
}

// Holds implements records.Holder.
func (w *writing) Holds(k, v []byte) bool { return w.cache.holds(k, v) }

// Scan implements records.View.
func (w *writing) Scan(prefix, after []byte, limit int) ([]records.KV, error) {
	base, err := w.store.Scan(prefix, after, limit+len(w.over))
	if err != nil {
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
	return &writing{Engine: e, batch: e.store.NewBatch(), over: map[string][]byte{}, event: e.lastEvent, seen: map[[32]byte]uint64{}}
}

// fold applies a prepared batch in journal order and writes it.
func (e *Engine) fold(list []*prepared) error {
	w := e.newWriting()
	for i, p := range list {
		if p.entry.Type == "retry" { // it runs what a message before it left in quarantine
			if i > 0 && list[i-1].entry.pos > e.current() {
				if err := w.commit(list[i-1].entry.pos, nil); err != nil {
					return err
				}
				w = e.newWriting()
			}
			e.prepare(p)
		}
		more, err := w.entry(p)
		if p.result != nil {
			p.mapper.Release(p.result)
		}
		if err != nil {
			return err
		}
		if more == nil {
			continue
		}
		// A merge of many records goes on in writes of its own.
		if err := w.commit(p.entry.pos, more); err != nil {
			return err
		}
		if err := e.resume(); err != nil {
			return err
		}
		if i == len(list)-1 {
			return nil
		}
		w = e.newWriting()
	}
	return w.commit(list[len(list)-1].entry.pos, nil)
}

// commit writes the batch with its checkpoint.
func (w *writing) commit(pos uint64, continuation []byte) error {
	err := errors.Join(
		w.batch.Number("checkpoint", pos), w.batch.Number("events", w.event), w.batch.Meta("continuation", continuation),
	)
	if err != nil {
		return err
	}
	w.failpoint("before-commit")
	if err := w.batch.Commit(); err != nil {
		return err
	}
	w.failpoint("after-commit")
	w.reached(pos, w.event)
	return nil
}

// resume goes on with a merge that was under way.
func (e *Engine) resume() error {
	for {
		token, err := e.store.Meta("continuation")
		if err != nil || token == nil {
			return err
		}
		w := e.newWriting()
		effects, err := e.folder.Resume(w, token)
		if err != nil {
			return fmt.Errorf("resume merge: %w", err)
		}
		if _, err := w.apply(effects); err != nil {
			return err
		}
		if err := w.commit(e.current(), effects.Continuation); err != nil {
			return err
		}
	}
}

// entry folds one entry; it gives the continuation of a merge.
func (w *writing) entry(p *prepared) ([]byte, error) {
	en := p.entry
	if en.Type == "drop" {
		return nil, errors.Join(w.batch.Quarantine(en.Of, nil),
			w.outcome(en.Of, pipelines.Outcome{Status: pipelines.Quarantined, Reason: "dropped"}), w.outcome(en.pos, pipelines.Outcome{Status: pipelines.Unchanged}))
	}
	if p.target == nil && p.problem == nil {
		return nil, w.outcome(en.pos, pipelines.Outcome{Status: pipelines.Unchanged})
	}
	flags, first, err := w.duplicate(en)
	if err != nil {
		return nil, err
	}
	if first != 0 {
		w.metrics.duplicates.Inc()
		return nil, w.outcome(en.pos, pipelines.Outcome{Status: pipelines.Duplicate, Of: first})
	}
	if p.problem != nil {
		return nil, w.quarantine(p)
	}
	p.change.Warnings = append(p.change.Warnings, flags...)
	effects, err := w.foldOne(p.change)
	if err != nil {
		var failed *foldError
		if errors.As(err, &failed) {
			p.problem = &problem{Reason: "panic", Text: "the message could not be folded"}
			return nil, w.quarantine(p)
		}
		if errors.Is(err, records.ErrTooLarge) {
			p.problem = &problem{Reason: "record-too-large", Text: "a record of this message is larger than kafka.record_bytes, even with its attachments by reference"}
			return nil, w.quarantine(p)
		}
		return nil, err
	}
	ids, err := w.apply(effects)
	if err != nil {
		return nil, err
	}
	o := pipelines.Outcome{Status: pipelines.Published, Events: ids, Flags: append(flags, effects.Flags...)}
	if len(ids) == 0 {
		o.Status = pipelines.Unchanged
	}
	if en.Type == "retry" {
		if err := errors.Join(w.batch.Quarantine(en.Of, nil), w.outcome(en.Of, o)); err != nil {
			return nil, err
		}
	}
	return effects.Continuation, w.outcome(en.pos, o)
}

type foldError struct{ cause any }

func (f *foldError) Error() string { return "the message could not be folded" }

// foldOne isolates a panic of one message.
func (w *writing) foldOne(c *records.Change) (effects *records.Effects, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			effects, err = nil, &foldError{cause: cause}
		}
	}()
	return w.folder.Fold(w, c)
}

// duplicate decides in journal order, inside the batch too.
func (w *writing) duplicate(en *entry) (flags []string, first uint64, err error) {
	if en.Type != "message" || en.Digest == "" {
		return nil, 0, nil
	}
	var digest [32]byte
	if _, err := hex.Decode(digest[:], []byte(en.Digest)); err != nil {
		return nil, 0, fmt.Errorf("read journal entry %d: %w", en.pos, err)
	}
	if pos, ok := w.seen[digest]; ok {
		return nil, pos, nil
	}
	received := time.Unix(0, en.Received)
	pos, at, ok, err := w.store.Seen(digest)
	if err != nil {
		return nil, 0, err
	}
	if ok && pos != en.pos && received.Sub(at) <= w.cfg.Window {
		return nil, pos, nil
	}
	w.seen[digest] = en.pos
	return nil, 0, w.batch.Remember(digest, en.pos, received)
}

// apply puts effects into the batch and gives the events' ids.
func (w *writing) apply(effects *records.Effects) ([]string, error) {
	for _, kv := range effects.Writes {
		w.over[string(kv.Key)] = kv.Value
		w.cache.wrote(kv.Key, kv.Value)
	}
	if err := w.batch.State(effects.Writes); err != nil {
		return nil, err
	}
	var ids []string
	for i := range effects.Events {
		ev := &effects.Events[i]
		w.event++
		if err := w.batch.Event(w.event, w.encodeEvent(ev)); err != nil {
			return nil, err
		}
		ids = append(ids, ev.ID)
	}
	return ids, nil
}

func (w *writing) outcome(pos uint64, o pipelines.Outcome) error { return w.batch.Outcome(pos, o) }
