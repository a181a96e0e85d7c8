package fhir

import "strconv"

// A Difference is one element that two versions of a resource do not share. A
// nil Old is an addition, a nil New a deletion.
type Difference struct {
	Path     string // where Old stands in the earlier version; of an addition where New stands
	NewPath  string // where New stands, if there is an Old and it stood at another place of a list
	Old, New *Node
}

// Diff lists what changed from old to next, deepest first apart: primitives and
// objects field by field, list entries matched by what identifies them
// (reference, system and value, url, code), else by their place. A list entry
// that is only in one of the two is one difference; so is a list whose entries
// only changed places.
func Diff(old, next *Node) []Difference {
	var room [16]step
	return diff(nil, room[:0], old, next)
}

// A step leads from an element to a part of it: a field, or the entry of a list
// with its place in both versions. The text of a path is made only for what
// differs.
type step struct {
	name      string // "" of an entry
	old, next int
}

func appendPath(dst []byte, at []step, old bool) []byte {
	for i, s := range at {
		switch n := s.next; {
		case s.name != "" && i > 0:
			dst = append(append(dst, '.'), s.name...)
		case s.name != "":
			dst = append(dst, s.name...)
		default:
			if old {
				n = s.old
			}
			dst = append(strconv.AppendInt(append(dst, '['), int64(n), 10), ']')
		}
	}
	return dst
}

// moved says whether the two versions have it at different paths.
func moved(at []step) bool {
	for _, s := range at {
		if s.old != s.next {
			return true
		}
	}
	return false
}

func differ(out []Difference, at []step, old, next *Node) []Difference {
	var text [64]byte
	d := Difference{Path: string(appendPath(text[:0], at, old != nil)), Old: old, New: next}
	if old != nil && next != nil && moved(at) {
		d.NewPath = string(appendPath(text[:0], at, false))
	}
	return append(out, d)
}

func diff(out []Difference, at []step, old, next *Node) []Difference {
	switch {
	case old == next:
		return out
	case old == nil || next == nil || old.Kind != next.Kind || old.Kind > Array:
		if !Equal(old, next) {
			out = differ(out, at, old, next)
		}
		return out
	case old.Kind == Array:
		return diffArray(out, at, old, next)
	}
	for _, k := range old.Kids {
		out = diff(out, append(at, step{name: k.Name}), k, next.Get(k.Name))
	}
	for _, k := range next.Kids {
		if old.Get(k.Name) == nil {
			out = differ(out, append(at, step{name: k.Name}), nil, k)
		}
	}
	return out
}

func diffArray(out []Difference, at []step, old, next *Node) []Difference {
	if Equal(old, next) {
		return out
	}
	told := len(out)
	matched := make([]bool, len(next.Kids))
	partner := make([]int, len(old.Kids))
	for i, o := range old.Kids {
		partner[i] = -1
		id := identity(o)
		if id == "" && i < len(next.Kids) && !matched[i] && identity(next.Kids[i]) == "" {
			partner[i], matched[i] = i, true
			continue
		}
		for j, n := range next.Kids {
			if id != "" && !matched[j] && identity(n) == id {
				partner[i], matched[j] = j, true
				break
			}
		}
	}
	for i, o := range old.Kids {
		if j := partner[i]; j >= 0 {
			out = diff(out, append(at, step{old: i, next: j}), o, next.Kids[j])
		} else {
			out = differ(out, append(at, step{old: i}), o, nil)
		}
	}
	for j, n := range next.Kids {
		if !matched[j] {
			out = differ(out, append(at, step{next: j}), nil, n)
		}
	}
	if len(out) == told { // the same entries in another order
		return differ(out, at, old, next)
	}
	return out
}

// identity is what tells one list entry from another, or "".
func identity(n *Node) string {
	if n.Kind == String {
		return n.Text
	}
	if n.Kind != Object {
		return ""
	}
	for _, path := range [...]string{
		"reference", "url", "actor.reference", "individual.reference", "location.reference", "member.reference", "party.reference", "coverage.reference",
	} {
		if s := n.Str(path); s != "" {
			return path + "=" + s
		}
	}
	if s := n.Str("value"); s != "" {
		return "value=" + n.Str("system") + "|" + s + "|" + n.Str("use")
	}
	if s := n.Str("code"); s != "" {
		return "code=" + n.Str("system") + "|" + s
	}
	if s := n.Str("coding[0].code"); s != "" {
		return "coding=" + n.Str("coding[0].system") + "|" + s
	}
	return ""
}
