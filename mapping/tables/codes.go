package tables

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A codeTable translates the codes of one v2 table.
type codeTable struct {
	name string
	from string // URI of the v2 code system
	to   string // URI of the default target system
	rows map[string]coding
	rest *coding // the row for every other code
	only bool    // the element takes the translations alone: R4 says which codes it may have

	folded map[string]coding // rows by their codes in capitals, where these are not two codes
}

// A laidRow is a row that an overlay lays over a code table.
type laidRow struct {
	file  string
	line  int
	table string
	code  string
	to    coding
}

// A tableUse is an element that a rule fills through a code table.
type tableUse struct {
	element string
	codes   []string // what R4 limits it to, or nil
}

// takes says whether the element may hold a code.
func (u tableUse) takes(code string) bool {
	return u.codes == nil || slices.ContainsFunc(u.codes, func(c string) bool { return strings.EqualFold(c, code) })
}

// laidRows checks what overlays lay over code tables: some rule has to use the
// table, and one of the elements that it fills has to take the code.
func (l *loader) laidRows() {
	for _, row := range l.laid {
		uses := l.uses[row.table]
		if len(uses) == 0 {
			l.fail(row.file, row.line, row.table, "no rule uses a code table %s: a rule names it so: PID-8 -> gender code AdministrativeSex", row.table)
			continue
		}
		if !slices.ContainsFunc(uses, func(u tableUse) bool { return u.takes(row.to.code) }) {
			u := slices.MinFunc(uses, func(a, b tableUse) int {
				return cmp.Or(cmp.Compare(len(a.element), len(b.element)), strings.Compare(a.element, b.element))
			})
			l.fail(row.file, row.line, row.code, "%s cannot be %q; R4 has %s", u.element, row.to.code, strings.Join(u.codes, ", "))
		}
	}
}

// foldCase makes the rows found whatever letters a feed writes its codes in. Of
// two codes that differ in nothing else the one in capitals counts.
func (t *codeTable) foldCase() {
	t.folded = make(map[string]coding, len(t.rows))
	for _, code := range slices.Sorted(maps.Keys(t.rows)) { // capitals sort first
		key := strings.ToUpper(code)
		if _, twice := t.folded[key]; !twice {
			t.folded[key] = t.rows[code]
		}
	}
}

// A coding is one FHIR Coding.
type coding struct{ system, version, code, display string }

// parseCodes reads the lines `A -> code [system] ["Display"]`.
// at is the line that each code stands in.
func parseCodes(name, text string, systems map[string]string, to string) (t *codeTable, at map[string]int, errs []error) {
	t, at = &codeTable{name: name, rows: map[string]coding{}, to: to}, map[string]int{}
	for n, line := range strings.Split(text, "\n") {
		line = withoutComment(line)
		if line == "" {
			continue
		}
		words, err := fields(line)
		if err != nil || len(words) < 3 || words[1] != "->" {
			errs = append(errs, &Error{Line: n, Rule: line, Text: `a row is CODE -> code [system] ["Display"]`})
			continue
		}
		c := coding{code: unquote(words[2]), system: to}
		for _, w := range words[3:] {
			switch {
			case strings.HasPrefix(w, `"`):
				c.display = unquote(w)
			default:
				uri, err := systemURI(w, systems)
				if err != nil {
					errs = append(errs, &Error{Line: n, Rule: line, Text: err.Error()})
				}
				c.system = uri
			}
		}
		if words[0] == "*" {
			t.rest, at["*"] = &c, n
			continue
		}
		key := unquote(words[0])
		if _, twice := t.rows[key]; twice {
			continue // the guide lists some codes twice: the first stands
		}
		t.rows[key], at[key] = c, n
	}
	t.foldCase()
	return t, at, errs
}

// systemURI resolves a short name of systems.yaml.
func systemURI(short string, systems map[string]string) (string, error) {
	if strings.Contains(short, ":") {
		return short, nil
	}
	if uri, ok := systems[short]; ok {
		return uri, nil
	}
	if strings.HasPrefix(short, "v2-") || strings.HasPrefix(short, "v3-") {
		return "http://terminology.hl7.org/CodeSystem/" + short, nil
	}
	return "", fmt.Errorf("code system %q: neither in systems.yaml nor a URI", short)
}

// lookup translates a code; declared is false where only the default row fits.
func (t *codeTable) lookup(code string) (c coding, known, any bool) {
	if c, ok := t.rows[code]; ok {
		return c, true, true
	}
	if c, ok := t.folded[strings.ToUpper(code)]; ok {
		return c, true, true
	}
	if t.rest != nil {
		return *t.rest, false, true
	}
	return coding{}, false, false
}

// codingSystem names a CWE.3 or HL7 table number as a URI (HL7 table 0396).
func codingSystem(name string, systems map[string]string) string {
	if name == "" {
		return ""
	}
	upper := strings.ToUpper(strings.TrimPrefix(name, "urn:oid:"))
	if uri, ok := systems[upper]; ok {
		return uri
	}
	if isURI(name) {
		return name
	}
	if number, ok := strings.CutPrefix(upper, "HL7"); ok && len(number) == 4 && isDigits(number) {
		return "http://terminology.hl7.org/CodeSystem/v2-" + number
	}
	if fhir.IsOID(name) {
		if table, ok := strings.CutPrefix(name, "2.16.840.1.113883.12."); ok && len(table) <= 4 && isDigits(table) {
			return hl7Systems + "v2-" + "0000"[len(table):] + table
		}
		return "urn:oid:" + name
	}
	return "urn:x-liaison:codesystem:" + escapeURN(name)
}

// isURI says whether a name is a URL or a URN already.
func isURI(name string) bool {
	scheme, _, ok := strings.Cut(name, "://")
	if !ok {
		scheme, _, ok = strings.Cut(name, ":")
		ok = ok && scheme == "urn"
	}
	return ok && scheme != "" && strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz") == "" && !strings.ContainsAny(name, " \t\r\n<>\"{}|\\^`&")
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// escapeURN keeps what a URN may hold (RFC 8141 §2.2) and escapes the rest.
func escapeURN(s string) string {
	const hex = "0123456789ABCDEF"
	plain := true
	for i := range len(s) {
		plain = plain && urnByte(s[i])
	}
	if plain {
		return s
	}
	out := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		c := s[i]
		switch {
		case urnByte(c):
			out = append(out, c)
		default:
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}

func urnByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '-' || c == '.' || c == '_'
}
