package hl7v2

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"
)

// appendEscape reads the escape sequence at the start of raw (HL7 v2.5.1 §2.7)
// and gives its length; 0 is a lone escape character, which is text.
//
//	\F\ \S\ \T\ \R\ \E\ \P\   the delimiters, and the truncation character
//	\X0d0a\                   bytes in the message's character set
//	\.br\ \.sp\ \.sp3\        line breaks
//	\H\ \N\ \.in+4\ \.ce\ \Cxxyy\ \Mxxyyzz\ \Zlocal\ …  kept verbatim
//
// A sequence that does not mean anything (\X4\, bytes that the set does not
// have) is kept verbatim too.
func (c *charset) appendEscape(dst, raw []byte, d Delimiters) ([]byte, int) {
	body, n := escapeBody(raw, d.Escape)
	if n == 0 {
		return dst, 0
	}
	if len(body) == 1 {
		switch b := d.named(body[0]); {
		case b != 0:
			return append(dst, b), n
		case body[0] == 'H', body[0] == 'N':
			return append(dst, raw[:n]...), n
		}
		return dst, 0
	}
	switch body[0] {
	case 'X':
		return c.appendHex(dst, raw, d.Escape)
	case '.':
		if lines, ok := lineBreaks(string(body)); ok {
			return append(dst, strings.Repeat("\n", lines)...), n
		}
		return append(dst, raw[:n]...), n
	case 'Z':
		return append(dst, raw[:n]...), n
	case 'C', 'M':
		if isHex(body[1:]) {
			return append(dst, raw[:n]...), n
		}
	}
	return dst, 0
}

// escapeBody gives what stands between two escape characters, and the length
// with both; 0 when there is nothing, no second one, or more than ASCII, which
// no sequence has.
func escapeBody(raw []byte, escape byte) ([]byte, int) {
	end := bytes.IndexByte(raw[1:], escape)
	if end < 1 || !plain(raw[1:1+end], escape) {
		return nil, 0
	}
	return raw[1 : 1+end], end + 2
}

// named gives the delimiter that an escape sequence of one letter stands for.
func (d Delimiters) named(letter byte) byte {
	switch letter {
	case 'F':
		return d.Field
	case 'S':
		return d.Component
	case 'T':
		return d.Subcomponent
	case 'R':
		return d.Repetition
	case 'E':
		return d.Escape
	case 'P':
		if d.Truncation == 0 {
			return '#'
		}
		return d.Truncation
	}
	return 0
}

// appendHex reads \X..\ and those that follow at once, because a character of
// several bytes may be spread over them.
func (c *charset) appendHex(dst, raw []byte, escape byte) ([]byte, int) {
	start, n := len(dst), 0
	for n < len(raw) && raw[n] == escape {
		body, length := escapeBody(raw[n:], escape)
		if length == 0 || body[0] != 'X' || len(body) < 3 || len(body)%2 == 0 || !isHex(body[1:]) {
			break
		}
		dst, _ = hex.AppendDecode(dst, body[1:]) // isHex and even: no error
		n += length
	}
	if n == 0 {
		_, n = escapeBody(raw, escape)
		return append(dst, raw[:n]...), n
	}
	if utf8Bytes := c.table == nil && c.multi == nil; utf8Bytes && utf8.Valid(dst[start:]) {
		return dst, n
	}
	decoded, bad := c.decode(nil, dst[start:])
	if bad >= 0 {
		decoded = raw[:n]
	}
	return append(dst[:start], decoded...), n
}

func isHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'A' || c > 'F') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// lineBreaks reads .br and .sp with its optional count, at most 99 lines.
func lineBreaks(body string) (int, bool) {
	if strings.EqualFold(body, ".br") || body == ".sp" {
		return 1, true
	}
	count, ok := strings.CutPrefix(body, ".sp")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(count), "+"))
	return n, err == nil && n >= 0 && n < 100
}

// Unescape reads escapes in UTF-8 bytes that stand outside a message; bytes
// that are not UTF-8 stay as they are.
func Unescape(raw []byte, d Delimiters) string {
	out, bad := (&charset{}).appendText(nil, raw, d)
	if bad >= 0 {
		return string(raw)
	}
	return string(out)
}

// Escape writes text so that a parser with these delimiters reads the same text
// back. A line feed becomes \.br\, other control characters \Xhh\; so that no
// text can be taken for a deletion or for nothing, the first character of `""`
// and of spaces alone is written \Xhh\ too. Delimiters without an escape
// character get the standard's backslash: people can read it, and no delimiter
// of the text breaks the message.
func Escape(text string, d Delimiters) string {
	return string(AppendEscaped(make([]byte, 0, len(text)+8), text, d))
}

// AppendEscaped appends what Escape gives.
func AppendEscaped(dst []byte, text string, d Delimiters) []byte {
	escape := d.Escape
	if escape == 0 {
		escape = '\\'
	}
	if text == `""` || text != "" && strings.Trim(text, " ") == "" {
		dst = appendHexEscape(dst, text[0], escape)
		text = text[1:]
	}
	for i := range len(text) {
		c := text[i]
		switch name := d.letter(c); {
		case name != 0:
			dst = append(dst, escape, name, escape)
		case c == '\n':
			dst = append(dst, escape, '.', 'b', 'r', escape)
		case c < 0x20 || c == 0x7f:
			dst = appendHexEscape(dst, c, escape)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// letter names the escape sequence of a delimiter, 0 for what is none.
func (d Delimiters) letter(c byte) byte {
	switch {
	case c == 0:
		return 0
	case c == d.Escape:
		return 'E'
	case c == d.Field:
		return 'F'
	case c == d.Component:
		return 'S'
	case c == d.Subcomponent:
		return 'T'
	case c == d.Repetition:
		return 'R'
	case c == d.Truncation:
		return 'P'
	}
	return 0
}

func appendHexEscape(dst []byte, c, escape byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, escape, 'X', digits[c>>4], digits[c&15], escape)
}
