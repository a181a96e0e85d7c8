package hl7v2

import (
	"bytes"
	"time"
)

// A writer appends one segment field by field, without trailing empty fields.
type writer struct {
	dst  []byte
	d    Delimiters
	full int // length up to the last valued field
}

func (w *writer) begin(name string) *writer {
	w.dst = append(w.dst, name...)
	w.full = len(w.dst)
	return w
}

// raw appends a field as it was received, without control characters: at a
// frame's end they would cut it.
func (w *writer) raw(field []byte) *writer {
	w.dst = append(w.dst, w.d.Field)
	at := len(w.dst)
	for _, c := range field {
		if c >= ' ' && c != 0x7f {
			w.dst = append(w.dst, c)
		}
	}
	if len(w.dst) > at {
		w.full = len(w.dst)
	}
	return w
}

// text appends a field of components, escaped.
func (w *writer) text(components ...string) *writer {
	last := len(components)
	for last > 0 && components[last-1] == "" {
		last--
	}
	w.dst = append(w.dst, w.d.Field)
	for i, c := range components[:last] {
		if i > 0 {
			w.dst = append(w.dst, w.d.Component)
		}
		w.dst = AppendEscaped(w.dst, c, w.d)
		w.full = len(w.dst)
	}
	return w
}

// end takes empty fields off, ends the segment and gives all that was written.
func (w *writer) end() []byte {
	w.dst = append(w.dst[:w.full], '\r')
	return w.dst
}

// appendStamp writes a time to the second with its offset (HL7 v2.5.1 §2.A.77).
func appendStamp(dst []byte, t time.Time) []byte {
	return t.AppendFormat(dst, "20060102150405-0700")
}

// version orders HL7 versions: 2.5.1 is 20501. An unreadable one is 0.
func version(text []byte) int {
	part, parts, seen := 0, [3]int{}, false
	for _, c := range bytes.TrimLeft(bytes.TrimSpace(text), "vV ") {
		switch {
		case c >= '0' && c <= '9' && parts[part] < 99:
			parts[part], seen = parts[part]*10+int(c-'0'), true
		case c == '.' && part < 2:
			part++
		default:
			return 0
		}
	}
	if !seen {
		return 0
	}
	return parts[0]*10000 + parts[1]*100 + parts[2]
}
