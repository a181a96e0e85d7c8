package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/pipelines"
)

// A Held is one quarantined message: it owns its bytes, whatever the journal
// still keeps.
type Held struct {
	Position  uint64           `json:"sequence"`
	Source    string           `json:"source"`
	Format    pipelines.Format `json:"format"`
	Received  time.Time        `json:"received_at"`
	ControlID string           `json:"control_id,omitempty"`
	Message   string           `json:"message,omitempty"`
	Bytes     int              `json:"bytes"`
	SHA256    string           `json:"sha256"`
	Reason    pipelines.Reason `json:"reason"`
	Place     string           `json:"place,omitempty"`
	Text      string           `json:"text,omitempty"`
	Attempts  int              `json:"attempts"`
	Meta      json.RawMessage  `json:"meta,omitempty"`
	Raw       []byte           `json:"raw,omitempty"`
	Original  []byte           `json:"original,omitempty"` // as received, where Raw is an edit
	Edits     []Edit           `json:"edits,omitempty"`
}

func (h *Held) entry() *entry {
	return &entry{
		Type: typeMessage, Source: h.Source, Format: h.Format, Received: h.Received.UnixNano(), Meta: h.Meta, SHA256: h.SHA256, raw: h.Raw, pos: h.Position,
	}
}

// quarantine keeps a message that cannot go on, with reason and place. Another
// try of one that is there only adds to its attempts, or changes the reason.
func (w *writing) quarantine(p *prepared, f found) error {
	en := p.target
	if en == nil {
		en = p.entry
	}
	pos := en.pos
	if f.held {
		pos = f.first
	}
	h, err := w.quarantinedNow(pos)
	if err != nil {
		return err
	}
	if h == nil {
		h = hold(en)
	}
	if len(p.entry.raw) > 0 && p.entry.Type == typeRetry { // the edit goes on to be mended
		if h.Original == nil {
			h.Original = h.Raw
		}
		h.Edits = append(h.Edits, Edit{Sequence: p.entry.pos, By: p.entry.By, At: p.entry.received(), Changed: p.entry.Changed})
		h.Raw, h.Bytes, h.SHA256 = p.entry.raw, len(p.entry.raw), hex.EncodeToString(sum(p.entry.raw))
	}
	h.ControlID, h.Message = p.head.ControlID, p.head.Type()
	h.Reason, h.Place, h.Text = p.problem.Reason, p.problem.Place, p.problem.Text
	h.Attempts++
	if err := w.hold(h); err != nil {
		return err
	}
	o := pipelines.Outcome{Status: pipelines.Quarantined, Reason: string(h.Reason), Place: h.Place}
	switch {
	case f.held:
		err = w.outcome(p.entry.pos, pipelines.Outcome{Status: pipelines.Duplicate, Of: pos})
	case p.entry.pos != pos:
		err = w.outcome(p.entry.pos, o)
	}
	return errors.Join(err, w.outcome(pos, o))
}

func sum(raw []byte) []byte {
	s := sha256.Sum256(raw)
	return s[:]
}

func hold(en *entry) *Held {
	return &Held{
		Position: en.pos, Source: en.Source, Format: en.Format, Received: en.received(), Bytes: len(en.raw),
		SHA256: hex.EncodeToString(sum(en.raw)), Meta: en.Meta, Raw: en.raw,
	}
}

// hold writes a message into quarantine.
func (w *writing) hold(h *Held) error {
	data, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("write quarantine: %w", err)
	}
	w.setHeld(h.Position, h)
	w.metrics.quarantined.WithLabelValues(string(h.Reason)).Inc()
	return w.batch.Quarantine(h.Position, data)
}

func (w *writing) setHeld(pos uint64, h *Held) {
	if w.dedup.held == nil {
		w.dedup.held = map[uint64]*Held{}
	}
	w.dedup.held[pos] = h
}

// quarantinedNow is quarantined with what the batch has written.
func (w *writing) quarantinedNow(pos uint64) (*Held, error) {
	if h, ok := w.dedup.held[pos]; ok {
		return h, nil
	}
	return w.quarantined(pos)
}

// release takes a message out of quarantine.
func (w *writing) release(pos uint64, o pipelines.Outcome) error {
	w.setHeld(pos, nil)
	return errors.Join(w.batch.Quarantine(pos, nil), w.outcome(pos, o))
}

func (w *writing) drop(en *entry) error {
	done := w.outcome(en.pos, pipelines.Outcome{Status: pipelines.Unchanged})
	if h, err := w.quarantinedNow(en.Of); err != nil || h == nil { // it has left on another way
		return errors.Join(err, done)
	}
	return errors.Join(done, w.release(en.Of, pipelines.Outcome{Status: pipelines.Quarantined, Reason: string(pipelines.Dropped)}))
}

// edited notes the bytes that a retry ran instead: sent by the sender too they
// are a duplicate.
func (w *writing) edited(en, target *entry) error {
	if en.Type != typeRetry || len(en.raw) == 0 || target.Format != pipelines.HL7v2 {
		return nil
	}
	msg, err := hl7v2.Parse(en.raw)
	if err != nil {
		return fmt.Errorf("read the edited message: %w", err)
	}
	id := identifyV2(&pipelines.Message{Source: target.Source, Raw: en.raw}, msg)
	return w.note(&entry{pos: en.pos, Received: en.Received, Format: target.Format, Digest: id.digest, Identity: id.alone}, 0)
}

// stopped puts the message whose merge cannot go on into quarantine.
func (w *writing) stopped(pos uint64, cause error) error {
	why := w.reason(cause)
	if why == nil {
		return cause
	}
	why.Text = "its merge stopped before all records had moved"
	en := &entry{Type: typeMessage, pos: pos}
	if data, err := w.store.Entry(pos); err != nil {
		return err
	} else if data != nil {
		if found, err := decodeEntry(pos, data); err == nil {
			en = found
		}
	}
	p := &prepared{entry: en, problem: why}
	if msg, err := hl7v2.Parse(en.raw); err == nil {
		p.head = msg.Header()
	}
	return w.quarantine(p, found{})
}

func (e *Engine) quarantined(pos uint64) (*Held, error) {
	data, err := e.store.Held(pos)
	if err != nil || data == nil {
		return nil, err
	}
	h := &Held{}
	if err := json.Unmarshal(data, h); err != nil {
		return nil, fmt.Errorf("read quarantine: %w", err)
	}
	return h, nil
}

// Quarantined visits what is in quarantine, oldest first, without the bytes.
func (e *Engine) Quarantined(visit func(*Held) error) error {
	return e.store.Quarantine(0, func(_ uint64, data []byte) (bool, error) {
		var h Held
		if err := json.Unmarshal(data, &h); err != nil {
			return false, fmt.Errorf("read quarantine: %w", err)
		}
		h.Raw, h.Original = nil, nil
		return true, visit(&h)
	})
}

// ShowQuarantined gives one quarantined message with its bytes, nil if none.
func (e *Engine) ShowQuarantined(pos uint64) (*Held, error) { return e.quarantined(pos) }

// Retry puts a quarantined message on its way again, with other bytes when raw
// is not empty. It is a journal entry, as every operator's command, and says who
// changed which places.
func (e *Engine) Retry(pos uint64, raw []byte, by string) (uint64, error) {
	return e.command(&entry{Type: typeRetry, Of: pos, By: by, raw: raw})
}

// Drop takes a message out of quarantine for good, with a reason.
func (e *Engine) Drop(pos uint64, by, why string) (uint64, error) {
	return e.command(&entry{Type: typeDrop, Of: pos, By: by, Why: why})
}

func (e *Engine) command(en *entry) (uint64, error) {
	h, err := e.quarantined(en.Of)
	if err != nil {
		return 0, err
	}
	if h == nil {
		return 0, fmt.Errorf("%d is not in quarantine", en.Of)
	}
	if len(en.raw) > 0 {
		en.Changed = changedPlaces(h.Format, h.Raw, en.raw)
	}
	en.Received = e.cfg.Clock().UnixNano()
	data, err := en.encode()
	if err != nil {
		return 0, err
	}
	return e.store.Append(data)
}
