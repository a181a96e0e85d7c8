package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
)

// Correct puts a correction of the records into the journal, which is made like
// any other entry when the engine runs. Nothing that was accepted may still wait
// for its outcome: the correction does not know of it.
func (e *Engine) Correct(x *records.Correction, by, why string) (uint64, error) {
	raw, err := json.Marshal(x)
	if err != nil {
		return 0, fmt.Errorf("correct: %w", err)
	}
	sum := sha256.Sum256(raw)
	en := &entry{Type: typeCorrection, Received: e.cfg.Clock().UnixNano(), SHA256: hex.EncodeToString(sum[:]), By: by, Why: why, raw: raw}
	data, err := en.encode()
	if err != nil {
		return 0, err
	}
	return e.store.Append(data)
}

// prepareCorrection reads a correction.
func (p *prepared) prepareCorrection() {
	en := p.entry
	p.target = en
	p.head = hl7v2.Header{Code: typeCorrection}
	p.correction = &records.Correction{}
	if err := json.Unmarshal(en.raw, p.correction); err != nil {
		p.problem = &problem{Reason: "syntax", Text: "the entry is no correction"}
		return
	}
	p.change = byOperator(en, typeCorrection)
}

// byOperator is the change of an operator's command.
func byOperator(en *entry, command string) *records.Change {
	received := time.Unix(0, en.Received).UTC()
	return &records.Change{
		Origin:   records.Origin{Source: "operator", Message: command, SHA256: en.SHA256, Journal: en.pos},
		Received: received, Occurred: received.Format(time.RFC3339), ZoneSource: "explicit",
		Stamp:    records.Stamp{Sender: "operator", Order: fmt.Sprintf("s%020d", en.pos)},
		Pipeline: "operator", Version: "1",
	}
}
