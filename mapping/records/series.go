package records

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
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

// An ending is a discontinuation of a series (S16), kept for appointments of it
// that come later though they were sent before.
type ending struct {
	Sender, Order, Occurred string
	Reason                  json.RawMessage `json:",omitempty"` // cancelationReason, as the message has it
}

func endingKey(series string) []byte { return []byte("e/" + series) }

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
			if err := f.ended(p, name); err != nil {
				return err
			}
		}
	}
	for _, p := range f.pending {
		if p.s.kind != Appointment || p.v.it.Event != "discontinued" {
			continue
		}
		for _, name := range series(p.s.resource, true) {
			end := ending{Sender: f.c.Stamp.Sender, Order: f.c.Stamp.Order, Occurred: f.c.Occurred}
			if reason := p.v.it.Resource.Get("cancelationReason"); reason != nil {
				end.Reason = reason.JSON()
			}
			if err := f.end(name, end); err != nil {
				return err
			}
			f.moves = append(f.moves, move{Series: name, Ending: &end})
		}
	}
	return nil
}

func (f *fold) endings(series string) ([]ending, error) {
	return listed[ending](f, endingKey(series))
}

// mostEndings is how many discontinuations of a series are kept, the newest.
const mostEndings = 64

// end keeps an ending: each bears on the appointments as they stood then.
func (f *fold) end(series string, next ending) error {
	list, err := f.endings(series)
	if err != nil || slices.ContainsFunc(list, func(e ending) bool { return e.Sender == next.Sender && e.Order == next.Order }) {
		return err
	}
	list = append(list, next)
	slices.SortStableFunc(list, func(a, b ending) int { return strings.Compare(a.Order, b.Order) })
	return f.putJSON(endingKey(series), list[max(0, len(list)-mostEndings):])
}

// ended cancels an appointment whose series its sender has ended after this
// message was sent.
func (f *fold) ended(p *pending, series string) error {
	list, err := f.endings(series)
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].Sender != f.c.Stamp.Sender || list[i].Order <= f.c.Stamp.Order {
			continue
		}
		was := p.s.label()
		f.cancels(&list[i], p.s)
		if err := p.s.because(&list[i]); err != nil {
			return err
		}
		if p.s.label() != was {
			p.v.event = "appointment.discontinued"
		}
	}
	return nil
}

// cancels lets an ending bear on one appointment, and says whether it may.
func (f *fold) cancels(e *ending, s *state) bool {
	if s.heard(e.Sender).knows() {
		s.asks(endingSeries, "cancelled", f.happened(e.Occurred), Stamp{Sender: e.Sender, Order: e.Order})
		return true
	}
	if past, known := f.past(s.shown(), e.Occurred); past || !known || !stands(s.shown()) {
		return false
	}
	s.transit(&Item{Kind: Appointment, State: "cancelled"}, Stamp{Sender: e.Sender, Order: e.Order})
	return true
}

// because gives an appointment that an ending cancelled its reason, where the
// sender has not said one since.
func (s *state) because(e *ending) error {
	if e.Reason == nil || s.label() != "cancelled" || !s.newer(Stamp{Sender: e.Sender, Order: e.Order}, cancelReason) {
		return nil
	}
	reason, err := fhir.ParseJSON(e.Reason)
	if err != nil {
		return fmt.Errorf("read ending: %w", err)
	}
	s.resource, s.raw = s.resource.Shallow(), nil
	put(s.resource, cancelReason, reason)
	return nil
}

const cancelReason = "cancelationReason"

// moveEnding cancels one appointment of a series that has ended.
func (f *fold) moveEnding(name []byte, e *ending) error {
	_, key, _ := strings.Cut(strings.TrimPrefix(string(name), "r/"), "/")
	if f.changes[string(recordKey(Appointment, key))] != nil {
		return nil // the one that the message names
	}
	s, err := f.load(Appointment, key)
	if err != nil || s == nil {
		return err
	}
	v := version{it: &Item{Kind: Appointment, Key: s.key, Event: "discontinued", State: "cancelled"}, before: s.shown(), previous: s.label()}
	late := s.late(Stamp{Sender: e.Sender, Order: e.Order})
	if !f.cancels(e, s) {
		f.unchanged(s)
		return nil
	}
	v.late = late && s.label() != v.previous
	f.pend(s, v)
	return s.because(e)
}

// unnumbered warns of a message that is taken for an appointment of its own: it
// names a series of which occurrences are known, and none of them.
func (f *fold) unnumbered() error {
	for _, p := range f.pending {
		it := p.v.it
		if p.s.kind != Appointment || !p.v.born || !inferred(it) || it.Event == "discontinued" || it.Resource == nil || extension(it.Resource, occurrence) != nil {
			continue
		}
		for _, id := range it.Resource.Get("identifier").Items() {
			known, err := f.occurs(p, id)
			if err != nil {
				return err
			}
			if known {
				p.v.warnings = append(p.v.warnings, "series-without-occurrence")
				break
			}
		}
	}
	return nil
}

const occurrence = "appointment-occurrence"

// occurs says whether an appointment's identifier is that of a series: others are
// known that have it with the number of an occurrence, or that name it their parent.
func (f *fold) occurs(p *pending, id *fhir.Node) (known bool, err error) {
	number, value := id.Str("system")+"|"+id.Str("value"), id.Str("value")
	if value == "" || id.Str("type.coding[0].code") == "PGN" {
		return false, nil
	}
	children, err := f.scan(seriesKey(number), nil, 2)
	if err != nil || slices.ContainsFunc(children, func(at []byte) bool { return !bytes.Equal(at[len(seriesKey(number)):], p.name) }) {
		return err == nil, err
	}
	err = f.ofVisit([]string{p.s.owner + "|" + value}, func(s *state) {
		known = known || s != p.s && extension(s.resource, occurrence) != nil && slices.ContainsFunc(s.resource.Get("identifier").Items(), func(n *fhir.Node) bool {
			return n.Str("system")+"|"+n.Str("value") == number
		})
		f.unchanged(s)
	})
	return known, err
}

// spared says whether a discontinuation leaves the appointment that it names
// as it was: an occurrence of a series that has been.
func (f *fold) spared(it *Item, before *fhir.Node) bool {
	if it.Kind != Appointment || it.Event != "discontinued" || before == nil || len(series(it.Resource, false)) == 0 {
		return false
	}
	past, known := f.past(before, f.c.Occurred)
	return known && past || !stands(before)
}

// stands says whether an appointment is still to be kept.
func stands(n *fhir.Node) bool { return standing(n.Str("status")) }

func standing(state string) bool {
	switch state {
	case "proposed", "pending", "booked", "waitlist":
		return true
	}
	return false
}

// past says whether an appointment began before that, else before the change was
// received, where its time is known.
func (f *fold) past(n *fhir.Node, occurred string) (past, known bool) {
	at, err := instant(n.Str("start"))
	if err != nil {
		return false, false
	}
	now, err := instant(occurred)
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
