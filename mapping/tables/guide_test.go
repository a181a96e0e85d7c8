package tables

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A guideRow is one row of testdata/mapping/guide.txt: what the v2-to-FHIR guide
// maps.
type guideRow struct {
	kind     string // segment, datatype, message or codes
	table    string // PV1[Encounter], ADT_A01, Religion
	id       string // PV1-7, XTN.5, PROCEDURE.PR1, a code; "-" a constant without a source
	path     string
	datatype string // the data type map, of a message row the segment map
	code     string // the vocabulary, of a message row the references
	constant string

	translated, named bool // whether its vocabulary translates a code, and keeps one
}

func (r guideRow) String() string { return r.table + " | " + r.id + " | " + r.path }

// columns splits a line at " | ".
func columns(line string) []string {
	out := strings.Split(line, " | ")
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return out
}

// guideRows reads guide.txt.
func guideRows(t *testing.T) []guideRow {
	t.Helper()
	data, err := os.ReadFile("../../testdata/mapping/guide.txt")
	require.NoError(t, err)
	var out []guideRow
	kind, table := "", ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		word, name, _ := strings.Cut(line, " ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			kind = ""
		case kind == "":
			kind, table = word, name
		case kind == "codes":
			words, err := fields(line)
			require.NoError(t, err)
			out = append(out, codeRows(table, words)...)
		default:
			c := append(columns(line), "", "", "", "")
			out = append(out, guideRow{kind: kind, table: table, id: c[0], path: c[1], datatype: c[2], code: c[3], constant: c[4]})
		}
	}
	translated, named := map[string]bool{}, map[string]bool{}
	for _, r := range out {
		if r.kind == "codes" {
			translated[r.table] = translated[r.table] || r.id != r.path
			named[r.table] = named[r.table] || r.id == r.path
		}
	}
	for i := range out {
		out[i].translated, out[i].named = translated[out[i].code], named[out[i].code]
	}
	return out
}

// codeRows reads CODE -> code [system], or same SYSTEM CODE….
func codeRows(table string, words []string) []guideRow {
	if words[0] != "same" || words[1] == "->" {
		return []guideRow{{kind: "codes", table: table, id: unquote(words[0]), path: unquote(words[2]), code: strings.Join(words[3:], "")}}
	}
	var out []guideRow
	for _, w := range words[2:] {
		out = append(out, guideRow{kind: "codes", table: table, id: unquote(w), path: unquote(w), code: strings.Trim(words[1], "-")})
	}
	return out
}

// An elsewhere is one line of elsewhere.txt: a row of the guide that stands in
// another place on purpose, or nowhere.
//
//	MAP | IDENTIFIER | ELEMENT | PLACE | REASON
//
// IDENTIFIER may be *, ELEMENT end in *. PLACE is `SECTION IDENTIFIER ELEMENT` of ours,
// with `SECTION * PREFIX` for a whole map whose elements stand under a prefix, or
// `SECTION * -PREFIX` without it; `make STRUCTURE SEGMENT TYPE` of a message;
// `row FILE: ROW` of testdata/mapping/fields, which shows it; or `-` for nowhere.
type elsewhere struct {
	line, table, id, path, place, reason string
	used                                 bool
}

func elsewheres(t *testing.T, file string) []*elsewhere {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../testdata/mapping", file))
	require.NoError(t, err)
	var out []*elsewhere
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		c := columns(line)
		if i := strings.Index(line, " | row "); i > 0 { // the row has columns of its own
			rest := line[i+3:]
			last := strings.LastIndex(rest, " | ")
			c = append(columns(line[:i]), rest[:last], rest[last+3:])
		}
		require.Len(t, c, 5, "%s: MAP | IDENTIFIER | ELEMENT | PLACE | REASON: %s", file, line)
		require.NotEmpty(t, c[4], line)
		out = append(out, &elsewhere{line: line, table: c[0], id: c[1], path: c[2], place: c[3], reason: c[4]})
	}
	return out
}

// matches says whether the line is about a row; exactly, whether about it alone.
func (e *elsewhere) matches(r guideRow) (matches, exactly bool) {
	prefix, wild := strings.CutSuffix(e.path, "*")
	return e.table == r.table && (e.id == "*" || e.id == r.id) && (e.path == r.path || wild && strings.HasPrefix(r.path, prefix)), e.id != "*" && !wild
}

// Every row of the guide has a rule, or a line that says where it went and why.
func TestGuide(t *testing.T) {
	m, err := Load(fhir.NewSchema())
	require.NoError(t, err)
	other := elsewheres(t, "elsewhere.txt")
	pending := pendingMaps(t)
	counts := map[string][3]int{} // rows, by a rule, elsewhere
	var missing []string
	covered := map[string]bool{}
	for _, r := range guideRows(t) {
		n := counts[r.kind]
		n[0]++
		guided, found := m.guided(r), false
		for _, e := range other {
			switch matches, exactly := e.matches(r); {
			case !matches:
			case guided && exactly:
				e.used = true
				t.Errorf("elsewhere.txt: a rule covers it: %s", e.line)
			case !guided && m.elsewhere(t, e, r):
				e.used, found = true, true
			}
		}
		switch {
		case guided:
			n[1]++
		case found:
			n[2]++
		case !pending[r.table]:
			missing = append(missing, fmt.Sprintf("%s %s", r.kind, r))
		}
		if guided && pending[r.table] {
			covered[r.table] = true
		}
		counts[r.kind] = n
	}
	for _, e := range other {
		if !e.used {
			t.Errorf("elsewhere.txt: no such row of the guide, or not there: %s", e.line)
		}
	}
	for table := range covered {
		t.Errorf("pending.txt: %s has a table now: take its line out", table)
	}
	for _, line := range missing {
		t.Errorf("no rule: %s", line)
	}
	t.Logf("rows, by a rule, elsewhere: %v; %d missing", counts, len(missing))
}

// pendingMaps reads the maps of segments and messages that have no table yet.
func pendingMaps(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	data, err := os.ReadFile("../../testdata/mapping/pending.txt")
	if os.IsNotExist(err) {
		return out
	}
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out[line] = true
		}
	}
	return out
}

// guided says whether a rule of ours covers a row.
func (m *Mapper) guided(r guideRow) bool {
	switch r.kind {
	case "codes":
		return m.translates(r)
	case "message":
		return m.makes(r)
	}
	own, target := mapName(r.table)
	if r.kind == "datatype" && builtinType(own) && (target == "CodeableConcept" || target == "Coding") {
		return m.converts(r, target == "Coding")
	}
	s := m.sectionsOf(own, target)
	return covers(s, r.id, splitOutside(r.path, '.'), &r)
}

// mapName splits PV1[Encounter-History] into the segment and the FHIR type.
func mapName(table string) (own, target string) {
	own, target, _ = strings.Cut(strings.TrimSuffix(table, "]"), "[")
	target, _, _ = strings.Cut(target, "-")
	return own, target
}

// sectionsOf gives the sections from a segment or data type to a FHIR type.
func (m *Mapper) sectionsOf(own, target string) []*section {
	var out []*section
	for _, s := range m.sections {
		if s.own == own && (s.target == target || target == "") {
			out = append(out, s)
		}
	}
	return out
}

// translates looks for a row of a code table.
func (m *Mapper) translates(r guideRow) bool {
	table := m.codes[r.table]
	if table == nil {
		return false
	}
	system := r.code
	if system != "" && !strings.Contains(system, ":") {
		system = "http://terminology.hl7.org/CodeSystem/" + system
	}
	c, known, _ := table.lookup(r.id)
	if r.id == r.path && !known { // what is not translated keeps its code with the table's system
		return table.from == system && table.from != ""
	}
	return known && c.code == r.path && (r.code == "" || c.system == system || c.system == "")
}

// elsewhere checks that what the line says of a row is so.
func (m *Mapper) elsewhere(t *testing.T, e *elsewhere, r guideRow) bool {
	if e.place == "-" {
		return true
	}
	if row, ok := strings.CutPrefix(e.place, "row "); ok {
		file, row, _ := strings.Cut(row, ": ")
		data, err := os.ReadFile(filepath.Join("../../testdata/mapping/fields", file))
		require.NoError(t, err, e.line)
		return slices.ContainsFunc(strings.Split(string(data), "\n"), func(line string) bool { return strings.TrimSpace(line) == row })
	}
	words, err := fields(e.place)
	require.NoError(t, err, e.line)
	if words[0] == "make" {
		return m.makesAs(words[1:])
	}
	require.GreaterOrEqual(t, len(words), 4, "%s: SECTION IDENTIFIER ELEMENT", e.line)
	name := strings.Join(words[:len(words)-2], " ")
	s := m.sections[name]
	require.NotNil(t, s, "%s: no section %q", e.line, name)
	id, path := words[len(words)-2], words[len(words)-1]
	if id != "*" {
		return covers([]*section{s}, id, splitOutside(path, '.'), &guideRow{})
	}
	steps := splitOutside(r.path, '.')
	if prefix, ok := strings.CutPrefix(path, "-"); ok {
		rest, ok := strings.CutPrefix(r.path, prefix+".")
		if !ok {
			return false
		}
		steps, path = splitOutside(rest, '.'), "*"
	}
	if path != "*" {
		steps = append(splitOutside(path, '.'), steps...)
	}
	if own, _ := mapName(r.table); r.id != "-" && own != s.own {
		r.id = s.own + strings.TrimPrefix(r.id, own)
	}
	return covers([]*section{s}, r.id, steps, &r)
}
