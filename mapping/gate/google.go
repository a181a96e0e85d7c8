package gate

import (
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// longText is from where on base64 is shortened for google/fhir: the own checks
// have read all of it.
const longText = 16 << 10

// second asks google/fhir, and adds what the own checks have not said.
func (g *Gate) second(c *checker, n *fhir.Node) {
	said := make(map[string]bool, len(c.found))
	for i := range c.found {
		said[c.found[i].Path] = true
	}
	for _, f := range g.ask(n) {
		f.Path = g.normal(f.Path)
		if len(c.found) < maxFindings && !said[f.Path] {
			said[f.Path] = true
			c.found = append(c.found, f)
		}
	}
}

// ask runs google/fhir. What makes it panic is refused.
func (g *Gate) ask(n *fhir.Node) (found []Finding) {
	defer func() {
		if recover() != nil {
			found = []Finding{{Path: n.ResourceType(), Rule: "google", Text: "google/fhir cannot read it"}}
		}
	}()
	r := &reporter{}
	_, err := g.google.UnmarshalWithErrorReporter(appendLegal(nil, n), r)
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			r.add("", line)
		}
	}
	slices.SortStableFunc(r.found, func(a, b Finding) int { return strings.Compare(a.Path, b.Path) }) // its order is a map's
	return r.found
}

// A reporter keeps google/fhir's errors without their values.
type reporter struct{ found []Finding }

func (r *reporter) ReportValidationError(path string, err error) error {
	r.add(path, err.Error())
	return nil
}

func (r *reporter) ReportValidationWarning(string, error) error { return nil }

// add reads `error at "path": details`; only texts that are known to hold no
// value are told.
func (r *reporter) add(path, message string) {
	if rest, ok := strings.CutPrefix(message, `error at "`); ok {
		if at, details, ok := strings.Cut(rest, `": `); ok {
			message = details
			if path == "" {
				path = at
			}
		}
	}
	for _, known := range texts() {
		if strings.HasPrefix(message, known.prefix) {
			r.found = append(r.found, Finding{Path: path, Rule: known.rule, Text: known.text})
			return
		}
	}
	r.found = append(r.found, Finding{Path: path, Rule: "google", Text: "google/fhir refuses it"})
}

type text struct{ prefix, rule, text string }

// texts are google/fhir's messages, more special ones first.
func texts() []text {
	return []text{
		{"missing required field", "required", "a required element below is not there"},
		{"unknown field", "unknown", "a key that is no element here"},
		{"unknown resource type", "type", "no resource type of R4"},
		{"invalid reference to", "reference", "a reference to a resource of a type that is not allowed here"},
		{"invalid reference", "reference", "not the form of a reference"},
		{"code type mismatch", "code", "not a code of the required value set"},
		{"expected code", "code", "not a code of the required value set"},
		{"expected array", "cardinality", "an array belongs here"},
		{"array length mismatch", "cardinality", "values and their extensions are arrays of one length"},
		{"cannot accept multiple values", "choice", "more than one alternative of a choice"},
		{"field exceeded the maximum nesting depth", "size", "nested too deep"},
		{"non-negative integer out of range", "format", "a number out of its range"},
		{"string exceeds maximum size", "format", "a string above 1 MiB"},
		{"string contains invalid characters", "format", "a control character"},
		{"expected ", "format", "not the form of its type"},
		{"invalid ", "format", "not the form of its type"},
	}
}

// normal turns google/fhir's path into a FHIR expression: its own names of
// choices and of resources inside Bundles go.
func (g *Gate) normal(path string) string {
	parts := strings.Split(path, ".")
	t := g.types[parts[0]]
	out := parts[:1:1]
	for i := 1; i < len(parts) && t != nil; i++ {
		name, index, hasIndex := strings.Cut(strings.TrimPrefix(parts[i], "_"), "[")
		e, ok := t.typ.Element(name)
		if !ok && i+1 < len(parts) { // value.quantity: valueQuantity
			next, _, _ := strings.Cut(parts[i+1], "[")
			if next != "" {
				if e, ok = t.typ.Element(name + strings.ToUpper(next[:1]) + next[1:]); ok {
					i++
				}
			}
		}
		if !ok {
			break
		}
		info := &t.elements[e.Order]
		step := info.step
		if hasIndex {
			step += "[" + index
		}
		out = append(out, step)
		t = info.child
		if e.Type == "Resource" && i+1 < len(parts) {
			if i++; parts[i] == "" {
				break
			}
			t = g.types[strings.ToUpper(parts[i][:1])+parts[i][1:]]
		}
	}
	return strings.Join(out, ".")
}

// appendLegal writes a resource without what is legal and google/fhir refuses:
// null in arrays of primitives, and second 60. Long base64 is cut short.
func appendLegal(dst []byte, n *fhir.Node) []byte {
	switch n.Kind {
	case fhir.Object:
		dst = append(dst, '{')
		first := true
		for _, k := range n.Kids {
			if skipped(n, k) {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = fhir.AppendQuoted(dst, k.Name)
			dst = append(dst, ':')
			dst = appendLegal(dst, k)
		}
		return append(dst, '}')
	case fhir.Array:
		dst = append(dst, '[')
		first := true
		for _, k := range n.Kids {
			if k.Kind == fhir.Null {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = appendLegal(dst, k)
		}
		return append(dst, ']')
	case fhir.String:
		return fhir.AppendQuoted(dst, legalText(n.Text))
	default:
		return n.AppendJSON(dst)
	}
}

// skipped: an array of nothing but null, and an _element whose array has a null
// or stands beside one.
func skipped(parent, k *fhir.Node) bool {
	if k.Kind != fhir.Array {
		return false
	}
	name, underscore := strings.CutPrefix(k.Name, "_")
	if underscore && (nulls(k) > 0 || nulls(parent.Get(name)) > 0 || parent.Get(name) == nil) {
		return true
	}
	return len(k.Kids) > 0 && nulls(k) == len(k.Kids)
}

func nulls(n *fhir.Node) int {
	if n == nil || n.Kind != fhir.Array {
		return 0
	}
	count := 0
	for _, k := range n.Kids {
		if k.Kind == fhir.Null {
			count++
		}
	}
	return count
}

func legalText(s string) string {
	switch {
	case len(s) > longText && isBase64(s):
		return "AAAA"
	case len(s) >= 8 && len(s) < 64 && strings.Contains(s, ":60"):
		if isTime(s) && s[5:8] == ":60" {
			return s[:6] + "59" + s[8:]
		}
		if isInstant(s) && s[16:19] == ":60" {
			return s[:17] + "59" + s[19:]
		}
	}
	return s
}
