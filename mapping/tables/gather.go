package tables

import (
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// gathered gives the text of a field of every segment of this name, a line for
// each: feeds send a document's text line by line, an OBX for each. What the
// second argument names as one of the further ones is no text. It stands with
// the first of the segments that it is made of.
func (r *run) gathered(f *frame, args []expr) string {
	if len(args) < 2 {
		return ""
	}
	var kinds []string
	for i := range args[2:] {
		kinds = append(kinds, args[i+2].text(f))
	}
	var out []string
	var used []hl7v2.Value
	first, blank := -1, 0
	for i := range r.msg.Len() {
		s := r.msg.Segment(i)
		if !s.Is(f.segment.Name()) {
			continue
		}
		other := frame{run: r, segment: s, group: r.groups[i]}
		v := args[0].value(&other)
		if slices.Contains(kinds, r.text(args[1].value(&other))) {
			continue
		}
		if !v.Valued() {
			blank++
			continue
		}
		if first < 0 {
			first, blank = i, 0
		}
		for ; blank > 0; blank-- { // one between others parts paragraphs
			out = append(out, "")
		}
		r.used = r.used[:0]
		out = append(out, r.lines(v))
		used = append(used, r.used...)
	}
	r.used = r.used[:0]
	if first != f.segment.Index() {
		return ""
	}
	r.used = append(r.used, used...)
	return strings.Join(out, "\n")
}
