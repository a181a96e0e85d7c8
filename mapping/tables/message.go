package tables

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
)

// A structure is one compiled message table.
type structure struct {
	name     string
	file     string
	root     *group
	triggers map[string][]triggerRow // by "ADT^A01"
	makes    map[string][]*makeRule  // by segment, in the table's order
	edges    []edgeRule
	only     []string // names of which some line asks for the only one
	floating []string // segments of which some rule asks what they stand behind
	lines    map[string][]sourceLine
	edits    map[string][]edit // of overlays, by part
}

// A triggerRow says what a trigger event asks of the records of a kind.
type triggerRow struct {
	kind         records.Kind
	state, event string
	unsaid       bool           // the state is good only where the message says none
	otherwise    bool           // and only where no other message has told of one
	action       records.Action // "": an upsert
	cancels      []string       // the trigger events that this one takes back; of an order the requests that it refuses
	request      string         // what asks for the state until it is refused
	cond         cond           // nil, or when the row counts
}

// A makeRule is one line of `make`.
type makeRule struct {
	groups  []string
	segment string
	after   []string
	typ     string // "" contributes to name
	name    string
	record  bool
	section *section
	cond    cond
	assigns []assign
}

// An assign is `path = name` or `other.path += this`.
type assign struct {
	owner string // "" for this resource
	steps []cstep
	other []cstep // where the reference goes when the place is another resource's
	name  string  // "this" or a named resource
	only  bool    // the only one of the name in the nearest group that has any
}

type edgeRule struct {
	op                string
	kind              records.Kind
	survivor, retired keyRule
	between           bool // the first segment names the survivor, each other one a retired
	cond              cond // nil, or when it counts
}

// structure reads a message table.
func (l *loader) structure(file string, values map[string]string, lines map[string]int) {
	st := &structure{name: values["structure"], file: file, triggers: map[string][]triggerRow{}, makes: map[string][]*makeRule{}, lines: map[string][]sourceLine{}, edits: map[string][]edit{}}
	root, err := parseSyntax(values["syntax"])
	if err != nil {
		l.fail(file, lines["syntax"], "", "%s", err)
		return
	}
	st.root = root
	st.append(file, values, lines)
	l.pending = append(l.pending, st)
	l.m.structures[st.name] = st
}

func (st *structure) append(file string, values map[string]string, lines map[string]int) {
	for _, part := range []string{"triggers", "make", "edges"} {
		st.lines[part] = append(st.lines[part], ruleLines(file, values[part], lines[part])...)
	}
}

// ruleLines gives the lines of a block, each with its place, without comments.
func ruleLines(file, text string, first int) []sourceLine {
	var out []sourceLine
	for n, raw := range strings.Split(text, "\n") {
		if text := withoutComment(raw); text != "" {
			out = append(out, sourceLine{file: file, line: first + n, text: text})
		}
	}
	return out
}

// add appends the lines of an overlay to the structures that it names; * is all.
func (l *loader) add(file string, values map[string]string, lines map[string]int) {
	for _, name := range strings.Fields(values["add"]) {
		found := false
		for _, st := range l.m.structures {
			if ok, err := path.Match(name, st.name); ok && err == nil {
				st.append(file, values, lines)
				found = true
			}
		}
		if !found {
			l.fail(file, lines["add"], "add: "+name, "no message structure of this name")
		}
	}
}

// float notes the segments that are told apart by what they stand behind.
func (st *structure) float() {
	for name, rules := range st.makes {
		if slices.ContainsFunc(rules, func(m *makeRule) bool { return len(m.after) > 0 }) {
			st.floating = append(st.floating, name)
		}
	}
}

// anchors gives for every segment the one that it stands behind, those passed
// over that are told apart in the same way (a note stands behind a role of the
// patient too); -1 is none.
func (st *structure) anchors(msg *hl7v2.Message, into []int32) []int32 {
	if len(st.floating) == 0 {
		return into
	}
	last := int32(-1)
	for i := range msg.Len() {
		into = append(into, last)
		if !slices.ContainsFunc(st.floating, msg.Segment(i).Is) {
			last = int32(i)
		}
	}
	return into
}

func (l *loader) compileStructure(st *structure) {
	code, _, _ := strings.Cut(st.name, "_")
	for _, line := range l.edited(st, "triggers") {
		words := strings.Fields(line.text)
		message := words[0]
		if !strings.Contains(message, "^") {
			message = code + "^" + message
		}
		if _, ok := st.triggers[message]; !ok {
			st.triggers[message] = nil
		}
		l.m.messages[message] = st
		line.text = strings.TrimSpace(strings.TrimPrefix(line.text, words[0]))
		if name, ok := strings.CutPrefix(line.text, "use "); ok {
			shared, ok := l.asked[strings.TrimSpace(name)]
			if !ok {
				l.fail(line.file, line.line, line.text, "no table has lines: %s with triggers", name)
			}
			for _, row := range shared {
				l.compileTrigger(st, message, row)
			}
		} else if line.text != "" {
			l.compileTrigger(st, message, line)
		}
	}
	types := map[string]string{}
	for _, line := range l.edited(st, "make") {
		if err := l.compileMake(st, line.text, types); err != nil {
			l.fail(line.file, line.line, line.text, "%s", err)
		}
	}
	st.float()
	for _, line := range l.edited(st, "edges") {
		e, err := parseEdge(line.text)
		if err != nil {
			l.fail(line.file, line.line, line.text, "%s", err)
			continue
		}
		st.edges = append(st.edges, e)
	}
}

// parseEdge reads OP KIND KEY <- KEY [if COND], or OP KIND KEY [if COND].
func parseEdge(text string) (edgeRule, error) {
	text, condition, conditional := strings.Cut(text, " if ")
	words, err := fields(text)
	if err != nil || (len(words) != 5 || words[3] != "<-") && len(words) != 3 {
		return edgeRule{}, fmt.Errorf("an edge is OP KIND KEY <- KEY [if COND], or OP KIND KEY between the first segment of the key and each other")
	}
	e := edgeRule{op: words[0], kind: records.Kind(words[1]), between: len(words) == 3}
	if !slices.Contains(records.EdgeOps(), e.op) {
		return e, fmt.Errorf("%q: an edge is one of %s", e.op, strings.Join(records.EdgeOps(), ", "))
	}
	if !e.kind.Joins() {
		return e, fmt.Errorf("%q: no edges join records of this kind", e.kind)
	}
	if e.survivor, err = parseKey(words[2], ""); err != nil {
		return e, err
	}
	if e.retired, err = parseKey(words[len(words)-1], ""); err != nil {
		return e, err
	}
	if conditional {
		e.cond, err = parseCond(condition, e.retired.ref.segment)
	}
	return e, err
}

// compileTrigger reads KIND STATE EVENT [ACTION] [cancels TRIGGER …] [asks REQUEST] [if COND] of one trigger event.
func (l *loader) compileTrigger(st *structure, message string, line sourceLine) {
	text, condition, conditional := strings.Cut(line.text, " if ")
	words := strings.Fields(text)
	cancels := len(words) > 4 && words[3] == "cancels"
	asks := len(words) == 5 && words[3] == "asks"
	if len(words) != 3 && !cancels && !asks && (len(words) != 4 || words[3] == "cancels" || words[3] == "asks") {
		l.fail(line.file, line.line, line.text, "a trigger row is TRIGGER KIND STATE EVENT [ACTION] [cancels TRIGGER …] [asks REQUEST] [if COND]")
		return
	}
	state, unsaid := strings.CutSuffix(words[1], "?")
	state, otherwise := strings.CutSuffix(state, "~")
	row := triggerRow{kind: records.Kind(words[0]), state: dash(state), unsaid: unsaid, otherwise: otherwise, event: dash(words[2])}
	switch {
	case cancels:
		row.cancels = words[4:]
	case asks:
		row.request = words[4]
	case len(words) == 4:
		row.action = records.Action(words[3])
		if row.action != records.Upsert && row.action != records.Delta && row.action != records.Removal {
			l.fail(line.file, line.line, line.text, "%q: an action is upsert, delta or removal", words[3])
		}
	}
	if conditional {
		var err error
		if row.cond, err = parseCond(condition, ""); err != nil {
			l.fail(line.file, line.line, line.text, "%s", err)
		}
	}
	if _, ok := records.Kinds()[row.kind]; !ok {
		l.fail(line.file, line.line, line.text, "no record kind %s", row.kind)
	}
	st.triggers[message] = append(st.triggers[message], row)
}

// expand puts the lines that message tables share in the place of `use NAME` and,
// with the group before each segment, of `use NAME in GROUP`.
func (l *loader) expand(lines []sourceLine, within ...string) []sourceLine {
	var out []sourceLine
	for _, line := range lines {
		name, ok := strings.CutPrefix(line.text, "use ")
		if !ok {
			out = append(out, line)
			continue
		}
		name, group, grouped := strings.Cut(name, " in ")
		name = strings.TrimSpace(name)
		common, ok := l.common[name]
		if !ok || slices.Contains(within, name) {
			l.fail(line.file, line.line, line.text, "no table has lines: %s, or they use themselves", name)
			continue
		}
		for _, c := range l.expand(common, append(within, name)...) {
			if grouped {
				c.text = strings.TrimSpace(group) + "." + c.text
			}
			out = append(out, c)
		}
	}
	return out
}

func dash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

// compileMake reads PATH [after SEG…] -> [TYPE] NAME [record] [map "SECTION"] [if COND] [; ASSIGNS].
func (l *loader) compileMake(st *structure, text string, types map[string]string) error {
	body, assigns, _ := strings.Cut(text, ";")
	words, err := fields(body)
	if err != nil {
		return err
	}
	arrow := index(words, "->")
	if arrow < 1 || arrow == len(words)-1 {
		return fmt.Errorf("a line of make is SEGMENT -> [TYPE] NAME")
	}
	m := &makeRule{}
	path := strings.Split(words[0], ".")
	m.groups, m.segment = path[:len(path)-1], path[len(path)-1]
	if arrow > 1 {
		if words[1] != "after" {
			return fmt.Errorf("%q: expected after", words[1])
		}
		m.after = words[2:arrow]
	}
	rest := words[arrow+1:]
	if _, isType := l.m.schema.Type(rest[0]); isType && len(rest) > 1 && rest[1] != "map" && rest[1] != "if" {
		m.typ, m.name, rest = rest[0], rest[1], rest[2:]
		if other := types[m.name]; other != "" && other != m.typ {
			return fmt.Errorf("%q is the %s of a line above: another name for the %s", m.name, other, m.typ)
		}
		types[m.name] = m.typ
	} else {
		m.name, rest = rest[0], rest[1:]
		if types[m.name] == "" {
			return fmt.Errorf("no line above makes a resource %q", m.name)
		}
	}
	section := m.segment + " to " + types[m.name]
	for len(rest) > 0 {
		switch rest[0] {
		case "record":
			m.record, rest = true, rest[1:]
		case "map":
			if len(rest) < 2 {
				return fmt.Errorf("map needs a section's name")
			}
			section, rest = unquote(rest[1]), rest[2:]
		case "if":
			if m.cond, err = parseCond(strings.Join(rest[1:], " "), m.segment); err != nil {
				return err
			}
			rest = nil
		default:
			return fmt.Errorf("%q: expected record, map or if", rest[0])
		}
	}
	if m.section = l.m.sections[section]; m.section == nil {
		return fmt.Errorf("no section %q", section)
	}
	return l.compileAssigns(m, st, assigns, types)
}

// compileAssigns reads what stands behind the semicolon of a make line, which
// is whole with it.
func (l *loader) compileAssigns(m *makeRule, st *structure, assigns string, types map[string]string) error {
	for _, a := range splitOutside(assigns, ',') {
		if a == "" {
			continue
		}
		made, err := l.compileAssign(a, types[m.name], types)
		if err != nil {
			return err
		}
		if made.only && !slices.Contains(st.only, made.name) {
			st.only = append(st.only, made.name)
		}
		for _, steps := range [...][]cstep{made.steps, made.other} {
			for i := range steps {
				steps[i].from = fhir.OriginOf(m.segment, 0)
			}
		}
		m.assigns = append(m.assigns, made)
	}
	st.makes[m.segment] = append(st.makes[m.segment], m)
	return nil
}

func (l *loader) compileAssign(text, typ string, types map[string]string) (assign, error) {
	var a assign
	sides := splitOutside(text, '=') // a label may hold one: [=name]
	other := ""
	if len(sides) == 2 {
		a.name, a.only = strings.CutPrefix(sides[1], "only ")
		a.name, other, _ = strings.Cut(a.name, " else ")
	}
	left := strings.TrimSpace(strings.TrimSuffix(sides[0], "+"))
	if a.name == "" {
		return a, fmt.Errorf("%q: PATH = NAME, PATH = only NAME, NAME.PATH = this [else PATH] or NAME.PATH += this", text)
	}
	if a.name == "this" {
		owner, path, ok := strings.Cut(left, ".")
		if !ok || types[owner] == "" {
			return a, fmt.Errorf("%q: no resource %q is made above", text, owner)
		}
		a.owner, left, typ = owner, path, types[owner]
	}
	t, ok := l.m.schema.Type(typ)
	if !ok {
		return a, fmt.Errorf("%s is no FHIR type", typ)
	}
	var err error
	if a.steps, err = l.compileReference(left, t); err == nil && other != "" {
		a.other, err = l.compileReference(strings.TrimSpace(other), t)
	}
	return a, err
}

// compileReference reads a path that ends in a Reference.
func (l *loader) compileReference(text string, t *fhir.Type) ([]cstep, error) {
	path, err := parsePath(text)
	if err != nil {
		return nil, err
	}
	steps, _, err := l.compilePath(path, t, "")
	if err != nil {
		return nil, err
	}
	if last := steps[len(steps)-1]; last.typ != "Reference" {
		return nil, fmt.Errorf("%s is a %s, not a Reference", text, last.typ)
	}
	return steps, nil
}

// assign puts the references of one make line.
func (m *makeRule) assign(f *frame, made *entry) {
	for i := range m.assigns {
		a := &m.assigns[i]
		owner, to := made, made
		if a.owner != "" {
			owner = f.group.lookup(a.owner)
		} else if a.only {
			to = f.group.single(a.name)
		} else {
			to = f.group.lookup(a.name)
		}
		if owner == nil || to == nil || owner == to {
			continue
		}
		if !f.run.putReference(f, owner.node, a.steps, to) && a.other != nil {
			f.run.putReference(f, owner.node, a.other, to)
		}
	}
}

// putReference puts a reference where the steps lead; false where another
// resource's stands there.
func (r *run) putReference(f *frame, node *fhir.Node, steps []cstep, to *entry) bool {
	for k := range steps {
		st := &steps[k]
		last := k == len(steps)-1
		if last && st.list && st.label == 0 {
			if !r.listed(node.Get(st.name), to) {
				at := r.arena.Node(fhir.Object, "")
				r.appendTo(node, st, at)
				r.refer(at, to)
			}
			return true
		}
		node = st.descend(f, node, 0)
	}
	r.refer(node, to)
	return r.referred(node) == to
}

// A listing is what a list refers to, as far as it has been read.
type listing struct {
	read int
	refs map[string]bool
}

// listed says whether a list refers to a resource.
func (r *run) listed(list *fhir.Node, to *entry) bool {
	if list == nil {
		return false
	}
	l := r.listings[list]
	if l == nil {
		l = &listing{refs: map[string]bool{}}
		r.listings[list] = l
	}
	for _, item := range list.Items()[l.read:] {
		l.refs[item.Str("reference")] = true
		l.read++
	}
	return l.refs[to.reference()]
}
