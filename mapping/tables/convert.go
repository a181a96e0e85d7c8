package tables

import (
	"slices"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// primitive makes a primitive of the rule's source, or nil with a warning.
func (c *crule) primitive(f *frame, st *cstep, v hl7v2.Value) *fhir.Node {
	r := f.run
	text, at := "", v
	switch {
	case c.plain != "":
		return r.arena.Node(fhir.String, c.plain)
	case c.isRef && c.coded():
		text = c.codedText(f, st, v)
	case c.isRef && v.FieldNumber() > 0 && st.typ == "boolean" && c.table == nil:
		at = v.FirstLeaf()
		text = r.text(at)
		r.used = append(r.used, at)
	case c.isRef:
		at = v.FirstLeaf()
		text = r.text(at)
		if text != "" {
			r.used = append(r.used, at)
		}
	default:
		text = c.source.text(f)
		if len(r.used) > 0 {
			at = r.used[0]
		}
	}
	if text == "" {
		return nil
	}
	return r.primitive(st, text, at)
}

// primitive checks and converts text by the target's primitive type.
func (r *run) primitive(st *cstep, text string, at hl7v2.Value) *fhir.Node {
	switch st.typ {
	case "boolean":
		switch strings.ToUpper(text) {
		case "Y", "1", "TRUE", "YES":
			return r.arena.Node(fhir.Bool, "true")
		case "N", "0", "FALSE", "NO":
			return r.arena.Node(fhir.Bool, "false")
		}
		r.refuse("boolean", at, "neither Y nor N")
		return nil
	case "integer", "positiveInt", "unsignedInt":
		n, err := strconv.ParseInt(strings.TrimPrefix(text, "+"), 10, 32)
		if err != nil || st.typ == "positiveInt" && n < 1 || st.typ == "unsignedInt" && n < 0 {
			r.refuse("integer", at, "no "+st.typ)
			return nil
		}
		return r.arena.Node(fhir.Number, strconv.FormatInt(n, 10))
	case "decimal":
		if lit, ok := decimal(text); ok {
			return r.arena.Node(fhir.Number, lit)
		}
		r.refuse("number", at, "no decimal number")
		return nil
	case "date", "dateTime", "instant", "time":
		return r.time(st, text, at)
	case "code":
		if st.codes != nil && !slices.Contains(st.codes, text) {
			i := slices.IndexFunc(st.codes, func(code string) bool { return strings.EqualFold(code, text) })
			if i < 0 {
				r.refuse("unknown-code", at, "not a code of the required binding")
				return nil
			}
			text = st.codes[i]
		}
		return r.arena.Node(fhir.String, oneLine(text))
	case "uri", "url", "canonical":
		if strings.ContainsAny(text, " \t\n\r<>\"{}|\\^`") {
			text = "urn:x-liaison:value:" + escapeURN(text)
		}
		return r.arena.Node(fhir.String, text)
	case "base64Binary":
		text = strings.Join(strings.Fields(text), "")
		if !base64OK(text) {
			r.refuse("base64", at, "no base64 data")
			return nil
		}
		return r.arena.Node(fhir.String, text)
	default:
		return r.arena.Node(fhir.String, text)
	}
}

// oneLine is a code as FHIR has it: single blanks inside (R4 §2.24.0.1, code).
func oneLine(text string) string {
	if strings.ContainsAny(text, "\t\n\r") || strings.Contains(text, "  ") {
		return strings.Join(strings.Fields(text), " ")
	}
	return text
}

// refuse says why a value did not go where its rule would put it; the value
// stays unread, so the report and the segment's rest keep it.
func (r *run) refuse(code string, at hl7v2.Value, text string) {
	r.warn(code, at.Place(), text)
	r.used = r.used[:0]
}

// decimal gives a FHIR decimal's literal: the digits as sent, no more and no
// fewer, because precision means something (R4 §2.24.0.1).
func decimal(text string) (string, bool) {
	sign := ""
	switch {
	case strings.HasPrefix(text, "+"):
		text = text[1:]
	case strings.HasPrefix(text, "-"):
		sign, text = "-", text[1:]
	}
	whole, fraction, dotted := strings.Cut(text, ".")
	if whole == "" && dotted {
		whole = "0"
	}
	if !isDigits(whole) || dotted && fraction != "" && !isDigits(fraction) || len(text) > 40 {
		return "", false
	}
	whole = strings.TrimLeft(whole, "0")
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return sign + whole, true
}

func base64OK(s string) bool {
	trimmed := strings.TrimRight(s, "=")
	if len(s)%4 != 0 || len(s)-len(trimmed) > 2 || s == "" {
		return false
	}
	for i := range len(trimmed) {
		c := trimmed[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// time converts an HL7 time, with the source's zone where it has none.
func (r *run) time(st *cstep, text string, at hl7v2.Value) *fhir.Node {
	if st.typ == "time" {
		if lit, ok := clock(text); ok {
			return r.arena.Node(fhir.String, lit)
		}
	}
	if strings.Contains(text, "T") && strings.Contains(text, "-") && len(text) > 19 { // computed: already FHIR
		return r.arena.Node(fhir.String, text)
	}
	t, err := hl7v2.ParseTime(text, r.ctx.Location)
	if err != nil {
		r.refuse("time", at, err.Error())
		return nil
	}
	if t.Gap {
		r.warn("time-gap", at.Place(), "a local time that the clock skipped")
	}
	if t.Fold {
		r.warn("time-fold", at.Place(), "a local time that occurred twice; the first is taken")
	}
	out := ""
	switch st.typ {
	case "date":
		if out = t.Date(); t.Precision > hl7v2.Day && strings.Trim(t.Clock(), ":0.") != "" {
			r.used = r.used[:0] // the time of day is another rule's
		}
	case "dateTime":
		if out = t.DateTime(); t.Zone == hl7v2.ZoneNone && t.Precision > hl7v2.Day {
			r.warn("time-zone", at.Place(), "a time of day without offset, and no zone is configured: the day is kept")
			r.used = r.used[:0]
		}
	case "instant":
		out = t.Instant()
	case "time":
		out = t.Clock()
	}
	if out == "" {
		r.refuse("time", at, "less precise than "+st.typ)
		return nil
	}
	return r.arena.Node(fhir.String, out)
}

// clock reads an HL7 TM: HH[MM[SS]].
func clock(text string) (string, bool) {
	if !isDigits(text) || len(text) != 4 && len(text) != 6 {
		return "", false
	}
	if len(text) == 4 {
		text += "00"
	}
	if text[:2] > "23" || text[2:4] > "59" || text[4:] > "59" {
		return "", false
	}
	return text[:2] + ":" + text[2:4] + ":" + text[4:], true
}

// coded says whether the source is a coded data type onto a primitive.
func (c *crule) coded() bool {
	return codedType(c.as) || c.table != nil
}

// codedType says whether a data type is a coded value.
func codedType(as string) bool {
	switch as {
	case "CWE", "CE", "CNE", "CF", "IS", "ID":
		return true
	}
	return false
}

// codedText gives the code (translated) or, onto a string, the text of a CWE.
func (c *crule) codedText(f *frame, st *cstep, v hl7v2.Value) string {
	r := f.run
	if st.typ == "string" || st.typ == "markdown" {
		for _, n := range []int{9, 2, 1, 5, 4} {
			if p := v.Component(n); p.Valued() {
				r.used = append(r.used, p)
				return r.text(p)
			}
		}
		return ""
	}
	p := v.Component(1)
	if !p.Valued() {
		p = v.Component(4) // the alternate code, where it is the only one
	}
	code := r.text(p)
	table := c.table
	if table == nil {
		table = f.vocabulary
	}
	if code == "" || table == nil {
		r.used = append(r.used, p)
		return code
	}
	got, known, any := table.lookup(code)
	if !any {
		if st.codes == nil && !table.only || slices.Contains(st.codes, strings.ToLower(code)) {
			r.used = append(r.used, p)
			return code
		}
		r.refuse("unknown-code", p, "not in "+table.name)
		return ""
	}
	if known {
		r.used = append(r.used, p)
	} else { // the original stays unread, so that it is kept beside the default
		r.defaulted("unknown-code", p.Place(), "not in "+table.name+"; its default is taken")
	}
	return got.code
}

// complex makes a Coding, CodeableConcept or Quantity of a coded value, or of a
// constant.
func (c *crule) complex(f *frame, st *cstep, v hl7v2.Value) *fhir.Node {
	r := f.run
	table := c.table
	if table == nil {
		table = f.vocabulary
	}
	if !c.isRef {
		t := c.source.terms[0]
		if t.kind != termCoding {
			text := c.source.text(f)
			if text == "" || st.typ != "CodeableConcept" {
				return nil
			}
			n := r.arena.Node(fhir.Object, "")
			return n.Set("text", r.arena.Node(fhir.String, text))
		}
		return r.arena.Shared(c.constantNode)
	}
	return r.coded(st.typ == "Coding", v, table)
}

func (r *run) coding(c coding) *fhir.Node {
	c.system = r.mapper.known.of(c.system, c.code)
	return codingNode(r.arena, c)
}

func codingNode(arena *fhir.Arena, c coding) *fhir.Node {
	n := arena.Node(fhir.Object, "")
	for _, p := range [...]struct{ name, text string }{{"system", c.system}, {"version", c.version}, {"code", c.code}, {"display", c.display}} {
		if p.text != "" {
			n.Set(p.name, arena.Node(fhir.String, p.text))
		}
	}
	n.Sorted = true
	return n
}

// codingOf makes one Coding: the translation when there is one, else the
// original with its system.
func (r *run) codingOf(v hl7v2.Value, table *codeTable) *fhir.Node {
	depth, used := len(r.parts), len(r.used)
	r.parts = v.AppendComponents(r.parts)
	parts := r.parts[depth:]
	r.parts = r.parts[:depth] // what is below reads them, and pushes none
	original, ok := r.triplet(parts, 1, table)
	if version := nthOf(parts, 7); ok && version.Valued() {
		original.version = r.text(version)
		r.used = append(r.used, version)
	}
	if !ok {
		return nil
	}
	if table != nil {
		if to, known, any := table.lookup(original.code); any {
			if !known {
				r.defaulted("unknown-code", v.Component(1).Place(), "not in "+table.name+"; its default is taken")
				r.used = r.used[:0]
			}
			said := original
			if to.system == original.system && to.code == original.code {
				to.version = original.version
			}
			if to.display == "" && to.code == original.code {
				to.display = original.display
			}
			if known {
				r.translate(used, parts, table, said, to)
			}
			return r.coding(to)
		}
	}
	return r.coding(original)
}

// translate leaves unread what a translation does not say of a Coding that was
// sent: its text, the name of another system than the table's, its version.
func (r *run) translate(from int, parts []hl7v2.Value, table *codeTable, said, to coding) {
	unread := func(part int) {
		if v := nthOf(parts, part); v.Valued() {
			r.used = append(r.used[:from], slices.DeleteFunc(r.used[from:], func(u hl7v2.Value) bool { return u.Offset() == v.Offset() })...)
		}
	}
	if !strings.EqualFold(said.display, to.display) {
		unread(2)
	}
	if said.system != to.system && said.system != r.mapper.known.of(table.from, said.code) {
		unread(3)
	}
	if said.version != to.version {
		unread(7)
	}
}

// nth gives the n-th of a value's components, from 1.
func nthOf(parts []hl7v2.Value, n int) hl7v2.Value {
	if n > len(parts) {
		return hl7v2.Value{}
	}
	return parts[n-1]
}

// triplet reads code, text and system of a CWE's first, second or third coding.
func (r *run) triplet(parts []hl7v2.Value, at int, table *codeTable) (coding, bool) {
	if at > len(parts) {
		return coding{}, false
	}
	code, display, system := parts[at-1], nthOf(parts, at+1), nthOf(parts, at+2)
	if !code.Valued() {
		return coding{}, false
	}
	out := coding{code: oneLine(r.text(code)), display: r.text(display)}
	r.used = append(r.used, code)
	if display.Valued() {
		r.used = append(r.used, display)
	}
	if system.Valued() {
		out.system = codingSystem(r.text(system), r.systems())
		r.used = append(r.used, system)
	} else if at == 1 && table != nil {
		out.system = table.from
	}
	out.system = r.mapper.known.of(out.system, out.code)
	r.trace.make(out.system)
	r.trace.make(out.code)
	return out, out.code != ""
}

func (r *run) systems() map[string]string { return r.mapper.systems }

// concept makes a CodeableConcept: a translation first, then every coding that
// was sent, and the text.
func (r *run) concept(v hl7v2.Value, table *codeTable) *fhir.Node {
	if table != nil && table.only {
		return r.translated(v, table)
	}
	depth := len(r.parts)
	r.parts = v.AppendComponents(r.parts)
	parts := r.parts[depth:]
	r.parts = r.parts[:depth] // what is below reads them, and pushes none
	n := r.arena.Node(fhir.Object, "")
	seen := coding{}
	untranslated := !nthOf(parts, 3).Valued()
	for i, at := range [...]int{1, 4, 10} {
		c, ok := r.triplet(parts, at, table)
		if !ok {
			continue
		}
		if i == 0 && table != nil {
			if to, known, any := table.lookup(c.code); any && (known || to.code != "") && (to.code != c.code || to.system != c.system) {
				if !known {
					r.defaulted("unknown-code", v.Component(1).Place(), "not in "+table.name+"; its default is added")
				}
				if untranslated && known && c.code == to.code { // nothing that the translation does not say
					r.push(n, "coding", 0, r.coding(to))
					seen = c
					continue
				}
				if c.system == "" || c.system == to.system && known {
					c.system = r.mapper.known.of(table.from, c.code)
				}
				r.push(n, "coding", 0, r.coding(to))
			} else if any && c.display == "" {
				c.display = to.display
			}
		}
		if c == seen {
			continue
		}
		if version := nthOf(parts, [...]int{7, 8, 13}[i]); version.Valued() {
			c.version = r.text(version)
			r.used = append(r.used, version)
		}
		made := r.coding(c)
		c.version = ""
		r.push(n, "coding", 0, made)
		seen = c
	}
	text := nthOf(parts, 9)
	if !text.Valued() && len(n.Kids) == 0 {
		if text = nthOf(parts, 2); !text.Valued() {
			text = nthOf(parts, 5)
		}
	}
	if text.Valued() {
		n.Set("text", r.arena.Node(fhir.String, r.text(text)))
		r.used = append(r.used, text)
	}
	if len(n.Kids) == 0 {
		return nil
	}
	return n
}

// translated makes a CodeableConcept of what a table translates, by code or by
// name; of what it does not, the text.
func (r *run) translated(v hl7v2.Value, table *codeTable) *fhir.Node {
	n := r.arena.Node(fhir.Object, "")
	for _, at := range [...]int{1, 4, 10, 2, 5, 9} {
		p := v.Component(at)
		if !p.Valued() {
			continue
		}
		to, known, _ := table.lookup(strings.TrimSpace(r.text(p)))
		if known {
			r.push(n, "coding", 0, r.coding(to))
			r.used = append(r.used, p)
			break
		}
	}
	for _, at := range [...]int{9, 2, 5, 1} {
		p := v.Component(at)
		if !p.Valued() || at == 1 && len(n.Kids) > 0 {
			continue
		}
		if len(n.Kids) == 0 {
			r.warn("unknown-code", v.Component(1).Place(), "not in "+table.name+": the text stands for it")
		}
		n.Set("text", r.arena.Node(fhir.String, r.text(p)))
		r.used = append(r.used, p)
		break
	}
	if len(n.Kids) == 0 {
		return nil
	}
	return n
}
