// Package hl7v2 reads and writes HL7 v2 messages (v2.1 to v2.9) in the
// encoding of HL7 v2.5.1 chapter 2: an index over the received bytes, values
// read lazily, times with their precision and zone, batches, acknowledgements.
//
// The bytes are never changed: a Message points into them, and writing a parsed
// message gives the same bytes. Nothing here panics on input, reads a clock or
// the machine's time-zone files, and no error holds a value of a message.
//
//	m, err := hl7v2.Parse(frame)
//	for i := range m.Len() {
//		if s := m.Segment(i); s.Is("OBX") {
//			text, err := s.Field(5).Component(1).Text()
//		}
//	}
//	ack := hl7v2.BuildAck(m, hl7v2.AA, "L42", time.Now())
//
// What real feeds do and the standard does not allow is read where its meaning
// is clear: segments ended by LF or CRLF, line breaks inside a field, empty
// lines, a byte order mark, MSH-2 of three characters. Only a message that does
// not begin with a readable MSH-1 and MSH-2 is refused.
package hl7v2

import (
	"bytes"
	"fmt"
	"math"
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

// segment is where one line of the message stands. Its fields are
// Message.fields from first to the next segment's first; the entry at first is
// the segment's own start, so entry k is the start of the k-th field.
type segment struct {
	start, end int32 // bytes of Message.text, without the terminator
	first      int32
	name       uint32 // its three bytes, big-endian
	occurrence int32  // among the segments of this name, from 1
	header     bool   // field 1 is the field separator itself
}

// A Message is an index over the bytes of one HL7 v2 message. Reading it from
// several goroutines is safe, Parse and SetDefaultCharset are not; the zero
// value is ready for Parse.
type Message struct {
	raw      []byte
	text     []byte // raw, or its UTF-8 form where delimiters hide in a multi-byte set
	d        Delimiters
	segments []segment
	fields   []int32
	names    names
	charset  charset
	fallback charset

	fallbackName string  // as SetDefaultCharset was given it
	declared     charset // what MSH-18 of the last message named
	declaredAs   string
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
// once it is large enough. Values of the last message are void afterwards. The
// error is a *SyntaxError: bytes that do not begin with MSH (or a batch's FHS
// or BHS) and its delimiters.
//
// Segments end with CR, LF or CRLF. A line that does not begin with a segment's
// name and a field separator belongs to the segment before it: a sender's
// unescaped line break (see Segment.Continued).
func (m *Message) Parse(raw []byte) error {
	m.raw, m.text, m.segments, m.fields, m.d = raw, raw, m.segments[:0], m.fields[:0], Delimiters{}
	m.names.reset()
	at, err := m.readDelimiters()
	if err != nil {
		return err
	}
	m.index(at)
	if m.resolveCharset(); m.charset.multi != nil {
		m.reindex(m.charset.transcode(raw))
	}
	return nil
}

// reindex indexes the message's bytes in another form.
func (m *Message) reindex(text []byte) {
	m.text, m.segments, m.fields = text, m.segments[:0], m.fields[:0]
	m.names.reset()
	m.index(contentStart(text))
}

// contentStart skips what stands before MSH in real files: empty lines, MLLP's
// start block, a byte order mark.
func contentStart(raw []byte) int {
	at := 0
	for at < len(raw) {
		switch {
		case raw[at] == '\r', raw[at] == '\n', raw[at] == ' ', raw[at] == '\t', raw[at] == 0x0b, raw[at] == 0:
			at++
		case bytes.HasPrefix(raw[at:], []byte("\xef\xbb\xbf")):
			at += 3
		default:
			return at
		}
	}
	return at
}

// readDelimiters reads MSH-1 and MSH-2, or a batch header's.
func (m *Message) readDelimiters() (int, error) {
	raw := m.raw
	at := contentStart(raw)
	bad := func(field, offset int, reason string) (int, error) {
		return at, &SyntaxError{Place: Place{Segment: "MSH", Field: field}, Offset: offset, Reason: reason}
	}
	switch {
	case at == len(raw):
		return bad(0, 0, "an empty message")
	case len(raw) > math.MaxInt32:
		return bad(0, 0, "a message of more than 2 GiB")
	case len(raw) < at+4 || !isHeader(raw[at:at+3]):
		return bad(0, at, "a message begins with MSH")
	}
	d := Delimiters{Field: raw[at+3]}
	if !separator(d.Field) {
		return bad(1, at+3, "a field separator that cannot separate")
	}
	n := 0
	for at+4+n < len(raw) && separator(raw[at+4+n]) && raw[at+4+n] != d.Field && n < 6 {
		n++
	}
	if next := at + 4 + n; n < 3 || n > 5 || next < len(raw) && raw[next] != d.Field && raw[next] != '\r' && raw[next] != '\n' {
		return bad(2, at+4, "MSH-2 declares 3, 4 or 5 encoding characters, neither letters nor digits")
	}
	set := [5]*byte{&d.Component, &d.Repetition, &d.Escape, &d.Subcomponent, &d.Truncation}
	for i, c := range raw[at+4 : at+4+n] {
		if bytes.IndexByte(raw[at+4:at+4+i], c) >= 0 {
			return bad(2, at+4+i, "MSH-2 declares the same character twice")
		}
		*set[i] = c
	}
	m.d = d
	return at, nil
}

func isHeader(name []byte) bool {
	switch string(name) {
	case "MSH", "FHS", "BHS":
		return true
	}
	return false
}

func separator(c byte) bool { return c > ' ' && c < 0x7f && !alphanumeric(c) }

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// Raw gives the bytes the message was read from.
func (m *Message) Raw() []byte { return m.raw }

// Text gives the bytes that Value.Offset counts in: Raw, or its UTF-8 form where
// a multi-byte set's bytes collide with the delimiters.
func (m *Message) Text() []byte { return m.text }

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
	if len(name) != 3 {
		return Segment{}, false
	}
	key := nameKey(name[0], name[1], name[2])
	for i := max(from, 0); i < len(m.segments); i++ {
		if m.segments[i].name == key {
			return Segment{m: m, i: i}, true
		}
	}
	return Segment{}, false
}

// Get reads a value by its place, "PID-3[2].1" or "OBX[2]-5"; what is not
// there, and what is not a place, is Absent. Not for hot paths.
func (m *Message) Get(path string) Value {
	p, ok := ParsePlace(path)
	if !ok || p.Field == 0 {
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
