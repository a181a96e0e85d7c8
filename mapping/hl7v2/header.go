package hl7v2

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

// A Header is what MSH says of its message (HL7 v2.5.1 §2.15.9); of HD and
// other composite fields the first component. Values are unescaped.
type Header struct {
	SendingApplication, SendingFacility     string
	ReceivingApplication, ReceivingFacility string
	DateTime, ControlID                     string
	Code, Event, Structure                  string // MSH-9.1, .2, .3
	ProcessingID, Version, Sequence         string
	AcceptAck, ApplicationAck               string // MSH-15, MSH-16
	Charset                                 string
}

// Type is the message type as records name it: "ADT^A01".
func (h Header) Type() string {
	if h.Event == "" {
		return h.Code
	}
	return h.Code + "^" + h.Event
}

// Header reads the first segment. A value that cannot be decoded stays empty:
// the mapping reports it with its place. ControlID is all of MSH-10, with the
// separators that some senders leave in it unescaped.
func (m *Message) Header() Header {
	s := m.Segment(0)
	text := func(field, component int) string { return orEmpty(s.Field(field).Component(component)) }
	return Header{
		SendingApplication: text(3, 1), SendingFacility: text(4, 1),
		ReceivingApplication: text(5, 1), ReceivingFacility: text(6, 1),
		DateTime: text(7, 1), ControlID: orEmpty(s.Field(10)),
		Code: text(9, 1), Event: m.event(), Structure: text(9, 3),
		ProcessingID: text(11, 1), Version: text(12, 1), Sequence: text(13, 1),
		AcceptAck: text(15, 1), ApplicationAck: text(16, 1), Charset: text(18, 1),
	}
}

// event is the trigger, MSH-9.2; feeds of v2.1 and v2.2 leave it to EVN-1.
func (m *Message) event() string {
	if event := orEmpty(m.Segment(0).Field(9).Component(2)); event != "" {
		return event
	}
	evn, _ := m.Find("EVN", 1)
	return orEmpty(evn.Field(1).Component(1))
}

// ContentHash is the sha256 of a message without MSH-7 and MSH-10, without the
// difference between line ends, and without what stands before MSH and behind
// the last segment: two sendings of the same content have the same hash.
func ContentHash(raw []byte) [32]byte {
	h := sha256.New()
	raw = bytes.TrimRight(raw[contentStart(raw):], "\r\n \x1c")
	end := min(indexFrom(raw, 0, '\r'), indexFrom(raw, 0, '\n'))
	writeHeader(h, raw[:end])
	nextCR, nextLF := -1, -1
	for at := end; at < len(raw); {
		if nextCR < at {
			nextCR = indexFrom(raw, at, '\r')
		}
		if nextLF < at {
			nextLF = indexFrom(raw, at, '\n')
		}
		next := min(nextCR, nextLF)
		if next > at {
			h.Write([]byte{'\r'})
			h.Write(raw[at:next])
		}
		at = next + 1
	}
	return [32]byte(h.Sum(nil))
}

// writeHeader writes MSH without the values of fields 7 and 10.
func writeHeader(h hash.Hash, head []byte) {
	if len(head) < 4 {
		h.Write(head)
		return
	}
	sep := head[3]
	for field, at := 1, 0; at < len(head); field++ {
		end := indexFrom(head, at, sep)
		if field != 7 && field != 10 {
			h.Write(head[at:end])
		}
		if end < len(head) {
			h.Write(head[end : end+1])
		}
		at = end + 1
	}
}
