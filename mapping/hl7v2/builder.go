package hl7v2

import (
	"bytes"
	"errors"
	"fmt"
)

// A Builder writes a message segment by segment and escapes what it is given:
//
//	b := hl7v2.NewBuilder(hl7v2.DefaultDelimiters())
//	b.Segment("MSH").Set("MSH-9.1", "ADT").Set("MSH-9.2", "A01")
//	b.Segment("PID").Set("PID-5.1", "O'Neil & Sons")
//	raw, err := b.Bytes(), b.Err()
type Builder struct {
	d        Delimiters
	charset  charset
	segments []*built
	err      error
}

// built is one segment: fields[0] is its name, MSH-1 has no entry.
type built struct {
	name   string
	fields [][]byte
}

// NewBuilder writes with these delimiters; without a field separator, with the
// default ones. Text is written as UTF-8 until Charset says otherwise.
func NewBuilder(d Delimiters) *Builder {
	if d.Field == 0 {
		d = DefaultDelimiters()
	}
	return &Builder{d: d}
}

// Charset writes text set from now on in a single-byte set of HL7 table 0211,
// and names it in MSH-18 of the message, whose MSH segment stands already.
func (b *Builder) Charset(name string) *Builder {
	c, ok := charsetOf(name)
	if !ok || c.multi != nil {
		return b.fail(fmt.Errorf("character set %q: not one to write in", name))
	}
	b.charset = c
	return b.Set("MSH-18", name)
}

// Segment adds a segment. Of MSH, FHS and BHS it writes fields 1 and 2.
func (b *Builder) Segment(name string) *Builder {
	if len(name) != 3 || !beginsSegment([]byte(name+string(b.d.Field)), b.d.Field) {
		return b.fail(errors.New("a segment's name has three letters or digits"))
	}
	s := &built{name: name, fields: [][]byte{[]byte(name)}}
	if isHeader([]byte(name)) {
		var marks []byte
		for _, c := range []byte{b.d.Component, b.d.Repetition, b.d.Escape, b.d.Subcomponent, b.d.Truncation} {
			if c != 0 {
				marks = append(marks, c)
			}
		}
		s.fields = append(s.fields, marks)
	}
	b.segments = append(b.segments, s)
	return b
}

// Append adds a segment of another message as it was received. Its delimiters
// and character set must be this builder's; Set changes its fields.
func (b *Builder) Append(s Segment) *Builder {
	name := s.Name()
	if s.m == nil || s.m.d != b.d {
		return b.fail(errors.New("a segment of a message with other delimiters"))
	}
	b.segments = append(b.segments, &built{name: name, fields: bytes.Split(bytes.Clone(s.Raw()), []byte{b.d.Field})})
	return b
}

// Set writes text, escaped, at a place: "PID-3[2].1". Without an occurrence the
// last segment of that name is meant, with one ("OBX[2]-5") that one. "" empties
// the place; what stood in its parts goes. A place that is none, or that no
// segment was added for, is an error that Err gives.
func (b *Builder) Set(path, text string) *Builder {
	escaped := AppendEscaped(nil, text, b.d)
	encoded, ok := b.charset.encode(nil, escaped)
	if !ok {
		return b.fail(fmt.Errorf("%s: text that %s cannot write", path, b.charset.name))
	}
	return b.put(path, encoded)
}

// SetNull writes `""` at a place: the receiver deletes what it has there.
func (b *Builder) SetNull(path string) *Builder { return b.put(path, []byte(`""`)) }

func (b *Builder) put(path string, value []byte) *Builder {
	p, ok := ParsePlace(path)
	if !ok || p.Field < 1 || p.Field > maxBuilt || max(p.Repetition, p.Component, p.Subcomponent) > maxBuilt {
		return b.fail(fmt.Errorf("%q is not a place such as PID-3[2].1", path))
	}
	s := b.find(p)
	if s == nil {
		return b.fail(fmt.Errorf("%s: no such segment was added", path))
	}
	at := p.Field
	if isHeader([]byte(s.name)) {
		if at <= 2 {
			return b.fail(fmt.Errorf("%s: the builder's delimiters stand there", path))
		}
		at--
	}
	for len(s.fields) <= at {
		s.fields = append(s.fields, nil)
	}
	steps := []step{
		{b.d.Repetition, p.Repetition},
		{b.d.Component, p.Component},
		{b.d.Subcomponent, p.Subcomponent},
	}
	s.fields[at] = replace(s.fields[at], value, steps)
	return b
}

// maxBuilt bounds what one Set may pad.
const maxBuilt = 10_000

func (b *Builder) find(p Place) *built {
	var found *built
	for _, s := range b.segments {
		if s.name == p.Segment {
			if found = s; p.Occurrence == 1 {
				return s
			}
			p.Occurrence--
		}
	}
	if p.Occurrence > 0 {
		return nil
	}
	return found
}

// A step goes down one level: the n-th piece between separators; n 0 is the
// whole where nothing below is asked for, else the first.
type step struct {
	separator byte
	n         int
}

func replace(whole, value []byte, steps []step) []byte {
	for len(steps) > 0 && steps[len(steps)-1].n == 0 {
		steps = steps[:len(steps)-1]
	}
	if len(steps) == 0 {
		return value
	}
	first := steps[0]
	if first.separator == 0 {
		return replace(whole, value, steps[1:])
	}
	at := max(first.n, 1) - 1
	pieces := bytes.Split(whole, []byte{first.separator})
	for len(pieces) <= at {
		pieces = append(pieces, nil)
	}
	pieces[at] = replace(pieces[at], value, steps[1:])
	return bytes.Join(pieces, []byte{first.separator})
}

// Bytes gives the message, each segment ended by CR.
func (b *Builder) Bytes() []byte {
	var out []byte
	for _, s := range b.segments {
		out = append(append(out, bytes.Join(s.fields, []byte{b.d.Field})...), '\r')
	}
	return out
}

// Err is the first thing that could not be written, or nil.
func (b *Builder) Err() error { return b.err }

func (b *Builder) fail(err error) *Builder {
	if b.err == nil {
		b.err = err
	}
	return b
}

// encode appends UTF-8 text in the set; false when the set lacks a character.
func (c *charset) encode(dst, text []byte) ([]byte, bool) {
	if c.table == nil && !c.ascii {
		return append(dst, text...), true
	}
	for _, r := range string(text) {
		if r < 0x80 {
			dst = append(dst, byte(r))
			continue
		}
		if c.table == nil {
			return dst, false
		}
		encoded, ok := c.table.EncodeRune(r)
		if !ok {
			return dst, false
		}
		dst = append(dst, encoded)
	}
	return dst, true
}
