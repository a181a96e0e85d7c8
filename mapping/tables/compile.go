package tables

import (
	"fmt"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
)

type sourceLine struct {
	file string
	line int
	text string
}

// A section is the rules from one segment or data type to one FHIR type.
type section struct {
	name, own, target, file string
	lines                   []sourceLine
	rules                   []crule
	needs                   []needs // of each rule
	keys                    []keyRule
	structural              []structural
	makers                  map[int32]fhir.Origin // by label: the field of the rule that names it first
	warnings                []warning
	unless                  cond // the segment is not for this section; nil: it always is
	rest                    bool
	pure                    bool // what it makes depends on its value and the scope alone
	defaults                bool // of defaults.yaml: run on every resource of the type at the end
}

// A structural value is one that says how its segment stands in the message.
type structural struct {
	ref   ref
	needs needs
}

// A crule is a compiled rule.
type crule struct {
	where         sourceLine
	source        expr
	isRef         bool
	ref           ref
	named         string
	steps         []cstep
	list          bool // the target can take several
	withAt        int  // the step that `with` is relative to; -1: the element itself
	perRepetition bool
	as            string
	sub           *section
	table         *codeTable
	with          []crule
	cond          cond
	condImpure    bool // it reads more than the section's value
	from          fhir.Origin
	nullable      bool       // the source is made of one field, ref, whose `""` says the same
	clears        string     // what `""` in the field takes out of a record, see clearsOf
	plain         string     // a constant text that its target takes as it is, or ""
	constantNode  *fhir.Node // frozen: the Coding or CodeableConcept of a constant
	isDefault     bool       // fills what nothing else did, and is reported
	bound         string     // low or high: the target is this value of a Range
}

func (l *loader) compile() {
	for _, s := range l.m.sections {
		l.compileSection(s)
	}
	for _, st := range l.pending {
		l.compileStructure(st)
	}
}

func (l *loader) compileSection(s *section) {
	typ, ok := l.m.schema.Type(s.target)
	if !ok {
		l.fail(s.file, 1, s.name, "%s is no FHIR type", s.target)
		return
	}
	for _, line := range s.lines {
		if err := l.compileLine(s, typ, line); err != nil {
			l.fail(line.file, line.line, line.text, "%s", err)
		}
	}
	s.roles()
}

func (l *loader) compileLine(s *section, typ *fhir.Type, line sourceLine) error {
	word, rest, _ := strings.Cut(line.text, " ")
	switch word {
	case "key", "fallback":
		rest, condition, conditional := strings.Cut(rest, " if ")
		k, err := parseKey(strings.TrimSpace(rest), s.own)
		k.fallback = word == "fallback"
		if conditional && err == nil {
			var read *condParser
			k.cond, read, err = readCond(condition, s.own)
			k.impure = read.impure
		}
		if err == nil {
			s.keys = append(s.keys, k)
		}
		return err
	case "structural":
		for _, name := range strings.Fields(strings.ReplaceAll(rest, ",", " ")) {
			r, err := parseRef(name, s.own)
			if err != nil {
				return err
			}
			s.structural = append(s.structural, structural{r, needs{}.with([]ref{r}, s.own)})
		}
		return nil
	case "warn":
		w, err := parseWarning(strings.TrimSpace(rest), s.own)
		s.warnings = append(s.warnings, w)
		return err
	case "unless":
		condition, _, err := readCond(rest, s.own)
		if before := s.unless; before != nil && err == nil {
			s.unless = func(f *frame) bool { return before(f) || condition(f) }
		} else {
			s.unless = condition
		}
		return err
	case "rest":
		s.rest = true
		return nil
	}
	text, isDefault := strings.CutPrefix(line.text, "default ")
	r, err := parseRule(text, s.own)
	if err != nil {
		return err
	}
	c, err := l.compileRule(r, typ)
	if err != nil {
		return err
	}
	c.where, c.isDefault = line, isDefault || s.defaults
	s.originate(&c)
	s.rules, s.needs = append(s.rules, c), append(s.needs, needsOf(&c, r.condNeeds, s.own))
	return nil
}

// boundOf says which value of a Range a rule sets.
func boundOf(c *crule, typ *fhir.Type) string {
	last := len(c.steps) - 1
	if last < 1 || !c.isRef || c.steps[last].name != "value" {
		return ""
	}
	parent := typ.Name
	if last > 1 {
		parent = c.steps[last-2].typ
	}
	if bound := c.steps[last-1].name; parent == "Range" && (bound == "low" || bound == "high") {
		return bound
	}
	return ""
}

// compileRule checks a rule against the FHIR type it writes to.
func (l *loader) compileRule(r rule, typ *fhir.Type) (crule, error) {
	c := crule{source: r.source, as: r.as, cond: r.cond, condImpure: r.condImpure}
	system := ""
	if len(r.source.terms) == 1 {
		switch t := r.source.terms[0]; t.kind {
		case termRef:
			c.isRef, c.ref = true, t.ref
		case termNamed:
			c.named = t.text
		case termCoding:
			uri, err := systemURI(t.system, l.m.systems)
			if err != nil {
				return c, err
			}
			system = uri
		case termText, termCall:
		}
	}
	if err := checkCalls(r.source); err != nil {
		return c, err
	}
	if r.code != "" {
		if c.table = l.m.codes[r.code]; c.table == nil {
			return c, fmt.Errorf("no code table %s", r.code)
		}
	}
	var entry *fhir.Type // what `with` is relative to
	var err error
	if c.steps, entry, err = l.compilePath(r.target, typ, r.format); err != nil {
		return c, err
	}
	if c.table != nil {
		use := tableUse{element: typ.Name}
		for _, st := range c.steps {
			use.element += "." + st.name
			use.codes = st.codes
		}
		l.uses[r.code] = append(l.uses[r.code], use)
	}
	if c.isRef && c.cond != nil && strings.Contains(r.text, fmt.Sprintf("%s-%d", c.ref.segment, c.ref.field)+".") ||
		strings.Contains(r.text, "repetition") {
		c.perRepetition = c.isRef && c.cond != nil && c.ref.component == 0
	}
	if len(r.source.terms) == 1 && r.source.terms[0].kind == termText && len(c.steps) > 0 {
		c.plain = plainConstant(&c.steps[len(c.steps)-1], r.source.terms[0].text)
	}
	if system != "" && len(c.steps) > 0 {
		c.constantNode = constantNode(c.steps[len(c.steps)-1].typ, l.m.known.of(system, r.source.terms[0].text), r.source.terms[0])
	}
	c.bound = boundOf(&c, typ)
	c.withAt = -1
	for i, st := range c.steps {
		c.list = c.list || st.list
		if st.list && st.url == "" {
			c.withAt = i
		}
	}
	if err := l.compileTarget(&c, typ, r); err != nil {
		return c, err
	}
	for _, a := range r.with {
		w, err := l.compileRule(rule{source: a.source, target: a.target, text: r.text}, entry)
		if err != nil {
			return c, err
		}
		c.with = append(c.with, w)
	}
	return c, nil
}

// plainConstant is the constant where the target needs no conversion of it.
func plainConstant(st *cstep, text string) string {
	switch st.typ {
	case "string", "markdown", "id", "xhtml":
		return text
	case "code":
		if oneLine(text) == text && (st.codes == nil || slices.Contains(st.codes, text)) {
			return text
		}
	}
	return ""
}

// constantNode is what the rules of a constant share: a Coding, or a
// CodeableConcept of one.
func constantNode(typ, system string, t term) *fhir.Node {
	n := codingNode(nil, coding{system: system, code: t.text, display: t.display})
	if typ == "CodeableConcept" {
		n = fhir.NewObject().Set("coding", fhir.NewArray(n))
	}
	n.Freeze()
	return n
}

// compileTarget finds the data type section and what else the target needs.
func (l *loader) compileTarget(c *crule, typ *fhir.Type, r rule) error {
	target, primitiveTarget := typ.Name, false
	for _, st := range c.steps {
		target, primitiveTarget = st.typ, st.primitive
		if st.resource != "" {
			target = st.resource
		}
	}
	if c.named != "" {
		if target != "Reference" && len(c.steps) > 0 && c.steps[len(c.steps)-1].resource == "" {
			return fmt.Errorf("@%s is a resource, the element is a %s", c.named, target)
		}
		return nil
	}
	switch {
	case primitiveTarget && r.as != "" && !codedType(r.as):
		return fmt.Errorf("the element is a %s: no section writes into it, `as %s` has no meaning here; name a component, or `as CWE` for the text of a coded value", target, r.as)
	case primitiveTarget:
		return nil
	case r.as != "" && builtinType(r.as) && (target == "CodeableConcept" || target == "Coding"):
		return nil
	case r.as != "":
		if c.sub = l.m.sections[r.as+" to "+target]; c.sub == nil {
			return fmt.Errorf("no section %q for the element's type %s", r.as+" to "+target, target)
		}
		return nil
	case target == "CodeableConcept" || target == "Coding":
		return nil
	}
	return fmt.Errorf("the element is a %s: say `as` which data type the source is", target)
}

func builtinType(as string) bool {
	return slices.Contains([]string{"CWE", "CE", "CNE", "CF", "IS", "ID", "ST", "CNN"}, as)
}

func checkCalls(e expr) error {
	for _, t := range e.terms {
		if t.kind != termCall {
			continue
		}
		fn, ok := functions()[t.text]
		if !ok {
			return fmt.Errorf("no function %s()", t.text)
		}
		n := fn.args
		if n >= 0 && n != len(t.args) || n < 0 && len(t.args) == 0 {
			return fmt.Errorf("%s() takes %d arguments", t.text, n)
		}
		if err := checkFields(t); err != nil {
			return err
		}
		for _, a := range t.args {
			if err := checkCalls(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// excluded is what an element cannot stand beside: a timing has times of day or
// events of the day, not both (tim-10). What comes second finds its place taken.
func excluded(typ, element string) string {
	switch {
	case typ == "TimingRepeat" && element == "timeOfDay":
		return "when"
	case typ == "TimingRepeat" && element == "when":
		return "timeOfDay"
	}
	return ""
}

// constant sets a `with` constant unless it is there.
func (c *crule) constant(f *frame, base *fhir.Node, self *entry) {
	inner := f.run.frame()
	*inner = *f
	inner.base, inner.self = base, self
	if c.isRef {
		c.apply(inner)
	} else {
		c.place(inner, hl7v2.Value{}, f.rep)
	}
	f.run.free(inner)
}
