package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/pipelines"
)

// filterPatience is how long the early filter may take.
const filterPatience = 50 * time.Millisecond

// An entry is one line of the journal: a header and the bytes.
type entry struct {
	Type     string           `json:"t"` // message, retry, drop
	Source   string           `json:"s,omitempty"`
	Format   pipelines.Format `json:"f,omitempty"`
	Peer     string           `json:"p,omitempty"`
	Received int64            `json:"r"` // Unix nanoseconds
	Meta     json.RawMessage  `json:"m,omitempty"`
	Digest   string           `json:"d,omitempty"`
	SHA256   string           `json:"h,omitempty"`
	Of       uint64           `json:"of,omitempty"` // the position that a command is about
	By       string           `json:"by,omitempty"`
	Why      string           `json:"why,omitempty"`
	raw      []byte
	pos      uint64
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
	e := &entry{pos: pos, raw: raw}
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
		m.Received = start
	}
	digest, err := p.admit(m)
	if err != nil {
		e.metrics.refused.WithLabelValues(m.Source).Inc()
		return pipelines.Receipt{}, err
	}
	if pos, ok := e.known(ctx, digest); ok {
		e.metrics.received.WithLabelValues(m.Source).Inc()
		e.metrics.duplicates.Inc()
		return pipelines.Receipt{Position: pos, Duplicate: true}, nil
	}
	sum := sha256.Sum256(m.Raw)
	entry := entry{
		Type: "message", Source: m.Source, Format: m.Format, Peer: m.Peer, Received: m.Received.UnixNano(), Meta: m.Meta,
		Digest: hex.EncodeToString(digest[:]), SHA256: hex.EncodeToString(sum[:]), raw: m.Raw,
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
	if e.filter != nil {
		select { // a full queue only costs the filter an entry
		case e.remember <- pipelines.FilterEntry{Digest: digest, Position: pos}:
		default:
		}
	}
	return pipelines.Receipt{Position: pos}, nil
}

// admit checks what a source may send, before the journal, and gives the
// message's identity.
func (p *Pipeline) admit(m *pipelines.Message) ([32]byte, error) {
	h := sha256.New()
	part := func(s string) {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	part(m.Source)
	if m.Format == pipelines.FHIR {
		sum := sha256.Sum256(m.Raw)
		part(string(m.Meta))
		h.Write(sum[:])
		return [32]byte(h.Sum(nil)), nil
	}
	msg, err := hl7v2.Parse(m.Raw)
	if err != nil {
		var syntax *hl7v2.SyntaxError
		if errors.As(err, &syntax) {
			return [32]byte{}, &pipelines.Refused{Code: "AR", Condition: "100", Place: syntax.Place.String(), Reason: syntax.Reason}
		}
		return [32]byte{}, &pipelines.Refused{Code: "AR", Condition: "207", Reason: "not an HL7 v2 message"}
	}
	head := msg.Header()
	id := head.ProcessingID
	if id == "" { // production is what a feed without the field means
		id = "P"
	}
	if !slices.Contains(p.ProcessingIDs, id) && (id != "P" || len(p.ProcessingIDs) > 0) {
		return [32]byte{}, &pipelines.Refused{Code: "AR", Condition: "202", Place: "MSH-11", Reason: "this source does not take this processing id"}
	}
	if p.Application != "" && p.Application != head.ReceivingApplication || p.Facility != "" && p.Facility != head.ReceivingFacility {
		return [32]byte{}, &pipelines.Refused{Code: "AR", Condition: "103", Place: "MSH-5", Reason: "addressed to another receiver"}
	}
	content := hl7v2.ContentHash(m.Raw)
	part(head.SendingApplication)
	part(head.SendingFacility)
	part(head.ControlID)
	h.Write(content[:])
	return [32]byte(h.Sum(nil)), nil
}

// known asks the early filter, and believes it only when the journal says the
// same: the entry at that position has this identity.
func (e *Engine) known(ctx context.Context, digest [32]byte) (uint64, bool) {
	if e.filter == nil {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, filterPatience)
	defer cancel()
	pos, ok, err := e.filter.Lookup(ctx, digest)
	if err != nil || !ok || pos == 0 || pos > e.store.Tail() {
		return 0, false
	}
	data, err := e.store.Entry(pos)
	if err != nil || data == nil {
		return 0, false
	}
	found, err := decodeEntry(pos, data)
	if err != nil || found.Digest != hex.EncodeToString(digest[:]) || time.Since(time.Unix(0, found.Received)) > e.cfg.Window {
		return 0, false
	}
	return pos, true
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
		if err := e.filter.Remember(patience, group); err != nil {
			e.metrics.filterErrors.Inc()
		}
		cancel()
	}
}
