package tables

import (
	"path"
	"slices"
	"strings"
)

// An edit is one line of an overlay's `off` or `replace`: which rules it takes
// out, and what stands in their place.
type edit struct {
	replace bool
	message bool // of a message structure: a line is told by its segment too
	line    sourceLine
}

// off takes out of a table's lines those that a line names: by its beginning
// (`PID-8 -> gender`, `structural PID-1`, the whole line) or by `-> TARGET` alone.
// replace puts the line itself in the place of the first that has its target.
func (l *loader) edit(table string, lines []sourceLine, e edit) []sourceLine {
	words, err := fields(e.line.text)
	if err != nil {
		l.fail(e.line.file, e.line.line, e.line.text, "%s", err)
		return lines
	}
	matches := func(text string) bool {
		other, err := fields(text)
		if err != nil {
			return false
		}
		if e.replace || words[0] == "->" {
			return sameTarget(words, other, e.message && e.replace)
		}
		return len(other) >= len(words) && slices.Equal(other[:len(words)], words)
	}
	var out []sourceLine
	found := false
	for _, line := range lines {
		switch {
		case !matches(line.text):
			out = append(out, line)
		case e.replace && !found:
			out = append(out, e.line)
			found = true
		default:
			found = true
		}
	}
	if !found {
		l.fail(e.line.file, e.line.line, e.line.text, "%s has no such rule%s", table, near(words, lines))
	}
	return out
}

// sameTarget compares what stands behind the arrow, of a make line the name; and
// what stands at the beginning, where that is asked for.
func sameTarget(a, b []string, begins bool) bool {
	i, j := index(a, "->"), index(b, "->")
	if i < 0 || j < 0 || i == len(a)-1 || j == len(b)-1 || begins && a[0] != b[0] {
		return false
	}
	return makeName(a[i+1:]) == makeName(b[j+1:])
}

// makeName is the name of the resource of a make line, or the target of a rule.
func makeName(behind []string) string {
	first := strings.TrimSuffix(behind[0], ";")
	if len(behind) > 1 && first != "" && first[0] >= 'A' && first[0] <= 'Z' {
		return strings.TrimSuffix(behind[1], ";")
	}
	return first
}

// near names the lines that begin as the one that is not there does.
func near(words []string, lines []sourceLine) string {
	var close []string
	for _, line := range lines {
		if other, err := fields(line.text); err == nil && (other[0] == words[0] || sameTarget(words, other, false)) && len(close) < 3 {
			close = append(close, line.text)
		}
	}
	if len(close) == 0 {
		return ""
	}
	return "; it has: " + strings.Join(close, " | ")
}

// change notes the edits of an overlay for the structures that it names.
func (l *loader) change(file, names string, replace bool, values map[string]string, lines map[string]int) {
	for _, name := range strings.Fields(names) {
		found := false
		for _, st := range l.m.structures {
			if ok, err := path.Match(name, st.name); !ok || err != nil {
				continue
			}
			found = true
			for _, part := range []string{"triggers", "make", "edges"} {
				for _, line := range ruleLines(file, values[part], lines[part]) {
					st.edits[part] = append(st.edits[part], edit{replace: replace, message: true, line: line})
				}
			}
		}
		if !found {
			l.fail(file, lines["off"]+lines["replace"], names, "no message structure %s", name)
		}
	}
}

// edited gives a part of a structure after the edits of overlays.
func (l *loader) edited(st *structure, part string) []sourceLine {
	lines := st.lines[part]
	if part == "make" {
		lines = l.expand(lines)
	}
	for _, e := range st.edits[part] {
		lines = l.edit(st.name, lines, e)
	}
	return lines
}
