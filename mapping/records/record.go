package records

import (
	"encoding/json"
	"fmt"
)

// Spec names the format of a record; within it consumers only ever see new
// optional fields.
const Spec = "liaison.record/1"

// A Record is the public JSON object, as a consumer reads it.
type Record struct {
	Spec           string            `json:"spec"`
	EventID        string            `json:"event_id"`
	EventType      string            `json:"event_type"`
	Kind           Kind              `json:"kind"`
	Key            Key               `json:"key"`
	Version        uint64            `json:"version"`
	PreviousState  string            `json:"previous_state,omitempty"`
	State          string            `json:"state,omitempty"`
	Transition     string            `json:"transition"`
	OccurredAt     string            `json:"occurred_at,omitempty"`
	TimeZoneSource string            `json:"time_zone_source,omitempty"`
	ReceivedAt     string            `json:"received_at"`
	Source         RecordSource      `json:"source"`
	Subject        *RecordSubject    `json:"subject,omitempty"`
	Visit          *Key              `json:"visit,omitempty"`
	Account        *Key              `json:"account,omitempty"`
	Merge          *RecordMerge      `json:"merge,omitempty"`
	Reverses       *Key              `json:"reverses,omitempty"`    // the charge that this one takes back (FT1-6 CD)
	ReversedBy     *Key              `json:"reversed_by,omitempty"` // the credit that takes this charge back, the first of several
	Credits        []Key             `json:"credits,omitempty"`     // all credits of this charge
	Resource       json.RawMessage   `json:"resource,omitempty"`
	Related        []json.RawMessage `json:"related,omitempty"`
	Changed        []RecordChange    `json:"changed,omitempty"`
	Labels         []string          `json:"labels,omitempty"`
	Consent        string            `json:"consent,omitempty"`
	Quality        *RecordQuality    `json:"quality,omitempty"`
	Pipeline       RecordPipeline    `json:"pipeline"`
}

// A RecordSource says which message a version comes from.
type RecordSource struct {
	Name        string `json:"name"`
	Application string `json:"application,omitempty"`
	Facility    string `json:"facility,omitempty"`
	ControlID   string `json:"control_id,omitempty"`
	Sequence    string `json:"sequence,omitempty"`
	Message     string `json:"message,omitempty"`
	SHA256      string `json:"sha256,omitempty"`
	Journal     uint64 `json:"journal"`
}

// A RecordSubject is the patient a record is about.
type RecordSubject struct {
	IDs        []json.RawMessage `json:"ids,omitempty"` // FHIR Identifier
	Survivor   *Key              `json:"survivor,omitempty"`
	MergedFrom []Key             `json:"merged_from,omitempty"`
}

// A RecordMerge says which patients a merge, or its undoing, is about, and which
// records go with it: each gets a version of its own, and what later messages
// say of the retired patient arrives under the survivor.
type RecordMerge struct {
	Survivor Key         `json:"survivor"`
	Retired  Key         `json:"retired"`
	Moved    int         `json:"moved"`             // how many records
	Records  []RecordKey `json:"records,omitempty"` // at most the first thousand
}

// A RecordKey names a record.
type RecordKey struct {
	Kind Kind `json:"kind"`
	Key  Key  `json:"key"`
}

// A RecordChange is one element that changed; no `new` means deleted. What was
// there is at Path in the version before, what is added at Path in this one.
type RecordChange struct {
	Path    string          `json:"path"`
	NewPath string          `json:"new_path,omitempty"` // of New, where a list before it has it at another place
	Old     json.RawMessage `json:"old,omitempty"`
	New     json.RawMessage `json:"new,omitempty"`
}

// A RecordQuality lists what a consumer may want to know of the mapping.
type RecordQuality struct {
	Warnings  []string `json:"warnings,omitempty"`
	Unmapped  []string `json:"unmapped,omitempty"`
	Defaulted []string `json:"defaulted,omitempty"`
}

// A RecordPipeline says by which tables a record was made.
type RecordPipeline struct {
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
}

// Decode reads a record as published.
func Decode(payload []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(payload, &r); err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	if r.Spec != Spec {
		return nil, fmt.Errorf("read record: spec %q is not %s", r.Spec, Spec)
	}
	return &r, nil
}
