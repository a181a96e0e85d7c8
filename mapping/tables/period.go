package tables

import (
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
	r.warn("period-order", place, "the end is before the start; what came second is kept apart")
	r.used = r.used[:0]
	return false
}

// before says whether the end of two FHIR times lies before the start: other is
// the start, or the end where made is the start. Times of less than a day's
// precision are compared as far as both go.
func before(other, made string, madeIsStart bool) bool {
	start, end := other, made
	if madeIsStart {
		start, end = made, other
	}
	if len(start) <= 10 || len(end) <= 10 {
		n := min(len(start), len(end), 10)
		return end[:n] < start[:n]
	}
	a, errA := hl7v2.ParseTime(start, nil)
	b, errB := hl7v2.ParseTime(end, nil)
	return errA == nil && errB == nil && b.Time.Before(a.Time)
}
