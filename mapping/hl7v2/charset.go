package hl7v2

import (
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
	Offset  int // bytes from the message's start
	Charset string
}

func (e *CharsetError) Error() string {
	return fmt.Sprintf("%s at byte %d: not %s text", e.Place, e.Offset, e.Charset)
}

// A charset decodes the bytes above ASCII. utf8 is the zero value's behaviour:
// UTF-8 reads ASCII too, and anything else is an error with its place.
type charset struct {
	name   string
	table  *charmap.Charmap  // single-byte sets
	multi  encoding.Encoding // the others
	strict bool              // ASCII alone
}

// charsetOf reads a name of table 0211 (HL7 v2.5.1 §2.15.9.18), or the names
// that configurations use. Unknown names are reported.
func charsetOf(name string) (charset, bool) {
	c := charset{name: strings.ToUpper(strings.TrimSpace(name))}
	switch key := strings.NewReplacer("-", "", "_", "", " ", "", "/", "").Replace(c.name); key {
	case "", "UNICODEUTF8", "UTF8", "UNICODE":
		c.name = "UTF-8"
	case "ASCII", "USASCII", "ISOIR6":
		c.name, c.strict = "ASCII", true
	case "88591", "ISO88591", "LATIN1", "ISOIR100":
		c.table = charmap.ISO8859_1
	case "88592", "ISO88592", "ISOIR101":
		c.table = charmap.ISO8859_2
	case "88593", "ISO88593", "ISOIR109":
		c.table = charmap.ISO8859_3
	case "88594", "ISO88594", "ISOIR110":
		c.table = charmap.ISO8859_4
	case "88595", "ISO88595", "ISOIR144":
		c.table = charmap.ISO8859_5
	case "88596", "ISO88596", "ISOIR127":
		c.table = charmap.ISO8859_6
	case "88597", "ISO88597", "ISOIR126":
		c.table = charmap.ISO8859_7
	case "88598", "ISO88598", "ISOIR138":
		c.table = charmap.ISO8859_8
	case "88599", "ISO88599", "ISOIR148":
		c.table = charmap.ISO8859_9
	case "885910", "ISO885910":
		c.table = charmap.ISO8859_10
	case "885913", "ISO885913":
		c.table = charmap.ISO8859_13
	case "885914", "ISO885914":
		c.table = charmap.ISO8859_14
	case "885915", "ISO885915":
		c.table = charmap.ISO8859_15
	case "WINDOWS1252", "CP1252":
		c.table = charmap.Windows1252
	case "GB180302000", "GB18030":
		c.multi = simplifiedchinese.GB18030
	case "BIG5", "BIG5TRADITIONAL":
		c.multi = traditionalchinese.Big5
	case "KSX1001", "EUCKR":
		c.multi = korean.EUCKR
	case "ISOIR87", "ISOIR14", "ISOIR159":
		c.multi = japanese.ISO2022JP
	case "SHIFTJIS":
		c.multi = japanese.ShiftJIS
	default:
		return c, false
	}
	return c, true
}

// SetDefaultCharset names the set of messages whose MSH-18 is empty; before the
// first call that is UTF-8, which reads ASCII too. Call it before or after
// Parse; it holds for later messages as well.
func (m *Message) SetDefaultCharset(name string) error {
	c, ok := charsetOf(name)
	if !ok {
		return fmt.Errorf("character set %q is none of HL7 table 0211", name)
	}
	m.fallback = c
	if m.raw == nil {
		return nil
	}
	return m.resolveCharset()
}

// resolveCharset applies MSH-18 (its first repetition; the others are switched
// to by escapes) or the configured default.
func (m *Message) resolveCharset() error {
	m.charset = m.fallback
	if m.charset.name == "" {
		m.charset.name = "UTF-8"
	}
	msh := m.Segment(0)
	if !msh.Is("MSH") {
		return nil
	}
	f := msh.Field(18)
	if !f.Valued() {
		return nil
	}
	name := f.Repetition(1).Component(1)
	if !name.Valued() { // "~UNICODE UTF-8": an empty first repetition means the default
		return nil
	}
	c, ok := m.declared, true
	if string(name.Raw()) != m.declaredAs { // a feed declares the same set in each message
		c, ok = charsetOf(string(name.Raw()))
	}
	if !ok {
		return &SyntaxError{Place: name.Place(), Offset: name.Offset(), Reason: "a character set that HL7 table 0211 does not have"}
	}
	m.charset = c
	if string(name.Raw()) != m.declaredAs {
		m.declared, m.declaredAs = c, string(name.Raw())
	}
	if c.strict && m.fallback.name != "" && !m.fallback.strict {
		m.charset = m.fallback // a feed that says ASCII and is configured otherwise
	}
	return nil
}

// appendText unescapes and decodes raw; bad is the offset of an undecodable
// byte, or -1.
func (c charset) appendText(dst, raw []byte, d Delimiters) (out []byte, bad int) {
	for i := 0; i < len(raw); {
		b := raw[i]
		if b == d.Escape && d.Escape != 0 {
			if n, ok := c.appendEscape(&dst, raw[i:], d); ok {
				i += n
				continue
			}
			dst = append(dst, b)
			i++
			continue
		}
		if b < 0x80 && (c.multi == nil || b != 0x1b) {
			dst = append(dst, b)
			i++
			continue
		}
		n := 1
		for i+n < len(raw) && raw[i+n] != d.Escape && (c.multi != nil || raw[i+n] >= 0x80) {
			n++
		}
		decoded, at := c.decode(dst, raw[i:i+n])
		if at >= 0 {
			return dst, i + at
		}
		dst = decoded
		i += n
	}
	return dst, -1
}

// decode appends bytes above ASCII as UTF-8.
func (c charset) decode(dst, raw []byte) ([]byte, int) {
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
		if err != nil || strings.ContainsRune(string(text), utf8.RuneError) {
			return dst, 0
		}
		return append(dst, text...), -1
	case c.strict:
		return dst, 0
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
