package fhir

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/samply/golang-fhir-models/fhir-models/fhir"
)

// Decode reads a resource into its samply type, for code that wants fields
// rather than paths: Decode[fhir.Patient](node).
func Decode[T any](n *Node) (T, error) {
	var out T
	if err := json.Unmarshal(n.JSON(), &out); err != nil {
		return out, fmt.Errorf("read %s: %w", n.ResourceType(), err)
	}
	return out, nil
}

// Encode writes a samply resource as a tree, without what its encoder invents:
// alternatives of a required choice that were not set, empty objects and
// strings. base gives back what the type cannot hold (contained resources,
// extensions of primitives); nil where there is none.
func (s *Schema) Encode(resource any, base *Node) (*Node, error) {
	data, err := json.Marshal(resource)
	if err != nil {
		return nil, fmt.Errorf("write resource: %w", err)
	}
	n, err := ParseJSON(data)
	if err != nil {
		return nil, fmt.Errorf("write resource: %w", err)
	}
	if t, ok := s.types[n.ResourceType()]; ok {
		s.dropInvented(t, n)
		if base != nil {
			s.giveBack(n, base)
		}
	}
	s.Tidy(n)
	return n, nil
}

// dropInvented deletes zero values of choice elements.
func (s *Schema) dropInvented(t *Type, n *Node) {
	for i := 0; i < len(n.Kids); i++ {
		k := n.Kids[i]
		e, ok := t.Element(k.Name)
		if !ok {
			continue
		}
		if e.Choice != "" && zero(k) {
			n.Kids = append(n.Kids[:i], n.Kids[i+1:]...)
			i--
			continue
		}
		if child, ok := s.types[e.Type]; ok {
			for _, item := range k.Items() {
				if item.Kind == Object {
					s.dropInvented(child, item)
				}
			}
		}
	}
}

func zero(n *Node) bool {
	switch n.Kind {
	case Bool:
		return n.Text == "false"
	case Number:
		return n.Text == "0"
	case String:
		return n.Text == ""
	case Null:
		return true
	default:
		for _, k := range n.Kids {
			if !zero(k) {
				return false
			}
		}
		return true
	}
}

// giveBack copies what the typed model loses from the tree it was read from.
func (s *Schema) giveBack(n, base *Node) {
	for _, k := range base.Kids {
		mine := n.Get(k.Name)
		switch {
		case mine == nil && (k.Name == "contained" || k.Name[0] == '_'):
			n.Set(k.Name, k.Clone())
		case mine == nil && k.Kind <= Bool && k.Kind >= Number && zero(k):
			n.Set(k.Name, k.Clone()) // a choice that really is false or 0
		case mine != nil && mine.Kind == Object && k.Kind == Object:
			s.giveBack(mine, k)
		case mine != nil && mine.Kind == Array && k.Kind == Array && len(mine.Kids) == len(k.Kids):
			for i := range mine.Kids {
				if mine.Kids[i].Kind == Object && k.Kids[i].Kind == Object {
					s.giveBack(mine.Kids[i], k.Kids[i])
				}
			}
		}
	}
}

// OperationOutcome tells a client what is wrong and where (R4 §2.42).
func OperationOutcome(issues ...Issue) *Node {
	out := fhir.OperationOutcome{}
	for _, i := range issues {
		var severity fhir.IssueSeverity
		var code fhir.IssueType
		if severity.UnmarshalJSON([]byte(i.Severity)) != nil {
			severity = fhir.IssueSeverityError
		}
		if code.UnmarshalJSON([]byte(i.Code)) != nil {
			code = fhir.IssueTypeProcessing
		}
		issue := fhir.OperationOutcomeIssue{Severity: severity, Code: code}
		if i.Diagnostics != "" {
			issue.Diagnostics = &i.Diagnostics
		}
		if i.Expression != "" {
			issue.Expression = []string{i.Expression}
		}
		out.Issue = append(out.Issue, issue)
	}
	return mustTree(out)
}

// Capability describes what a FHIR endpoint takes (R4 §2.3): create and update
// of every resource type, reading back of those that are held, and no search;
// date is when the program started.
func Capability(base string, date time.Time, resources []string, held func(resourceType string) bool) *Node {
	description := "Liaison: FHIR intake for coordination records"
	versioned, yes, no := fhir.ResourceVersionPolicyVersioned, true, false
	reads := fhir.ConditionalReadStatusNotMatch
	rest := fhir.CapabilityStatementRest{Mode: fhir.RestfulCapabilityModeServer}
	for _, name := range resources {
		var code fhir.ResourceType
		if code.UnmarshalJSON([]byte(name)) != nil {
			continue
		}
		r := fhir.CapabilityStatementRestResource{
			Type: code, Versioning: &versioned, ReadHistory: &no, UpdateCreate: &yes, ConditionalCreate: &yes, ConditionalUpdate: &no,
			Interaction: []fhir.CapabilityStatementRestResourceInteraction{
				{Code: fhir.TypeRestfulInteractionCreate}, {Code: fhir.TypeRestfulInteractionUpdate},
			},
		}
		if held == nil || held(name) {
			r.Interaction = append(r.Interaction, fhir.CapabilityStatementRestResourceInteraction{Code: fhir.TypeRestfulInteractionRead})
			r.ConditionalRead = &reads
		}
		rest.Resource = append(rest.Resource, r)
	}
	rest.Interaction = []fhir.CapabilityStatementRestInteraction{
		{Code: fhir.SystemRestfulInteractionTransaction}, {Code: fhir.SystemRestfulInteractionBatch},
	}
	return mustTree(fhir.CapabilityStatement{
		Status: fhir.PublicationStatusActive, Date: date.UTC().Format(time.RFC3339), Kind: fhir.CapabilityStatementKindInstance,
		FhirVersion: fhir.FHIRVersion4_0_1, Format: []string{"application/fhir+json"},
		Implementation: &fhir.CapabilityStatementImplementation{Description: description, Url: &base},
		Rest:           []fhir.CapabilityStatementRest{rest},
	})
}

// mustTree encodes a resource that this package made itself.
func mustTree(resource any) *Node {
	data, err := json.Marshal(resource)
	if err != nil {
		return NewResource("OperationOutcome")
	}
	n, err := ParseJSON(data)
	if err != nil {
		return NewResource("OperationOutcome")
	}
	n.Prune()
	return n
}
