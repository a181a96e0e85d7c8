package tables

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// An ordering says what orders the messages of a source: their times, unless its
// tables say otherwise.
type ordering string

const (
	byNumber  ordering = "MSH-13"
	byArrival ordering = "arrival"
)

func (o *ordering) set(text string) error {
	switch text {
	case "MSH-7":
		*o = ""
	case string(byNumber), string(byArrival):
		*o = ordering(text)
	default:
		return fmt.Errorf("messages are ordered by MSH-7 (their time), MSH-13 (their numbers) or arrival")
	}
	return nil
}

// unordered refuses a message that lacks the number by which its source's
// messages are ordered: nothing could say what it may undo.
func (r *run) unordered() *Unmappable {
	if _, ok := r.number(); ok || r.mapper.ordered != byNumber {
		return nil
	}
	return &Unmappable{
		Place: hl7v2.Place{Segment: "MSH", Occurrence: 1, Field: 13}, Code: "no-sequence-number",
		Reason: "the tables of the source order its messages by MSH-13, which is no positive number here",
	}
}

// number is a positive MSH-13.
func (r *run) number() (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(r.header.Sequence), 10, 62)
	return n, err == nil && n > 0
}

// order is the stamp within the sender's stream: MSH-7 as an instant, and among
// messages of one time MSH-13 (positive). Numbers alone say nothing of order:
// senders begin them anew each night, when a link restarts, when they like (HL7
// v2.5.1 §2.10.1), and leave them out; tables may say that a source does neither,
// or that its clock is not to be trusted. The time of receipt stands for an MSH-7
// that is missing, has no minutes, or is later than a clock can be wrong. Of a
// local time that happened twice it is the second that had already been when
// the message came.
func (r *run) order() string {
	n, numbered := r.number()
	switch r.mapper.ordered {
	case byNumber:
		return fmt.Sprintf("s%020d", n)
	case byArrival:
		return fmt.Sprintf("%ss%020d", r.ctx.Received.UTC().Format(stamped), r.ctx.Journal)
	}
	at, err := hl7v2.ParseTime(r.header.DateTime, r.ctx.Location)
	when := at.Time
	if second := at.Second(); err == nil && !second.After(r.ctx.Received) {
		when = second
	}
	if err != nil || at.Precision < hl7v2.Minute || !when.Before(r.ctx.Received.Add(r.ctx.Tolerance)) {
		when = r.ctx.Received
	}
	order := when.UTC().Format(stamped)
	if numbered {
		order += fmt.Sprintf("s%020d", n)
	}
	return order
}

// stamped is a time as stamps have it.
const stamped = "20060102150405.0000"
