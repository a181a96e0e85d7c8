package tables_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/gate"
	"github.com/liaison-health/liaison/mapping/tables"
)

// A fieldCase is one row of testdata/mapping/fields: what is set in a message,
// and what stands where in its Bundle.
type fieldCase struct {
	place string // file:line
	base  []string
	set   []string // "PID-8 = F", "OBR[2]-4 = GLU" of the second OBR
	want  []string // "Patient.gender = female", "no Patient.deceasedBoolean", "warning time", "unread PV1-2.1", "undefaulted Account"
}

// fieldCases reads a file: blocks of segments, each the message that the rows
// below it value fields of.
func fieldCases(t testing.TB, file string) []fieldCase {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var cases []fieldCase
	var base []string
	inBase := false
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			inBase = false
		case strings.HasPrefix(line, "MSH|"):
			base, inBase = []string{line}, true
		case inBase:
			base = append(base, line)
		default:
			left, right, ok := strings.Cut(line, " | ")
			require.True(t, ok, "%s:%d: a row is FIELD = VALUE | PATH = VALUE", file, n)
			cases = append(cases, fieldCase{
				place: fmt.Sprintf("%s:%d", filepath.Base(file), n), base: base, set: strings.Split(left, " ; "), want: strings.Split(right, " ; "),
			})
		}
	}
	require.NotEmpty(t, cases, file)
	return cases
}

var fieldName = regexp.MustCompile(`^(\w{3})(?:\[(\d)\])?-(\d+)(?:\.(\d+))?(?:\.(\d+))?$`)

// message is the base with the row's fields in it.
func (c *fieldCase) message() ([]byte, error) {
	segments := slices.Clone(c.base)
	for _, s := range c.set {
		name, value, ok := strings.Cut(s, " = ")
		m := fieldName.FindStringSubmatch(strings.TrimSpace(name))
		if !ok || m == nil {
			return nil, fmt.Errorf("%q is no FIELD = VALUE", s)
		}
		number := func(i int) int { n, _ := strconv.Atoi(m[i]); return n }
		nth := max(number(2), 1)
		at := slices.IndexFunc(segments, func(line string) bool {
			if strings.HasPrefix(line, m[1]) {
				nth--
			}
			return nth == 0
		})
		if at < 0 {
			return nil, fmt.Errorf("no segment %s in the message above", name)
		}
		field := number(3)
		if m[1] == "MSH" {
			field--
		}
		segments[at] = put(segments[at], "|", field, func(f string) string {
			if m[4] == "" {
				return value
			}
			return put(f, "^", number(4)-1, func(comp string) string {
				if m[5] == "" {
					return value
				}
				return put(comp, "&", number(5)-1, func(string) string { return value })
			})
		})
	}
	return []byte(strings.Join(segments, "\r") + "\r"), nil
}

func put(text, sep string, n int, change func(string) string) string {
	parts := strings.Split(text, sep)
	for len(parts) <= n {
		parts = append(parts, "")
	}
	parts[n] = change(parts[n])
	return strings.Join(parts, sep)
}

// check maps the row's message and says what is not as the row has it.
func (c *fieldCase) check(t testing.TB, m *tables.Mapper) []string {
	raw, err := c.message()
	require.NoError(t, err, c.place)
	bundle, report := mapOne(t, m, raw)
	return c.compare(bundle, report)
}

func (c *fieldCase) compare(bundle []byte, report tables.Report) []string {
	var b struct {
		Entry []struct {
			FullURL  string
			Resource map[string]any
		}
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		return []string{err.Error()}
	}
	all := map[string]map[string]any{}
	var order []map[string]any
	for _, e := range b.Entry {
		all[e.FullURL] = e.Resource
		order = append(order, e.Resource)
	}
	unread := map[string]bool{}
	for _, u := range report.Unmapped {
		unread[u.Place] = true
	}
	var wrong []string
	for _, want := range c.want {
		word, rest, _ := strings.Cut(want, " ")
		path, value, equal := strings.Cut(want, " = ")
		switch {
		case word == "no":
			if got := leaves(all, order, rest); len(got) > 0 {
				wrong = append(wrong, fmt.Sprintf("%s is there: %q", rest, got))
			}
		case word == "warning":
			if !slices.ContainsFunc(report.Warnings, func(n tables.Note) bool { return n.Code == rest || n.Code+" "+n.Place == rest }) {
				wrong = append(wrong, fmt.Sprintf("no warning %s: %v", rest, report.Warnings))
			}
		case word == "undefaulted":
			typ, element, _ := strings.Cut(rest, " ")
			if slices.ContainsFunc(report.Defaulted, func(n tables.Note) bool {
				return n.Code == "default" && n.Place == typ && strings.Contains(n.Text, "-> "+element)
			}) {
				wrong = append(wrong, fmt.Sprintf("a default of %s was needed: %v", rest, report.Defaulted))
			}
		case word == "unread":
			if !unread[rest] {
				wrong = append(wrong, rest+" is read")
			}
			delete(unread, rest)
		case !equal:
			wrong = append(wrong, fmt.Sprintf("%q is no expectation", want))
		default:
			if got := leaves(all, order, path); !slices.Contains(got, value) {
				wrong = append(wrong, fmt.Sprintf("%s is %q, not %q", path, got, value))
			}
		}
	}
	for place := range unread {
		wrong = append(wrong, place+" is not read")
	}
	return wrong
}

var pathStep = regexp.MustCompile(`^(\w+)(?:\(([\w.-]+)\))?(?:\[([\w.]+)=([^\]]*)\])?$`)

// leaves gives the values that a path reaches in the Bundle: Type.element…,
// with extension(name) one extension, element(Type) the resource that the
// element refers to, element[path=value] the entries that say so.
func leaves(all map[string]map[string]any, order []map[string]any, path string) []string {
	steps := splitPath(path)
	var at []any
	root := pathStep.FindStringSubmatch(steps[0])
	for _, r := range order {
		if root != nil && r["resourceType"] == root[1] && (root[3] == "" || slices.Contains(walk(all, []any{r}, splitPath(root[3])), root[4])) {
			at = append(at, r)
		}
	}
	return walk(all, at, steps[1:])
}

func walk(all map[string]map[string]any, at []any, steps []string) []string {
	for i, step := range steps {
		m := pathStep.FindStringSubmatch(step)
		if m == nil {
			return []string{"no step of a path: " + step}
		}
		extended := i+1 < len(steps) && strings.HasPrefix(steps[i+1], "extension(")
		var next []any
		for _, node := range at {
			object, ok := node.(map[string]any)
			if !ok {
				continue
			}
			got := object[m[1]]
			if _, isObject := got.(map[string]any); extended && !isObject && object["_"+m[1]] != nil {
				got = object["_"+m[1]]
			}
			list, isList := got.([]any)
			if !isList {
				list = []any{got}
			}
			for _, item := range list {
				if item = narrow(all, item, m[1], m[2]); item == nil {
					continue
				}
				if m[3] == "" || slices.Contains(walk(all, []any{item}, splitPath(m[3])), m[4]) {
					next = append(next, item)
				}
			}
		}
		at = next
	}
	var out []string
	for _, node := range at {
		switch v := node.(type) {
		case string:
			out = append(out, v)
		case bool:
			out = append(out, strconv.FormatBool(v))
		case float64:
			out = append(out, strconv.FormatFloat(v, 'f', -1, 64))
		default:
			out = append(out, "(more)")
		}
	}
	return out
}

// narrow gives an entry of a step, the resource it refers to, or nil when it is
// not the one that is meant.
func narrow(all map[string]map[string]any, item any, name, arg string) any {
	object, _ := item.(map[string]any)
	switch {
	case arg == "":
		return item
	case name == "extension":
		if url, _ := object["url"].(string); url != arg && !strings.HasSuffix(url, "/"+arg) {
			return nil
		}
		return item
	}
	reference, _ := object["reference"].(string)
	if to := all[reference]; to != nil && to["resourceType"] == arg {
		return to
	}
	return nil
}

// splitPath splits at the dots outside brackets.
func splitPath(path string) []string {
	var out []string
	depth, start := 0, 0
	for i := range len(path) {
		switch path[i] {
		case '(', '[':
			depth++
		case ')', ']':
			depth--
		case '.':
			if depth == 0 {
				out = append(out, path[start:i])
				start = i + 1
			}
		}
	}
	return append(out, path[start:])
}

// Every field of every segment that the mapped messages carry stands where
// testdata/mapping/fields says, and nothing valued ends unread.
func TestFields(t *testing.T) {
	schema := fhir.NewSchema()
	mapper, err := compiled(schema)
	require.NoError(t, err)
	check, err := gate.New(schema)
	require.NoError(t, err)
	files, err := filepath.Glob("../../testdata/mapping/fields/*.txt")
	require.NoError(t, err)
	for _, folder := range []string{"segments", "datatypes"} {
		all, err := filepath.Glob(folder + "/*.yaml")
		require.NoError(t, err)
		for _, table := range all {
			require.FileExists(t, "../../testdata/mapping/fields/"+strings.TrimSuffix(filepath.Base(table), ".yaml")+".txt", "every table has its rows")
		}
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			for _, c := range fieldCases(t, file) {
				raw, err := c.message()
				require.NoError(t, err, c.place)
				bundle, report := mapOne(t, mapper, raw)
				for _, wrong := range c.compare(bundle, report) {
					t.Errorf("%s: %s: %s", c.place, strings.Join(c.set, " ; "), wrong)
				}
				for _, finding := range check.CheckJSON(bundle) {
					t.Errorf("%s: %s: gate: %s", c.place, strings.Join(c.set, " ; "), finding)
				}
			}
		})
	}
}
