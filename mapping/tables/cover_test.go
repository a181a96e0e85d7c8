package tables

import (
	"regexp"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// A reach is one element that a rule writes.
type reach struct {
	steps []string
	typ   string
	rule  *crule
}

// names gives a path's steps as the guide writes them.
func names(steps []cstep) []string {
	var out []string
	for i := range steps {
		st := &steps[i]
		name := strings.TrimPrefix(st.name, "_")
		switch {
		case st.url != "":
			name += "(" + st.url[strings.LastIndexByte(st.url, '/')+1:] + ")"
		case st.resource != "":
			name += "(" + st.resource + ")"
		}
		out = append(out, name)
	}
	return out
}

// reaches gives what a rule writes: its target and what stands behind `with`.
func reaches(c *crule) []reach {
	typ := ""
	if n := len(c.steps); n > 0 {
		typ = c.steps[n-1].typ
	}
	own := names(c.steps)
	out := []reach{{steps: own, typ: typ, rule: c}}
	base := own
	switch {
	case c.withAt >= 0: // of the list entry itself, not of what it refers to
		base = slices.Clone(own[:c.withAt+1])
		base[c.withAt], _, _ = strings.Cut(base[c.withAt], "(")
	case len(own) > 0 && c.steps[len(own)-1].primitive:
		base = own[:len(own)-1]
	}
	for i := range c.with {
		w := &c.with[i]
		out = append(out, reach{steps: slices.Concat(base, names(w.steps)), typ: w.steps[len(w.steps)-1].typ, rule: w})
	}
	return out
}

var readToken = regexp.MustCompile(`\b[A-Z][A-Z0-9]{1,2}[a-z]*(?:-\d+)?(?:\.\d+)*\b`)

// reads says whether a rule's line reads a field or component: itself, the
// whole that it is a part of, or a part of it.
func reads(line, id string) bool {
	if id == "-" || id == "" {
		return true
	}
	for _, token := range readToken.FindAllString(line, -1) {
		if token == id || strings.HasPrefix(id, token+".") || strings.HasPrefix(token, id+".") {
			return true
		}
	}
	return false
}

// covers says whether a rule of the sections reads the identifier and writes the
// element, itself or through the section of a data type.
func covers(sections []*section, id string, path []string, want *guideRow) bool {
	return covered(sections, id, path, want, 0)
}

func covered(sections []*section, id string, path []string, want *guideRow, depth int) bool {
	if depth > 6 {
		return false
	}
	for _, s := range sections {
		for i := range s.rules {
			c := &s.rules[i]
			if !reads(c.where.text, id) && !(constant(&c.source) && isConstant(path, want)) {
				continue
			}
			for _, to := range reaches(c) {
				if to.matches(id, path, want, c.where.text, depth) {
					return true
				}
			}
		}
	}
	return false
}

// constant says whether a source is one.
func constant(e *expr) bool {
	return len(e.terms) == 1 && (e.terms[0].kind == termText || e.terms[0].kind == termCoding)
}

// isConstant says whether a row gives an element that no value goes into.
func isConstant(path []string, want *guideRow) bool {
	end := path[max(len(path)-1, 0):]
	return want.constant != "" || slices.Equal(end, []string{"system"}) || slices.Equal(end, []string{"display"})
}

// matches says whether a rule's element is the one that is asked for, holds it,
// or is a part of it.
func (r *reach) matches(id string, path []string, want *guideRow, line string, depth int) bool {
	if n := len(path); n > 0 && path[n-1] == "url" && strings.HasPrefix(path[max(n-2, 0)], "extension(") {
		path = path[:n-1]
	}
	if len(path) == 1 && path[0] == "this" {
		path = nil
	}
	if starts(r.steps, path) {
		return fits(r.rule, want, line)
	}
	if !starts(path, r.steps) {
		return false
	}
	rest := path[len(r.steps):]
	if r.rule.sub != nil {
		return covered([]*section{r.rule.sub}, r.rule.within(id), rest, &guideRow{constant: want.constant}, depth+1) && vocabulary(r.rule, want)
	}
	switch end := strings.Join(rest, "."); r.typ {
	case "CodeableConcept":
		return slices.Contains([]string{"coding", "coding.code", "coding.system", "coding.display", "coding.version", "text"}, end) && fits(r.rule, want, line)
	case "Coding":
		return slices.Contains([]string{"code", "system", "display", "version"}, end) && fits(r.rule, want, line)
	}
	return false
}

func starts(long, short []string) bool {
	return len(long) >= len(short) && slices.Equal(long[:len(short)], short)
}

// within names a component as the section of its data type does.
func (c *crule) within(id string) string {
	if !c.isRef || id == "-" || id == "" {
		return ""
	}
	whole := c.ref.String()
	if c.ref.segment == "" {
		whole, _, _ = strings.Cut(id, ".")
		if c.ref.component > 0 {
			return ""
		}
	}
	if rest, ok := strings.CutPrefix(id, whole+"."); ok {
		return c.sub.own + "." + rest
	}
	return ""
}

// fits checks the vocabulary and the constant of a row.
func fits(c *crule, want *guideRow, line string) bool {
	if want.constant != "" && !strings.Contains(line, `"`+want.constant+`"`) && !strings.Contains(line, "#"+want.constant) {
		return false
	}
	return vocabulary(c, want)
}

// vocabulary says whether the value goes through the code table of the row: one
// that translates, or that names the code system of what becomes a coding.
func vocabulary(c *crule, want *guideRow) bool {
	if want.code == "" || c.table == nil && !c.isRef {
		return true
	}
	typ := ""
	if n := len(c.steps); n > 0 {
		typ = c.steps[n-1].typ
	}
	coded := typ == "CodeableConcept" || typ == "Coding"
	if !want.translated && !want.named {
		return true
	}
	if c.table == nil && (typ == "boolean" || !want.translated && !(coded && want.named)) {
		return true
	}
	return c.table != nil && (c.table.name == want.code || strings.HasPrefix(c.table.name, want.code+"["))
}

// converts looks what becomes of a component of a coded value, which is no
// table's work.
func (m *Mapper) converts(r guideRow, coding bool) bool {
	raw := "c1^d2^s3^c4^d5^s6^v7^v8^t9^c10^d11^s12^v13"
	own, number, ok := strings.Cut(r.id, ".")
	if !ok {
		return false
	}
	if own == "ID" || own == "IS" || own == "ST" {
		raw = "c1"
	}
	msg, err := hl7v2.Parse([]byte("MSH|^~\\&|||||||ORU^R01|1|P|2.5\rOBX|1|CWE|||" + raw + "\r"))
	if err != nil {
		return false
	}
	run := m.begin(msg, msg.Header(), &Context{})
	defer run.release()
	node := run.coded(coding, msg.Segment(1).Field(5), nil)
	return slices.ContainsFunc(leavesAt(node, strings.Split(r.path, ".")), func(text string) bool {
		return strings.TrimLeft(text[strings.LastIndexByte(text, ':')+1:], "cdsvt") == number
	})
}

// leavesAt gives the texts at a path.
func leavesAt(n *fhir.Node, path []string) []string {
	if n == nil {
		return nil
	}
	if n.Kind == fhir.Array {
		var out []string
		for _, item := range n.Items() {
			out = append(out, leavesAt(item, path)...)
		}
		return out
	}
	if len(path) == 0 {
		return []string{n.Text}
	}
	return leavesAt(n.Get(path[0]), path[1:])
}

// makes says whether a line of a message table makes what a row makes, with
// its references.
func (m *Mapper) makes(r guideRow) bool {
	st := m.structures[r.table]
	if st == nil {
		return false
	}
	path := strings.Split(r.id, ".")
	groups, segment := path[:len(path)-1], path[len(path)-1]
	made := false
	for _, rule := range st.makes[segment] {
		made = made || rule.section.target == r.path && under(rule.groups, groups) || rule.nests(r.path)
	}
	if !made || r.code == "" {
		return made
	}
	for _, reference := range strings.Split(r.code, "; ") {
		if !st.refers(reference) {
			return false
		}
	}
	return true
}

// nests says whether the line's section makes a resource of the type itself.
func (rule *makeRule) nests(typ string) bool {
	for i := range rule.section.rules {
		for _, st := range rule.section.rules[i].steps {
			if st.resource == typ {
				return true
			}
		}
	}
	return false
}

// under says whether the groups of a line are all among those of a row.
func under(ours, theirs []string) bool {
	for _, g := range ours {
		if !slices.Contains(theirs, g) {
			return false
		}
	}
	return true
}

// refers looks for Type.path=Type among the references of a structure.
func (st *structure) refers(reference string) bool {
	left, to, _ := strings.Cut(reference, "=")
	from, path, _ := strings.Cut(left, ".")
	types := map[string]string{}
	for _, rules := range st.makes {
		for _, rule := range rules {
			if rule.typ != "" {
				types[rule.name] = rule.typ
			}
		}
	}
	for _, rules := range st.makes {
		for _, rule := range rules {
			for i := range rule.assigns {
				if a := &rule.assigns[i]; a.is(rule, types, from, path, to) {
					return true
				}
			}
			if rule.section.target == from && covers([]*section{rule.section}, "-", splitOutside(path, '.'), &guideRow{}) {
				return true
			}
		}
	}
	return false
}

func (a *assign) is(rule *makeRule, types map[string]string, from, path, to string) bool {
	owner, other := rule.section.target, types[a.name]
	if a.owner != "" {
		owner, other = types[a.owner], rule.section.target
	}
	return owner == from && other == to && strings.Join(names(a.steps), ".") == path
}

// makesAs checks `STRUCTURE SEGMENT TYPE`.
func (m *Mapper) makesAs(words []string) bool {
	return len(words) == 3 && m.makes(guideRow{table: words[0], id: words[1], path: words[2]})
}
