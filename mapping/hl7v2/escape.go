package hl7v2

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
)

// maxEscape bounds the search for an escape sequence's end.
const maxEscape = 1 << 10

// appendEscape reads one escape sequence at the start of raw (HL7 v2.5.1
// §2.7). It answers false for what is none, or is one that Liaison does not
// know: the caller keeps the bytes as they are.
//
//	\F\ \S\ \T\ \R\ \E\ \P\   the delimiters, and the truncation character
//	\X0d0a\                   bytes in the message's character set
//	\.br\ \.sp\ \.sp 3\       line breaks
//	\H\ \N\ \.in+4\ \Cxxyy\ \Zlocal\ …  kept verbatim
func (c charset) appendEscape(dst *[]byte, raw []byte, d Delimiters) (int, bool) {
	end := bytes.IndexByte(raw[1:min(len(raw), maxEscape)], d.Escape)
	if end < 1 {
		return 0, false
	}
	body, n := raw[1:1+end], end+2
	if len(body) == 1 {
		b := byte(0)
		switch body[0] {
		case 'F':
			b = d.Field
		case 'S':
			b = d.Component
		case 'T':
			b = d.Subcomponent
		case 'R':
			b = d.Repetition
		case 'E':
			b = d.Escape
		case 'P':
			b = d.Truncation
			if b == 0 {
				b = '#'
			}
		}
		if b == 0 {
			return 0, false
		}
		*dst = append(*dst, b)
		return n, true
	}
	switch body[0] {
	case 'X':
		decoded := make([]byte, hex.DecodedLen(len(body)-1))
		if _, err := hex.Decode(decoded, body[1:]); err != nil {
			return 0, false
		}
		out, bad := c.appendText(*dst, decoded, Delimiters{})
		if bad >= 0 {
			return 0, false
		}
		*dst = out
		return n, true
	case '.':
		lines, ok := lineBreaks(string(body))
		if !ok {
			return 0, false
		}
		*dst = append(*dst, strings.Repeat("\n", lines)...)
		return n, true
	}
	return 0, false
}

// lineBreaks reads .br and .sp with its optional count, at most 99 lines.
func lineBreaks(body string) (int, bool) {
	if body == ".br" || body == ".sp" {
		return 1, true
	}
	count, ok := strings.CutPrefix(body, ".sp")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(count), "+"))
	return n, err == nil && n >= 0 && n < 100
}

// Unescape reads escapes in UTF-8 bytes that stand outside a message.
func Unescape(raw []byte, d Delimiters) string {
	out, bad := (charset{}).appendText(nil, raw, d)
	if bad >= 0 {
		return string(raw)
	}
	return string(out)
}

// Escape writes text so that a parser with these delimiters reads the same
// text back. Control characters become \Xhh\, a line feed \.br\.
func Escape(text string, d Delimiters) string {
	return string(AppendEscaped(nil, text, d))
}

// AppendEscaped appends what Escape gives.
func AppendEscaped(dst []byte, text string, d Delimiters) []byte {
	for i := range len(text) {
		c := text[i]
		name := byte(0)
		switch {
		case c == d.Escape:
			name = 'E'
		case c == d.Field:
			name = 'F'
		case c == d.Component:
			name = 'S'
		case c == d.Subcomponent && c != 0:
			name = 'T'
		case c == d.Repetition:
			name = 'R'
		case c == '\n':
			dst = append(dst, d.Escape)
			dst = append(dst, ".br"...)
			dst = append(dst, d.Escape)
			continue
		case c < 0x20 || c == 0x7f:
			dst = append(dst, d.Escape, 'X')
			dst = hex.AppendEncode(dst, []byte{c})
			dst = append(dst, d.Escape)
			continue
		default:
			dst = append(dst, c)
			continue
		}
		dst = append(dst, d.Escape, name, d.Escape)
	}
	return dst
}
