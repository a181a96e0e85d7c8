package tables

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/liaison-health/liaison/mapping/fhir"
)

//go:embed segments datatypes codes messages *.yaml codesystems.txt
var builtin embed.FS

// A Mapper maps messages by compiled tables. It is safe for concurrent use.
type Mapper struct {
	schema        *fhir.Schema
	sections      map[string]*section // "PID to Patient", "CX to Identifier"
	defaults      map[string]*section // of defaults.yaml, by resource type
	codes         map[string]*codeTable
	messages      map[string]*structure // by "ADT^A01"
	structures    map[string]*structure // by name
	extensions    map[string]string
	systems       map[string]string // by upper-case v2-0396 name and short name
	known         codeSystems
	labels        map[string]int32
	runs          sync.Pool // of *run
	ordered       ordering
	constants     map[string]bool
	constantsOnce sync.Once
	parts         parts
	zones         sync.Map // offset in seconds → *time.Location
}

// An Overlay is a source's own tables in the same language: a section of a name
// that is there is replaced, another is added; `add SECTION` appends rules to
// one, `before SECTION` puts rules before its own, `off SECTION` takes rules out, or the section; `replace SECTION` puts rules
// in the place of those of their targets. `add`, `off` and `replace` of message
// structures do the same with the lines of make, triggers and edges. `order` says
// what orders the source's messages. One whose name ends in .csv is rows of code
// tables, under a line of headings: table, code, to, and if wanted system and display.
type Overlay struct {
	Name string
	Data []byte
}

// Load compiles the built-in tables with overlays over them. Everything that is
// wrong is reported at once, each as an *Error with file and line. Who loads more
// than once reads them once (Read) and compiles with each one's overlays.
func Load(schema *fhir.Schema, overlays ...Overlay) (*Mapper, error) {
	read, err := Read()
	if err != nil {
		return nil, err
	}
	return read.Compile(schema, overlays...)
}

// LoadFrom is Load with other tables than the program's own: files as in this
// folder, among them codesystems.txt.
func LoadFrom(own fs.FS, schema *fhir.Schema, overlays ...Overlay) (*Mapper, error) {
	read, err := readFrom(own)
	if err != nil {
		return nil, err
	}
	return read.Compile(schema, overlays...)
}

// Compile compiles the tables with overlays over them. It changes nothing of
// them and is safe for concurrent use; errors as of Load.
func (t *Tables) Compile(schema *fhir.Schema, overlays ...Overlay) (*Mapper, error) {
	l := &loader{seen: map[string]bool{}, uses: map[string][]tableUse{timeUnits: {{element: "a unit of time"}}}, kinds: map[stepName]*stepKind{}, common: map[string][]sourceLine{}, asked: map[string][]sourceLine{}, m: &Mapper{
		schema: schema, sections: map[string]*section{}, defaults: map[string]*section{}, codes: map[string]*codeTable{}, messages: map[string]*structure{},
		structures: map[string]*structure{}, extensions: map[string]string{}, systems: map[string]string{}, labels: map[string]int32{}, known: t.known,
	}}
	l.m.runs.New = func() any { return &run{arena: new(fhir.Arena)} }
	for _, f := range t.files {
		l.file(f)
	}
	l.overlays = true
	for _, f := range overlays {
		if line := notText(f.Data); line > 0 { // it would stand in every resource that it bears on
			l.fail(f.Name, line, "", "not UTF-8: save the file as UTF-8")
			continue
		}
		if strings.EqualFold(path.Ext(f.Name), ".csv") {
			l.csv(f)
		} else {
			l.file(readTable(f))
		}
	}
	l.compile()
	l.laidRows()
	for name, section := range l.m.sections {
		if resource, ok := strings.CutPrefix(name, "default "); ok {
			l.m.defaults[resource] = section
		}
	}
	l.purify()
	if len(l.errs) > 0 {
		slices.SortStableFunc(l.errs, inOrder)
		return nil, errors.Join(l.errs...)
	}
	return l.m, nil
}

// notText is the first line that is not UTF-8; 0 where there is none.
func notText(data []byte) int {
	n := 0
	for line := range bytes.Lines(data) {
		if n++; !utf8.Valid(line) {
			return n
		}
	}
	return 0
}

// inOrder sorts what is wrong by file and line.
func inOrder(a, b error) int {
	var x, y *Error
	if !errors.As(a, &x) || !errors.As(b, &y) {
		return 0
	}
	return cmp.Or(strings.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line))
}

type loader struct {
	m       *Mapper
	pending []*structure
	errs    []error
	seen    map[string]bool
	common  map[string][]sourceLine // lines of make that message tables share, by name
	kinds   map[stepName]*stepKind
	asked   map[string][]sourceLine // the same of triggers, each without the trigger

	overlays bool // what is read now is a source's own
	laid     []laidRow
	uses     map[string][]tableUse // of each code table
}

// lay notes a row of an overlay.
func (l *loader) lay(row laidRow) {
	if l.overlays {
		l.laid = append(l.laid, row)
	}
}

func (l *loader) fail(file string, line int, rule, format string, args ...any) {
	l.errs = append(l.errs, &Error{File: file, Line: line, Rule: strings.TrimSpace(rule), Text: fmt.Sprintf(format, args...)})
}

// file takes one YAML file.
func (l *loader) file(f table) {
	l.errs = append(l.errs, f.wrong...)
	for _, doc := range f.documents {
		l.document(f.name, doc)
	}
}

// document takes one YAML document: what it holds shows by its keys.
func (l *loader) document(file string, pairs []pair) {
	values := map[string]string{}
	lines := map[string]int{}
	for _, p := range pairs {
		key, text, line, at := p.key, p.text, p.line, p.at
		if p.isMap {
			l.nested(file, key, line, p.inner)
			continue
		}
		values[key], lines[key] = text, at
		switch {
		case strings.HasPrefix(key, "default "):
			l.section(file, key, at, text)
		case strings.Contains(key, " to "):
			l.section(file, key, at, text)
		case path.Base(file) == "extensions.yaml" || path.Base(file) == "systems.yaml":
			l.name(file, key, text)
		case key == "order":
			if err := l.m.ordered.set(text); err != nil {
				l.fail(file, line, key+": "+text, "%s", err)
			}
		case !slices.Contains([]string{"structure", "syntax", "triggers", "make", "edges", "lines", "add", "off", "replace"}, key):
			l.fail(file, line, key, "no section (PID to Patient), no table of codes (to: and codes:), and none of extensions, systems, order, add, off, replace, structure, syntax, triggers, make, edges, lines")
		}
	}
	if _, ok := values["structure"]; ok {
		l.structure(file, values, lines)
	}
	if name, ok := values["lines"]; ok {
		l.common[name] = append(l.common[name], ruleLines(file, values["make"], lines["make"])...)
		l.asked[name] = append(l.asked[name], ruleLines(file, values["triggers"], lines["triggers"])...)
	}
	if _, ok := values["add"]; ok {
		l.add(file, values, lines)
	}
	for _, word := range []string{"off", "replace"} {
		if names, ok := values[word]; ok {
			l.change(file, names, word == "replace", values, lines)
		}
	}
}

func (l *loader) name(file, key, text string) {
	if strings.HasSuffix(file, "extensions.yaml") {
		l.m.extensions[key] = text
		return
	}
	l.m.systems[key] = text
	l.m.systems[strings.ToUpper(key)] = text
}

// nested reads extensions, systems and code tables.
func (l *loader) nested(file, key string, line int, pairs []pair) {
	values := map[string]string{}
	at := line
	for _, p := range pairs {
		name, text, where := p.key, p.text, p.at
		values[name] = text
		if name == "codes" {
			at = where
		}
		if key == "extensions" {
			l.m.extensions[name] = text
		}
		if key == "systems" {
			l.name("systems.yaml", name, text)
		}
	}
	if key == "extensions" || key == "systems" {
		return
	}
	if _, ok := values["codes"]; !ok {
		l.fail(file, line, key, "a code table has from:, to: and codes:")
		return
	}
	to, err := systemURI(values["to"], l.m.systems)
	if err != nil && values["to"] != "" {
		l.fail(file, line, key, "%s", err)
	}
	if values["to"] == "" {
		to = ""
	}
	table, lines, errs := parseCodes(key, values["codes"], l.m.systems, to)
	if values["from"] != "" {
		if table.from, err = systemURI(values["from"], l.m.systems); err != nil {
			l.fail(file, line, key, "%s", err)
		}
	}
	for _, err := range errs {
		var e *Error
		if errors.As(err, &e) {
			l.fail(file, at+e.Line, e.Rule, "%s", e.Text)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(lines)) {
		to := table.rows[code]
		if code == "*" {
			to = *table.rest
		}
		l.lay(laidRow{file: file, line: at + lines[code], table: key, code: code, to: to})
	}
	table.only = values["only"] == "translations"
	if len(table.rows) == 0 && table.rest == nil && l.m.codes[key] != nil {
		return
	}
	l.codes(key, table)
}

// codes adds a code table, or lays its rows over those of the table of this
// name: an overlay's come before the table's own.
func (l *loader) codes(key string, table *codeTable) {
	if old := l.m.codes[key]; old != nil {
		for code, row := range old.rows {
			if _, ok := table.rows[code]; !ok {
				table.rows[code] = row
			}
		}
		if table.rest == nil {
			table.rest = old.rest
		}
		if table.from == "" {
			table.from = old.from
		}
		table.only = table.only || old.only
		if table.to == "" {
			table.to = old.to
		}
	}
	table.foldCase()
	l.m.codes[key] = table
}

// section reads "PID to Patient", "add PID to Patient" (rules behind its own),
// "before PID to Patient" (rules that come first, and win) or "off PID to Patient".
func (l *loader) section(file, key string, line int, text string) {
	mode := ""
	for _, m := range []string{"add ", "off ", "replace ", "before "} {
		if rest, ok := strings.CutPrefix(key, m); ok {
			mode, key = strings.TrimSpace(m), rest
		}
	}
	own, target, ok := strings.Cut(key, " to ")
	if !ok {
		own, target = "", strings.TrimPrefix(key, "default ")
	}
	target, _, _ = strings.Cut(target, " ")
	s := &section{name: key, own: own, target: target, file: file, defaults: !ok}
	if mode == "" && l.seen[file+"\x00"+key] {
		l.fail(file, line-1, key, "this section stands twice in the file")
	}
	l.seen[file+"\x00"+key] = true
	old := l.m.sections[key]
	switch {
	case mode != "" && old == nil:
		l.fail(file, line-1, key, "no section of this name to %s", mode)
		return
	case mode == "off" && strings.TrimSpace(text) == "":
	case mode != "":
		copied := *old
		s = &copied
		s.lines = append([]sourceLine(nil), old.lines...)
	}
	if mode == "before" {
		s.lines = nil
	}
	for _, rule := range ruleLines(file, text, line) {
		if mode == "off" || mode == "replace" {
			s.lines = l.edit(key, s.lines, edit{replace: mode == "replace", line: rule})
		} else {
			s.lines = append(s.lines, rule)
		}
	}
	if mode == "before" {
		s.lines = append(s.lines, old.lines...)
	}
	l.m.sections[key] = s
}
