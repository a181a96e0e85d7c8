package records_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
)

// ordered is a medication order that says what it is of by one of two names.
func ordered(name, value string, defaulted ...string) records.Item {
	k := records.Key{Assigner: "urn:x:orders", ID: "M1"}
	n := fhir.NewResource("MedicationRequest").SetString("id", fhir.ID("MedicationRequest", k.Assigner, k.ID)).SetString("status", "active")
	n.Append("extension", fhir.NewObject().SetString("url", "urn:x:"+value).SetString("valueString", value))
	of := fhir.NewObject().SetString("reference", value)
	if name == "medicationCodeableConcept" {
		of = fhir.NewObject().SetString("text", value)
	}
	n.Set(name, of)
	return records.Item{Kind: records.MedicationOrder, Key: k, Resource: n, Defaulted: defaulted}
}

// A record never has two alternatives of a choice: the newest message's stands,
// in whatever order a sender's come; what was filled in for want of a value
// takes no value's place; extensions of other messages stay.
func TestChoice(t *testing.T) {
	first := change(1, "a", 1, 1, patientItem(1), ordered("medicationReference", "Medication/1"))
	second := change(2, "a", 2, 1, patientItem(1), ordered("medicationCodeableConcept", "Amoxicillin"))
	filled := change(3, "a", 3, 1, patientItem(1), ordered("medicationCodeableConcept", "unknown", "medicationCodeableConcept"))
	other := change(4, "b", 1, 1, patientItem(1), ordered("medicationCodeableConcept", "unknown", "medicationCodeableConcept"))
	for name, c := range map[string]struct {
		in         []*records.Change
		want       string
		extensions int
	}{
		"the newer":             {[]*records.Change{first, second}, "medicationCodeableConcept", 2},
		"the newer, come first": {[]*records.Change{second, first}, "medicationCodeableConcept", 2},
		"filled in":             {[]*records.Change{first, filled}, "medicationReference", 2},
		"filled in, come first": {[]*records.Change{filled, first}, "medicationReference", 2},
		"another's filled in":   {[]*records.Change{first, other}, "medicationReference", 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, c := range c.in {
				w.fold(c)
			}
			w.holds()
			got := map[string]any{}
			require.NoError(t, json.Unmarshal(w.last(records.MedicationOrder).Resource, &got))
			require.Contains(t, got, c.want)
			require.False(t, got["medicationReference"] != nil && got["medicationCodeableConcept"] != nil, "two alternatives")
			require.Len(t, got["extension"], c.extensions)
		})
	}
}
