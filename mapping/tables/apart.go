package tables

import (
	"strings"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// variant tells lines of one number apart, whatever order they come in: "" where all
// with the same values of the further arguments name one service (the first argument),
// else "#" and the service; and where lines of one service differ in the second
// argument, "#" and that too. Lines that say the same are one.
func (r *run) variant(f *frame, args []expr) string {
	if len(args) < 3 {
		return ""
	}
	all := r.alike(f.segment.Name(), args)
	number := string(valuesOf(f, args[2:]))
	service := marked(args[0].text(f))
	rest := marked(args[1].text(f))
	place := hl7v2.Place{Segment: f.segment.Name(), Occurrence: f.segment.Occurrence()}
	if all[number+service+rest].count > 1 {
		r.warnOnce("repeated-number", place, "a line that says the same as another of its number: counted once")
	}
	switch {
	case all[number+service].differ:
		service += rest
	case !all[number].differ:
		return ""
	}
	r.warnOnce("repeated-number", place, "another one of this number says something else: told apart by what they say")
	return service
}

// line is what variant gives of a line that differs in both.
func (r *run) line(f *frame, args []expr) string {
	if len(args) < 3 {
		return ""
	}
	return marked(args[0].text(f)) + marked(args[1].text(f))
}

// marked is a text behind the mark that it does not hold.
func marked(text string) string { return "#" + strings.ReplaceAll(text, "#", "%23") }

// A variants is what the segments of a name say, by the values that they are alike
// in: they are read at once, so that a message of many costs no more for each.
type variants struct {
	of   *expr // the call's first argument
	name string
	said map[string]sayings
}

type sayings struct {
	least  string
	count  int
	differ bool
}

// with counts one more that says something.
func (s sayings) with(says string) sayings {
	if s.count == 0 {
		s.least = says
	}
	return sayings{least: s.least, count: s.count + 1, differ: s.differ || says != s.least}
}

// said gives what the segments of a name say, as tell counts each.
func (r *run) said(of *expr, name string, tell func(f *frame, said map[string]sayings)) map[string]sayings {
	for i := range r.variants {
		if v := &r.variants[i]; v.of == of && v.name == name {
			return v.said
		}
	}
	said := map[string]sayings{}
	used := len(r.used)
	for k := range r.msg.Len() {
		if s := r.msg.Segment(k); s.Is(name) {
			tell(&frame{run: r, segment: s, group: r.groups[k]}, said)
		}
	}
	r.used = r.used[:used]
	r.variants = append(r.variants, variants{of: of, name: name, said: said})
	return said
}

// alike gives what the segments of a name say: of each number the services, of each
// service the rest, and how often each line is there.
func (r *run) alike(name string, args []expr) map[string]sayings {
	return r.said(&args[0], name, func(f *frame, said map[string]sayings) {
		number, service, rest := string(valuesOf(f, args[2:])), marked(args[0].text(f)), marked(args[1].text(f))
		said[number] = said[number].with(service)
		said[number+service] = said[number+service].with(rest)
		said[number+service+rest] = said[number+service+rest].with("")
	})
}

// valuesOf are the values of arguments, each with an end that no value holds.
func valuesOf(f *frame, args []expr) []byte {
	var values []byte
	for i := range args {
		if a := &args[i]; len(a.terms) == 1 && a.terms[0].kind == termRef {
			values = append(values, a.value(f).Raw()...)
		} else {
			values = append(values, a.text(f)...)
		}
		values = append(values, '\r')
	}
	return values
}

// apartBy tells services under one number apart by their code: "" where all of the
// message's segments with this number (the second argument) have one code (the first
// one), else "#" and the code, whatever order they come in.
func (r *run) apartBy(f *frame, args []expr) string {
	if len(args) != 2 {
		return ""
	}
	code, number := args[0].text(f), args[1].text(f)
	if code == "" || number == "" || !r.several(args)[number].differ {
		return ""
	}
	return "#" + code
}

// several gives what the segments that have the code say of each number.
func (r *run) several(args []expr) map[string]sayings {
	return r.said(&args[0], args[0].segment(), func(f *frame, said map[string]sayings) {
		if code, number := args[0].text(f), args[1].text(f); code != "" && number != "" {
			said[number] = said[number].with(code)
		}
	})
}

// segment is the name of the first segment that an expression reads.
func (e *expr) segment() string {
	for i := range e.terms {
		t := &e.terms[i]
		if t.kind == termRef && t.ref.segment != "" {
			return t.ref.segment
		}
		for k := range t.args {
			if name := t.args[k].segment(); name != "" {
				return name
			}
		}
	}
	return ""
}

// ownMark begins in a key what own gives, of a replacement behind RO=.
const ownMark = "\x1f"

// own tells apart what inherits the number (the first argument) of another order, by
// its order control code (the second): a child (CH) that of its parent, a replacement
// (RO) that of what the filler replaced (HL7 v2.5.1 §4.5.1.1). A child whose parent
// (the third and fourth: the placer's and filler's number) has another one has its
// own. What is told apart is so by the fifth argument, the filler's number, where
// that is not the parent's, else by the sixth, its start.
func (r *run) own(f *frame, args []expr) string {
	control, parent := args[1].text(f), args[2].text(f)
	if control != "CH" && control != "RO" && parent == "" {
		return ""
	}
	number, parents, own := args[0].text(f), args[3].text(f), args[4].text(f)
	switch {
	case number == "":
		return ""
	case control == "RO":
		if !r.replaced(args)[number].differ {
			return ""
		}
	case parent != number && (control != "CH" || parent != ""):
		return ""
	case control != "CH" && (own == "" || parents == ""):
		return "" // nothing says that it is not the parent itself
	}
	if own == parents {
		own = ""
	}
	if own == "" && (control == "CH" || control == "RO") {
		if own = args[5].text(f); own == "" {
			own = r.starts(f.segment)
		}
	}
	switch {
	case control == "RO" && own == "":
		return ownMark + "RO=RO"
	case control == "RO":
		return ownMark + "RO=" + own
	case own == "":
		return ""
	}
	return ownMark + own
}

// starts is when the first timing (TQ1) of a segment's order begins.
func (r *run) starts(of hl7v2.Segment) string {
	first, here := 0, 0
	for k := range r.msg.Len() {
		s := r.msg.Segment(k)
		if s.Is("ORC") {
			first = k
		}
		if here = k; s == of {
			break
		}
	}
	for k := first; k < r.msg.Len() && (k <= here || !r.msg.Segment(k).Is("ORC")); k++ {
		if s := r.msg.Segment(k); s.Is("TQ1") && s.Field(7).Valued() {
			return r.text(s.Field(7).FirstLeaf())
		}
	}
	return ""
}

// replaced gives the numbers of which the message replaces an order.
func (r *run) replaced(args []expr) map[string]sayings {
	return r.said(&args[0], "ORC", func(f *frame, said map[string]sayings) {
		if control := args[1].text(f); control == "RP" || control == "RQ" || control == "RU" {
			said[args[0].text(f)] = sayings{differ: true}
		}
	})
}
