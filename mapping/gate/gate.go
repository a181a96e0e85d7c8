// Package gate checks FHIR R4 resources: google/fhir, and what it does not see:
// empty and mis-cased elements, contained resources, required codes, references
// inside a Bundle, and the invariants of the resources that a hospital's feeds
// carry. A finding names place and rule, and never holds a value.
package gate

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"

	"github.com/liaison-health/liaison/mapping/fhir"
)

const (
	maxFindings = 100     // reported of one resource; the rest would say no more
	maxNodes    = 4 << 20 // JSON values in one resource or Bundle
)

// A Finding is one thing that is wrong with a resource.
type Finding struct {
	Path string // FHIR expression of the element, such as Patient.name[0].family
	Rule string // invariant's key (dom-3), or cardinality, choice, code, duplicate, empty, extension, format, fullUrl, identifier, json, reference, required, size, type, unknown
	Text string // what is wrong and what to do, without a value
}

// String gives path, rule and text in one line.
func (f Finding) String() string { return f.Path + ": " + f.Text + " (" + f.Rule + ")" }

// A Gate checks resources against R4 (4.0.1). It is safe for concurrent use.
type Gate struct {
	schema *fhir.Schema
	types  map[string]*typeInfo // by the type's name
	names  map[string]bool      // of all elements: a key that is one of them holds no patient's value
	fold   map[string]string    // of all elements, in lower case
	google *jsonformat.Unmarshaller

	extensions map[string]*definition // R4's own, by URL
}

// New makes a gate over a schema; it takes some milliseconds.
func New(schema *fhir.Schema) (*Gate, error) {
	google, err := jsonformat.NewUnmarshaller("UTC", fhirversion.R4)
	if err != nil {
		return nil, fmt.Errorf("google/fhir: %w", err)
	}
	google.MaxNestingDepth = fhir.MaxDepth
	g := &Gate{schema: schema, google: google, types: map[string]*typeInfo{}, names: map[string]bool{}, fold: map[string]string{}, extensions: extensionDefinitions()}
	for _, name := range schema.Resources() {
		g.compile(name)
	}
	for name, check := range invariants() {
		t, ok := g.types[name]
		if !ok {
			return nil, fmt.Errorf("invariants of %s, which is no type of R4", name)
		}
		t.check = check
	}
	return g, nil
}

// Resources lists the resource types that the gate knows.
func (g *Gate) Resources() []string { return g.schema.Resources() }

// CheckJSON reads JSON strictly and checks it. What is no JSON, or has a key
// twice, is one finding with the rule "json".
func (g *Gate) CheckJSON(data []byte) []Finding {
	n, err := fhir.ParseJSON(data)
	if err == nil {
		return g.Check(n)
	}
	f := Finding{Rule: "json", Text: "not JSON as FHIR has it"}
	var bad *fhir.JSONError
	if errors.As(err, &bad) {
		f.Path, f.Text = g.keyPath(bad.Path), bad.Reason
	}
	return []Finding{f}
}

// keyPath keeps of a path of JSON keys what is known of R4's elements.
func (g *Gate) keyPath(path string) string {
	var known []string
	for part := range strings.SplitSeq(path, ".") {
		if !g.names[part] {
			break
		}
		known = append(known, part)
	}
	return strings.Join(known, ".")
}

// Check checks a whole resource or Bundle, entries included. It gives nil when
// nothing is wrong, and at most 100 findings, in the resource's order, then
// google/fhir's.
func (g *Gate) Check(n *fhir.Node) []Finding {
	c := &checker{gate: g}
	if !c.bounded(n) {
		return c.found
	}
	if n.Kind != fhir.Object || g.resource(n) == nil {
		return []Finding{{Rule: "type", Text: "no resource type of R4"}}
	}
	c.push(n.ResourceType(), -1)
	c.resource(n)
	g.second(c, n)
	return c.found
}

// resource gives the type of a resource, or nil.
func (g *Gate) resource(n *fhir.Node) *typeInfo {
	name := n.Get("resourceType")
	if name == nil || name.Kind != fhir.String {
		return nil
	}
	if t := g.types[name.Text]; t != nil && t.typ.Resource {
		return t
	}
	return nil
}
