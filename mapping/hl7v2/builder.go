package hl7v2

import (
	"bytes"
	"strconv"
)

// A Builder writes a message segment by segment and escapes what it is given.
type Builder struct {
	d   Delimiters
	out bytes.Buffer
}

// NewBuilder writes with these delimiters; zero delimiters mean the default.
func NewBuilder(d Delimiters) *Builder {
	if d.Field == 0 {
		d = DefaultDelimiters()
	}
	return &Builder{d: d}
}

// Header writes the segment name, MSH-1 and MSH-2, then the fields from MSH-3.
func (b *Builder) Header(name string, fields ...Field) *Builder {
	b.out.WriteString(name)
	b.out.WriteByte(b.d.Field)
	for _, c := range []byte{b.d.Component, b.d.Repetition, b.d.Escape, b.d.Subcomponent, b.d.Truncation} {
		if c != 0 {
			b.out.WriteByte(c)
		}
	}
	return b.fields(fields)
}

// Segment writes one segment with its fields from 1.
func (b *Builder) Segment(name string, fields ...Field) *Builder {
	b.out.WriteString(name)
	return b.fields(fields)
}

func (b *Builder) fields(fields []Field) *Builder {
	last := len(fields)
	for last > 0 && len(fields[last-1]) == 0 {
		last--
	}
	for _, f := range fields[:last] {
		b.out.WriteByte(b.d.Field)
		for i, component := range f {
			if i > 0 {
				b.out.WriteByte(b.d.Component)
			}
			b.out.Write(AppendEscaped(nil, component, b.d))
		}
	}
	b.out.WriteByte('\r')
	return b
}

// Bytes gives the message, each segment ended by CR.
func (b *Builder) Bytes() []byte { return b.out.Bytes() }

// A Field is the components of one field's single repetition.
type Field []string

// F makes a field of components; F() is an empty field.
func F(components ...string) Field {
	if len(components) == 1 && components[0] == "" {
		return nil
	}
	return components
}

func itoa(n int) string { return strconv.Itoa(n) }
