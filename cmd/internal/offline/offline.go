// Package offline maps and folds messages as in service, without a journal,
// Kafka or a clock: for the map and bench commands and for tests.
package offline

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/liaison-health/liaison/mapping/gate"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines/engine"
)

// A Pipeline maps one source's messages; records fold over them in order.
type Pipeline struct {
	line   *engine.Pipeline
	gate   *gate.Gate
	folder *records.Folder
	state  records.Memory
	n      uint64
}

// New makes a pipeline with an empty state. What it maps goes through the gate,
// if there is one.
func New(line *engine.Pipeline, g *gate.Gate) *Pipeline {
	return &Pipeline{line: line, gate: g, folder: records.NewFolder(0, 0), state: records.Memory{}}
}

// A Report says what became of a message's values.
type Report struct {
	ControlID string   `json:"control_id"`
	Message   string   `json:"message"`
	Structure string   `json:"structure"`
	Gate      []string `json:"gate,omitempty"` // what is wrong with the Bundle, none of its values
	// Output says where the leaves of the Bundle come from; Unresolved counts its
	// references to what it does not have.
	Output     tables.Origins `json:"output"`
	Unresolved int            `json:"unresolved,omitempty"`
	tables.Report
}

// Map maps one message. The caller releases the result.
func (p *Pipeline) Map(raw []byte) (*tables.Result, error) {
	msg, ctx, err := p.read(raw)
	if err != nil {
		return nil, err
	}
	result, err := p.line.Mapper.Map(msg, ctx)
	if err != nil {
		return nil, fmt.Errorf("refused: %w", err)
	}
	return result, nil
}

// read parses a message and says what it is mapped with.
func (p *Pipeline) read(raw []byte) (*hl7v2.Message, tables.Context, error) {
	msg, err := hl7v2.Parse(raw)
	if err != nil {
		return nil, tables.Context{}, fmt.Errorf("refused: %w", err)
	}
	if p.line.DefaultCharset != "" {
		if err := msg.SetDefaultCharset(p.line.DefaultCharset); err != nil {
			return nil, tables.Context{}, fmt.Errorf("refused: %w", err)
		}
	}
	sum := sha256.Sum256(raw)
	p.n++
	return msg, tables.Context{
		Source: p.line.Source, Location: p.line.Location, DefaultAssigner: p.line.DefaultAssigner, Systems: p.line.Systems,
		Received: p.received(msg), Journal: p.n, SHA256: hex.EncodeToString(sum[:]),
	}, nil
}

// received is the message's own time: there is no journal to give one.
func (p *Pipeline) received(msg *hl7v2.Message) time.Time {
	location := p.line.Location
	if location == nil {
		location = time.UTC
	}
	t, err := hl7v2.ParseTime(msg.Header().DateTime, location)
	if err != nil {
		return time.Unix(0, 0).UTC()
	}
	return t.Time.UTC()
}

// Bundle maps one message to a transaction Bundle, and gives what the gate
// finds wrong with it.
func (p *Pipeline) Bundle(raw []byte) ([]byte, []string, error) {
	r, err := p.Map(raw)
	if err != nil {
		return nil, nil, err
	}
	defer p.line.Mapper.Release(r)
	bundle := r.AppendBundle(nil)
	return bundle, p.check(bundle), nil
}

func (p *Pipeline) check(bundle []byte) []string {
	if p.gate == nil {
		return nil
	}
	var out []string
	for _, f := range p.gate.CheckJSON(bundle) {
		out = append(out, f.String())
	}
	return out
}

// Report maps one message and says what became of its values.
func (p *Pipeline) Report(raw []byte) (*Report, error) {
	msg, ctx, err := p.read(raw)
	if err != nil {
		return nil, err
	}
	r, err := p.line.Mapper.Map(msg, ctx)
	if err != nil {
		return nil, fmt.Errorf("refused: %w", err)
	}
	defer p.line.Mapper.Release(r)
	origins, err := p.line.Mapper.Origins(msg, ctx)
	if err != nil {
		return nil, fmt.Errorf("refused: %w", err)
	}
	return &Report{
		ControlID: r.ControlID, Message: r.Message, Structure: r.Structure, Gate: p.check(r.AppendBundle(nil)), Report: r.Report,
		Output: origins, Unresolved: len(r.Unresolved()),
	}, nil
}

// Records maps and folds one message and gives the records that it makes.
func (p *Pipeline) Records(raw []byte) ([][]byte, error) {
	r, err := p.Map(raw)
	if err != nil {
		return nil, err
	}
	defer p.line.Mapper.Release(r)
	effects, err := p.folder.Fold(p.state, r.Change)
	var out [][]byte
	for err == nil {
		p.state.Apply(effects)
		for i := range effects.Events {
			out = append(out, effects.Events[i].Payload)
		}
		if effects.Continuation == nil {
			return out, nil
		}
		effects, err = p.folder.Resume(p.state, effects.Continuation)
	}
	return nil, fmt.Errorf("fold: %w", err)
}

// AppendBundle is Bundle into a buffer of the caller's.
func (p *Pipeline) AppendBundle(dst, raw []byte) ([]byte, error) {
	r, err := p.Map(raw)
	if err != nil {
		return dst, err
	}
	defer p.line.Mapper.Release(r)
	return r.AppendBundle(dst), nil
}
