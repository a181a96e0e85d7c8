package fhir

import "strconv"

// A Difference is one element that two versions of a resource do not share. A
// nil Old is an addition, a nil New a deletion.
type Difference struct {
	Path     string
	Old, New *Node
}

// Diff lists what changed from old to next, deepest first apart: primitives and
// objects field by field, list entries matched by what identifies them
// (reference, system and value, url, code), else by their place. A list entry
// that is only in one of the two is one difference.
func Diff(old, next *Node) []Difference { return diff(nil, "", old, next) }

func diff(out []Difference, path string, old, next *Node) []Difference {
	switch {
	case old == next:
		return out
	case old == nil || next == nil || old.Kind != next.Kind || old.Kind > Array:
		if !Equal(old, next) {
			out = append(out, Difference{Path: path, Old: old, New: next})
		}
		return out
	case old.Kind == Array:
		return diffArray(out, path, old, next)
	}
	for _, k := range old.Kids {
		out = diff(out, join(path, k.Name), k, next.Get(k.Name))
	}
	for _, k := range next.Kids {
		if old.Get(k.Name) == nil {
			out = append(out, Difference{Path: join(path, k.Name), New: k})
		}
	}
	return out
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func diffArray(out []Difference, path string, old, next *Node) []Difference {
	if Equal(old, next) {
		return out
	}
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
	at := func(i int) string { return path + "[" + strconv.Itoa(i) + "]" }
	for i, o := range old.Kids {
		if j := partner[i]; j >= 0 {
			out = diff(out, at(j), o, next.Kids[j])
		} else {
			out = append(out, Difference{Path: at(i), Old: o})
		}
	}
	for j, n := range next.Kids {
		if !matched[j] {
			out = append(out, Difference{Path: at(j), New: n})
		}
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
