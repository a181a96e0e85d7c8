package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/store"
)

// settle notes the configuration in force in the journal when it is another
// than before, or when retention has taken the note away. It is in force from
// the first entry that has no outcome yet.
func (e *Engine) settle() error {
	if len(e.cfg.Settings) == 0 {
		return nil
	}
	hash := sha256.Sum256(e.cfg.Settings)
	text := hex.EncodeToString(hash[:])
	last, err := e.store.Meta("settings")
	if err != nil {
		return err
	}
	var had string
	var at uint64
	if _, err := fmt.Sscanf(string(last), "%s %d", &had, &at); err == nil && had == text && at >= e.store.First() {
		return nil
	}
	en := entry{Type: typeSettings, Received: e.cfg.Clock().UnixNano(), SHA256: text, Of: e.checkpoint + 1, raw: e.cfg.Settings}
	data, err := en.encode()
	if err != nil {
		return err
	}
	if _, err := e.store.Append(data); err != nil {
		return fmt.Errorf("note the settings in the journal: %w", err)
	}
	return nil
}

// startClock goes on with the ticks where they were.
func (e *Engine) startClock(now time.Time) error {
	e.ticked.at = now
	if len(e.cfg.Settings) == 0 || e.checkpoint == 0 {
		return nil
	}
	last, err := e.store.Entry(e.store.Tail())
	if err != nil {
		return err
	}
	if isOf(last, typeTick) { // nothing came since
		e.ticked.tail = e.store.Tail()
	}
	e.ticked.at = time.Time{}
	if floor := e.floor.Load(); floor > 0 {
		e.ticked.at = time.Unix(0, floor).Add(e.cfg.Window + slack(e.cfg.Window))
	}
	return e.ticking(now)
}

// An InForce is a configuration and the position from which on it was in force.
type InForce struct {
	From     uint64
	Settings []byte
}

// SettingsIn gives the configurations in force in a journal, in its order.
func SettingsIn(s *store.Store) ([]InForce, error) {
	var out []InForce
	err := s.Entries(0, func(pos uint64, data []byte) (bool, error) {
		if !isOf(data, typeSettings) {
			return true, nil
		}
		en, err := decodeEntry(pos, data)
		if err != nil {
			return false, err
		}
		out = append(out, InForce{From: en.Of, Settings: bytes.Clone(en.raw)})
		return true, nil
	})
	return out, err
}

// isOf tells an entry's type without reading all of it.
func isOf(data []byte, typ string) bool { return bytes.HasPrefix(data, []byte(`{"t":"`+typ+`"`)) }

// ticking puts the clock into the journal, now and then while messages come:
// what forgets by time does so by these entries, in their order.
func (e *Engine) ticking(now time.Time) error {
	if now.Sub(e.ticked.at) < e.cfg.Window/64 || e.store.Tail() == e.ticked.tail {
		return nil
	}
	en := entry{Type: typeTick, Received: now.UnixNano()}
	data, err := en.encode()
	if err != nil {
		return err
	}
	pos, err := e.store.Append(data)
	if err != nil {
		return fmt.Errorf("note the time in the journal: %w", err)
	}
	e.ticked.at, e.ticked.tail = now, pos
	return nil
}

// A Fate is one line of the journal's list. Message is the message's type, or
// what else the entry is: retry, drop, unmerge, settings, tick.
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
	About     uint64    `json:"about,omitempty"` // of a command: the message; of settings: from where on they are in force
	By        string    `json:"by,omitempty"`    // of a command: who gave it
	Why       string    `json:"why,omitempty"`
	Changed   []string  `json:"changed,omitempty"` // of a retry with other bytes: places
	Flags     []string  `json:"flags,omitempty"`
	Events    []string  `json:"events"`
}

// Journal visits entries from a position on, with what became of them.
func (e *Engine) Journal(from uint64, visit func(*Fate) error) error {
	return e.store.Entries(from, func(pos uint64, data []byte) (bool, error) {
		en, err := decodeEntry(pos, data)
		if err != nil { // listed as what it is: the others are to be seen too
			en = &entry{Type: "damaged", pos: pos, raw: data}
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
		Sequence: en.pos, Source: en.Source, Received: en.received(), Bytes: len(en.raw), SHA256: en.SHA256, Message: en.Type,
		Outcome: pipelines.Pending, Events: []string{},
	}
	if en.Of != 0 {
		f.About = en.Of
	}
	f.By, f.Why, f.Changed = en.By, en.Why, en.Changed
	if en.Type == typeMessage && en.Format == pipelines.HL7v2 {
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
	if o.Status == pipelines.Published {
		there, err := e.onKafka(o)
		if err != nil {
			return nil, err
		}
		if !there {
			f.Outcome = pipelines.Pending
		}
	}
	if o.Events != nil {
		f.Events = o.Events
	}
	return f, nil
}

// onKafka says whether all events of an outcome are on their partitions.
func (e *Engine) onKafka(o pipelines.Outcome) (bool, error) {
	e.mu.Lock()
	published, ahead, partitions := e.published, e.ahead, e.partitions
	e.mu.Unlock()
	if o.Last <= published {
		return true, nil
	}
	there := len(ahead) > 0 && len(o.Events) > 0
	for n := o.Last - uint64(len(o.Events)) + 1; there && n <= o.Last; n++ {
		stored, err := e.store.Event(n)
		if err != nil {
			return false, err
		}
		data, err := store.DecodeEvent(nil, stored)
		if err != nil {
			return false, err
		}
		ev, err := decodeEvent(data)
		if err != nil {
			return false, err
		}
		there = n <= published
		if count := partitions[ev.topic]; count > 0 && !there {
			there = n <= ahead[partitionName(ev.topic, int32(partitionOf(ev.Key, count)))]
		}
	}
	return there, nil
}

// Show gives one journal entry's fate and bytes, those of a message in
// quarantine also when retention has taken the entry; nil where there is none.
func (e *Engine) Show(pos uint64) (*Fate, []byte, error) {
	data, err := e.store.Entry(pos)
	if err != nil {
		return nil, nil, err
	}
	if data == nil {
		return e.showHeld(pos)
	}
	en, err := decodeEntry(pos, data)
	if err != nil {
		en = &entry{Type: "damaged", pos: pos, raw: data}
	}
	f, err := e.fate(en)
	return f, en.raw, err
}

// showHeld shows a message that only the quarantine still has.
func (e *Engine) showHeld(pos uint64) (*Fate, []byte, error) {
	h, err := e.quarantined(pos)
	if err != nil || h == nil {
		return nil, nil, err
	}
	en := h.entry()
	if h.Original != nil {
		sum := sha256.Sum256(h.Original)
		en.raw, en.SHA256 = h.Original, hex.EncodeToString(sum[:])
	}
	f, err := e.fate(en)
	if err != nil {
		return nil, nil, err
	}
	f.Outcome, f.Reason, f.Place = pipelines.Quarantined, string(h.Reason), h.Place
	return f, en.raw, nil
}
