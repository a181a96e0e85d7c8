package records

import (
	"fmt"
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// series gives what ties an appointment to the others of its series: the
// placer's group number (SCH-4) and the parent appointment (SCH-23, SCH-24);
// and as a parent itself its own identifiers.
func series(n *fhir.Node, asParent bool) []string {
	var out []string
	for _, id := range n.Get("identifier").Items() {
		group := id.Str("type.coding[0].code") == "PGN"
		if value := id.Str("value"); value != "" && (group || asParent) {
			out = append(out, id.Str("system")+"|"+value)
		}
	}
	for _, e := range n.Get("extension").Items() {
		if id := e.At("valueReference.identifier"); strings.HasSuffix(e.Str("url"), "/parent-appointment") && id.Str("value") != "" {
			out = append(out, id.Str("system")+"|"+id.Str("value"))
		}
	}
	return out
}

// mostOccurrences is how many appointments of a series are looked at.
const mostOccurrences = 1024

// discontinue carries a discontinuation (S16) to the rest of the series: what
// is still to come is cancelled; what has been, or has no known time, stays as
// it is.
func (f *fold) discontinue() error {
	for _, p := range f.pending {
		if p.s.kind != Appointment {
			continue
		}
		for _, name := range series(p.s.resource, false) {
			f.put(append(seriesKey(name), p.name...), []byte{1})
		}
	}
	for _, p := range f.pending {
		if p.s.kind != Appointment || p.v.it.Event != "discontinued" || p.v.late {
			continue
		}
		for _, name := range series(p.s.resource, true) {
			if err := f.discontinueSeries(seriesKey(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fold) discontinueSeries(prefix []byte) error {
	names, err := f.scan(prefix, nil, mostOccurrences)
	if err != nil {
		return err
	}
	for _, name := range names {
		_, key, _ := strings.Cut(strings.TrimPrefix(string(name[len(prefix):]), "r/"), "/")
		s, err := f.load(Appointment, key)
		if err != nil || s == nil {
			return err
		}
		past, known := f.past(s.shown())
		if f.changes[string(recordKey(Appointment, key))] != nil || past || !known || !stands(s.shown()) || s.late(f.c.Stamp) {
			f.unchanged(s)
			continue
		}
		v := version{it: &Item{Kind: Appointment, Key: s.key, Event: "discontinued", State: "cancelled"}, before: s.shown(), previous: s.label()}
		s.transit(v.it, f.c.Stamp)
		f.pend(s, v)
	}
	return nil
}

// spared says whether a discontinuation leaves the appointment that it names
// as it was: an occurrence of a series that has been.
func (f *fold) spared(it *Item, before *fhir.Node) bool {
	if it.Kind != Appointment || it.Event != "discontinued" || before == nil || len(series(it.Resource, false)) == 0 {
		return false
	}
	past, known := f.past(before)
	return known && past || !stands(before)
}

// stands says whether an appointment is still to be kept.
func stands(n *fhir.Node) bool {
	switch n.Str("status") {
	case "proposed", "pending", "booked", "waitlist":
		return true
	}
	return false
}

// past says whether an appointment began before the change, where its time is
// known.
func (f *fold) past(n *fhir.Node) (past, known bool) {
	at, err := instant(n.Str("start"))
	if err != nil {
		return false, false
	}
	now, err := instant(f.c.Occurred)
	if err != nil {
		now = f.c.Received
	}
	return !at.After(now), true
}

// instant reads a dateTime that is a whole time (R4 §2.24.0.1).
func instant(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("read time: %w", err)
	}
	return at, nil
}
