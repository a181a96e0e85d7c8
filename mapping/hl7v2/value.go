package hl7v2

import "bytes"

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
//
// A field reads like its first repetition, a repetition like its first
// component, a component like its first subcomponent where a part of a lower
// level is asked for; so a sender that adds a component or a repetition to a
// field breaks no reader (HL7 v2.5.1 §2.8.2).
type Value struct {
	m               *Message
	start, end      int32
	segment         int32
	field, rep      int32
	comp, sub       int32
	level           level
	present, opaque bool // opaque: MSH-1 and MSH-2, where separators are data
}

// Raw gives the bytes as received, escapes and all; in a message of a
// multi-byte set whose bytes collide with delimiters, their UTF-8 form.
func (v Value) Raw() []byte {
	if v.m == nil || !v.present {
		return nil
	}
	return v.m.text[v.start:v.end:v.end]
}

// Offset is where the value begins in the message's bytes.
func (v Value) Offset() int { return int(v.start) }

// State says whether the value is absent, empty, null or valued. A value of
// delimiters and spaces alone (`^^`, ` `) is empty.
func (v Value) State() State {
	if !v.present {
		return Absent
	}
	raw := v.m.text[v.start:v.end]
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
	return bytes.Count(v.m.text[v.start:v.end], []byte{v.m.d.Repetition}) + 1
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
	out.level, out.rep = levelRepetition, int32(i)
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
	text, start := v.m.text, v.start
	for at := start; at < v.end; at++ {
		if text[at] != sep {
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

// Components counts components of a repetition (of a field: of its first). Of a
// component it counts subcomponents, as Component reads them.
func (v Value) Components() int {
	switch v.level {
	case levelField:
		v = v.Repetition(1)
	case levelComponent:
		return v.Subcomponents()
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
	return bytes.Count(v.m.text[v.start:v.end], []byte{sep}) + 1
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
	out.level, out.comp = levelComponent, int32(n)
	return out
}

// Depth is 0 for a field, 1 for a repetition, 2 for a component, 3 for a
// subcomponent: values of the same bytes and depth read alike.
func (v Value) Depth() int { return int(v.level) }

// Detached gives a value that can be kept without its message, for Moved only.
func (v Value) Detached() Value {
	v.m = nil
	return v
}

// Moved gives the part of to that v was of from, where both have the same
// bytes, and the same depth or no separators. v and from may be detached.
func (v Value) Moved(from, to Value) Value {
	v.m = to.m
	v.start += to.start - from.start
	v.end += to.start - from.start
	v.segment, v.field, v.rep = to.segment, to.field, to.rep
	if to.level >= levelComponent {
		v.comp = to.comp
	}
	return v
}

// AppendComponents appends what Component gives for 1, 2, 3 … up to the last
// that is there: for a caller that reads most of them.
func (v Value) AppendComponents(dst []Value) []Value {
	at := levelRepetition
	switch v.level {
	case levelField:
		v = v.Repetition(1)
	case levelComponent:
		at = levelComponent
	case levelSubcomponent:
		return append(dst, v)
	case levelRepetition:
	}
	if !v.present {
		return dst
	}
	sep := v.sep(at)
	part := v
	part.level = at + 1
	n, start := int32(1), v.start
	text := v.m.text
	for i := start; i <= v.end; i++ {
		if i < v.end && (text[i] != sep || sep == 0) {
			continue
		}
		part.start, part.end = start, i
		if at == levelRepetition {
			part.comp = n
		} else {
			part.sub = n
		}
		dst = append(dst, part)
		n, start = n+1, i+1
	}
	return dst
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
	out.level, out.sub = levelSubcomponent, int32(n)
	return out
}

// IsLeaf says whether the value has no separators of a lower level inside.
func (v Value) IsLeaf() bool { return v.leafEnd() == v.end }

// leafEnd is where the value's first leaf ends.
func (v Value) leafEnd() int32 {
	if !v.present || v.opaque {
		return v.end
	}
	d := v.m.d
	for i, c := range v.m.text[v.start:v.end] {
		switch {
		case c == 0, c != d.Subcomponent && c != d.Component && c != d.Repetition:
			continue
		case c == d.Subcomponent && v.level >= levelSubcomponent, c == d.Component && v.level >= levelComponent, c == d.Repetition && v.level > levelField:
			continue
		}
		return v.start + int32(i)
	}
	return v.end
}

// FirstLeaf goes down to the value's first leaf: of several repetitions the
// first, and so with components and subcomponents. A value without separators
// is its own leaf.
func (v Value) FirstLeaf() Value {
	end := v.leafEnd()
	if end == v.end {
		return v
	}
	if v.level == levelField && v.Repetitions() > 1 {
		v = v.Repetition(1)
	}
	if v.level < levelComponent && v.Components() > 1 {
		v = v.Component(1)
	}
	if v.Subcomponents() > 1 {
		v = v.Subcomponent(1)
	}
	return v
}

// Place says where the value stands.
func (v Value) Place() Place {
	p := Place{Field: int(v.field), Repetition: int(v.rep), Component: int(v.comp), Subcomponent: int(v.sub)}
	if v.m != nil && int(v.segment) < len(v.m.segments) {
		s := Segment{m: v.m, i: int(v.segment)}
		p.Segment, p.Occurrence = s.Name(), s.Occurrence()
	}
	return p
}

// SegmentIndex is the position of the value's segment in the message.
func (v Value) SegmentIndex() int { return int(v.segment) }

// FieldNumber is the value's field by the standard's numbering.
func (v Value) FieldNumber() int { return int(v.field) }

// Text gives the value unescaped and as UTF-8, by the message's character set
// (MSH-18). Bytes that the set does not have are a *CharsetError with their
// place, never a replacement. An absent, empty or null value gives "". Of a
// value with parts it is the whole with its separators. The string is the only
// allocation where nothing has to be unescaped or decoded.
func (v Value) Text() (string, error) {
	if v.State() != Valued {
		return "", nil
	}
	raw := v.m.text[v.start:v.end]
	if plain(raw, v.m.d.Escape) {
		return string(raw), nil
	}
	out, err := v.AppendText(make([]byte, 0, len(raw)+16))
	if err != nil {
		return "", err
	}
	return string(out), nil
}

// AppendText appends what Text gives; on an error dst is given back as it was.
func (v Value) AppendText(dst []byte) ([]byte, error) {
	if v.State() != Valued {
		return dst, nil
	}
	d := v.m.d
	if v.opaque {
		d = Delimiters{}
	}
	out, bad := v.m.charset.appendText(dst, v.m.text[v.start:v.end], d)
	if bad >= 0 {
		return dst, &CharsetError{Place: v.Place(), Offset: int(v.start) + bad, Charset: v.m.charset.name}
	}
	return out, nil
}

// plain says that nothing has to be unescaped or decoded.
func plain(raw []byte, escape byte) bool {
	for _, c := range raw {
		if c >= 0x80 || c == escape {
			return false
		}
	}
	return true
}
