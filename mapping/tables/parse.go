package tables

import (
	"fmt"
	"strconv"
	"strings"
)

// Error says where a table is wrong and what to do about it.
type Error struct {
	File string
	Line int
	Rule string // the line as written
	Text string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d: %s\n\t%s", e.File, e.Line, e.Text, e.Rule)
}

// A rule is one line: SOURCE -> TARGET [as TYPE] [code TABLE] [with …] [if …].
type rule struct {
	text       string
	source     expr
	target     []step
	as         string // data type of the source: CX, XPN …
	code       string // code table
	with       []assignment
	cond       cond
	condImpure bool
	condNeeds  []ref  // what has to be valued for it to hold
	format     string // forced primitive type of the source: dateTime, string …
}

// A step is one part of a target path.
type step struct {
	name      string
	label     string // instance label of a list entry
	extension string // extension(NAME)
	resource  string // (Type): the element is a Reference to a resource of this type
}

// An assignment is one PATH = CONSTANT behind `with`: set unless it is there.
type assignment struct {
	target []step
	source expr
}

// An expr is a source: terms joined by +, each a reference, a constant, a
// coding, a named resource or a function.
type expr struct {
	terms []term
}

type termKind uint8

const (
	termRef termKind = iota
	termText
	termCoding
	termNamed
	termCall
)

type term struct {
	kind    termKind
	ref     ref
	text    string // constant, code, function or resource name
	system  string // of a coding, short or a URL
	display string
	args    []expr
}

// A ref names a value: PID-3.4 in a segment's table, CX.4 in a data type's.
type ref struct {
	segment   string // "" for the value that a data type's section runs on
	field     int
	component int
	sub       int
}

func (r ref) String() string {
	s := r.segment
	if r.field > 0 {
		s += "-" + strconv.Itoa(r.field)
	}
	for _, n := range []int{r.component, r.sub} {
		if n > 0 {
			s += "." + strconv.Itoa(n)
		}
	}
	return s
}

// fields splits a line at white space outside quotes and brackets.
func fields(line string) ([]string, error) {
	var out []string
	depth, start, quoted := 0, -1, false
	for i := range len(line) {
		c := line[i]
		switch {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			depth--
		}
		space := (c == ' ' || c == '\t') && !quoted && depth <= 0
		if space && start >= 0 {
			out = append(out, line[start:i])
			start = -1
		} else if !space && start < 0 {
			start = i
		}
	}
	if start >= 0 {
		out = append(out, line[start:])
	}
	if quoted || depth != 0 {
		return nil, fmt.Errorf("a quote or bracket is not closed")
	}
	return out, nil
}

// withoutComment cuts a # comment that stands behind white space.
func withoutComment(line string) string {
	quoted := false
	for i := range len(line) {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == '#' && !quoted && (i == 0 || line[i-1] == ' '):
			return strings.TrimSpace(line[:i])
		}
	}
	return strings.TrimSpace(line)
}

// parseRule reads one line of a section.
func parseRule(line string, own string) (rule, error) {
	r := rule{text: line}
	words, err := fields(line)
	if err != nil {
		return r, err
	}
	arrow := index(words, "->")
	if arrow < 1 || arrow == len(words)-1 {
		return r, fmt.Errorf("a rule is SOURCE -> TARGET")
	}
	if r.source, err = parseExpr(strings.Join(words[:arrow], " "), own); err != nil {
		return r, err
	}
	if r.target, err = parsePath(words[arrow+1]); err != nil {
		return r, err
	}
	for rest := words[arrow+2:]; len(rest) > 0; {
		n := 2
		if len(rest) < 2 {
			return r, fmt.Errorf("%q needs something behind it", rest[0])
		}
		switch rest[0] {
		case "as":
			if primitive(rest[1]) {
				r.format = rest[1]
			} else {
				r.as = rest[1]
			}
		case "code":
			r.code = rest[1]
		case "with":
			n = index(rest, "if")
			if n < 0 {
				n = len(rest)
			}
			if r.with, err = parseWith(strings.Join(rest[1:n], " "), own); err != nil {
				return r, err
			}
		case "if":
			n = len(rest)
			var read *condParser
			if r.cond, read, err = readCond(strings.Join(rest[1:], " "), own); err != nil {
				return r, err
			}
			r.condImpure, r.condNeeds = read.impure, read.needs
		default:
			return r, fmt.Errorf("%q: expected as, code, with or if", rest[0])
		}
		rest = rest[n:]
	}
	return r, nil
}

func index(words []string, w string) int {
	for i, word := range words {
		if word == w {
			return i
		}
	}
	return -1
}

func primitive(name string) bool { return name != "" && name[0] >= 'a' && name[0] <= 'z' }

func parseWith(text, own string) ([]assignment, error) {
	var out []assignment
	for _, part := range splitOutside(text, ',') {
		path, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("with PATH = CONSTANT, not %q", part)
		}
		target, err := parsePath(strings.TrimSpace(path))
		if err != nil {
			return nil, err
		}
		source, err := parseExpr(strings.TrimSpace(value), own)
		if err != nil {
			return nil, err
		}
		out = append(out, assignment{target: target, source: source})
	}
	return out, nil
}

// splitOutside splits at a separator outside quotes and brackets.
func splitOutside(text string, sep byte) []string {
	var out []string
	depth, start, quoted := 0, 0, false
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			depth--
		case c == sep && depth == 0:
			out = append(out, strings.TrimSpace(text[start:i]))
			start = i + 1
		}
	}
	return append(out, strings.TrimSpace(text[start:]))
}

func parseExpr(text, own string) (expr, error) {
	var e expr
	for _, part := range splitOutside(text, '+') {
		t, err := parseTerm(part, own)
		if err != nil {
			return e, err
		}
		e.terms = append(e.terms, t)
	}
	return e, nil
}

// mostBrackets is how many brackets one source may have.
const mostBrackets = 32

func parseTerm(text, own string) (term, error) {
	switch {
	case strings.Count(text, "(") > mostBrackets:
		return term{}, fmt.Errorf("a source has at most %d brackets", mostBrackets)
	case text == "":
		return term{}, fmt.Errorf("an empty source")
	case text[0] == '"':
		s, err := strconv.Unquote(text)
		if err != nil {
			return term{}, fmt.Errorf("%s: a constant stands in quotes", text)
		}
		return term{kind: termText, text: s}, nil
	case text[0] == '@':
		return term{kind: termNamed, text: text[1:]}, nil
	case strings.Contains(text, "#"):
		coding, display, _ := strings.Cut(text, " ")
		system, code, _ := strings.Cut(coding, "#")
		if display != "" {
			s, err := strconv.Unquote(strings.TrimSpace(display))
			if err != nil {
				return term{}, fmt.Errorf("%s: SYSTEM#CODE \"display\"", text)
			}
			display = s
		}
		return term{kind: termCoding, system: system, text: code, display: display}, nil
	}
	if name, args, ok := strings.Cut(text, "("); ok {
		t := term{kind: termCall, text: name}
		inner := strings.TrimSuffix(args, ")")
		if strings.TrimSpace(inner) == "" {
			return t, nil
		}
		for _, a := range splitOutside(inner, ',') {
			e, err := parseExpr(a, own)
			if err != nil {
				return t, err
			}
			t.args = append(t.args, e)
		}
		return t, nil
	}
	r, err := parseRef(text, own)
	return term{kind: termRef, ref: r}, err
}

// parseRef reads SEG-n[.m[.k]], or DT[.n[.m]] where own is that data type.
func parseRef(text, own string) (ref, error) {
	bad := fmt.Errorf("%q is no reference such as PID-3.1", text)
	number := func(s string) (int, bool) {
		n, err := strconv.Atoi(s)
		return n, err == nil && n > 0 && n < 1000
	}
	if name, rest, ok := strings.Cut(text, "-"); ok {
		if len(name) != 3 {
			return ref{}, bad
		}
		r := ref{segment: name}
		parts := strings.Split(rest, ".")
		for i, p := range parts {
			n, ok := number(p)
			if !ok || i > 2 {
				return ref{}, bad
			}
			*[]*int{&r.field, &r.component, &r.sub}[i] = n
		}
		return r, nil
	}
	name, rest, dotted := strings.Cut(text, ".")
	if name != own {
		return ref{}, fmt.Errorf("%q: this section reads %s", text, own)
	}
	var r ref
	if dotted {
		for i, p := range strings.Split(rest, ".") {
			n, ok := number(p)
			if !ok || i > 1 {
				return ref{}, bad
			}
			*[]*int{&r.component, &r.sub}[i] = n
		}
	}
	return r, nil
}

// parsePath reads name[label].extension(x).actor(Practitioner).name …
func parsePath(text string) ([]step, error) {
	var out []step
	for _, part := range splitOutside(text, '.') {
		if part == "this" && len(out) == 0 && text == "this" {
			return nil, nil
		}
		var s step
		name := part
		if i := strings.IndexByte(name, '['); i >= 0 && strings.HasSuffix(name, "]") {
			s.label, name = name[i+1:len(name)-1], name[:i]
		}
		if i := strings.IndexByte(name, '['); i >= 0 {
			j := strings.IndexByte(name, ']')
			if j < i {
				return nil, fmt.Errorf("%q: a label stands in [ ]", part)
			}
			s.label, name = name[i+1:j], name[:i]+name[j+1:]
		}
		if i := strings.IndexByte(name, '('); i >= 0 && strings.HasSuffix(name, ")") {
			inner := name[i+1 : len(name)-1]
			name = name[:i]
			if name == "extension" || name == "modifierExtension" {
				s.extension = inner
				if s.label == "" {
					s.label = inner
				}
			} else {
				s.resource = inner
			}
		}
		if name == "" {
			return nil, fmt.Errorf("%q: an empty step in the path", text)
		}
		s.name = name
		out = append(out, s)
	}
	return out, nil
}
