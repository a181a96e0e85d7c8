package tables

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// timeUnits is the code table of a site's own names of units.
const timeUnits = "TimeUnits"

// timing computes what depends on times and amounts of time.
func (f *frame) timing(t *term) string {
	r := f.run
	switch t.text {
	case "minutes", "offset":
		amount := t.args[0].value(f).FirstLeaf()
		if !amount.Valued() {
			return ""
		}
		r.used = append(r.used, amount)
		n, ok := r.span(r.text(amount), t.args[1].value(f))
		if !ok || t.text == "minutes" && n < 1 {
			return ""
		}
		return strconv.Itoa(n)
	case "end":
		return r.shift(startOf(f, &t.args[0]), t.args[1].value(f), t.args[2].value(f), 1, 1)
	case "after":
		return r.shift(startOf(f, &t.args[0]), t.args[1].value(f), t.args[2].value(f), math.MinInt, 1)
	case "before":
		return r.shift(startOf(f, &t.args[0]), t.args[1].value(f), t.args[2].value(f), 1, -1)
	case "earliest":
		return f.earliest(t.args)
	default:
		return f.finish(t.args)
	}
}

// checkFields sees that what looks at fields of the whole message names some.
func checkFields(t term) error {
	if t.text != "earliest" && t.text != "finish" {
		return nil
	}
	for _, a := range t.args {
		if len(a.terms) != 1 || a.terms[0].kind != termRef || a.terms[0].ref.segment == "" {
			return fmt.Errorf("%s() takes fields such as AIS-4", t.text)
		}
	}
	if t.text == "finish" && len(t.args)%3 != 0 {
		return fmt.Errorf("finish() takes a start, an amount and a unit, and again")
	}
	return nil
}

// startOf gives the time that a computed end counts from; it is not marked as
// read, because its own rule says where it goes.
func startOf(f *frame, e *expr) string {
	before := len(f.run.used)
	text := e.text(f)
	f.run.used = f.run.used[:before]
	return text
}

// earliest gives the earliest time that the named fields hold anywhere in the
// message, as it was sent: of several services and resources, that of the first
// to begin (HL7 v2.5.1 §10.6.4 to §10.6.7).
func (f *frame) earliest(args []expr) string {
	out := ""
	var first time.Time
	f.everywhere(args, 1, func(at []hl7v2.Value) {
		t, err := hl7v2.ParseTime(f.run.text(at[0]), f.run.ctx.Location)
		if err != nil || out != "" && !t.Time.Before(first) {
			return
		}
		out, first = f.run.text(at[0]), t.Time
		f.run.used = append(f.run.used[:0], at[0])
	})
	return out
}

// finish gives the latest end of what begins at the first of three fields and
// takes as long as the second says in the unit of the third, anywhere in the
// message.
func (f *frame) finish(args []expr) string {
	out := ""
	var last time.Time
	f.everywhere(args, 3, func(at []hl7v2.Value) {
		end := f.run.shift(f.run.text(at[0]), at[1], at[2], 1, 1)
		t, err := hl7v2.ParseTime(end, f.run.ctx.Location)
		if end == "" || err != nil || out != "" && !t.Time.After(last) {
			return
		}
		out, last = end, t.Time
	})
	return out
}

// everywhere visits the fields that args name, in groups of n, in every segment
// of their name.
func (f *frame) everywhere(args []expr, n int, visit func([]hl7v2.Value)) {
	msg := f.run.msg
	for i := range msg.Len() {
		s := msg.Segment(i)
		for k := 0; k+n <= len(args); k += n {
			if len(args[k].terms) != 1 || !s.Is(args[k].terms[0].ref.segment) {
				continue
			}
			at := make([]hl7v2.Value, n)
			for j := range at {
				ref := args[k+j].terms[0].ref
				if at[j] = s.Field(ref.field); ref.component > 0 {
					at[j] = at[j].Component(ref.component)
				}
				at[j] = at[j].FirstLeaf()
			}
			if at[0].Valued() {
				visit(at)
			}
		}
	}
}

// shift gives a time moved on by an amount of a unit: none, or one that cannot
// be read, gives "". least is the smallest amount: 1 of a duration, any of an
// offset; sign is -1 for back in time.
func (r *run) shift(start string, amount, unit hl7v2.Value, least, sign int) string {
	amount = amount.FirstLeaf()
	if start == "" || !amount.Valued() {
		return ""
	}
	n, ok := r.span(r.text(amount), unit)
	if !ok || n < least {
		return ""
	}
	t, err := hl7v2.ParseTime(start, r.ctx.Location)
	if err != nil || t.Instant() == "" {
		return ""
	}
	t.Time = t.Time.Add(time.Duration(sign*n) * time.Minute)
	r.used = append(r.used, amount)
	return t.Instant()
}

// span reads an amount of time with its unit as minutes. No unit means minutes
// (a site's common habit, HL7 v2.5.1 §10.6.1.9), unless the amount begins with
// its letter, as in M30 (the duration of a TQ, §2.A.81).
func (r *run) span(amount string, unit hl7v2.Value) (int, bool) {
	if amount == "" {
		return 0, false
	}
	name := ""
	if u := unit.Component(1).FirstLeaf(); u.Valued() {
		name = strings.ToLower(r.text(u))
		r.used = append(r.used, u)
	} else if c := amount[0] | 0x20; c >= 'a' && c <= 'z' {
		name, amount = string(c), amount[1:]
	}
	n, err := strconv.ParseFloat(amount, 64)
	if err != nil || n < -1e7 || n > 1e7 {
		return 0, false
	}
	if units := r.mapper.codes[timeUnits]; units != nil { // a site's own names of units
		if row, ok := units.folded[strings.ToUpper(name)]; ok {
			name = row.code
		}
	}
	factor := 1.0
	switch {
	case name == "", strings.HasPrefix(name, "mi"), name == "m", name == "'":
	case strings.HasPrefix(name, "h"):
		factor = 60
	case strings.HasPrefix(name, "d"):
		factor = 24 * 60
	case name == "w", strings.HasPrefix(name, "wk"), strings.HasPrefix(name, "week"):
		factor = 7 * 24 * 60
	case strings.HasPrefix(name, "s"):
		factor = 1.0 / 60
	default:
		r.warnOnce("duration-unit", unit.Place(), "a unit that is neither minutes, hours, days nor seconds")
		return 0, false
	}
	total := n * factor
	if total < 0 {
		return int(total - 0.5), true
	}
	return int(total + 0.5), true
}

// differ says whether two of the times that are there are not the same: as
// instants, and where one is less precise than a minute as days.
func (f *frame) differ(args []expr) bool {
	var first hl7v2.Time
	found := false
	for i := range args {
		t, err := hl7v2.ParseTime(args[i].text(f), f.run.ctx.Location)
		f.run.used = f.run.used[:0]
		if err != nil {
			continue
		}
		if !found {
			first, found = t, true
			continue
		}
		if t.Precision < hl7v2.Hour || first.Precision < hl7v2.Hour {
			if !strings.HasPrefix(t.Date(), first.Date()) && !strings.HasPrefix(first.Date(), t.Date()) {
				return true
			}
		} else if !t.Time.Equal(first.Time) {
			return true
		}
	}
	return false
}

// A warning is a line `warn CODE "TEXT" if COND` of a section: what a message
// says against itself, or does not say, for the report and the record.
type warning struct {
	code, text string
	at         ref // the first field that the condition reads
	cond       cond
	needs      needs
}

// parseWarning reads `CODE "TEXT" if COND`.
func parseWarning(text, own string) (warning, error) {
	words, err := fields(text)
	if err != nil {
		return warning{}, err
	}
	if len(words) < 4 || words[2] != "if" || !strings.HasPrefix(words[1], `"`) {
		return warning{}, fmt.Errorf(`a warning is warn CODE "TEXT" if COND`)
	}
	w := warning{code: words[0], text: unquote(words[1])}
	read, parser, err := readCond(strings.Join(words[3:], " "), own)
	if err != nil {
		return w, err
	}
	w.cond, w.needs = read, needs{}.with(parser.needs, own)
	for _, word := range condWords(strings.Join(words[3:], " ")) {
		if r, err := parseRef(word, own); err == nil && (r.segment == own || w.at.segment == "") {
			w.at = r
			if r.segment == own {
				break
			}
		}
	}
	return w, nil
}

// warn says what a section's warnings find.
func (s *section) warn(f *frame, w *warning) {
	f.run.warnOnce(w.code, hl7v2.Place{Segment: f.segment.Name(), Occurrence: f.segment.Occurrence(), Field: w.at.fieldOf(s.own)}, w.text)
}

// fieldOf gives the field of a reference into a segment, 0 of one elsewhere.
func (r ref) fieldOf(segment string) int {
	if r.segment == segment {
		return r.field
	}
	return 0
}

// warnOnce warns of a place once, however many rules meet it.
func (r *run) warnOnce(code string, p hl7v2.Place, text string) {
	at := noteAt{code, p}
	if r.warned[at] {
		return
	}
	r.warned[at] = true
	r.warn(code, p, text)
}

// A noteAt is a warning's code and place.
type noteAt struct {
	code  string
	place hl7v2.Place
}
