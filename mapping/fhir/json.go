package fhir

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep JSON may nest.
const MaxDepth = 64

// Values are dear against the bytes that they take: a document may have this
// many, and one more for so many bytes. FHIR's names alone are longer.
const (
	fewValues     = 64 << 10
	bytesForValue = 8
)

// maxKeys is how many fields an object may have; no type of R4 has half as
// many, and each is compared with those before it.
const maxKeys = 256

// JSONError says where and why JSON is refused; it holds no value.
type JSONError struct {
	Path   string
	Offset int
	Reason string
}

func (e *JSONError) Error() string {
	return fmt.Sprintf("JSON at byte %d (%s): %s", e.Offset, e.Path, e.Reason)
}

// ParseJSON reads one JSON value strictly: duplicate keys, keys that differ in
// case only, nesting beyond MaxDepth, more values than its size allows, bytes that are no UTF-8, lone surrogates
// and anything behind the value are a *JSONError. Numbers keep their text.
func ParseJSON(data []byte) (*Node, error) { return ParseJSONIn(nil, data) }

// ParseJSONIn is ParseJSON with the nodes from an arena.
func ParseJSONIn(a *Arena, data []byte) (*Node, error) {
	p := parser{in: string(data), arena: a}
	if a == nil {
		p.nodes = make([]Node, 0, min(8+len(data)/24, slabNodes))
	}
	if !utf8.ValidString(p.in) {
		for r, size := utf8.DecodeRuneInString(p.in); r != utf8.RuneError || size > 1; r, size = utf8.DecodeRuneInString(p.in[p.at:]) {
			p.at += size
		}
		return nil, p.fail("not UTF-8")
	}
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.at < len(p.in) {
		return nil, p.fail("something behind the value")
	}
	return n, nil
}

type parser struct {
	in    string
	at    int
	arena *Arena
	path  []string
	nodes []Node  // without an arena: the rest of a slab
	stack []*Node // the values of the objects and arrays that are open
	count int     // values so far
}

// node hands out one node.
func (p *parser) node(kind Kind, text string) *Node {
	if p.arena != nil {
		return p.arena.Node(kind, text)
	}
	if len(p.nodes) == cap(p.nodes) {
		p.nodes = make([]Node, 0, slabNodes)
	}
	p.nodes = append(p.nodes, Node{Kind: kind, Text: text})
	return &p.nodes[len(p.nodes)-1]
}

// close gives an object or array the values that were read since it was opened.
func (p *parser) close(n *Node, from int) *Node {
	n.Kids = append(n.Kids, p.stack[from:]...)
	p.stack = p.stack[:from]
	return n
}

func (p *parser) fail(reason string) error {
	return &JSONError{Path: strings.Join(p.path, "."), Offset: p.at, Reason: reason}
}

func (p *parser) space() {
	for p.at < len(p.in) {
		switch p.in[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

func (p *parser) value(depth int) (*Node, error) {
	if depth > MaxDepth {
		return nil, p.fail("nested too deep")
	}
	if p.count++; p.count > fewValues+len(p.in)/bytesForValue {
		return nil, p.fail("too many values for its size")
	}
	p.space()
	if p.at >= len(p.in) {
		return nil, p.fail("ends before a value")
	}
	switch c := p.in[p.at]; c {
	case '{':
		return p.object(depth)
	case '[':
		return p.array(depth)
	case '"':
		s, err := p.str()
		if err != nil {
			return nil, err
		}
		return p.node(String, s), nil
	case 't', 'f', 'n':
		return p.literal()
	default:
		return p.number()
	}
}

func (p *parser) literal() (*Node, error) {
	for i, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(p.in[p.at:], word) {
			p.at += len(word)
			kind := Bool
			if i == 2 {
				kind = Null
			}
			return p.node(kind, word), nil
		}
	}
	return nil, p.fail("no JSON value")
}

func (p *parser) object(depth int) (*Node, error) {
	n, from := p.node(Object, ""), len(p.stack)
	p.at++
	for first := true; ; first = false {
		p.space()
		if p.at < len(p.in) && p.in[p.at] == '}' {
			p.at++
			return p.close(n, from), nil
		}
		if !first {
			if err := p.expect(','); err != nil {
				return nil, err
			}
			p.space()
		}
		if p.at >= len(p.in) || p.in[p.at] != '"' {
			return nil, p.fail("expected a key in quotes")
		}
		key, err := p.str()
		if err != nil {
			return nil, err
		}
		if !plainKey(key) {
			return nil, p.fail("a key that no FHIR element has")
		}
		if len(p.stack)-from == maxKeys {
			return nil, p.fail("more keys than any FHIR element has")
		}
		for _, k := range p.stack[from:] {
			if k.Name == key || len(k.Name) == len(key) && strings.EqualFold(k.Name, key) {
				p.path = append(p.path, key)
				return nil, p.fail("a key twice in one object")
			}
		}
		p.space()
		if err := p.expect(':'); err != nil {
			return nil, err
		}
		p.path = append(p.path, key)
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		p.path = p.path[:len(p.path)-1]
		v.Name = key
		p.stack = append(p.stack, v)
	}
}

// plainKey keeps keys to the letters of element names, so that they need no
// quoting on the way out.
func plainKey(key string) bool {
	for i := range len(key) {
		c := key[i]
		if c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return key != ""
}

func (p *parser) expect(c byte) error {
	if p.at >= len(p.in) || p.in[p.at] != c {
		return p.fail("expected " + string(rune(c)))
	}
	p.at++
	return nil
}

func (p *parser) array(depth int) (*Node, error) {
	n, from := p.node(Array, ""), len(p.stack)
	p.at++
	p.space()
	if p.at < len(p.in) && p.in[p.at] == ']' {
		p.at++
		return n, nil
	}
	for {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		p.stack = append(p.stack, v)
		p.space()
		if p.at < len(p.in) && p.in[p.at] == ']' {
			p.at++
			return p.close(n, from), nil
		}
		if err := p.expect(','); err != nil {
			return nil, err
		}
	}
}

func (p *parser) number() (*Node, error) {
	start := p.at
	digits := func() bool {
		from := p.at
		for p.at < len(p.in) && p.in[p.at] >= '0' && p.in[p.at] <= '9' {
			p.at++
		}
		return p.at > from
	}
	if p.in[p.at] == '-' {
		p.at++
	}
	zero := p.at < len(p.in) && p.in[p.at] == '0'
	from := p.at
	if !digits() || zero && p.at-from > 1 {
		return nil, p.fail("no JSON value")
	}
	if p.at < len(p.in) && p.in[p.at] == '.' {
		p.at++
		if !digits() {
			return nil, p.fail("a number that ends with its point")
		}
	}
	if p.at < len(p.in) && (p.in[p.at] == 'e' || p.in[p.at] == 'E') {
		p.at++
		if p.at < len(p.in) && (p.in[p.at] == '+' || p.in[p.at] == '-') {
			p.at++
		}
		if !digits() {
			return nil, p.fail("a number without its exponent")
		}
	}
	if p.at-start > 64 {
		return nil, p.fail("a number of absurd length")
	}
	return p.node(Number, p.in[start:p.at]), nil
}

// str reads a quoted string; without escapes it is a window on the input.
func (p *parser) str() (string, error) {
	p.at++
	start := p.at
	for p.at < len(p.in) {
		switch c := p.in[p.at]; {
		case c == '"':
			s := p.in[start:p.at]
			p.at++
			return s, nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return "", p.fail("a control character in a string")
		}
		p.at++
	}
	return "", p.fail("a string without its end")
}

func (p *parser) escaped(start int) (string, error) {
	out := append(make([]byte, 0, 64), p.in[start:p.at]...)
	for p.at < len(p.in) {
		c := p.in[p.at]
		switch {
		case c == '"':
			p.at++
			return string(out), nil
		case c < 0x20:
			return "", p.fail("a control character in a string")
		case c != '\\':
			out = append(out, c)
			p.at++
			continue
		}
		if p.at+1 >= len(p.in) {
			break
		}
		p.at += 2
		switch e := p.in[p.at-1]; e {
		case '"', '\\', '/':
			out = append(out, e)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := p.hex()
			if ok && utf16.IsSurrogate(r) {
				ok = strings.HasPrefix(p.in[p.at:], `\u`)
				if ok {
					p.at += 2
					var low rune
					low, ok = p.hex()
					r = utf16.DecodeRune(r, low)
					ok = ok && r != utf8.RuneError
				}
			}
			if !ok {
				return "", p.fail("no Unicode escape")
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", p.fail("an unknown escape")
		}
	}
	return "", p.fail("a string without its end")
}

func (p *parser) hex() (rune, bool) {
	if p.at+4 > len(p.in) {
		return 0, false
	}
	n, err := strconv.ParseUint(p.in[p.at:p.at+4], 16, 32)
	p.at += 4
	return rune(n), err == nil
}

// AppendJSON appends the value compactly.
func (n *Node) AppendJSON(dst []byte) []byte { return n.append(dst, nil) }

// append is AppendJSON; references to what is inside a Bundle become absolute.
func (n *Node) append(dst []byte, in *targets) []byte {
	if n.fixed != nil && (in == nil || len(n.fixed.references) == 0) {
		return append(dst, n.fixed.json...)
	}
	switch n.Kind {
	case String:
		return AppendQuoted(dst, n.Text)
	case Array:
		dst = append(dst, '[')
		for i, k := range n.Kids {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = k.append(dst, in)
		}
		return append(dst, ']')
	case Object:
	default:
		return append(dst, n.Text...)
	}
	dst = append(dst, '{')
	for i, k := range n.Kids {
		if i > 0 {
			dst = append(dst, ',', '"')
		} else {
			dst = append(dst, '"')
		}
		dst = append(dst, k.Name...) // keys are ASCII names
		dst = append(dst, '"', ':')
		switch {
		case k.Kind != String:
			dst = k.append(dst, in)
		case in == nil || k.Name != "reference":
			dst = AppendQuoted(dst, k.Text)
		default:
			dst = appendReference(dst, k.Text, in)
		}
	}
	return append(dst, '}')
}

// JSON gives the value compactly. The caller does not change it.
func (n *Node) JSON() []byte {
	if n.fixed != nil {
		return n.fixed.json
	}
	return n.AppendJSON(nil)
}

// AppendIndent appends the value with two spaces a level, for people.
func (n *Node) AppendIndent(dst []byte) []byte { return n.indent(dst, 1) }

func (n *Node) indent(dst []byte, depth int) []byte {
	if n.Kind > Array || len(n.Kids) == 0 {
		return n.AppendJSON(dst)
	}
	open, closing := byte('{'), byte('}')
	if n.Kind == Array {
		open, closing = '[', ']'
	}
	line := func(depth int) {
		dst = append(dst, '\n')
		for range depth {
			dst = append(dst, ' ', ' ')
		}
	}
	dst = append(dst, open)
	for i, k := range n.Kids {
		if i > 0 {
			dst = append(dst, ',')
		}
		line(depth)
		if n.Kind == Object {
			dst = AppendQuoted(dst, k.Name)
			dst = append(dst, ':', ' ')
		}
		dst = k.indent(dst, depth+1)
	}
	line(depth - 1)
	return append(dst, closing)
}

// AppendQuoted appends a JSON string.
func AppendQuoted(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := plainPrefix(s); i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// plainPrefix is how many bytes of a string surely need no escape, eight at a
// time: none is a quote, a backslash or a control character.
func plainPrefix(s string) int {
	const low, high = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		x := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		quote, slash := x^('"'*low), x^('\\'*low)
		if ((x-0x20*low)&^x|(quote-low)&^quote|(slash-low)&^slash)&high != 0 {
			break
		}
	}
	return i
}
