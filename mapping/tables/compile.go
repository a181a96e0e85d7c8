package tables

import (
	"fmt"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
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
	structural              []ref
	makers                  map[int32]fhir.Origin // by label: the field of the rule that names it first
	warnings                []warning
	rest                    bool
	pure                    bool // what it makes depends on its value and the scope alone
	defaults                bool // of defaults.yaml: run on every resource of the type at the end
}

// A keyRule is one alternative of a resource's business key.
type keyRule struct {
	fallback bool     // identifies only where no key does; never an alias
	cx       bool     // a CX field: the repetition by type
	types    []string // preferred CX.5, in order
	ref      ref
	parts    []expr
	kind     string // record key type
	cond     cond   // nil, or when this alternative counts
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

// A cstep is one compiled step of a path. What decides about most steps stands
// in it, the rest is shared by those that are alike: the tables have some ten
// thousand steps, and mapping walks through them.
type cstep struct {
	*stepKind
	name      string
	from      fhir.Origin // of the rule that makes the entries of its label
	label     int32
	order     uint16 // of the element in its type
	shared    bool
	repeats   bool // the last list step: it takes the source's repetition
	list      bool
	primitive bool
}

// A stepKind is what steps to the same element share.
type stepKind struct {
	stepName
	choice   string   // value of value[x], or ""
	others   []string // its other alternatives
	codes    []string // of a required binding
	excludes string   // the element that this one cannot stand beside, or ""
}

// A stepName tells one stepKind from another.
type stepName struct {
	owner, element string
	typ            string // of the element, or the format that the rule asks for
	url            string // of an extension
	resource       string // that a reference leads to
	labelName      string // the label as ids have it, whatever tables are loaded
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
}

func (l *loader) compileLine(s *section, typ *fhir.Type, line sourceLine) error {
	word, rest, _ := strings.Cut(line.text, " ")
	switch word {
	case "key", "fallback":
		rest, condition, conditional := strings.Cut(rest, " if ")
		k, err := parseKey(strings.TrimSpace(rest), s.own)
		k.fallback = word == "fallback"
		if conditional && err == nil {
			k.cond, err = parseCond(condition, s.own)
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
			s.structural = append(s.structural, r)
		}
		return nil
	case "warn":
		w, err := parseWarning(strings.TrimSpace(rest), s.own)
		s.warnings = append(s.warnings, w)
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

// Needs are what has to be there for a rule to do anything, two of it, a byte
// each: a field of the section's own segment, a component of its value, or 0
// where that is not said.
type needs uint16

// needComponent marks a component.
const needComponent = 64

// needsOf gives the rule's source, and the first value that its condition asks
// for.
func needsOf(c *crule, condition []ref, own string) needs {
	var n needs
	if c.isRef {
		n = needOf(c.ref, own)
	}
	if c.nullable || c.perRepetition { // `""` in the source counts where the condition does not hold
		return n
	}
	for _, r := range condition {
		if k := needOf(r, own); k != 0 && k != n {
			return n | k<<8
		}
	}
	return n
}

func needOf(r ref, own string) needs {
	switch {
	case r.segment == own && own != "":
		return needs(min(r.field, 63))
	case r.segment == "" && r.component > 0 && r.component < 64:
		return needComponent | needs(r.component)
	}
	return 0
}

// missing says whether some of it is not there: a bit for each field and each
// component that is, with bit 0 of the fields set.
func (n needs) missing(there *[2]uint64) bool {
	return there[n>>6&1]>>(n&63)&1 == 0 || there[n>>14&1]>>(n>>8&63)&1 == 0
}

// parseKey reads `cx(PID-3, MR PI)`, `ei(SCH-2, FILL)` or `SRC, SRC …`.
func parseKey(text, own string) (keyRule, error) {
	var k keyRule
	for _, fn := range []string{"cx(", "ei("} {
		inner, ok := strings.CutPrefix(text, fn)
		if !ok {
			continue
		}
		name, types, _ := strings.Cut(strings.TrimSuffix(inner, ")"), ",")
		r, err := parseRef(strings.TrimSpace(name), own)
		k.cx, k.ref, k.types = fn == "cx(", r, strings.Fields(types)
		if fn == "ei(" {
			k.kind = "ei"
		}
		return k, err
	}
	for _, part := range splitOutside(text, ',') {
		e, err := parseExpr(part, own)
		if err != nil {
			return k, err
		}
		k.parts = append(k.parts, e)
	}
	return k, nil
}

// key computes a business key: the first alternative whose first source is there.
func (s *section) key(f *frame) records.Key {
	for i := range s.keys {
		if k := s.keys[i].eval(f); !k.Zero() {
			return k
		}
	}
	return records.Key{}
}

func (k *keyRule) eval(f *frame) records.Key {
	if k.cond != nil && !k.cond(f) {
		return records.Key{}
	}
	key := k.value(f)
	f.run.used = f.run.used[:0]
	return key
}

func (k *keyRule) value(f *frame) records.Key {
	r := f.run
	if k.cx || k.kind == "ei" {
		v := f.resolve(k.ref)
		if !v.Valued() {
			return records.Key{}
		}
		return r.identifier(k.pick(r, v), k)
	}
	if len(k.parts) == 0 {
		return records.Key{}
	}
	id := r.scratch[:0]
	decided := false // the first source that is no resource decides
	for i := range k.parts {
		t := &k.parts[i].terms[0]
		s := ""
		if t.kind == termNamed {
			if e := f.group.lookup(t.text); e != nil {
				s = e.id
			}
		} else {
			s = k.parts[i].text(f)
		}
		if s == "" && !decided {
			return records.Key{}
		}
		decided = decided || t.kind != termNamed
		if len(k.parts) == 1 {
			return records.Key{ID: s}
		}
		if i > 0 {
			id = append(id, '|')
		}
		id = append(id, s...)
	}
	r.scratch = id
	return records.Key{ID: string(id)}
}

// pick chooses the repetition of a CX by its type (CX.5), in the order of the
// rule, else the first that has an id.
func (k *keyRule) pick(r *run, v hl7v2.Value) hl7v2.Value {
	n := v.Repetitions()
	if v.Place().Component > 0 || n <= 1 {
		return v
	}
	for _, want := range k.types {
		for i := 1; i <= n; i++ {
			if rep := v.Repetition(i); rep.Component(1).Valued() && r.text(rep.Component(5)) == want {
				return rep
			}
		}
	}
	for i := 1; i <= n; i++ {
		if rep := v.Repetition(i); rep.Component(1).Valued() {
			return rep
		}
	}
	return v
}

// identifier reads CX (id, authority in .4, type in .5) or EI (id, namespace in
// .2 to .4) as a key. Without an authority the source's default one counts.
func (r *run) identifier(v hl7v2.Value, rule *keyRule) records.Key {
	k := records.Key{ID: r.text(v.Component(1).FirstLeaf())}
	if rule.cx {
		k.Assigner = r.assigner(v.Component(4), false)
		k.Type = r.text(v.Component(5))
	} else {
		ns, id := r.text(v.Component(2)), r.text(v.Component(3))
		switch {
		case fhir.IsOID(id):
			k.Assigner = "urn:oid:" + id
		case ns != "":
			if uri, ok := r.ctx.Systems[ns]; ok {
				k.Assigner = uri
			} else {
				k.Assigner = "urn:x-liaison:ns:" + escapeURN(ns)
			}
		case id != "":
			k.Assigner = "urn:x-liaison:ns:" + escapeURN(id)
		}
	}
	if k.Assigner == "" && k.ID != "" {
		k.Assigner = "urn:x-liaison:ns:" + escapeURN(r.ctx.defaultAssigner(r.header))
		if !rule.cx && len(rule.types) > 0 { // a placer's and a filler's numbers may be the same
			k.Assigner += ":" + rule.types[0]
		}
	}
	return k
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
	known := functions()
	for _, t := range e.terms {
		if t.kind != termCall {
			continue
		}
		n, ok := known[t.text]
		if !ok {
			return fmt.Errorf("no function %s()", t.text)
		}
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

// compilePath checks each step against the schema. entry is the type that a
// `with` clause starts from: of the last list entry that is no extension, else of the
// last object.
func (l *loader) compilePath(path []step, typ *fhir.Type, format string) (out []cstep, entry *fhir.Type, err error) {
	entry = typ
	foundEntry := false
	out = make([]cstep, 0, len(path))
	for i, s := range path {
		st := cstep{name: s.name, order: typ.Order(s.name)}
		kind := stepKind{stepName: stepName{owner: typ.Name, element: s.name, resource: s.resource}}
		e, ok := typ.Element(s.name)
		if !ok {
			if s.extension == "" && typ.Name != "Extension" {
				return nil, nil, fmt.Errorf("%s has no element %s%s", typ.Name, s.name, meant(typ, s.name))
			}
			return nil, nil, fmt.Errorf("%s takes no %s", typ.Name, s.name)
		}
		kind.typ, kind.codes, kind.excludes = e.Type, e.Codes, excluded(typ.Name, s.name)
		st.list, st.primitive = e.List, e.Primitive()
		last := i == len(path)-1
		if st.primitive && !last { // an extension of a primitive
			if path[i+1].extension == "" {
				return nil, nil, fmt.Errorf("%s.%s is a %s and has no %s", typ.Name, s.name, e.Type, path[i+1].name)
			}
			st.name, st.primitive, kind.typ = "_"+s.name, false, "Element"
			st.order, st.stepKind = typ.Order(st.name), l.stepKind(&kind)
			typ, _ = l.m.schema.Type("Period") // any type that carries extensions
			out = append(out, st)
			continue
		}
		if st.primitive && format != "" {
			kind.typ = format
		}
		if s.extension != "" {
			if kind.url, err = l.extension(s.extension); err != nil {
				return nil, nil, err
			}
			if part := !strings.Contains(kind.url, ":"); part && typ.Name != "Extension" {
				return nil, nil, fmt.Errorf("extension %s is a part of others: its URL is relative", s.extension)
			}
		}
		st.shared = strings.HasPrefix(s.label, "=")
		if s.label != "" || st.list && !last {
			kind.labelName = s.name + "(" + s.extension + ")[" + s.label + "]"
			st.label = l.label(kind.labelName)
		}
		if kind.choice = e.Choice; e.Choice != "" {
			for k := range typ.Elements {
				if o := &typ.Elements[k]; o.Choice == e.Choice && o.Name != e.Name {
					kind.others = append(kind.others, o.Name)
				}
			}
		}
		st.stepKind = l.stepKind(&kind)
		out = append(out, st)
		next := e.Type
		if s.resource != "" {
			if e.Type != "Reference" {
				return nil, nil, fmt.Errorf("%s.%s is a %s, not a Reference", typ.Name, s.name, e.Type)
			}
			next = s.resource
		}
		if st.primitive {
			if !foundEntry {
				entry = typ
			}
			break
		}
		nextType, ok := l.m.schema.Type(next)
		if !ok {
			return nil, nil, fmt.Errorf("%s is no FHIR type", next)
		}
		if opens := st.list && st.url == ""; opens || !foundEntry {
			entry = nextType
			if s.resource != "" {
				entry, _ = l.m.schema.Type("Reference")
			}
			foundEntry = foundEntry || opens
		}
		typ = nextType
	}
	for i := len(out) - 1; i >= 0; i-- {
		if out[i].list {
			out[i].repeats = true
			break
		}
	}
	return out, entry, nil
}

// stepKind gives the one of its name.
func (l *loader) stepKind(k *stepKind) *stepKind {
	have := l.kinds[k.stepName]
	if have == nil {
		have = k
		l.kinds[k.stepName] = k
	}
	return have
}

// meant names the element that differs in the letters' case, or a choice's
// alternatives.
func meant(typ *fhir.Type, name string) string {
	var choices []string
	for i := range typ.Elements {
		e := &typ.Elements[i]
		if strings.EqualFold(e.Name, name) {
			return "; it has " + e.Name + ", a " + e.Type
		}
		if e.Choice == name && len(choices) < 12 {
			choices = append(choices, e.Name)
		}
	}
	if len(choices) > 0 {
		return "; it has " + strings.Join(choices, ", ")
	}
	return ""
}

func (l *loader) extension(name string) (string, error) {
	if strings.Contains(name, ":") {
		return name, nil
	}
	url, ok := l.m.extensions[name]
	if !ok {
		return "", fmt.Errorf("no extension %q in extensions.yaml", name)
	}
	return url, nil
}

func (l *loader) label(name string) int32 {
	if name == "" {
		return 0
	}
	n, ok := l.m.labels[name]
	if !ok {
		n = int32(len(l.m.labels)) + 1
		l.m.labels[name] = n
	}
	return n
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
