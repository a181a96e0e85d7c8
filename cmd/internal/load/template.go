// Package load makes the traffic of `liaison bench feed`: the messages of a
// file, sent again and again with identifiers that are fresh in each round, so
// that every round is new patients, visits, appointments, orders and charges
// and no message is a duplicate of another.
package load

import (
	"bytes"
	"slices"
	"strconv"
)

// A Template is one HL7 v2 message cut at the places where an identifier ends.
// Rendering it for a round writes the round's suffix at each of them.
type Template struct {
	chunks [][]byte // the suffix goes between two chunks
}

// fresh lists the fields whose first component identifies something that a
// round must not share with the last: control id, patient, account, visit,
// appointment and the series that it belongs to, placer and filler order,
// specimen, document, diagnosis, problem and charge transaction ids.
func fresh(segment string) []int {
	switch segment {
	case "MSH":
		return []int{10}
	case "PID":
		return []int{2, 3, 4, 18}
	case "MRG":
		return []int{1, 3, 4, 5}
	case "PV1":
		return []int{5, 19, 50}
	case "SCH":
		return []int{1, 2, 4, 23, 24, 26, 27}
	case "ARQ":
		return []int{1, 2, 4, 24, 25}
	case "ORC":
		return []int{2, 3, 4, 8}
	case "OBR":
		return []int{2, 3, 29}
	case "FT1":
		return []int{2, 23, 31}
	case "IN1":
		return []int{36, 49}
	case "DG1":
		return []int{20}
	case "PR1":
		return []int{19}
	case "SPM":
		return []int{2, 3}
	case "TXA":
		return []int{12, 13}
	case "PRB", "GOL":
		return []int{4}
	default:
		return nil
	}
}

// NewTemplate cuts a message by the delimiters of its own MSH segment
// (HL7 v2.5.1 §2.5.4). A message without MSH renders unchanged.
func NewTemplate(message []byte) Template {
	message = bytes.TrimSpace(message)
	if len(message) < 8 || !bytes.HasPrefix(message, []byte("MSH")) {
		return Template{chunks: [][]byte{message}}
	}
	field, component, repetition, subcomponent := message[3], message[4], message[5], message[7]
	var t Template
	last := 0
	cut := func(at int) {
		t.chunks = append(t.chunks, message[last:at])
		last = at
	}
	for start := 0; start < len(message); {
		end := start + segmentLength(message[start:])
		places := fresh(string(message[start:min(start+3, end)]))
		number := 0
		if start == 0 {
			number = 1 // MSH-1 is the separator itself
		}
		for at := start; at < end && len(places) > 0; {
			stop := at + indexOr(message[at:end], field)
			if slices.Contains(places, number) {
				cutIdentifiers(message, at, stop, repetition, component, subcomponent, cut)
			}
			number++
			at = stop + 1
		}
		for start = end; start < len(message) && (message[start] == '\r' || message[start] == '\n'); {
			start++
		}
	}
	cut(len(message))
	return t
}

// cutIdentifiers cuts after the first subcomponent of each valued repetition.
func cutIdentifiers(message []byte, from, to int, repetition, component, subcomponent byte, cut func(int)) {
	for at := from; at < to; {
		stop := at + indexOr(message[at:to], repetition)
		end := at + indexOr(message[at:stop], component)
		end = at + indexOr(message[at:end], subcomponent)
		if end > at && !bytes.Equal(message[at:end], []byte(`""`)) {
			cut(end)
		}
		at = stop + 1
	}
}

func segmentLength(b []byte) int {
	if n := bytes.IndexAny(b, "\r\n"); n >= 0 {
		return n
	}
	return len(b)
}

func indexOr(b []byte, c byte) int {
	if n := bytes.IndexByte(b, c); n >= 0 {
		return n
	}
	return len(b)
}

// AppendTo appends the message with the identifiers of one round. The same
// round gives the same bytes.
func (t Template) AppendTo(dst []byte, run string, round int) []byte {
	for i, chunk := range t.chunks {
		if i > 0 {
			dst = append(dst, run...)
			dst = strconv.AppendInt(dst, int64(round), 36)
		}
		dst = append(dst, chunk...)
	}
	return dst
}
