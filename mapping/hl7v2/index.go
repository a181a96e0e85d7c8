package hl7v2

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// index is the hot loop: one pass over the bytes, one entry a segment and one a
// field.
func (m *Message) index(at int) {
	text := bytes.TrimRight(m.text, "\r\n\x1c\x0b\x00")
	nextCR, nextLF := -1, -1
	for at < len(text) {
		if nextCR < at {
			nextCR = indexFrom(text, at, '\r')
		}
		if nextLF < at {
			nextLF = indexFrom(text, at, '\n')
		}
		end := min(nextCR, nextLF)
		if end > at {
			m.line(text, at, end)
		}
		at = end + 1
	}
}

func indexFrom(b []byte, at int, c byte) int {
	if n := bytes.IndexByte(b[at:], c); n >= 0 {
		return at + n
	}
	return len(b)
}

// line indexes a segment, or adds a line that is none to the segment before it.
func (m *Message) line(text []byte, at, end int) {
	last := len(m.segments) - 1
	if last < 0 || beginsSegment(text[at:end], m.d.Field) {
		name := nameKey(text[at], text[at+1], text[at+2])
		m.segments = append(m.segments, segment{
			start: int32(at), end: int32(end), first: int32(len(m.fields)), name: name,
			occurrence: m.names.count(name), header: isHeader(text[at : at+3]),
		})
		m.fields = appendFields(append(m.fields, int32(at)), text, at, end, m.d.Field)
		return
	}
	if len(bytes.TrimLeft(text[at:end], " \t\x00")) == 0 {
		return
	}
	m.fields = appendFields(m.fields, text, at, end, m.d.Field)
	m.segments[last].end = int32(end)
}

// beginsSegment says whether a line begins with a name of three letters or
// digits, the first a letter, and a field separator (HL7 v2.5.1 §2.5.2). A
// name alone is a segment without fields; in small letters it is text.
func beginsSegment(line []byte, sep byte) bool {
	if len(line) < 3 || !alphanumeric(line[0]) || line[0] <= '9' || !alphanumeric(line[1]) || !alphanumeric(line[2]) {
		return false
	}
	if len(line) > 3 {
		return line[3] == sep
	}
	return line[0] <= 'Z' && line[1] <= 'Z' && line[2] <= 'Z'
}

func nameKey(a, b, c byte) uint32 { return uint32(a)<<16 | uint32(b)<<8 | uint32(c) }

// appendFields appends the offset behind each separator, eight bytes at a time:
// a byte of x is zero exactly where the word has the separator.
func appendFields(fields []int32, raw []byte, at, end int, sep byte) []int32 {
	const low, high = 0x0101010101010101, 0x8080808080808080
	pattern := uint64(sep) * low
	for ; at+8 <= end; at += 8 {
		x := binary.LittleEndian.Uint64(raw[at:]) ^ pattern
		// Exact for every byte: no borrow crosses from one to the next.
		for hits := ^(((x & ^uint64(high)) + ^uint64(high)) | x | ^uint64(high)); hits != 0; hits &= hits - 1 {
			fields = append(fields, int32(at+bits.TrailingZeros64(hits)/8+1))
		}
	}
	for ; at < end; at++ {
		if raw[at] == sep {
			fields = append(fields, int32(at+1))
		}
	}
	return fields
}
