package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
	Reason    string           `json:"reason"`
	Place     string           `json:"place,omitempty"`
	Text      string           `json:"text,omitempty"`
	Attempts  int              `json:"attempts"`
	Meta      json.RawMessage  `json:"meta,omitempty"`
	Raw       []byte           `json:"raw,omitempty"`
}

func (h *Held) entry() *entry {
	return &entry{
		Type: "message", Source: h.Source, Format: h.Format, Received: h.Received.UnixNano(), Meta: h.Meta, SHA256: h.SHA256, raw: h.Raw, pos: h.Position,
	}
}

// quarantine keeps a message that cannot go on, with reason and place.
func (w *writing) quarantine(p *prepared) error {
	en := p.target
	if en == nil {
		en = p.entry
	}
	sum := sha256.Sum256(en.raw)
	h := Held{
		Position: en.pos, Source: en.Source, Format: en.Format, Received: time.Unix(0, en.Received).UTC(), ControlID: p.head.ControlID, Message: p.head.Type(),
		Bytes: len(en.raw), SHA256: hex.EncodeToString(sum[:]), Reason: p.problem.Reason, Place: p.problem.Place, Text: p.problem.Text, Attempts: 1,
		Meta: en.Meta, Raw: en.raw,
	}
	if old, err := w.quarantined(en.pos); err == nil && old != nil {
		h.Attempts = old.Attempts + 1
	}
	data, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("write quarantine: %w", err)
	}
	if err := w.batch.Quarantine(en.pos, data); err != nil {
		return err
	}
	w.metrics.quarantined.WithLabelValues(p.problem.Reason).Inc()
	o := pipelines.Outcome{Status: pipelines.Quarantined, Reason: p.problem.Reason, Place: p.problem.Place}
	if p.entry.pos != en.pos {
		if err := w.outcome(p.entry.pos, o); err != nil {
			return err
		}
	}
	return w.outcome(en.pos, o)
}

func (e *Engine) quarantined(pos uint64) (*Held, error) {
	var found *Held
	err := e.store.Quarantine(pos, func(at uint64, data []byte) (bool, error) {
		if at != pos {
			return false, nil
		}
		found = &Held{}
		return false, json.Unmarshal(data, found)
	})
	return found, err
}

// Quarantined visits what is in quarantine, oldest first, without the bytes.
func (e *Engine) Quarantined(visit func(*Held) error) error {
	return e.store.Quarantine(0, func(_ uint64, data []byte) (bool, error) {
		var h Held
		if err := json.Unmarshal(data, &h); err != nil {
			return false, fmt.Errorf("read quarantine: %w", err)
		}
		h.Raw = nil
		return true, visit(&h)
	})
}

// ShowQuarantined gives one quarantined message with its bytes, nil if none.
func (e *Engine) ShowQuarantined(pos uint64) (*Held, error) { return e.quarantined(pos) }

// Retry puts a quarantined message on its way again, with other bytes when raw
// is not empty. It is a journal entry, as every operator's command.
func (e *Engine) Retry(pos uint64, raw []byte, by string) (uint64, error) {
	return e.command(&entry{Type: "retry", Of: pos, By: by, raw: raw})
}

// Drop takes a message out of quarantine for good, with a reason.
func (e *Engine) Drop(pos uint64, by, why string) (uint64, error) {
	return e.command(&entry{Type: "drop", Of: pos, By: by, Why: why})
}

func (e *Engine) command(en *entry) (uint64, error) {
	h, err := e.quarantined(en.Of)
	if err != nil {
		return 0, err
	}
	if h == nil {
		return 0, fmt.Errorf("%d is not in quarantine", en.Of)
	}
	en.Received = time.Now().UnixNano()
	data, err := en.encode()
	if err != nil {
		return 0, err
	}
	return e.store.Append(data)
}

// A Fate is one line of the journal's list.
type Fate struct {
	Sequence  uint64    `json:"sequence"`
	Source    string    `json:"source"`
	Received  time.Time `json:"received_at"`
	ControlID string    `json:"control_id"`
	Message   string    `json:"message"`
	Bytes     int       `json:"bytes"`
	SHA256    string    `json:"sha256"`
	Outcome   string    `json:"outcome"`
	Reason    string    `json:"reason,omitempty"`
	Place     string    `json:"place,omitempty"`
	Of        uint64    `json:"duplicate_of,omitempty"`
	Flags     []string  `json:"flags,omitempty"`
	Events    []string  `json:"events"`
}

// Journal visits entries from a position on, with what became of them.
func (e *Engine) Journal(from uint64, visit func(*Fate) error) error {
	return e.store.Entries(from, func(pos uint64, data []byte) (bool, error) {
		en, err := decodeEntry(pos, data)
		if err != nil {
			return false, err
		}
		f, err := e.fate(en)
		if err != nil {
			return false, err
		}
		return true, visit(f)
	})
}

func (e *Engine) fate(en *entry) (*Fate, error) {
	f := &Fate{
		Sequence: en.pos, Source: en.Source, Received: time.Unix(0, en.Received).UTC(), Bytes: len(en.raw), SHA256: en.SHA256, Message: en.Type,
		Outcome: pipelines.Pending, Events: []string{},
	}
	if en.Type == "message" && en.Format == pipelines.HL7v2 {
		if msg, err := hl7v2.Parse(en.raw); err == nil {
			h := msg.Header()
			f.ControlID, f.Message = h.ControlID, h.Type()
		}
	} else if en.Format == pipelines.FHIR {
		f.Message = "FHIR"
	}
	o, ok, err := e.store.Outcome(en.pos)
	if err != nil || !ok {
		return f, err
	}
	f.Outcome, f.Reason, f.Place, f.Of, f.Flags = o.Status, o.Reason, o.Place, o.Of, o.Flags
	if o.Events != nil {
		f.Events = o.Events
	}
	return f, nil
}

// Show gives one journal entry's fate and bytes.
func (e *Engine) Show(pos uint64) (*Fate, []byte, error) {
	data, err := e.store.Entry(pos)
	if err != nil || data == nil {
		return nil, nil, err
	}
	en, err := decodeEntry(pos, data)
	if err != nil {
		return nil, nil, err
	}
	f, err := e.fate(en)
	return f, en.raw, err
}
