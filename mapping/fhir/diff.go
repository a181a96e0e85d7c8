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
func Diff(old, next *Node) []Difference { return diff(nil, nil, old, next) }

// A place is where both versions are being compared: a field, or the entry of a
// list with its place in each. Its text is made only for what differs.
type place struct {
	up        *place
	name      string // "" of an entry
	old, next int
}

func (p *place) append(dst []byte, old bool) []byte {
	switch {
	case p == nil:
		return dst
	case p.up != nil:
		if dst = p.up.append(dst, old); p.name != "" {
			dst = append(dst, '.')
		}
	}
	if p.name != "" {
		return append(dst, p.name...)
	}
	n := p.next
	if old {
		n = p.old
	}
	return append(strconv.AppendInt(append(dst, '['), int64(n), 10), ']')
}

// moved says whether the two versions have it at different paths.
func (p *place) moved() bool { return p != nil && (p.old != p.next || p.up.moved()) }

func (p *place) differ(out []Difference, old, next *Node) []Difference {
	var text [64]byte
	d := Difference{Path: string(p.append(text[:0], old != nil)), Old: old, New: next}
	if old != nil && next != nil && p.moved() {
		d.NewPath = string(p.append(text[:0], false))
	}
	return append(out, d)
}

func diff(out []Difference, at *place, old, next *Node) []Difference {
	switch {
	case old == next:
		return out
	case old == nil || next == nil || old.Kind != next.Kind || old.Kind > Array:
		if !Equal(old, next) {
			out = at.differ(out, old, next)
		}
		return out
	case old.Kind == Array:
		return diffArray(out, at, old, next)
	}
	for _, k := range old.Kids {
		out = diff(out, &place{up: at, name: k.Name}, k, next.Get(k.Name))
	}
	for _, k := range next.Kids {
		if old.Get(k.Name) == nil {
			out = (&place{up: at, name: k.Name}).differ(out, nil, k)
		}
	}
	return out
}

func diffArray(out []Difference, at *place, old, next *Node) []Difference {
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
			out = diff(out, &place{up: at, old: i, next: j}, o, next.Kids[j])
		} else {
			out = (&place{up: at, old: i}).differ(out, o, nil)
		}
	}
	for j, n := range next.Kids {
		if !matched[j] {
			out = (&place{up: at, next: j}).differ(out, nil, n)
		}
	}
	if len(out) == told { // the same entries in another order
		return at.differ(out, old, next)
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
