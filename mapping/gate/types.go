package gate

import (
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// maxElements is more than any type of R4 has.
const maxElements = 512

// A typeInfo is a type of R4 made ready for checking.
type typeInfo struct {
	typ      *fhir.Type
	elements []elementInfo
	required []int // elements 1.. that are no choices
	choices  []choiceInfo
	check    func(c *checker, n *fhir.Node) // the type's invariants; nil: none
}

type elementInfo struct {
	*fhir.Element
	child  *typeInfo // nil for a primitive and for any resource
	choice int       // in choices; -1: none
	format func(string) bool
	step   string // in a FHIR expression: value for valueQuantity
}

type choiceInfo struct {
	stem     string
	required bool
}

// compile makes a type and those below it ready.
func (g *Gate) compile(name string) *typeInfo {
	if t, ok := g.types[name]; ok {
		return t
	}
	typ, ok := g.schema.Type(name)
	if !ok {
		return nil
	}
	t := &typeInfo{typ: typ, elements: make([]elementInfo, len(typ.Elements))}
	g.types[name] = t
	for i := range typ.Elements {
		e := &typ.Elements[i]
		info := elementInfo{Element: e, choice: -1, step: e.Name, format: formatOf(e.Type)}
		g.names[e.Name] = true
		g.fold[strings.ToLower(e.Name)] = e.Name
		switch {
		case e.Choice != "":
			info.choice, info.step = t.choice(e), e.Choice
		case e.Required:
			t.required = append(t.required, i)
		}
		if !e.Primitive() {
			info.child = g.compile(e.Type)
		}
		t.elements[i] = info
	}
	return t
}

func (t *typeInfo) choice(e *fhir.Element) int {
	for i := range t.choices {
		if t.choices[i].stem == e.Choice {
			return i
		}
	}
	t.choices = append(t.choices, choiceInfo{stem: e.Choice, required: e.Required})
	return len(t.choices) - 1
}
