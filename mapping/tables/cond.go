package tables

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// A cond decides whether a rule runs. The one grammar of tables and overlays:
//
//	or   := and { "or" and }        and := not { "and" not }
//	not  := ["not"] prim            prim := "(" or ")" | valued(REF) | trigger in (A01, …)
//	prim |= REF (= | != | < | > | <= | >=) "text" | REF = REF | REF [not] in ("a", "b")
//	prim |= unread(REF)    no rule above took the value
//	prim |= taken(REF)     a rule above took some of the value
//	prim |= made(ELEMENT)  the resource has it
//	prim |= resource = "Organization"    the resource that is written to
//	prim |= present(SEG)   the segment stands here: in the same group, or near
//	prim |= differ(TIME, TIME …)    two of the times that are there are not the same
//	prim |= any(REF) = "text" …    it holds for a segment of this name anywhere in the message
//	prim |= length(REF) OP n | count(REF) OP n | version OP "2.5" | repetition OP n
//
// A REF to another segment means the nearest one: in the same group, before the
// enclosing groups.
type cond func(f *frame) bool

// mostWords bounds a condition and a syntax, and with it how deep they nest.
const mostWords = 2000

type condParser struct {
	words  []string
	at     int
	own    string
	impure bool // it reads more than a data type's own value
	needs  []ref
	inner  int  // how many brackets and nots it is in
	either bool // it is of alternatives
}

func parseCond(text, own string) (cond, error) {
	c, _, err := readCond(text, own)
	return c, err
}

// readCond gives the condition, and its parser that knows more of it.
func readCond(text, own string) (cond, *condParser, error) {
	p := &condParser{words: condWords(text), own: own}
	if len(p.words) > mostWords {
		return nil, p, fmt.Errorf("a condition has at most %d words", mostWords)
	}
	c, err := p.or()
	if err == nil && p.at < len(p.words) {
		err = fmt.Errorf("%q: expected and, or, or the condition's end", p.words[p.at])
	}
	if p.either {
		p.needs = nil
	}
	return c, p, err
}

// need notes what has to be valued for the whole condition to hold.
func (p *condParser) need(r ref) {
	if p.inner == 0 {
		p.needs = append(p.needs, r)
	}
}

func (p *condParser) ref(text string) (ref, error) {
	r, err := parseRef(text, p.own)
	p.impure = p.impure || r.segment != ""
	return r, err
}

// condWords splits into words, operators, brackets and quoted texts.
func condWords(text string) []string {
	var out []string
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == ' ' || c == '\t':
			i++
		case c == '"':
			j := strings.IndexByte(text[i+1:], '"')
			if j < 0 {
				return append(out, text[i:])
			}
			out = append(out, text[i:i+j+2])
			i += j + 2
		case strings.IndexByte("(),", c) >= 0:
			out = append(out, text[i:i+1])
			i++
		case strings.IndexByte("=!<>", c) >= 0:
			j := i + 1
			for j < len(text) && text[j] == '=' {
				j++
			}
			out = append(out, text[i:j])
			i = j
		default:
			j := i
			for j < len(text) && strings.IndexByte(" \t(),=!<>\"", text[j]) < 0 {
				j++
			}
			out = append(out, text[i:j])
			i = j
		}
	}
	return out
}

func (p *condParser) peek() string {
	if p.at < len(p.words) {
		return p.words[p.at]
	}
	return ""
}

func (p *condParser) next() string {
	w := p.peek()
	p.at++
	return w
}

func (p *condParser) or() (cond, error) {
	left, err := p.and()
	for err == nil && p.peek() == "or" {
		p.next()
		p.either = p.either || p.inner == 0
		var right cond
		if right, err = p.and(); err == nil {
			a := left
			left = func(f *frame) bool { return a(f) || right(f) }
		}
	}
	return left, err
}

func (p *condParser) and() (cond, error) {
	left, err := p.not()
	for err == nil && p.peek() == "and" {
		p.next()
		var right cond
		if right, err = p.not(); err == nil {
			a := left
			left = func(f *frame) bool { return a(f) && right(f) }
		}
	}
	return left, err
}

func (p *condParser) not() (cond, error) {
	p.inner++
	defer func() { p.inner-- }()
	if p.peek() == "not" {
		p.next()
		c, err := p.not()
		if err != nil {
			return nil, err
		}
		return func(f *frame) bool { return !c(f) }, nil
	}
	if p.peek() == "(" {
		p.next()
		c, err := p.or()
		if err == nil && p.next() != ")" {
			err = fmt.Errorf("a bracket is not closed")
		}
		return c, err
	}
	p.inner--
	defer func() { p.inner++ }()
	return p.primary()
}

func (p *condParser) primary() (cond, error) {
	word := p.next()
	switch word {
	case "valued", "length", "count":
		r, err := p.bracketedRef()
		if err != nil {
			return nil, err
		}
		if word == "valued" {
			p.need(r)
			return func(f *frame) bool { return f.resolve(r).Valued() }, nil
		}
		count := word == "count"
		return p.compareNumber(func(f *frame) int {
			if count {
				return f.repetitions(r)
			}
			return len(f.resolve(r).Raw())
		})
	case "contains":
		return p.contains()
	case "present":
		return p.present()
	case "differ":
		return p.differ()
	case "any":
		return p.any()
	case "unread":
		r, err := p.bracketedRef()
		p.impure = true
		return func(f *frame) bool {
			v := f.resolve(r).FirstLeaf()
			return v.Valued() && f.run.leaves[v.Offset()] == leafUnread
		}, err
	case "null":
		r, err := p.bracketedRef()
		return func(f *frame) bool { return f.resolve(r).State() == hl7v2.Null }, err
	case "taken":
		r, err := p.bracketedRef()
		p.impure = true
		return func(f *frame) bool { return f.taken(f.resolve(r)) }, err
	case "made":
		return p.made()
	case "resource":
		p.impure = true
		return p.compareText(func(f *frame) string { return f.self.typ })
	case "repetition":
		p.impure = true
		return p.compareNumber(func(f *frame) int { return f.rep })
	case "trigger":
		p.impure = true
		return p.compareText(func(f *frame) string { return f.run.header.Event })
	case "version":
		return p.compareText(func(f *frame) string { return f.run.header.Version })
	case "":
		return nil, fmt.Errorf("the condition ends too early")
	}
	r, err := p.ref(word)
	if err != nil {
		return nil, err
	}
	if is := p.words[p.at:]; len(is) > 1 && (is[0] == "=" && is[1] != `""` && !isField(is[1]) || is[0] == "in" && !slices.Contains(is, `""`)) {
		p.need(r)
	}
	return p.compareText(func(f *frame) string { return f.first(r) })
}

// contains reads `contains(REF, "text")`.
func (p *condParser) contains() (cond, error) {
	if p.next() != "(" {
		return nil, fmt.Errorf(`expected contains(REF, "text")`)
	}
	r, err := p.ref(p.next())
	if err != nil {
		return nil, err
	}
	comma, text := p.next(), unquote(p.next())
	if comma != "," || text == "" || p.next() != ")" {
		return nil, fmt.Errorf(`expected contains(REF, "text")`)
	}
	p.need(r)
	return func(f *frame) bool { return strings.Contains(f.run.text(f.resolve(r).FirstLeaf()), text) }, nil
}

// any reads any(REF) OP …: whether it holds in one of the segments of REF's name.
func (p *condParser) any() (cond, error) {
	r, err := p.bracketedRef()
	if err != nil {
		return nil, err
	}
	p.impure = true
	holds, err := p.compareText(func(f *frame) string { return f.run.text(f.resolve(r).FirstLeaf()) })
	if err != nil {
		return nil, err
	}
	return func(f *frame) bool {
		for i := range f.run.msg.Len() {
			s := f.run.msg.Segment(i)
			if s.Is(r.segment) && holds(&frame{run: f.run, segment: s, group: f.run.groups[i]}) {
				return true
			}
		}
		return false
	}, nil
}

func (p *condParser) bracketedRef() (ref, error) {
	if p.next() != "(" {
		return ref{}, fmt.Errorf("expected ( REF )")
	}
	r, err := p.ref(p.next())
	if err == nil && p.next() != ")" {
		err = fmt.Errorf("expected ) behind the reference")
	}
	return r, err
}

// made reads made(ELEMENT).
func (p *condParser) made() (cond, error) {
	open, name, closing := p.next(), p.next(), p.next()
	if open != "(" || closing != ")" {
		return nil, fmt.Errorf("expected made(ELEMENT)")
	}
	return func(f *frame) bool { return full(f.base.Get(name)) }, nil
}

// present reads present(SEG).
func (p *condParser) present() (cond, error) {
	open, name, closing := p.next(), p.next(), p.next()
	if open != "(" || len(name) != 3 || closing != ")" {
		return nil, fmt.Errorf("expected present(SEG)")
	}
	p.impure = true
	return func(f *frame) bool {
		if f.segment.Is(name) {
			return true
		}
		_, ok := f.group.find(f.run.msg, name, f.segment)
		return ok
	}, nil
}

// differ reads differ(TIME, TIME …), each an expression.
func (p *condParser) differ() (cond, error) {
	depth, text := 0, ""
	for p.at < len(p.words) {
		w := p.next()
		if w == "(" {
			depth++
		}
		if w == ")" {
			depth--
		}
		text += w
		if depth == 0 {
			break
		}
	}
	inner, ok := strings.CutSuffix(strings.TrimPrefix(text, "("), ")")
	if !ok || !strings.HasPrefix(text, "(") {
		return nil, fmt.Errorf("expected differ(TIME, TIME)")
	}
	var args []expr
	for _, part := range splitOutside(inner, ',') {
		e, err := parseExpr(part, p.own)
		if err == nil {
			err = checkCalls(e)
		}
		if err != nil {
			return nil, err
		}
		args = append(args, e)
	}
	p.impure = true
	return func(f *frame) bool { return f.differ(args) }, nil
}

func (p *condParser) compareNumber(get func(*frame) int) (cond, error) {
	op, text := p.next(), p.next()
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no number", text)
	}
	ok, err := comparison(op)
	if err != nil {
		return nil, err
	}
	return func(f *frame) bool { return ok(get(f) - n) }, nil
}

func (p *condParser) compareText(get func(*frame) string) (cond, error) {
	op := p.next()
	negate := false
	if op == "not" {
		negate, op = true, p.next()
	}
	if op == "in" {
		set, err := p.set()
		if err != nil {
			return nil, err
		}
		return func(f *frame) bool {
			s := get(f)
			for _, v := range set {
				if v == s {
					return !negate
				}
			}
			return negate
		}, nil
	}
	word := p.next()
	ok, err := comparison(op)
	if err != nil {
		return nil, err
	}
	if isField(word) {
		r, err := p.ref(word)
		return func(f *frame) bool { return ok(strings.Compare(get(f), f.first(r))) }, err
	}
	want := unquote(word)
	return func(f *frame) bool { return ok(strings.Compare(get(f), want)) }, nil
}

// isField says whether an unquoted word is a field: MRG-3 or MRG-3.1.
func isField(word string) bool {
	return len(word) > 4 && word[3] == '-' && word[4] >= '0' && word[4] <= '9' && word[0] >= 'A' && word[0] <= 'Z'
}

// first is the text of a value's first leaf.
func (f *frame) first(r ref) string {
	v := f.resolve(r)
	for !v.IsLeaf() {
		next := v.Component(1)
		if len(next.Raw()) == len(v.Raw()) {
			break
		}
		v = next
	}
	return f.run.text(v)
}

func (p *condParser) set() ([]string, error) {
	if p.next() != "(" {
		return nil, fmt.Errorf(`expected in ("a", "b")`)
	}
	var out []string
	for {
		out = append(out, unquote(p.next()))
		switch p.next() {
		case ",":
		case ")":
			return out, nil
		default:
			return nil, fmt.Errorf(`expected in ("a", "b")`)
		}
	}
}

func unquote(s string) string { return strings.Trim(s, `"`) }

func comparison(op string) (func(int) bool, error) {
	switch op {
	case "=", "==":
		return func(n int) bool { return n == 0 }, nil
	case "!=":
		return func(n int) bool { return n != 0 }, nil
	case "<":
		return func(n int) bool { return n < 0 }, nil
	case ">":
		return func(n int) bool { return n > 0 }, nil
	case "<=":
		return func(n int) bool { return n <= 0 }, nil
	case ">=":
		return func(n int) bool { return n >= 0 }, nil
	default:
		return nil, fmt.Errorf("%q: expected =, !=, <, >, <=, >= or in", op)
	}
}

// taken says whether a rule has read a part of a value.
func (f *frame) taken(v hl7v2.Value) bool {
	if !v.Valued() {
		return false
	}
	for _, m := range f.run.leaves[v.Offset() : v.Offset()+len(v.Raw())] {
		if m != leafUnread {
			return true
		}
	}
	return false
}

// repetitions counts those of the whole field, while they are walked too.
func (f *frame) repetitions(r ref) int {
	whole := *f
	whole.fieldRep = 0
	return whole.resolve(r).Repetitions()
}

// resolve finds the value that a reference means where the frame stands.
func (f *frame) resolve(r ref) hl7v2.Value {
	v := f.value
	if r.segment == "" {
		if r.component == 0 {
			return v
		}
		if r.component > len(f.parts) {
			return hl7v2.Value{}
		}
		if v = f.parts[r.component-1]; r.sub > 0 {
			v = v.Subcomponent(r.sub)
		}
		return v
	}
	{
		seg := f.segment
		if !seg.Is(r.segment) {
			var ok bool
			if seg, ok = f.group.find(f.run.msg, r.segment, f.segment); !ok {
				return hl7v2.Value{}
			}
		}
		v = seg.Field(r.field)
		if f.fieldRep > 0 && r.field == f.fieldNumber && seg.Index() == f.segment.Index() {
			v = v.Repetition(f.fieldRep)
		}
	}
	if r.component > 0 {
		v = v.Component(r.component)
	}
	if r.sub > 0 {
		v = v.Subcomponent(r.sub)
	}
	return v
}
