package tables

import (
	"strconv"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// inOrder says whether a start or an end can stand beside the other one. R4
// forbids a period that ends before it starts (per-1); a source that sends one
// is warned of, and what came second stays unread: the report and the segment's
// rest keep it.
func (r *run) inOrder(node *fhir.Node, st *cstep, made *fhir.Node) bool {
	other := ""
	switch {
	case st.typ != "dateTime" && st.typ != "instant":
		return true
	case st.name == "start":
		other = node.Str("end")
	case st.name == "end":
		other = node.Str("start")
	}
	if other == "" || !before(other, made.Text, st.name == "start") {
		return true
	}
	place := hl7v2.Place{}
	if len(r.used) > 0 {
		place = r.used[0].Place()
	}
	r.warn("period-order", place, "the end is not after the start, or may not be; what came second is kept apart")
	r.used = r.used[:0]
	return false
}

// before says whether the end of two FHIR times lies before the start: other is
// the start, or the end where made is the start. Of a day and a time on that day,
// or a year and a day in it, nobody can say which is first, and per-1 does not hold
// for them (FHIRPath compares in UTC, and nothing that one of the two leaves open).
func before(other, made string, madeIsStart bool) bool {
	start, end := other, made
	if madeIsStart {
		start, end = made, other
	}
	if len(start) > 10 && len(end) > 10 {
		a, errA := hl7v2.ParseTime(start, nil)
		b, errB := hl7v2.ParseTime(end, nil)
		return errA == nil && errB == nil && b.Time.Before(a.Time)
	}
	start, end = universal(start), universal(end)
	n := min(len(start), len(end))
	return end[:n] < start[:n] || end[:n] == start[:n] && len(start) != len(end)
}

// universal is a FHIR time in UTC, a date as it is.
func universal(text string) string {
	at, err := hl7v2.ParseTime(text, nil)
	if len(text) <= 10 || err != nil {
		return text
	}
	return at.Time.UTC().Format(time.RFC3339)
}

// inRange says whether a number can be the low or the high value of a range:
// the low one is not above the high one (rng-2). What came second is kept apart.
func (r *run) inRange(parent *fhir.Node, bound string, v hl7v2.Value) bool {
	opposite := "low"
	if bound == "low" {
		opposite = "high"
	}
	other, err := strconv.ParseFloat(parent.Str(opposite+".value"), 64)
	if err != nil {
		return true
	}
	mine, err := strconv.ParseFloat(r.text(v.FirstLeaf()), 64)
	if err != nil || bound == "low" && mine <= other || bound == "high" && mine >= other {
		return true
	}
	r.warn("range-order", v.Place(), "the low value is above the high one; what came second is kept apart")
	return false
}
