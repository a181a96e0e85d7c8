package gate

import (
	_ "embed"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

//go:embed extensions.txt
var definitions string

// A definition is what R4 says of one of its own extensions: where it may stand
// and what it holds (R4 §2.24.1, StructureDefinition.context).
type definition struct {
	contexts []string
	values   []string
	parts    map[string][]string
}

const coreExtension = "http://hl7.org/fhir/StructureDefinition/"

// extensionDefinitions reads extensions.txt.
func extensionDefinitions() map[string]*definition {
	out := map[string]*definition{}
	for line := range strings.Lines(definitions) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] == "#" {
			continue
		}
		d := &definition{contexts: strings.Split(words[1], ","), parts: map[string][]string{}}
		if words[2] != "-" {
			d.values = strings.Split(words[2], ",")
		}
		for _, w := range words[3:] {
			part, types, _ := strings.Cut(w, "=")
			d.parts[part] = strings.Split(types, ",")
		}
		out[coreExtension+words[0]] = d
	}
	return out
}

// defined checks the extensions of an element against R4's own definitions:
// owner is the type that has the element, element its name where it is a
// primitive. What publishes definitions carries them in more places.
func (c *checker) defined(list *fhir.Node, owner, element string) {
	if c.definition {
		return
	}
	for i, item := range list.Items() {
		d := c.gate.extensions[item.Str("url")]
		if d == nil {
			continue
		}
		c.push("extension", i)
		if !slices.ContainsFunc(d.contexts, func(context string) bool { return c.stands(context, owner, element) }) {
			c.fail("extension", "R4 defines this extension for another element")
		}
		checkValue(c, item, d.values)
		for j, part := range item.Get("extension").Items() {
			if types, ok := d.parts[part.Str("url")]; ok {
				c.push("extension", j)
				checkValue(c, part, types)
				c.pop()
			}
		}
		c.pop()
	}
}

// stands says whether the element where the checker is, whose extension is on
// top of the path, is one that a context names.
func (c *checker) stands(context, owner, element string) bool {
	switch context {
	case "Element", "*":
		return true
	case "Resource", "DomainResource":
		return element == "" && c.gate.isResource(owner)
	}
	full := owner
	if element != "" {
		full += "." + element
	}
	if context == full || element == "" && context == owner {
		return true
	}
	if element == "" && owner == backbone(context) {
		return true
	}
	path := c.root
	for _, s := range c.path[c.rootAt : len(c.path)-1] {
		path += "." + s.name
	}
	return path == context
}

// backbone names the type of a path's element as the schema does: RequestGroup.action
// is RequestGroupAction, however deep it stands.
func backbone(path string) string {
	out := ""
	for part := range strings.SplitSeq(path, ".") {
		if part != "" {
			out += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return out
}

// checkValue: the value of an extension is of a type that its definition has.
func checkValue(c *checker, item *fhir.Node, types []string) {
	if slices.Contains(types, "*") {
		return
	}
	for _, k := range item.Kids {
		typ, ok := strings.CutPrefix(strings.TrimPrefix(k.Name, "_"), "value")
		if ok && !slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, typ) }) {
			c.fail("extension", "R4 defines another type for the value of this extension")
		}
	}
}
