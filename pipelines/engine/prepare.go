package engine

import (
	"encoding/json"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines"
)

// A prepared entry is one that was parsed and mapped, which needs no order.
type prepared struct {
	entry      *entry
	target     *entry // what a retry runs: the quarantined message
	change     *records.Change
	correction *records.Correction // of an operator
	result     *tables.Result
	mapper     *tables.Mapper
	problem    *problem
	head       hl7v2.Header
	gated      bool   // the gate found something
	stack      []byte // of a panic while mapping
	update     bool   // FHIR: it puts a resource in the place of what is held
}

// A problem is why a message goes to quarantine.
type problem struct {
	Reason      pipelines.Reason
	Place, Text string
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
	switch {
	case p.problem == nil && p.entry.Type == typeUnmerge:
		p.prepareUnmerge()
		return
	case p.problem == nil && p.entry.Type == typeCorrection:
		p.prepareCorrection()
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
