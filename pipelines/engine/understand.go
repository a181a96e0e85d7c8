package engine

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/pipelines"
)

// An Edit is one time that an operator put other bytes in a message's place.
type Edit struct {
	Sequence uint64    `json:"sequence"` // of the retry in the journal, which has the bytes
	By       string    `json:"by"`
	At       time.Time `json:"at"`
	Changed  []string  `json:"changed,omitempty"` // places, no values
}

// mostChanged is how many places an edit lists.
const mostChanged = 100

// changedPlaces names the segments and fields in which two messages differ; "all"
// where they cannot be compared.
func changedPlaces(format pipelines.Format, before, after []byte) []string {
	if bytes.Equal(before, after) {
		return nil
	}
	if format != pipelines.HL7v2 {
		return []string{"all"}
	}
	a, err := hl7v2.Parse(before)
	if err != nil {
		return []string{"all"}
	}
	b, err := hl7v2.Parse(after)
	if err != nil {
		return []string{"all"}
	}
	var out []string
	count := map[string]int{}
	for i := range max(a.Len(), b.Len()) {
		switch {
		case len(out) >= mostChanged:
			return out
		case i >= a.Len():
			out = append(out, b.Segment(i).Name()+" added")
		case i >= b.Len():
			out = append(out, a.Segment(i).Name()+" removed")
		case a.Segment(i).Name() != b.Segment(i).Name():
			out = append(out, a.Segment(i).Name()+" became "+b.Segment(i).Name())
		default:
			name := a.Segment(i).Name()
			count[name]++
			out = append(out, changedFields(a.Segment(i), b.Segment(i), count[name])...)
		}
	}
	return out
}

func changedFields(a, b hl7v2.Segment, occurrence int) (out []string) {
	for f := 1; f <= max(a.Fields(), b.Fields()); f++ {
		if bytes.Equal(a.Field(f).Raw(), b.Field(f).Raw()) {
			continue
		}
		if occurrence > 1 {
			out = append(out, fmt.Sprintf("%s[%d]-%d", a.Name(), occurrence, f))
		} else {
			out = append(out, fmt.Sprintf("%s-%d", a.Name(), f))
		}
	}
	return out
}

// An Understanding is what today's tables make of a message in quarantine: how
// far they come, and what stops them. There are places in it, and no values.
type Understanding struct {
	Message   string   `json:"message,omitempty"`
	Structure string   `json:"structure,omitempty"`
	Segments  []string `json:"segments,omitempty"`
	Resources []string `json:"resources,omitempty"`
	Unread    []string `json:"unread,omitempty"` // places that no rule reads
	// Reason, Place and Text are what a retry would meet before its records; a
	// message without them would go on.
	Reason pipelines.Reason `json:"reason,omitempty"`
	Place  string           `json:"place,omitempty"`
	Text   string           `json:"text,omitempty"`
}

// Understand maps a message in quarantine without any effect; nil where its
// source is not configured, as in the data of a stopped engine.
func (e *Engine) Understand(h *Held) *Understanding {
	if e.pipelines[h.Source] == nil {
		return nil
	}
	u := &Understanding{}
	p := &prepared{entry: h.entry()}
	e.prepare(p)
	if p.problem != nil {
		u.Reason, u.Place, u.Text = p.problem.Reason, p.problem.Place, p.problem.Text
	}
	if h.Format == pipelines.HL7v2 {
		u.Message = p.head.Type()
		if msg, err := hl7v2.Parse(h.Raw); err == nil {
			u.Segments = runs(msg.Len(), func(i int) string { return msg.Segment(i).Name() })
		}
	}
	if r := p.result; r != nil {
		u.Structure = r.Structure
		u.Resources = runs(len(r.Entries), func(i int) string { return r.Entries[i].Type })
		for _, leaf := range r.Report.Unmapped {
			u.Unread = append(u.Unread, leaf.Place)
		}
		p.mapper.Release(r)
	} else if c := p.change; c != nil {
		u.Resources = runs(len(c.Items), func(i int) string { return string(c.Items[i].Kind) })
	}
	return u
}

// runs lists names in their order, several of one together: "OBX 3".
func runs(n int, name func(i int) string) (out []string) {
	for i := 0; i < n; {
		from := i
		for i < n && name(i) == name(from) {
			i++
		}
		if i-from > 1 {
			out = append(out, fmt.Sprintf("%s %d", name(from), i-from))
		} else {
			out = append(out, name(from))
		}
	}
	return slices.Clip(out)
}
