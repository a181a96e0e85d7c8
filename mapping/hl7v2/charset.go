package hl7v2

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// CharsetError says which value holds bytes that its character set does not
// have; the bytes themselves are not in it.
type CharsetError struct {
	Place   Place
	Offset  int // bytes from the message's start; from its UTF-8 form's in a multi-byte set
	Charset string
}

func (e *CharsetError) Error() string {
	return fmt.Sprintf("%s at byte %d: not %s text", e.Place, e.Offset, e.Charset)
}

// A charset decodes the bytes above ASCII. The zero value is UTF-8, which reads
// ASCII too.
type charset struct {
	name  string
	table *charmap.Charmap  // single-byte sets
	multi encoding.Encoding // sets of several bytes, which may collide with delimiters
	ascii bool              // nothing above 0x7F
}

// squeeze leaves of a name what tells it apart: capitals, no blanks and no marks.
func squeeze(name string) string {
	out := make([]byte, 0, 24)
	for i := range len(name) {
		switch c := name[i]; {
		case c == '-', c == '_', c == ' ', c == '/', c == '\t':
		case c >= 'a' && c <= 'z':
			out = append(out, c-'a'+'A')
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// charsetOf reads a name of table 0211 (HL7 v2.5.1 §2.15.9.18), or one that
// configurations use.
func charsetOf(name string) (charset, bool) {
	key := squeeze(name)
	switch key = strings.TrimPrefix(key, "ISO"); key {
	case "", "UNICODEUTF8", "UTF8", "UNICODE":
		return charset{name: "UTF-8"}, true
	case "ASCII", "USASCII", "IR6", "646":
		return charset{name: "ASCII", ascii: true}, true
	case "WINDOWS1252", "CP1252":
		return charset{name: "windows-1252", table: charmap.Windows1252}, true
	}
	if key, ok := latinNumber(key); ok {
		if table := latin(key); table != nil {
			return charset{name: "8859/" + key, table: table}, true
		}
	}
	if multi := multiByte(key); multi != nil {
		return charset{name: key, multi: multi}, true
	}
	return charset{}, false
}

// latinNumber gives the part of ISO 8859 that a name stands for: "8859/1",
// "ISO-8859-1", "latin1" and its registration "ISO IR 100" are the same set.
func latinNumber(key string) (string, bool) {
	if n, ok := strings.CutPrefix(key, "8859"); ok {
		return n, true
	}
	switch key {
	case "LATIN1", "IR100":
		return "1", true
	case "IR101":
		return "2", true
	case "IR109":
		return "3", true
	case "IR110":
		return "4", true
	case "IR144":
		return "5", true
	case "IR127":
		return "6", true
	case "IR126":
		return "7", true
	case "IR138":
		return "8", true
	case "IR148":
		return "9", true
	}
	return "", false
}

// latin gives the table of a part of ISO 8859. Part 12 was never made.
func latin(part string) *charmap.Charmap {
	switch part {
	case "1":
		return charmap.ISO8859_1
	case "2":
		return charmap.ISO8859_2
	case "3":
		return charmap.ISO8859_3
	case "4":
		return charmap.ISO8859_4
	case "5":
		return charmap.ISO8859_5
	case "6":
		return charmap.ISO8859_6
	case "7":
		return charmap.ISO8859_7
	case "8":
		return charmap.ISO8859_8
	case "9":
		return charmap.ISO8859_9
	case "10":
		return charmap.ISO8859_10
	case "11":
		return charmap.Windows874 // part 11 and a few punctuation marks
	case "13":
		return charmap.ISO8859_13
	case "14":
		return charmap.ISO8859_14
	case "15":
		return charmap.ISO8859_15
	}
	return nil
}

func multiByte(key string) encoding.Encoding {
	switch key {
	case "GB180302000", "GB18030":
		return simplifiedchinese.GB18030
	case "BIG5", "BIG5TRADITIONAL":
		return traditionalchinese.Big5
	case "KSX1001", "EUCKR":
		return korean.EUCKR
	case "IR14", "IR87", "IR159", "2022JP":
		return japanese.ISO2022JP
	case "SHIFTJIS":
		return japanese.ShiftJIS
	}
	return nil
}

// SetDefaultCharset names the set of messages whose MSH-18 is empty, and of
// those that declare ASCII and send more; before the first call that is UTF-8,
// which reads ASCII too. It holds for the message in hand, whose earlier Values
// are void then, and for every later one; naming the same set again costs
// nothing. Names are those of HL7 table 0211 ("8859/1", "UNICODE UTF-8") and
// their common forms ("ISO-8859-1", "UTF-8", "windows-1252"); "" is UTF-8.
func (m *Message) SetDefaultCharset(name string) error {
	if name == m.fallbackName {
		return nil
	}
	c, ok := charsetOf(name)
	if !ok {
		return fmt.Errorf("character set %q is none of HL7 table 0211", name)
	}
	m.fallback, m.fallbackName = c, name
	if len(m.segments) == 0 {
		return nil
	}
	before := m.charset.multi
	switch m.resolveCharset(); {
	case m.charset.multi != nil:
		m.reindex(m.charset.transcode(m.raw))
	case before != nil:
		m.reindex(m.raw)
	}
	return nil
}

// Charset names the set that values are read in.
func (m *Message) Charset() string {
	if m.charset.name == "" {
		return "UTF-8"
	}
	return m.charset.name
}

// resolveCharset applies MSH-18 or the configured default. Of several
// repetitions the first is the message's set, the others are switched to by
// escapes, which stay as they are; but a Japanese set is announced behind an
// empty first repetition and switched to by ISO 2022's own sequences. A name
// that is not known reads ASCII alone: text above it is an error then.
func (m *Message) resolveCharset() {
	m.charset = m.fallback
	msh := m.Segment(0)
	field := msh.Field(18)
	if !msh.Is("MSH") || !field.Valued() {
		return
	}
	if raw := field.Raw(); string(raw) != m.declaredAs { // a feed declares the same set in each message
		m.declaredAs, m.declared = string(raw), declaredCharset(field)
	}
	switch c := m.declared; {
	case c.name == "":
	case c.name == "ASCII": // more than that is read as a feed without MSH-18
	default:
		m.charset = c
	}
}

func declaredCharset(field Value) charset {
	var declared charset
	for i := 1; i <= field.Repetitions(); i++ {
		name := field.Repetition(i).Component(1)
		if !name.Valued() {
			continue
		}
		c, ok := charsetOf(string(name.Raw()))
		if !ok {
			c = charset{name: "an unknown character set's", ascii: true}
		}
		if i == 1 || c.multi == japanese.ISO2022JP {
			declared = c
		}
	}
	return declared
}

// appendText unescapes and decodes raw; bad is the offset of an undecodable
// byte, or -1.
func (c *charset) appendText(dst, raw []byte, d Delimiters) (out []byte, bad int) {
	for i := 0; i < len(raw); {
		n := i
		for n < len(raw) && raw[n] < 0x80 && (raw[n] != d.Escape || d.Escape == 0) {
			n++
		}
		dst = append(dst, raw[i:n]...)
		if i = n; i == len(raw) {
			break
		}
		if raw[i] < 0x80 {
			if dst, n = c.appendEscape(dst, raw[i:], d); n == 0 {
				dst, n = append(dst, raw[i]), 1
			}
			i += n
			continue
		}
		for n < len(raw) && raw[n] >= 0x80 {
			n++
		}
		plainText := charset{table: c.table, ascii: c.ascii} // a multi-byte message is UTF-8 by now
		decoded, at := plainText.decode(dst, raw[i:n])
		if at >= 0 {
			return dst, i + at
		}
		dst, i = decoded, n
	}
	return dst, -1
}

// decode appends bytes of the set as UTF-8; bad is the offset of one that the
// set does not have, or -1.
func (c *charset) decode(dst, raw []byte) (out []byte, bad int) {
	switch {
	case c.table != nil:
		for i, b := range raw {
			r := c.table.DecodeByte(b)
			if r == utf8.RuneError {
				return dst, i
			}
			dst = utf8.AppendRune(dst, r)
		}
		return dst, -1
	case c.multi != nil:
		text, err := c.multi.NewDecoder().Bytes(raw)
		if err != nil || bytes.ContainsRune(text, utf8.RuneError) {
			return dst, 0
		}
		return append(dst, text...), -1
	case c.ascii:
		for i, b := range raw {
			if b >= 0x80 {
				return dst, i
			}
		}
		return append(dst, raw...), -1
	}
	for i := 0; i < len(raw); {
		r, n := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && n == 1 {
			return dst, i
		}
		i += n
	}
	return append(dst, raw...), -1
}

// transcode gives the message's UTF-8 form in a multi-byte set, in which a
// second byte may be `|`, `^` or `\`. Lines are decoded one by one: no set has
// CR or LF inside a character, and ISO 2022 shifts back at a line's end. From a
// character that cannot be decoded on, a line is one byte that is no UTF-8: the
// value where it stands is an error with its place, as in any other set.
func (c *charset) transcode(raw []byte) []byte {
	out := make([]byte, 0, len(raw)+len(raw)/2)
	for len(raw) > 0 {
		n := bytes.IndexAny(raw, "\r\n")
		if n < 0 {
			n = len(raw)
		}
		decoded, bad := c.decode(out, raw[:n])
		if bad >= 0 {
			decoded, _ = c.decode(out, raw[:c.goodPrefix(raw[:n])])
			decoded = append(decoded, 0xff)
		}
		out = append(decoded, raw[n:min(n+1, len(raw))]...)
		raw = raw[min(n+1, len(raw)):]
	}
	return out
}

// goodPrefix finds, by halving, how many bytes decode without a fault.
func (c *charset) goodPrefix(raw []byte) int {
	good, bad := 0, len(raw)
	for bad-good > 1 {
		mid := (good + bad) / 2
		// The middle may cut a character: what precedes it decides.
		text, err := c.multi.NewDecoder().Bytes(raw[:mid])
		if err != nil || bytes.ContainsRune(bytes.TrimSuffix(text, []byte("\ufffd")), utf8.RuneError) {
			bad = mid
		} else {
			good = mid
		}
	}
	for good > 0 {
		if _, at := c.decode(nil, raw[:good]); at < 0 {
			break
		}
		good--
	}
	return good
}
