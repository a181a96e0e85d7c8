// Package hl7v2 reads and writes HL7 v2 messages (v2.1 to v2.9) in the
// encoding of HL7 v2.5.1 chapter 2: an index over the received bytes, values
// read lazily, times with their precision and zone, batches, acknowledgements.
//
// The bytes are never changed: a Message points into them, and writing a parsed
// message gives the same bytes. Nothing here panics on input.
package hl7v2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Delimiters are the separators that MSH-1 and MSH-2 declare
// (HL7 v2.5.1 §2.5.4). A delimiter that the message does not declare is 0.
type Delimiters struct {
	Field, Component, Repetition, Escape, Subcomponent, Truncation byte
}

// DefaultDelimiters are the ones that the standard recommends: |^~\&
func DefaultDelimiters() Delimiters {
	return Delimiters{Field: '|', Component: '^', Repetition: '~', Escape: '\\', Subcomponent: '&'}
}

// SyntaxError says where a message cannot be read and why. It never holds a
// value of the message.
type SyntaxError struct {
	Place  Place
	Offset int // bytes from the message's start
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at byte %d: %s", e.Place, e.Offset, e.Reason)
}

// ErrEmpty is the answer to a message without any segment.
var ErrEmpty = errors.New("empty message")

type segment struct {
	start, end int // bytes, without the terminator
	first      int // index of its first entry in Message.fields
	occurrence int // 1 for the first segment of its name
}

// A Message is an index over the bytes of one HL7 v2 message. It is for one
// goroutine at a time; the zero value is ready for Parse.
type Message struct {
	raw      []byte
	d        Delimiters
	segments []segment
	fields   []int // start offsets, one for each field of each segment
	charset  charset
	fallback charset

	declared   charset // what MSH-18 of the last message named, and how
	declaredAs string
}

// Parse reads one message. The message keeps pointing into raw.
func Parse(raw []byte) (*Message, error) {
	m := new(Message)
	if err := m.Parse(raw); err != nil {
		return nil, err
	}
	return m, nil
}

// Parse reads one message, reusing the index of the last one: no allocation
// once it is large enough. Segments end with CR, LF or CRLF; what is not a
// segment name at a line's start is a SyntaxError with its place.
func (m *Message) Parse(raw []byte) error {
	m.raw, m.segments, m.fields, m.charset = raw, m.segments[:0], m.fields[:0], charset{}
	at := 0
	for at < len(raw) && (raw[at] == '\r' || raw[at] == '\n' || raw[at] == ' ') {
		at++
	}
	if at == len(raw) {
		return &SyntaxError{Place: Place{Segment: "MSH"}, Reason: ErrEmpty.Error()}
	}
	if err := m.header(at); err != nil {
		return err
	}
	m.index(at)
	if err := m.checkNames(); err != nil {
		return err
	}
	return m.resolveCharset()
}

// header reads the delimiters of MSH-1 and MSH-2, or of a batch header.
func (m *Message) header(at int) error {
	raw := m.raw
	bad := func(offset int, reason string) error {
		return &SyntaxError{Place: Place{Segment: "MSH", Field: 1}, Offset: offset, Reason: reason}
	}
	if len(raw) < at+8 {
		return bad(at, "a message begins with MSH and its delimiters")
	}
	switch string(raw[at : at+3]) {
	case "MSH", "FHS", "BHS":
	default:
		return bad(at, "a message begins with MSH")
	}
	d := Delimiters{Field: raw[at+3]}
	rest := raw[at+4:]
	n := bytes.IndexByte(rest, d.Field)
	if end := bytes.IndexAny(rest, "\r\n"); n < 0 || end >= 0 && end < n {
		n = end
	}
	if n < 0 {
		n = len(rest)
	}
	if n < 1 || n > 5 {
		return bad(at+4, "MSH-2 declares 3, 4 or 5 encoding characters")
	}
	set := []*byte{&d.Component, &d.Repetition, &d.Escape, &d.Subcomponent, &d.Truncation}
	for i := range n {
		c := rest[i]
		if c < 0x20 || c > 0x7e || c == d.Field || alphanumeric(c) {
			return bad(at+4+i, "an encoding character that cannot separate")
		}
		*set[i] = c
	}
	if alphanumeric(d.Field) || d.Field < 0x20 || d.Field > 0x7e {
		return bad(at+3, "a field separator that cannot separate")
	}
	m.d = d
	return nil
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// index is the hot loop: one pass over the bytes, one entry a field.
func (m *Message) index(at int) {
	raw := m.raw
	lineFeeds := bytes.IndexByte(raw, '\n') >= 0
	for at < len(raw) {
		end := len(raw)
		if lineFeeds {
			if n := bytes.IndexAny(raw[at:], "\r\n"); n >= 0 {
				end = at + n
			}
		} else if n := bytes.IndexByte(raw[at:], '\r'); n >= 0 {
			end = at + n
		}
		if end > at {
			m.segments = append(m.segments, segment{start: at, end: end, first: len(m.fields)})
			m.fields = appendFields(append(m.fields, at), raw, at, end, m.d.Field)
		}
		at = end + 1
	}
}

// appendFields appends the offset behind each separator, eight bytes at a time:
// a byte of x is zero exactly where the word has the separator.
func appendFields(fields []int, raw []byte, at, end int, sep byte) []int {
	const low, high = 0x0101010101010101, 0x8080808080808080
	pattern := uint64(sep) * low
	for ; at+8 <= end; at += 8 {
		x := binary.LittleEndian.Uint64(raw[at:]) ^ pattern
		// Exact for every byte: no borrow crosses from one to the next.
		for hits := ^(((x & ^uint64(high)) + ^uint64(high)) | x | ^uint64(high)); hits != 0; hits &= hits - 1 {
			fields = append(fields, at+bits.TrailingZeros64(hits)/8+1)
		}
	}
	for ; at < end; at++ {
		if raw[at] == sep {
			fields = append(fields, at+1)
		}
	}
	return fields
}

// checkNames checks that each segment begins with a name of three letters or
// digits (HL7 v2.5.1 §2.5.2) and counts occurrences.
func (m *Message) checkNames() error {
	for i := range m.segments {
		s := &m.segments[i]
		name := m.raw[s.start:s.end]
		if i > 0 && len(name) > 3 && name[3] != m.d.Field {
			name = name[:0]
		}
		if len(name) < 3 || !alphanumeric(name[0]) || !alphanumeric(name[1]) || !alphanumeric(name[2]) {
			return &SyntaxError{
				Place:  Place{Segment: "segment", Occurrence: i + 1},
				Offset: s.start, Reason: "a line that does not begin with a segment's name and a field separator",
			}
		}
		s.occurrence = 1
		for j := i - 1; j >= 0; j-- {
			p := &m.segments[j]
			if m.raw[p.start] == name[0] && m.raw[p.start+1] == name[1] && m.raw[p.start+2] == name[2] {
				s.occurrence = p.occurrence + 1
				break
			}
			if i-j > 4096 { // an absurd message: counting stays linear
				break
			}
		}
	}
	return nil
}

// Raw gives the bytes the message was read from.
func (m *Message) Raw() []byte { return m.raw }

// AppendTo writes the message: the bytes that were read, unchanged.
func (m *Message) AppendTo(dst []byte) []byte { return append(dst, m.raw...) }

// Delimiters gives the separators the message declares.
func (m *Message) Delimiters() Delimiters { return m.d }

// Len is the number of segments.
func (m *Message) Len() int { return len(m.segments) }

// Segment gives the i-th segment, from 0; beyond the last a Segment without fields.
func (m *Message) Segment(i int) Segment {
	if i < 0 || i >= len(m.segments) {
		return Segment{}
	}
	return Segment{m: m, i: i}
}

// Find gives the first segment with this name at index from or later.
func (m *Message) Find(name string, from int) (Segment, bool) {
	for i := max(from, 0); i < len(m.segments); i++ {
		if (Segment{m: m, i: i}).Is(name) {
			return Segment{m: m, i: i}, true
		}
	}
	return Segment{}, false
}

// A Segment is one line of a message.
type Segment struct {
	m *Message
	i int
}

// Name is the segment's three-character name; it allocates only for names
// that the standard does not have.
func (s Segment) Name() string {
	if s.m == nil {
		return ""
	}
	at := s.m.segments[s.i].start
	return segmentName(s.m.raw[at : at+3])
}

// Is says whether the segment has this name, without allocating.
func (s Segment) Is(name string) bool {
	if s.m == nil {
		return false
	}
	at := s.m.segments[s.i].start
	return string(s.m.raw[at:at+3]) == name
}

// Index is the segment's position in the message, from 0.
func (s Segment) Index() int { return s.i }

// Occurrence counts the segments of this name up to this one, from 1.
func (s Segment) Occurrence() int {
	if s.m == nil {
		return 0
	}
	return s.m.segments[s.i].occurrence
}

// Offset is where the segment begins in the message's bytes.
func (s Segment) Offset() int { return s.m.segments[s.i].start }

// headerSegment says whether field 1 is the field separator itself.
func (s Segment) headerSegment() bool { return s.Is("MSH") || s.Is("FHS") || s.Is("BHS") }

// Fields is the number of fields by the standard's numbering (MSH-1 counts).
func (s Segment) Fields() int {
	if s.m == nil {
		return 0
	}
	n := s.m.fieldCount(s.i) - 1
	if s.headerSegment() {
		n++
	}
	return n
}

func (m *Message) fieldCount(i int) int {
	end := len(m.fields)
	if i+1 < len(m.segments) {
		end = m.segments[i+1].first
	}
	return end - m.segments[i].first
}

// Field gives field n by the standard's numbering, from 1: MSH-1 is the field
// separator, MSH-2 the encoding characters. A field that the segment does not
// have is Absent.
func (s Segment) Field(n int) Value {
	v := Value{m: s.m, segment: s.i, field: n}
	if s.m == nil || n < 1 {
		return v
	}
	k := n
	if s.headerSegment() {
		if n == 1 {
			at := s.m.segments[s.i].start + 3
			v.start, v.end, v.present, v.opaque = at, at+1, true, true
			return v
		}
		k = n - 1
		v.opaque = n == 2
	}
	seg := s.m.segments[s.i]
	count := s.m.fieldCount(s.i)
	if k >= count {
		return v
	}
	v.start = s.m.fields[seg.first+k]
	v.end = seg.end
	if k+1 < count {
		v.end = s.m.fields[seg.first+k+1] - 1
	}
	v.present = true
	return v
}
