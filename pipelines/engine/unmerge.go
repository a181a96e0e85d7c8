package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
)

// A joined is what an unmerge is about, as the journal has it.
type joined struct {
	Kind records.Kind `json:"kind,omitempty"` // "": patient
	records.Key
}

// Unmerge takes the merge of a patient, an account or a visit back, or the move
// of one of these to another patient: its records return to it, and it is no
// longer retired. It is a journal entry, as every operator's command, and an
// error where nothing says that it was merged.
func (e *Engine) Unmerge(kind records.Kind, retired records.Key, by, why string) (uint64, error) {
	if !kind.Joins() {
		return 0, fmt.Errorf("unmerge: it is of a patient, an account or an encounter")
	}
	merged, err := records.Merged(e.store, kind, retired)
	if err != nil {
		return 0, fmt.Errorf("unmerge: %w", err)
	}
	if !merged {
		return 0, fmt.Errorf("no merge retired this %s", kind)
	}
	raw, err := json.Marshal(joined{Kind: kind, Key: retired})
	if err != nil {
		return 0, fmt.Errorf("unmerge: %w", err)
	}
	sum := sha256.Sum256(raw)
	en := &entry{Type: typeUnmerge, Received: e.cfg.Clock().UnixNano(), SHA256: hex.EncodeToString(sum[:]), By: by, Why: why, raw: raw}
	data, err := en.encode()
	if err != nil {
		return 0, err
	}
	return e.store.Append(data)
}

// prepareUnmerge makes the change of an unmerge.
func (p *prepared) prepareUnmerge() {
	en := p.entry
	p.target = en
	p.head = hl7v2.Header{Code: typeUnmerge}
	retired := joined{Kind: records.Patient}
	if err := json.Unmarshal(en.raw, &retired); err != nil {
		p.problem = &problem{Reason: "syntax", Text: "the entry has no key"}
		return
	}
	p.change = byOperator(en, typeUnmerge)
	p.change.Edges = []records.Edge{{Op: "unmerge", Kind: retired.Kind, Retired: retired.Key}}
}
