package hl7v2

import (
	"bytes"
	"crypto/sha256"
)

// segmentName gives the three-letter name without allocating for the segments
// that feeds are made of.
func segmentName(b []byte) string {
	switch string(b) {
	case "MSH":
		return "MSH"
	case "EVN":
		return "EVN"
	case "PID":
		return "PID"
	case "PD1":
		return "PD1"
	case "PV1":
		return "PV1"
	case "PV2":
		return "PV2"
	case "NK1":
		return "NK1"
	case "OBX":
		return "OBX"
	case "OBR":
		return "OBR"
	case "ORC":
		return "ORC"
	case "NTE":
		return "NTE"
	case "AL1":
		return "AL1"
	case "DG1":
		return "DG1"
	case "PR1":
		return "PR1"
	case "GT1":
		return "GT1"
	case "IN1":
		return "IN1"
	case "IN2":
		return "IN2"
	case "FT1":
		return "FT1"
	case "SCH":
		return "SCH"
	case "RGS":
		return "RGS"
	case "AIS":
		return "AIS"
	case "AIG":
		return "AIG"
	case "AIL":
		return "AIL"
	case "AIP":
		return "AIP"
	case "ROL":
		return "ROL"
	}
	return string(b)
}

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
// the mapping reports it with its place.
func (m *Message) Header() Header {
	s := m.Segment(0)
	text := func(field, component int) string {
		t, err := s.Field(field).Component(component).Text()
		if err != nil {
			return ""
		}
		return t
	}
	h := Header{
		SendingApplication: text(3, 1), SendingFacility: text(4, 1),
		ReceivingApplication: text(5, 1), ReceivingFacility: text(6, 1),
		DateTime: text(7, 1), ControlID: text(10, 1),
		Code: text(9, 1), Event: text(9, 2), Structure: text(9, 3),
		ProcessingID: text(11, 1), Version: text(12, 1), Sequence: text(13, 1),
		AcceptAck: text(15, 1), ApplicationAck: text(16, 1), Charset: text(18, 1),
	}
	if h.Event == "" { // v2.1 and v2.2 feeds that leave the trigger to EVN-1
		if evn, ok := m.Find("EVN", 1); ok {
			if t, err := evn.Field(1).Component(1).Text(); err == nil {
				h.Event = t
			}
		}
	}
	return h
}

// ContentHash is the sha256 of a message without MSH-7 and MSH-10, without the
// difference between line ends, and without trailing empty lines: two sendings
// of the same content have the same hash.
func ContentHash(raw []byte) [32]byte {
	h := sha256.New()
	raw = bytes.TrimRight(raw, "\r\n ")
	end := bytes.IndexAny(raw, "\r\n")
	if end < 0 {
		end = len(raw)
	}
	head := raw[:end]
	if len(head) > 4 {
		sep := head[3]
		field, start := 1, 0
		for i := 0; i <= len(head); i++ {
			if i < len(head) && head[i] != sep {
				continue
			}
			if field != 7 && field != 10 {
				h.Write(head[start:min(i+1, len(head))])
			} else {
				h.Write([]byte{sep})
			}
			field++
			start = i + 1
		}
	}
	for rest := raw[end:]; len(rest) > 0; {
		n := bytes.IndexAny(rest, "\r\n")
		if n < 0 {
			n = len(rest)
		}
		if n > 0 {
			h.Write([]byte{'\r'})
			h.Write(rest[:n])
		}
		rest = rest[min(n+1, len(rest)):]
	}
	return [32]byte(h.Sum(nil))
}
