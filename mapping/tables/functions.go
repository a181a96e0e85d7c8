package tables

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// text evaluates an expression; what it read is in run.used. A concatenation
// of which no referenced value is there is empty.
func (e *expr) text(f *frame) string {
	r := f.run
	before := len(r.used)
	out := ""
	refs := 0
	for i := range e.terms {
		t := &e.terms[i]
		switch t.kind {
		case termText, termCoding:
			out += t.text
		case termRef:
			refs++
			v := f.resolve(t.ref).FirstLeaf()
			if v.Valued() {
				out += r.text(v)
				r.used = append(r.used, v)
			}
		case termCall:
			switch t.text {
			case "received", "position", "nth", "again", "apart", "own": // they are no part of the message
			default:
				refs++
			}
			out += call(f, t)
		case termNamed:
		}
	}
	if refs > 0 && len(r.used) == before {
		return ""
	}
	return out
}

// value gives the value that an argument names, unread.
func (e *expr) value(f *frame) hl7v2.Value {
	if len(e.terms) == 1 && e.terms[0].kind == termRef {
		return f.resolve(e.terms[0].ref)
	}
	return hl7v2.Value{}
}

// A function is a computed source: the number of its arguments (-1: any), and
// of how many, from the first on, it gives nothing without.
type function struct{ args, needed int }

func functions() map[string]function {
	return map[string]function{
		"again": {args: -1}, "apart": {args: -1}, "codesystem": {args: -1}, "earliest": {args: -1}, "finish": {args: -1}, "first": {args: -1}, "gathered": {args: -1},
		"join": {args: -1}, "nth": {args: -1}, "own": {args: 6}, "variant": {args: -1},
		"position": {}, "received": {},
		"system": {args: -1, needed: 1}, // of one argument; of three each may stand alone
		"base64": {1, 1}, "comparator": {1, 1}, "day": {1, 1}, "digits": {1, 1}, "lines": {1, 1}, "magnitude": {1, 1}, "money": {1, 1}, "phone": {1, 1}, "whole": {1, 1},
		"series": {args: 1}, "contenttype": {args: 2}, "data": {args: 2},
		"minutes": {2, 1}, "offset": {2, 1}, "uri": {2, 1},
		"after": {3, 2}, "before": {3, 2}, "end": {3, 2},
	}
}

func call(f *frame, t *term) string {
	r := f.run
	switch t.text {
	case "system":
		if len(t.args) == 3 {
			return r.authority(t.args[0].value(f), t.args[1].value(f), t.args[2].value(f), true)
		}
		return r.assigner(t.args[0].value(f), true)
	case "series":
		return r.series(t.args[0].value(f))
	case "minutes", "offset", "end", "after", "before", "earliest", "finish":
		return f.timing(t)
	case "phone":
		return r.phone(t.args[0].value(f))
	case "lines":
		return r.lines(t.args[0].value(f))
	case "received":
		return r.ctx.Received.UTC().Format("20060102150405.000-0700") // as HL7 writes it
	case "position":
		return strconv.Itoa(f.segment.Occurrence())
	case "nth":
		return r.nth(f, t)
	case "again":
		if n := r.nth(f, t); n != "1" {
			r.warnOnce("repeated-number", hl7v2.Place{Segment: f.segment.Name(), Occurrence: f.segment.Occurrence()}, "the number and code of an earlier one: told apart by its place in the message")
			return "#" + n
		}
		return ""
	case "apart":
		return r.apartBy(f, t.args)
	case "own":
		return r.own(f, t.args)
	case "gathered":
		return r.gathered(f, t.args)
	case "variant":
		return r.variant(f, t.args)
	default:
		return convert(f, t)
	}
}

// convert evaluates the functions that make one text of their arguments' texts.
func convert(f *frame, t *term) string {
	r := f.run
	leaf := func(i int) string {
		v := t.args[i].value(f).FirstLeaf()
		if !v.Valued() {
			return ""
		}
		r.used = append(r.used, v)
		return r.text(v)
	}
	switch t.text {
	case "data":
		return r.data(leaf(0), leaf(1), t.args[0].value(f))
	case "first":
		for i := range t.args {
			if s := t.args[i].text(f); s != "" {
				return s
			}
		}
	case "join":
		var parts []string
		for i := range t.args[1:] {
			if s := t.args[i+1].text(f); s != "" {
				parts = append(parts, s)
			}
		}
		return strings.Join(parts, t.args[0].text(f))
	case "whole":
		if v := t.args[0].value(f); v.Valued() {
			r.used = append(r.used, v)
			return r.text(v)
		}
	case "digits":
		return strings.Map(func(c rune) rune {
			if c >= '0' && c <= '9' {
				return c
			}
			return -1
		}, leaf(0))
	case "day": // of a time (HL7 v2.5.1 §2.A.22)
		text := leaf(0)
		return text[:min(len(text), len("YYYYMMDD"))]
	case "codesystem":
		system := codingSystem(leaf(0), r.systems())
		if len(t.args) > 1 {
			system = r.mapper.known.of(system, leaf(1))
		}
		return system
	case "uri":
		return universalURI(leaf(0), leaf(1))
	case "comparator":
		sign, _ := compared(leaf(0))
		return sign
	case "magnitude":
		_, number := compared(leaf(0))
		return number
	case "money":
		return money(leaf(0))
	case "base64":
		return base64.StdEncoding.EncodeToString([]byte(t.args[0].text(f)))
	case "contenttype":
		return contentType(leaf(0), leaf(1))
	}
	return ""
}

// assigner names an assigning authority (HD) as a URI: an ISO OID or UUID as a
// urn, a URI as itself, a namespace by the source's systems, else by a urn of
// ours that keeps the name.
func (r *run) assigner(v hl7v2.Value, use bool) string {
	if !v.Valued() {
		return ""
	}
	return r.authority(v.Component(1), v.Component(2), v.Component(3), use)
}

// authority is assigner with the three parts apart, as EI has them.
func (r *run) authority(namespace, universal, kind hl7v2.Value, use bool) string {
	if !universal.Valued() {
		kind = hl7v2.Value{}
	}
	ns, id := r.text(namespace), r.text(universal)
	out := ""
	mark := func(values ...hl7v2.Value) {
		for _, v := range values {
			if use && v.Valued() {
				r.used = append(r.used, v)
			}
		}
	}
	switch {
	case id != "" && (strings.EqualFold(r.text(kind), "ISO") || r.text(kind) == "") && fhir.IsOID(id):
		out = "urn:oid:" + id
		mark(universal, kind)
	case strings.EqualFold(r.text(kind), "UUID") && fhir.IsUUID(strings.ToLower(id)):
		out = "urn:uuid:" + strings.ToLower(id)
		mark(universal, kind)
	case strings.Contains(id, "://"):
		out = id
		mark(universal, kind)
	case ns != "":
		mark(namespace)
		if uri, ok := r.ctx.Systems[ns]; ok {
			out = uri
		} else if fhir.IsOID(ns) {
			out = "urn:oid:" + ns
		} else {
			out = "urn:x-liaison:ns:" + escapeURN(ns)
		}
	case id != "":
		mark(universal)
		out = "urn:x-liaison:ns:" + escapeURN(id)
	}
	return out
}

// universalURI is a universal id (HD.2) of its type (HD.3) as a URI, or "" where
// it is none: an OID or UUID as a URN, a URI as itself.
func universalURI(id, kind string) string {
	switch {
	case (strings.EqualFold(kind, "ISO") || kind == "") && fhir.IsOID(id):
		return "urn:oid:" + id
	case (strings.EqualFold(kind, "UUID") || kind == "") && fhir.IsUUID(strings.ToLower(id)):
		return "urn:uuid:" + strings.ToLower(id)
	case strings.Contains(id, "://"), strings.HasPrefix(id, "urn:"):
		return strings.Join(strings.Fields(id), "")
	}
	return ""
}

// phone writes an XTN as one text: XTN.1 or XTN.12 as sent, else the parts.
func (r *run) phone(v hl7v2.Value) string {
	for _, n := range []int{1, 12} {
		if p := v.Component(n); p.Valued() {
			r.used = append(r.used, p)
			return r.text(p)
		}
	}
	part := func(n int) string {
		p := v.Component(n)
		if !p.Valued() {
			return ""
		}
		r.used = append(r.used, p)
		return r.text(p)
	}
	out := ""
	if country := part(5); country != "" {
		out = "+" + strings.TrimPrefix(country, "+") + " "
	}
	if area := part(6); area != "" {
		out += "(" + area + ") "
	}
	out += part(7)
	if ext := part(8); ext != "" {
		out += " ext. " + ext
	}
	return strings.TrimSpace(out)
}

// lines joins the repetitions of a text field, one a line.
func (r *run) lines(v hl7v2.Value) string {
	var out []string
	for i := 1; i <= v.Repetitions(); i++ {
		rep := v.Repetition(i)
		if !rep.Valued() {
			continue
		}
		r.used = append(r.used, rep)
		out = append(out, r.text(rep))
	}
	return strings.Join(out, "\n")
}

// data gives ED.5 as base64: sent so, as hexadecimal digits, or as text
// (ED.4, HL7 table 0299). Without ED.4, what is base64 counts as that.
func (r *run) data(content, encoding string, at hl7v2.Value) string {
	switch strings.ToUpper(encoding) {
	case "HEX":
		bytes, err := hex.DecodeString(strings.Join(strings.Fields(content), ""))
		if err != nil {
			r.warn("encoding", at.Place(), "ED.4 says hexadecimal, the data is not; it is kept as text")
			bytes = []byte(content)
		}
		return base64.StdEncoding.EncodeToString(bytes)
	case "A":
		return base64.StdEncoding.EncodeToString([]byte(content))
	}
	packed := strings.Join(strings.Fields(content), "")
	if content == "" || base64OK(packed) {
		return packed
	}
	r.warn("encoding", at.Place(), "not base64; it is kept as text")
	return base64.StdEncoding.EncodeToString([]byte(content))
}

// series writes a numeric array as SampledData has it: samples, a blank between.
func (r *run) series(v hl7v2.Value) string {
	var out []string
	for n := 1; n <= v.Components(); n++ {
		c := v.Component(n)
		lit, ok := decimal(r.text(c))
		if !ok {
			lit = "E"
		}
		r.used = append(r.used, c)
		out = append(out, lit)
	}
	return strings.Join(out, " ")
}

// contentType names ED.2 and ED.3 as a MIME type (HL7 table 0191 and 0291).
func contentType(kind, subtype string) string {
	subtype = strings.ToLower(subtype)
	switch strings.ToUpper(kind) {
	case "IM", "IMAGE":
		if subtype == "" {
			return "image/*"
		}
		return "image/" + subtype
	case "TEXT", "TX", "FT":
		if subtype == "" || subtype == "plain" {
			return "text/plain"
		}
		return "text/" + subtype
	case "AU", "AUDIO":
		return "audio/" + orText(subtype, "basic")
	}
	switch subtype {
	case "":
		return ""
	case "jpeg", "gif", "png", "tiff":
		return "image/" + subtype
	case "html", "rtf", "xml":
		return "text/" + subtype
	}
	if strings.Contains(subtype, "/") {
		return subtype
	}
	return "application/" + strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == '-' || c == '.' || c == '+' {
			return c
		}
		return '-'
	}, subtype)
}

func orText(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// nth counts, among the segments of the same name in the enclosing group, those
// up to this one whose arguments have the same values: 1, 2, …
func (r *run) nth(f *frame, t *term) string {
	name := f.segment.Name()
	for i := range r.counts {
		if c := &r.counts[i]; c.of == t && c.name == name {
			return strconv.Itoa(int(c.nth[f.segment.Occurrence()-1]))
		}
	}
	r.counts = append(r.counts, count{of: t, name: name, nth: r.countAll(name, t.args)})
	return r.nth(f, t)
}

// A count is what nth gives for every segment of a name: they are counted at
// once, so that a message of many costs no more for each.
type count struct {
	of   *term // the call
	name string
	nth  []int32 // by occurrence
}

func (r *run) countAll(name string, args []expr) []int32 {
	type alike struct {
		parent *instance
		values string
	}
	var out []int32
	seen := map[alike]int32{}
	for k := range r.msg.Len() {
		s := r.msg.Segment(k)
		if !s.Is(name) {
			continue
		}
		f := frame{run: r, segment: s, group: r.groups[k]}
		key := alike{f.group.parent, string(valuesOf(&f, args))}
		seen[key]++
		out = append(out, seen[key])
	}
	return out
}
