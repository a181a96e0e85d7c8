package hl7v2

import (
	"strconv"
	"strings"
)

// A Place names a part of a message: PID-3[2].4.1 is the first subcomponent of
// the fourth component of the second repetition of PID-3; OBX[2]-5 is in the
// second OBX. Zero fields are left out.
type Place struct {
	Segment                                                string
	Occurrence, Field, Repetition, Component, Subcomponent int
}

func (p Place) String() string {
	var b strings.Builder
	b.WriteString(p.Segment)
	index := func(n int) {
		b.WriteByte('[')
		b.WriteString(strconv.Itoa(n))
		b.WriteByte(']')
	}
	if p.Occurrence > 1 {
		index(p.Occurrence)
	}
	if p.Field > 0 {
		b.WriteByte('-')
		b.WriteString(strconv.Itoa(p.Field))
		if p.Repetition > 1 {
			index(p.Repetition)
		}
	}
	for _, n := range []int{p.Component, p.Subcomponent} {
		if n == 0 {
			break
		}
		b.WriteByte('.')
		b.WriteString(strconv.Itoa(n))
	}
	return b.String()
}

// ParsePlace reads what Place.String writes.
func ParsePlace(text string) (Place, bool) {
	var p Place
	seg, rest, hasField := strings.Cut(text, "-")
	name, occ, ok := indexed(seg)
	if !ok || len(name) != 3 {
		return p, false
	}
	p.Segment, p.Occurrence = name, occ
	if !hasField {
		return p, true
	}
	parts := strings.Split(rest, ".")
	if len(parts) > 3 {
		return p, false
	}
	field, rep, ok := indexed(parts[0])
	n, err := strconv.Atoi(field)
	if !ok || err != nil || n < 1 {
		return p, false
	}
	p.Field, p.Repetition = n, rep
	for i, part := range parts[1:] {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 {
			return p, false
		}
		if i == 0 {
			p.Component = n
		} else {
			p.Subcomponent = n
		}
	}
	return p, true
}

func indexed(s string) (string, int, bool) {
	name, rest, found := strings.Cut(s, "[")
	if !found {
		return s, 0, true
	}
	n, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
	return name, n, err == nil && n > 0 && strings.HasSuffix(rest, "]")
}
