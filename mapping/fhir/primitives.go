package fhir

import (
	_ "embed"
	"reflect"
	"strings"
)

// r4 holds what the model does not say of elements; its head explains it.
//
//go:embed r4.txt
var r4 string

// A correction is what r4.txt says of one type's elements.
type correction struct {
	types    map[string]string // by element: its primitive type
	codes    map[string][]string
	required map[string]bool
	choices  []choice
}

type choice struct {
	stem     string
	required bool
}

func corrections() map[string]*correction {
	out := map[string]*correction{}
	for line := range strings.Lines(r4) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		c := &correction{types: map[string]string{}, codes: map[string][]string{}, required: map[string]bool{}}
		for _, word := range words[1:] {
			word, required := strings.CutSuffix(word, "!")
			if stem, ok := strings.CutSuffix(word, "[x]"); ok {
				c.choices = append(c.choices, choice{stem, required})
				continue
			}
			name, typ, typed := strings.Cut(word, "=")
			typ, codes, bound := strings.Cut(strings.TrimSuffix(typ, ")"), "(")
			if typed {
				c.types[name] = typ
			}
			if bound {
				c.codes[name] = strings.Split(codes, "|")
			}
			if required {
				c.required[name] = true
			}
		}
		out[words[0]] = c
	}
	return out
}

// correct puts right what the reflected elements of a type lack. Resource says
// that it is one: its id is of type id, an element's a string.
func (t *Type) correct(c *correction) {
	for i := range t.Elements {
		e := &t.Elements[i]
		if t.Resource {
			switch e.Name {
			case "id":
				e.Type = "id"
			case "implicitRules":
				e.Type = "uri"
			case "language":
				e.Type = "code"
			}
		}
		if c == nil {
			continue
		}
		if typ := c.types[e.Name]; typ != "" {
			e.Type = typ
		}
		if codes := c.codes[e.Name]; codes != nil {
			e.Codes = codes
		}
		e.Required = e.Required || c.required[e.Name]
		for _, ch := range c.choices {
			if typ := alternative(e.Name, ch.stem); typ != "" {
				e.Choice, e.Required = ch.stem, ch.required
				if e.Primitive() {
					e.Type = typ
				}
			}
		}
	}
}

// alternative gives the type that a choice's alternative names: quantity for
// valueQuantity under value, or "".
func alternative(name, stem string) string {
	rest, ok := strings.CutPrefix(name, stem)
	if !ok {
		return ""
	}
	return typeSuffix(rest)
}

// typeSuffix gives the FHIR type that a choice's suffix names.
func typeSuffix(rest string) string {
	switch rest {
	case "Base64Binary", "Boolean", "Canonical", "Code", "Date", "DateTime", "Decimal", "Id", "Instant", "Integer", "Markdown", "Oid",
		"PositiveInt", "String", "Time", "UnsignedInt", "Uri", "Url", "Uuid":
		return strings.ToLower(rest[:1]) + rest[1:]
	case "Address", "Age", "Annotation", "Attachment", "CodeableConcept", "Coding", "ContactPoint", "Count", "Distance", "Duration", "HumanName",
		"Identifier", "Money", "Period", "Quantity", "Range", "Ratio", "Reference", "SampledData", "Signature", "Timing", "ContactDetail",
		"Contributor", "DataRequirement", "Expression", "ParameterDefinition", "RelatedArtifact", "TriggerDefinition", "UsageContext", "Dosage", "Meta":
		return rest
	default:
		return ""
	}
}

// kindOf is the primitive type of a Go kind, before correction.
func kindOf(ft reflect.Type) string {
	switch ft.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Int:
		return "integer"
	default:
		return "string"
	}
}
