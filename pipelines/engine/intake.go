package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
)

// filterPatience is how long the early filter may take.
const filterPatience = 50 * time.Millisecond

// The types of journal entries.
const (
	typeMessage    = "message"
	typeRetry      = "retry"      // an operator's command: run a quarantined message again
	typeDrop       = "drop"       // an operator's command: take it out for good
	typeUnmerge    = "unmerge"    // an operator's command: take a patient's merge back; the bytes are the retired patient's key
	typeCorrection = "correction" // an operator's command: the bytes are what another run over the journal made of records
	typeSettings   = "settings"   // the configuration in force from the position Of on
	typeTick       = "tick"       // the clock, for what expires
)

// An entry is one line of the journal: a header and the bytes.
type entry struct {
	Type     string           `json:"t"`
	Source   string           `json:"s,omitempty"`
	Format   pipelines.Format `json:"f,omitempty"`
	Peer     string           `json:"p,omitempty"`
	Received int64            `json:"r"` // Unix nanoseconds
	Meta     json.RawMessage  `json:"m,omitempty"`
	Digest   digest           `json:"d,omitzero"` // of identity and content
	Identity digest           `json:"i,omitzero"` // zero where nothing can be reused
	SHA256   string           `json:"h,omitempty"`
	Of       uint64           `json:"of,omitempty"` // the position that a command is about
	By       string           `json:"by,omitempty"`
	Why      string           `json:"why,omitempty"`
	Changed  []string         `json:"c,omitempty"` // of an edit: places
	raw      []byte
	pos      uint64
	size     int // of the entry as stored
}

func (e *entry) received() time.Time { return time.Unix(0, e.Received).UTC() }

// A digest is written as hex.
type digest [32]byte

// MarshalText implements encoding.TextMarshaler.
func (d digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *digest) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(d) {
		return errors.New("not the length of a digest")
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return fmt.Errorf("read digest: %w", err)
	}
	return nil
}

func (e *entry) encode() ([]byte, error) {
	head, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("write journal entry: %w", err)
	}
	return append(append(head, '\n'), e.raw...), nil
}

func decodeEntry(pos uint64, data []byte) (*entry, error) {
	head, raw, ok := bytes.Cut(data, []byte{'\n'})
	e := &entry{pos: pos, raw: raw, size: len(data)}
	if !ok {
		return nil, fmt.Errorf("journal entry %d has no header", pos)
	}
	if err := json.Unmarshal(head, e); err != nil {
		return nil, fmt.Errorf("read journal entry %d: %w", pos, err)
	}
	if sum := sha256.Sum256(raw); e.SHA256 != "" && e.SHA256 != hex.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("journal entry %d does not have the bytes it was written with", pos)
	}
	return e, nil
}

// Accept implements pipelines.Intake.
func (e *Engine) Accept(ctx context.Context, m *pipelines.Message) (pipelines.Receipt, error) {
	start := time.Now()
	p, ok := e.pipelines[m.Source]
	if !ok {
		return pipelines.Receipt{}, &pipelines.Refused{Code: "AR", Condition: "207", Reason: "no such source is configured"}
	}
	if m.Received.IsZero() {
		m.Received = e.cfg.Clock()
	}
	id, err := p.admit(m)
	if err != nil {
		e.metrics.refused.WithLabelValues(m.Source).Inc()
		return pipelines.Receipt{}, err
	}
	if pos, ok := e.known(ctx, id, m.Received); ok {
		e.metrics.received.WithLabelValues(m.Source).Inc()
		e.metrics.duplicates.Inc()
		if e.store.Failed() {
			return pipelines.Receipt{}, pipelines.ErrClosed
		}
		return pipelines.Receipt{Position: pos, Duplicate: true}, nil
	}
	sum := sha256.Sum256(m.Raw)
	entry := entry{
		Type: typeMessage, Source: m.Source, Format: m.Format, Peer: m.Peer, Received: m.Received.UnixNano(), Meta: m.Meta,
		Digest: id.digest, Identity: id.alone, SHA256: hex.EncodeToString(sum[:]), raw: m.Raw,
	}
	data, err := entry.encode()
	if err != nil {
		return pipelines.Receipt{}, err
	}
	e.failpoint("before-append")
	pos, err := e.store.Append(data)
	if err != nil {
		return pipelines.Receipt{}, fmt.Errorf("accept: %w", err)
	}
	e.failpoint("after-append")
	e.metrics.received.WithLabelValues(m.Source).Inc()
	e.metrics.append.Observe(time.Since(start).Seconds())
	if e.filter != nil && !id.update {
		select { // a full queue only costs the filter an entry
		case e.remember <- pipelines.FilterEntry{Digest: id.digest, Position: pos}:
		default:
		}
	}
	return pipelines.Receipt{Position: pos}, nil
}

// An identity says which message this is.
type identity struct {
	digest digest // of who sent it, its id, and its content
	alone  digest // of who sent it and its id; zero without an id
	// update: FHIR's PUT, alone or in a Bundle. The same content counts again
	// once another was put in its place, so only the fold can tell.
	update bool
}

// admit checks what a source may send, before the journal, and gives the
// message's identity. A fault in reading it is this message's alone.
func (p *Pipeline) admit(m *pipelines.Message) (id identity, err error) {
	defer func() {
		if failure := recover(); failure != nil {
			err = &pipelines.Refused{Code: "AR", Condition: "207", Reason: "the message cannot be read"}
		}
	}()
	if m.Format == pipelines.FHIR {
		return identifyFHIR(m), nil
	}
	msg, err := hl7v2.Parse(m.Raw)
	if err != nil {
		var syntax *hl7v2.SyntaxError
		if errors.As(err, &syntax) {
			return id, &pipelines.Refused{Code: "AR", Condition: "100", Place: syntax.Place.String(), Reason: syntax.Reason}
		}
		return id, &pipelines.Refused{Code: "AR", Condition: "207", Reason: "not an HL7 v2 message"}
	}
	head := msg.Header()
	processing := head.ProcessingID
	if processing == "" { // production is what a feed without the field means
		processing = "P"
	}
	if !slices.Contains(p.ProcessingIDs, processing) && (processing != "P" || len(p.ProcessingIDs) > 0) {
		return id, &pipelines.Refused{Code: "AR", Condition: "202", Place: "MSH-11", Reason: "this source does not take this processing id; processing_id lists those that it does"}
	}
	for _, r := range []struct{ place, want, have string }{{"MSH-5", p.Application, head.ReceivingApplication}, {"MSH-6", p.Facility, head.ReceivingFacility}} {
		if r.want != "" && r.want != r.have {
			return id, &pipelines.Refused{Code: "AR", Condition: "103", Place: r.place, Reason: "addressed to another receiver than the source's"}
		}
	}
	return identifyV2(m, msg), nil
}

// identifyV2 takes MSH-3, MSH-4 and MSH-10 as they stand, and the content
// without MSH-7 and MSH-10. Without a control id the time of the message is
// what tells two alike from one sent twice.
func identifyV2(m *pipelines.Message, msg *hl7v2.Message) identity {
	head := msg.Segment(0)
	control := head.Field(10).Raw()
	content := hl7v2.ContentHash(m.Raw)
	if len(control) == 0 {
		return identity{digest: digestOf([]byte(m.Source), head.Field(3).Raw(), head.Field(4).Raw(), head.Field(7).Raw(), content[:])}
	}
	alone := digestOf([]byte(m.Source), head.Field(3).Raw(), head.Field(4).Raw(), control)
	return identity{digest: digestOf(alone[:], content[:]), alone: alone}
}

// identifyFHIR takes what the request asks for and the body. An update (PUT)
// of a resource says what it is from now on, so it counts again when another
// content was in between.
func identifyFHIR(m *pipelines.Message) identity {
	content := sha256.Sum256(m.Raw)
	id := identity{digest: digestOf([]byte(m.Source), m.Meta, content[:])}
	var request records.FHIRRequest
	if json.Unmarshal(m.Meta, &request) != nil {
		return id
	}
	request.Body = m.Raw
	if id.update = request.Updates(); request.Method == http.MethodPut {
		id.alone = digestOf([]byte(m.Source), m.Meta)
	}
	return id
}

func digestOf(parts ...[]byte) digest {
	h := sha256.New()
	for _, p := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(p)))
		h.Write(length[:])
		h.Write(p)
	}
	return digest(h.Sum(nil))
}

// known asks the early filter, and believes it only when the index says the
// same, so that what the filter holds can only spare the append. A message
// that is in quarantine is not known: sent again it is tried again.
func (e *Engine) known(ctx context.Context, id identity, received time.Time) (uint64, bool) {
	if e.filter == nil || id.update {
		return 0, false
	}
	patience, cancel := context.WithTimeout(ctx, filterPatience)
	defer cancel()
	_, ok, err := e.filter.Lookup(patience, id.digest)
	if ctx.Err() == nil {
		e.filtering(err)
	}
	if err != nil || !ok {
		return 0, false
	}
	first, ok, err := e.store.Seen(id.digest)
	if err != nil || !ok || first.Position > e.store.Tail() || !e.counts(first, received) {
		return 0, false
	}
	held, err := e.store.Held(first.Position)
	return first.Position, err == nil && held == nil
}

// remembering writes accepted identities to the early filter, many at a time.
func (e *Engine) remembering(ctx context.Context, done <-chan struct{}) error {
	if e.filter == nil {
		return nil
	}
	for {
		var group []pipelines.FilterEntry
		select {
		case first := <-e.remember:
			group = append(group, first)
		case <-done:
			return nil
		case <-ctx.Done():
			return nil
		}
		for len(group) < 512 {
			select {
			case next := <-e.remember:
				group = append(group, next)
				continue
			default:
			}
			break
		}
		patience, cancel := context.WithTimeout(ctx, time.Second)
		err := e.filter.Remember(patience, group)
		if cancel(); ctx.Err() == nil {
			e.filtering(err)
		}
	}
}

// How the early filter does, as the log has it.
type filterState struct {
	away         atomic.Bool
	mu           sync.Mutex
	said, failed time.Time
}

// filtering notes what the early filter answered: the log says that it does not
// answer, at most once a minute, and that it has done so again for a while.
func (e *Engine) filtering(err error) {
	f := &e.filterState
	if err == nil && !f.away.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if err != nil {
		e.metrics.filterErrors.Inc()
		f.failed = now
		if f.away.Store(true); now.Sub(f.said) > time.Minute {
			f.said = now
			e.cfg.Log.Warn("the early filter (Redis) does not answer: what is known is found in the journal's index, after an append", "error", err)
		}
		return
	}
	if now.Sub(f.failed) > filterBack {
		f.away.Store(false)
		e.cfg.Log.Info("the early filter (Redis) answers again")
	}
}

// filterBack is how long the early filter answers before it is said to be back.
const filterBack = 10 * time.Second
