package gate

import (
	"slices"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A checker goes over one resource or Bundle.
type checker struct {
	gate  *Gate
	path  []step
	found []Finding
	// The resource that contains others, and the Bundles around it.
	scope   *scope
	bundles []map[string]string // types of the entries by their fullUrls
	// The innermost resource: its type, where its elements begin in the path,
	// and whether it publishes a definition.
	root       string
	rootAt     int
	definition bool
}

type step struct {
	name  string
	index int // -1: none
}

func (c *checker) push(name string, index int) { c.path = append(c.path, step{name, index}) }
func (c *checker) pop()                        { c.path = c.path[:len(c.path)-1] }

// expression is the path as FHIR writes it.
func (c *checker) expression() string {
	var b strings.Builder
	for i, s := range c.path {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(s.name)
		if s.index >= 0 {
			b.WriteByte('[')
			b.WriteString(strconv.Itoa(s.index))
			b.WriteByte(']')
		}
	}
	return b.String()
}

func (c *checker) fail(rule, text string) {
	if len(c.found) < maxFindings {
		c.found = append(c.found, Finding{Path: c.expression(), Rule: rule, Text: text})
	}
}

// failAt reports an element of the one where the checker is.
func (c *checker) failAt(name, rule, text string) {
	c.push(name, -1)
	c.fail(rule, text)
	c.pop()
}

// bounded refuses a tree that is too large or too deep to be checked.
func (c *checker) bounded(n *fhir.Node) bool {
	if n == nil {
		c.found = []Finding{{Rule: "type", Text: "no resource"}}
		return false
	}
	left := maxNodes
	if !within(n, fhir.MaxDepth+1, &left) {
		c.found = []Finding{{Rule: "size", Text: "too many or too deeply nested elements to be checked"}}
		return false
	}
	return true
}

func within(n *fhir.Node, depth int, left *int) bool {
	if *left--; *left < 0 || depth < 0 {
		return false
	}
	for _, k := range n.Kids {
		if !within(k, depth-1, left) {
			return false
		}
	}
	return true
}

// resource checks a resource at the current path.
func (c *checker) resource(n *fhir.Node) {
	t := c.gate.resource(n)
	if t == nil {
		c.fail("type", "no resource type of R4")
		return
	}
	if t.typ.Name == "Bundle" {
		c.bundles = append(c.bundles, fullURLs(n))
		defer func() { c.bundles = c.bundles[:len(c.bundles)-1] }()
	}
	root, rootAt, definition := c.root, c.rootAt, c.definition
	c.root, c.rootAt, c.definition = t.typ.Name, len(c.path), c.gate.has(t, "url") && c.gate.has(t, "experimental")
	defer func() { c.root, c.rootAt, c.definition = root, rootAt, definition }()
	outer := c.scope
	inside := outer != nil && outer.inContained
	if !inside {
		c.scope = newScope(n)
	}
	c.object(t, n)
	if !inside {
		c.scope.leave(c)
		c.scope = outer
	}
}

// object checks an object's elements, then the type's invariants.
func (c *checker) object(t *typeInfo, n *fhir.Node) {
	if n.Kind != fhir.Object {
		c.fail("type", "an object belongs here")
		return
	}
	if len(n.Kids) == 0 {
		c.fail("empty", "an object without anything in it")
		return
	}
	if !t.typ.Resource && len(n.Kids) == 1 && n.Kids[0].Name == "id" {
		c.fail("ele-1", "an element has a value or children beside its id")
	}
	var seen, extended [maxElements]bool
	for i, k := range n.Kids {
		if k.Name == "resourceType" && t.typ.Resource {
			continue
		}
		name, underscore := strings.CutPrefix(k.Name, "_")
		e, ok := t.typ.Element(name)
		if !ok || underscore && !e.Primitive() {
			c.unknown(t, i, k.Name)
			continue
		}
		info := &t.elements[e.Order]
		mark := &seen[e.Order]
		if underscore {
			mark = &extended[e.Order]
		}
		if *mark {
			c.failAt(info.step, "duplicate", "twice in one object")
			continue
		}
		*mark = true
		if underscore {
			c.extensions(info, k, n.Get(name), t.typ.Name)
			continue
		}
		c.element(info, k, n)
		if name == "extension" || name == "modifierExtension" {
			c.defined(k, t.typ.Name, "")
		}
	}
	c.present(t, &seen, &extended)
	if t.check != nil {
		t.check(c, n)
	}
}

// present checks required elements, and that of a choice there is one.
func (c *checker) present(t *typeInfo, seen, extended *[maxElements]bool) {
	for _, i := range t.required {
		if !seen[i] && !extended[i] {
			c.failAt(t.elements[i].step, "required", "required, but not there")
		}
	}
	for i, choice := range t.choices {
		n := 0
		for j := range t.elements {
			if t.elements[j].choice == i && (seen[j] || extended[j]) {
				n++
			}
		}
		switch {
		case n > 1:
			c.failAt(choice.stem, "choice", "more than one alternative of "+choice.stem+"[x]")
		case n == 0 && choice.required:
			c.failAt(choice.stem, "required", "required, but not there")
		}
	}
}

// unknown reports a key that is no element. Only keys that R4 has somewhere are
// told: others could be anything.
func (c *checker) unknown(t *typeInfo, i int, key string) {
	name := strings.TrimPrefix(key, "_")
	switch right, ok := c.gate.fold[strings.ToLower(name)]; {
	case ok && right != name && c.gate.has(t, right):
		c.failAt(right, "unknown", "names are case-sensitive: "+right)
	case c.gate.names[name]:
		c.failAt(name, "unknown", t.typ.Name+" has no such element")
	default:
		c.fail("unknown", "key "+strconv.Itoa(i+1)+" is no element of "+t.typ.Name)
	}
}

func (g *Gate) has(t *typeInfo, name string) bool {
	_, ok := t.typ.Element(name)
	return ok
}

// element checks one element's value or values; parent has its _element.
func (c *checker) element(e *elementInfo, n *fhir.Node, parent *fhir.Node) {
	if !e.List {
		c.push(e.step, -1)
		defer c.pop()
		switch {
		case n.Kind == fhir.Array:
			c.fail("cardinality", "at most one, not an array")
		case n.Kind == fhir.Null:
			c.fail("empty", "null stands for nothing in FHIR: leave the element out")
		default:
			c.value(e, n)
		}
		return
	}
	if n.Kind != fhir.Array || len(n.Kids) == 0 {
		c.push(e.step, -1)
		defer c.pop()
		if n.Kind != fhir.Array {
			c.fail("cardinality", "an array belongs here")
		} else {
			c.fail("empty", "an array without anything in it")
		}
		return
	}
	var beside *fhir.Node
	if e.Primitive() {
		if beside = parent.Get("_" + e.Name); beside != nil && (beside.Kind != fhir.Array || len(beside.Kids) != len(n.Kids)) {
			c.failAt(e.step, "cardinality", "values and their extensions are arrays of one length")
			beside = nil
		}
	}
	for i, item := range n.Kids {
		c.push(e.step, i)
		switch {
		case item.Kind != fhir.Null:
			c.value(e, item)
		case beside == nil || beside.Kids[i].Kind == fhir.Null:
			c.fail("empty", "null only where an extension stands for the value")
		}
		c.pop()
	}
}

// extensions checks the _element of a primitive: id and extensions.
func (c *checker) extensions(e *elementInfo, n, values *fhir.Node, owner string) {
	if !e.List {
		c.push(e.step, -1)
		c.extended(n)
		c.defined(n.Get("extension"), owner, e.Name)
		c.pop()
		return
	}
	if n.Kind != fhir.Array || len(n.Kids) == 0 {
		c.failAt(e.step, "cardinality", "extensions of values are an array")
		return
	}
	for i, item := range n.Kids {
		if item.Kind == fhir.Null && values != nil {
			continue
		}
		c.push(e.step, i)
		c.extended(item)
		c.defined(item.Get("extension"), owner, e.Name)
		c.pop()
	}
}

// extended checks one primitive's id and extensions.
func (c *checker) extended(n *fhir.Node) {
	if n.Kind != fhir.Object {
		c.fail("type", "an object belongs here")
		return
	}
	if len(n.Kids) == 0 {
		c.fail("empty", "an object without anything in it")
	}
	extension := c.gate.types["Extension"]
	for i, k := range n.Kids {
		switch {
		case k.Name == "id":
			c.textOnly(k)
		case k.Name == "extension" && k.Kind == fhir.Array && len(k.Kids) > 0:
			for j, item := range k.Kids {
				c.push("extension", j)
				c.object(extension, item)
				c.pop()
			}
		case k.Name == "extension":
			c.failAt("extension", "cardinality", "an array of extensions")
		default:
			c.fail("unknown", "key "+strconv.Itoa(i+1)+" is no element of a primitive")
		}
	}
}

func (c *checker) textOnly(n *fhir.Node) {
	if n.Kind != fhir.String || n.Text == "" {
		c.failAt("id", "type", "a string belongs here")
	}
}

// value checks one value of an element.
func (c *checker) value(e *elementInfo, n *fhir.Node) {
	switch {
	case e.Type == "Resource":
		c.nested(e, n)
	case e.Type == "xhtml":
		c.narrative(n)
	case e.Primitive():
		c.primitive(e, n)
	case e.child != nil:
		c.object(e.child, n)
	}
}

// nested checks a resource inside another: contained, a Bundle's entry, a
// parameter.
func (c *checker) nested(e *elementInfo, n *fhir.Node) {
	if n.Kind != fhir.Object {
		c.fail("type", "a resource belongs here")
		return
	}
	if e.Name != "contained" {
		outer := c.scope
		c.scope = nil
		c.resource(n)
		c.scope = outer
		return
	}
	c.scope.contained(c, n)
}

// primitive checks a primitive's JSON type, syntax and code.
func (c *checker) primitive(e *elementInfo, n *fhir.Node) {
	want := fhir.String
	switch e.Type {
	case "boolean":
		want = fhir.Bool
	case "integer", "positiveInt", "unsignedInt", "decimal":
		want = fhir.Number
	}
	switch {
	case n.Kind != want:
		c.fail("type", "a JSON "+jsonKind(want)+" belongs here")
	case n.Text == "":
		c.fail("empty", "an empty string: leave the element out")
	case e.format != nil && !e.format(n.Text):
		c.fail("format", "not the form of "+e.Type)
	case e.Codes != nil && !slices.Contains(e.Codes, n.Text):
		c.fail("code", "not a code of the required value set")
	case n.Text[0] == '#' && (e.Type == "uri" || e.Type == "canonical" || e.Type == "url" || e.Name == "reference"):
		c.scope.use(n.Text[1:])
	}
}

func jsonKind(k fhir.Kind) string {
	switch k {
	case fhir.Bool:
		return "boolean"
	case fhir.Number:
		return "number"
	default:
		return "string"
	}
}
