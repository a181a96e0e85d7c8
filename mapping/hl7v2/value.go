package hl7v2

import (
	"bytes"
	"strconv"
	"strings"
)

// State tells three kinds of nothing from a value (HL7 v2.5.1 §2.5.3): an
// absent or empty field leaves what the receiver has, Null (`""`) deletes it.
type State uint8

// The states of a value.
const (
	Absent State = iota // the segment or field ends before it
	Empty               // between two delimiters, nothing
	Null                // two double quotes: delete
	Valued
)

type level uint8

const (
	levelField level = iota
	levelRepetition
	levelComponent
	levelSubcomponent
)

// A Value is a field, a repetition, a component or a subcomponent: a window on
// the message's bytes, passed by value.
type Value struct {
	m          *Message
	start, end int
	segment    int
	field      int
	rep        int
	comp       int
	sub        int
	level      level
	present    bool
	opaque     bool // MSH-1 and MSH-2: separators are data
}

// Raw gives the bytes as received, escapes and all.
func (v Value) Raw() []byte {
	if v.m == nil || !v.present {
		return nil
	}
	return v.m.raw[v.start:v.end:v.end]
}

// Offset is where the value begins in the message's bytes.
func (v Value) Offset() int { return v.start }

// State says whether the value is absent, empty, null or valued. A value of
// delimiters alone (`^^`) is empty.
func (v Value) State() State {
	if !v.present {
		return Absent
	}
	raw := v.m.raw[v.start:v.end]
	switch {
	case len(raw) == 0:
		return Empty
	case v.opaque:
		return Valued
	case len(raw) == 2 && raw[0] == '"' && raw[1] == '"':
		return Null
	}
	d := v.m.d
	for _, c := range raw {
		if c == ' ' || v.level < levelSubcomponent && c == d.Subcomponent ||
			v.level < levelComponent && c == d.Component || v.level == levelField && c == d.Repetition {
			continue
		}
		return Valued
	}
	return Empty
}

// Valued is State() == Valued.
func (v Value) Valued() bool { return v.State() == Valued }

// Repetitions counts the repetitions of a field: 0 when absent or empty.
func (v Value) Repetitions() int {
	if !v.present || v.start == v.end {
		return 0
	}
	if v.level > levelField || v.opaque || v.m.d.Repetition == 0 {
		return 1
	}
	return bytes.Count(v.m.raw[v.start:v.end], []byte{v.m.d.Repetition}) + 1
}

// Repetition gives repetition i, from 1. Of anything but a field the first is
// the value itself.
func (v Value) Repetition(i int) Value {
	if v.level > levelField {
		if i == 1 {
			return v
		}
		v.present = false
		return v
	}
	out := v.part(i, v.sep(levelField))
	out.level, out.rep = levelRepetition, i
	return out
}

func (v Value) sep(of level) byte {
	if v.m == nil || v.opaque {
		return 0
	}
	switch of {
	case levelField:
		return v.m.d.Repetition
	case levelRepetition:
		return v.m.d.Component
	default:
		return v.m.d.Subcomponent
	}
}

// part gives the i-th piece between separators, from 1.
func (v Value) part(i int, sep byte) Value {
	if !v.present || i < 1 {
		v.present = false
		return v
	}
	if sep == 0 {
		if i > 1 {
			v.present = false
		}
		return v
	}
	raw := v.m.raw
	start := v.start
	for at := start; at < v.end; at++ {
		if raw[at] != sep {
			continue
		}
		if i--; i == 0 {
			v.start, v.end = start, at
			return v
		}
		start = at + 1
	}
	if i > 1 {
		v.present = false
		return v
	}
	v.start = start
	return v
}

// Components counts components of a repetition (of a field: of its first).
func (v Value) Components() int {
	if v.level == levelField {
		v = v.Repetition(1)
	}
	return v.count(levelRepetition, v.sep(levelRepetition))
}

// Subcomponents counts subcomponents of a component.
func (v Value) Subcomponents() int {
	if v.level < levelComponent {
		v = v.Component(1)
	}
	return v.count(levelComponent, v.sep(levelComponent))
}

func (v Value) count(at level, sep byte) int {
	if !v.present || v.start == v.end {
		return 0
	}
	if v.level > at || sep == 0 {
		return 1
	}
	return bytes.Count(v.m.raw[v.start:v.end], []byte{sep}) + 1
}

// Component gives component n, from 1; of a field, of its first repetition. Of
// a component, n is a subcomponent: a data type inside a component reads its
// own components there (HL7 v2.5.1 §2.5.3).
func (v Value) Component(n int) Value {
	switch v.level {
	case levelField:
		v = v.Repetition(1)
	case levelComponent:
		return v.Subcomponent(n)
	case levelSubcomponent:
		if n != 1 {
			v.present = false
		}
		return v
	case levelRepetition:
	}
	out := v.part(n, v.sep(levelRepetition))
	out.level, out.comp = levelComponent, n
	return out
}

// Subcomponent gives subcomponent n of a component, from 1.
func (v Value) Subcomponent(n int) Value {
	if v.level < levelComponent {
		v = v.Component(1)
	}
	if v.level == levelSubcomponent {
		if n != 1 {
			v.present = false
		}
		return v
	}
	out := v.part(n, v.sep(levelComponent))
	out.level, out.sub = levelSubcomponent, n
	return out
}

// IsLeaf says whether the value has no separators of a lower level inside.
func (v Value) IsLeaf() bool {
	return v.Repetitions() <= 1 && v.Components() <= 1 && v.Subcomponents() <= 1
}

// Place says where the value stands.
func (v Value) Place() Place {
	p := Place{Field: v.field, Repetition: v.rep, Component: v.comp, Subcomponent: v.sub}
	if v.m != nil && v.segment < len(v.m.segments) {
		s := Segment{m: v.m, i: v.segment}
		p.Segment, p.Occurrence = s.Name(), s.Occurrence()
	}
	return p
}

// SegmentIndex is the position of the value's segment in the message.
func (v Value) SegmentIndex() int { return v.segment }

// FieldNumber is the value's field by the standard's numbering.
func (v Value) FieldNumber() int { return v.field }

// Text gives the value unescaped and as UTF-8, by the message's character set
// (MSH-18). Bytes that the set does not have are a *CharsetError with their
// place, never a replacement. An absent, empty or null value gives "".
func (v Value) Text() (string, error) {
	if v.State() != Valued {
		return "", nil
	}
	raw := v.m.raw[v.start:v.end]
	if plainASCII(raw, v.m.d.Escape) {
		return string(raw), nil
	}
	out, err := v.AppendText(make([]byte, 0, len(raw)+16))
	if err != nil {
		return "", err
	}
	return string(out), nil
}

// AppendText appends what Text gives.
func (v Value) AppendText(dst []byte) ([]byte, error) {
	if v.State() != Valued {
		return dst, nil
	}
	raw := v.m.raw[v.start:v.end]
	if v.opaque {
		return append(dst, raw...), nil
	}
	out, bad := v.m.charset.appendText(dst, raw, v.m.d)
	if bad >= 0 {
		return dst, &CharsetError{Place: v.Place(), Offset: v.start + bad, Charset: v.m.charset.name}
	}
	return out, nil
}

func plainASCII(raw []byte, escape byte) bool {
	for _, c := range raw {
		if c >= 0x80 || c == escape && escape != 0 {
			return false
		}
	}
	return true
}

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

// Get reads a value by its place, "PID-3[2].1" or "OBX[2]-5"; what is not
// there, and what is not a place, is Absent. Not for hot paths.
func (m *Message) Get(path string) Value {
	p, ok := ParsePlace(path)
	if !ok {
		return Value{}
	}
	for i := range m.segments {
		s := Segment{m: m, i: i}
		if !s.Is(p.Segment) || s.Occurrence() != max(p.Occurrence, 1) {
			continue
		}
		v := s.Field(p.Field)
		if p.Repetition > 0 {
			v = v.Repetition(p.Repetition)
		}
		if p.Component > 0 {
			v = v.Component(p.Component)
		}
		if p.Subcomponent > 0 {
			v = v.Subcomponent(p.Subcomponent)
		}
		return v
	}
	return Value{}
}
