package records

import (
	"slices"
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// What bears on an appointment only as it stood then is kept with its condition
// among the states that a sender's messages asked for, so that a message which
// was sent before and comes after it is heard: ?N a discontinuation that names
// the appointment, ?S one of its series, ?A a registration that tells of the
// patient's coming. The time when it happened stands behind it.
const (
	endingNamed  = "?N"
	endingSeries = "?S"
	arriving     = "?A"
)

// toldOf begins the element under which a sender's stamps keep what each of its
// messages said of an appointment: the state that it asked for, and the time.
const toldOf = "@told="

// mostTold is how many of these are kept of a sender, the newest.
const mostTold = 64

// A telling is what one message said of an appointment. What no message says
// (weakest) is before all that one does.
type telling struct {
	state, start, order string
	weak                bool
}

// tellings gives what is kept of a sender's messages.
func (s *sender) tellings() []telling {
	if s == nil {
		return nil
	}
	var out []telling
	for _, at := range s.at {
		text, ok := strings.CutPrefix(at.element, toldOf)
		if !ok {
			continue
		}
		t := telling{order: at.order}
		t.state, t.start, _ = strings.Cut(text, "=")
		t.state, t.weak = strings.CutPrefix(t.state, weakest)
		out = append(out, t)
	}
	return out
}

// tells keeps what a message says of an appointment; asks is false where it asks
// for no state, or only for one that has a condition.
func (s *state) tells(it *Item, st Stamp, asks bool) {
	if s.kind != Appointment || it.Resource == nil {
		return
	}
	element := toldOf
	if asks && it.State != "" {
		element += it.State
	} else if asks {
		if it.silent() {
			element += weakest
		}
		element += statusOf(it.Kind, it.Resource)
	}
	element += "=" + it.Resource.Str("start")
	from := s.sender(st.Sender)
	oldest, count := -1, 0
	kept := from.at[:0]
	for _, at := range from.at {
		if strings.HasPrefix(at.element, toldOf) {
			if at.order == st.Order {
				continue
			}
			if count++; oldest < 0 || at.order < kept[oldest].order {
				oldest = len(kept)
			}
		}
		kept = append(kept, at)
	}
	if count >= mostTold {
		kept = slices.Delete(kept, oldest, oldest+1)
	}
	from.at = append(kept, stamp{element: element, order: st.Order})
	if s.by == st.Sender && from.conditional() {
		s.state = from.decides()
	}
}

// knows says whether a sender's messages said how the appointment stands.
func (s *sender) knows() bool {
	return s != nil && slices.ContainsFunc(s.at, func(at stamp) bool { return strings.HasPrefix(at.element, toldOf) })
}

func (s *sender) conditional() bool {
	return slices.ContainsFunc(s.at, func(at stamp) bool { return strings.HasPrefix(at.element, askedState+"?") })
}

func conditionOf(kind, state string, happened time.Time) string {
	return askedState + kind + happened.UTC().Format(time.RFC3339) + "=" + state
}

// unasks takes what asks added out again, and says whether it was there.
func (s *state) unasks(kind, state string, happened time.Time, st Stamp) bool {
	from, element := s.sender(st.Sender), conditionOf(kind, state, happened)
	count := len(from.at)
	from.at = slices.DeleteFunc(from.at, func(at stamp) bool { return at.order == st.Order && at.element == element })
	if len(from.at) == count {
		return false
	}
	if s.by == st.Sender {
		s.state = from.decides()
	}
	return true
}

// asks adds what bears on the appointment as it stood then, and says whether it
// is new.
func (s *state) asks(kind, state string, happened time.Time, st Stamp) bool {
	from, element := s.sender(st.Sender), conditionOf(kind, state, happened)
	if slices.ContainsFunc(from.at, func(at stamp) bool { return at.order == st.Order && at.element == element }) {
		return false
	}
	before := from.decides()
	newest := !slices.ContainsFunc(from.at, func(at stamp) bool { return strings.HasPrefix(at.element, askedState) && at.order > st.Order })
	from.at = append(from.at, stamp{element: element, order: st.Order})
	if decided := from.decides(); s.by == st.Sender || s.state == "" || newest && decided != before {
		s.state, s.by = decided, st.Sender
	}
	return true
}

// bears gives the state that what has a condition makes of what the sender's
// messages before it amount to, "" where it does not bear on that.
func (s *sender) bears(ask stamp) string {
	state := s.unfolds(ask.order)
	text, _ := strings.CutPrefix(ask.element, askedState)
	kind := text[:len(arriving)]
	when, to, _ := strings.Cut(text[len(kind):], "=")
	happened, err := instant(when)
	if err != nil {
		return ""
	}
	start, known := s.startBefore(ask.order)
	switch {
	case state == "" && kind == endingNamed:
		return to
	case !standing(state):
	case kind == arriving && (!known || happened.Sub(start).Abs() <= nearVisit), kind == endingNamed && !known, kind != arriving && known && start.After(happened):
		return to
	}
	return ""
}

// startBefore is the time that an appointment had when a message came: from those
// before it, else from itself.
func (s *sender) startBefore(order string) (time.Time, bool) {
	var before, own telling
	for _, t := range s.tellings() {
		switch {
		case t.start == "" || t.order > order:
		case t.order == order:
			own = t
		case t.order >= before.order:
			before = t
		}
	}
	if before.start == "" {
		before = own
	}
	start, err := instant(before.start)
	return start, err == nil
}

// happened is when a change happened, else when it was received.
func (f *fold) happened(occurred string) time.Time {
	at, err := instant(occurred)
	if err != nil {
		return f.c.Received
	}
	return at
}

// discontinued lets a discontinuation that names the appointment bear on it as it
// stood then; false where its sender has not said how it stands.
func (f *fold) discontinued(it *Item, s *state, before *fhir.Node) bool {
	if it.Kind != Appointment || it.Event != "discontinued" || len(series(it.Resource, false)) == 0 || before != nil && !s.heard(f.c.Stamp.Sender).knows() {
		return false
	}
	s.asks(endingNamed, "cancelled", f.happened(f.c.Occurred), f.c.Stamp)
	return true
}
