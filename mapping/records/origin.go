package records

import (
	"slices"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// withdraw takes out of a list what one field made (`""` in that field), but
// for entries that something newer has set.
func (s *state) withdraw(next *fhir.Node, st Stamp, list string, field fhir.Origin) bool {
	have := at(next, list)
	if have == nil || have.Kind != fhir.Array {
		return false
	}
	kept := fhir.NewArray()
	for _, item := range have.Kids {
		path := list
		if on := about(list, item); on != (topic{}) {
			path = on.path(list)
		}
		if item.From != field || !s.may(st, path) {
			kept.Kids = append(kept.Kids, item)
		}
	}
	switch len(kept.Kids) {
	case len(have.Kids):
		return false
	case 0:
		kept = nil
	}
	put(next, list, kept)
	return true
}

// PartOf stands in a deleted path between the entries of a field and what of each
// goes: an element, or an extension as extension=URL
// ("address:PID-11 / district").
const PartOf = " / "

// withdrawPart takes a part out of a list's entries that were made of a field, of
// those that nothing newer has set.
func (s *state) withdrawPart(next *fhir.Node, st Stamp, list string, field fhir.Origin, part string) bool {
	have := at(next, list)
	if have == nil || have.Kind != fhir.Array {
		return false
	}
	kept := fhir.NewArray()
	touched := false
	for _, item := range have.Kids {
		path := list
		if on := about(list, item); on != (topic{}) {
			path = on.path(list)
		}
		if item.From == field && s.may(st, path) {
			rest := without(item, part)
			if touched = touched || rest != item; rest == nil {
				continue
			}
			item = rest
		}
		kept.Kids = append(kept.Kids, item)
	}
	if !touched {
		return false
	}
	if len(kept.Kids) == 0 {
		kept = nil
	}
	put(next, list, kept)
	return true
}

// without is a list's entry without a part: itself where it has none, nil where
// there is nothing else.
func without(item *fhir.Node, part string) *fhir.Node {
	out := item.Shallow()
	out.From = item.From
	if url, ok := strings.CutPrefix(part, "extension="); ok {
		rest := fhir.NewArray()
		for _, e := range item.Get("extension").Items() {
			if e.Str("url") != url {
				rest.Kids = append(rest.Kids, e)
			}
		}
		if len(rest.Kids) == len(item.Get("extension").Items()) {
			return item
		}
		if out.Delete("extension"); len(rest.Kids) > 0 {
			out.Set("extension", rest)
		}
	} else if item.Get(part) == nil {
		return item
	} else {
		out.Delete(part)
	}
	if len(out.Kids) == 0 || len(out.Kids) == 1 && out.Kids[0].Name == "url" {
		return nil
	}
	return out
}

// standing is what stays of a group that a message sets: a newer message of the
// same sender may have said that the field that made an entry is empty.
func (s *state) standing(st Stamp, g element) *fhir.Node {
	list, _, parted := strings.Cut(g.path, ":")
	from := s.heard(st.Sender)
	if from == nil || g.node.Kind != fhir.Array {
		return g.node
	}
	withdrawn := func(item *fhir.Node) bool {
		if item.From == 0 {
			return false
		}
		for i := range from.at {
			name, field, ok := strings.Cut(from.at[i].element, ":")
			if ok && name == list && st.Order < from.at[i].order && fhir.ParseOrigin(field) == item.From {
				return true
			}
		}
		return false
	}
	reduced := func(item *fhir.Node) *fhir.Node {
		for i := range from.at {
			name, field, ok := strings.Cut(from.at[i].element, ":")
			field, part, parted := strings.Cut(field, PartOf)
			if item != nil && ok && parted && name == list && st.Order < from.at[i].order && item.From != 0 && fhir.ParseOrigin(field) == item.From {
				item = without(item, part)
			}
		}
		return item
	}
	var kept *fhir.Node
	for i, item := range g.node.Kids {
		stays := item
		if withdrawn(item) {
			stays = nil
		} else {
			stays = reduced(item)
		}
		if stays != item && kept == nil {
			kept = fhir.NewArray(g.node.Kids[:i:i]...)
		}
		if stays != nil && kept != nil {
			kept.Kids = append(kept.Kids, stays)
		}
	}
	switch {
	case kept == nil:
		return g.node
	case len(kept.Kids) == 0 && parted:
		return nil
	}
	return kept
}

// sameOrigins says whether the entries of two equal lists are of the same fields.
func sameOrigins(a, b *fhir.Node) bool {
	if a == nil || b == nil || a.Kind != fhir.Array || len(a.Kids) != len(b.Kids) {
		return true
	}
	for i := range a.Kids {
		if a.Kids[i].From != b.Kids[i].From {
			return false
		}
	}
	return true
}

// appendOrigins writes which field each entry of a resource's lists, and of its
// elements' lists, was made of, as runs of entries of one field:
// "telecom=PID-13*2,PID-14 contact=NK1 ".
func appendOrigins(dst []byte, n *fhir.Node) []byte {
	if n == nil {
		return dst
	}
	for _, k := range n.Kids {
		switch k.Kind {
		case fhir.Array:
			dst = appendRuns(dst, "", k)
		case fhir.Object:
			for _, sub := range k.Kids {
				if sub.Kind == fhir.Array {
					dst = appendRuns(dst, k.Name, sub)
				}
			}
		}
	}
	return dst
}

func appendRuns(dst []byte, within string, list *fhir.Node) []byte {
	if !slices.ContainsFunc(list.Kids, func(item *fhir.Node) bool { return item.From != 0 }) {
		return dst
	}
	if within != "" {
		dst = append(append(dst, within...), '.')
	}
	dst = append(append(dst, list.Name...), '=')
	for i := 0; i < len(list.Kids); {
		run := 1
		for i+run < len(list.Kids) && list.Kids[i+run].From == list.Kids[i].From {
			run++
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = list.Kids[i].From.Append(dst)
		if run > 1 {
			dst = strconv.AppendInt(append(dst, '*'), int64(run), 10)
		}
		i += run
	}
	return append(dst, ' ')
}

// trace puts what appendOrigins wrote back onto a resource.
func trace(n *fhir.Node, origins string) {
	if n == nil || origins == "" {
		return
	}
	for part := range strings.SplitSeq(origins, " ") {
		path, runs, ok := strings.Cut(part, "=")
		if !ok {
			continue
		}
		items := at(n, path).Items()
		for run := range strings.SplitSeq(runs, ",") {
			field, count, many := strings.Cut(run, "*")
			length := 1
			if many {
				length, _ = strconv.Atoi(count)
			}
			length = max(0, min(length, len(items)))
			for _, item := range items[:length] {
				item.From = fhir.ParseOrigin(field)
			}
			items = items[length:]
		}
	}
}
