package records_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
)

// report is a result of these observations.
func report(observations ...string) records.Item {
	k := records.Key{Assigner: "urn:oid:1.2.5", ID: "R1"}
	n := fhir.NewResource("DiagnosticReport").SetString("id", fhir.ID("DiagnosticReport", k.Assigner, k.ID)).SetString("status", "final")
	n.Set("subject", fhir.NewObject().SetString("reference", "Patient/"+patient(1).ID()))
	for _, id := range observations {
		n.Append("result", fhir.NewObject().SetString("reference", "Observation/"+id))
	}
	return records.Item{Kind: records.Result, Key: k, Resource: n}
}

func observation(id, value string) *fhir.Node {
	n := fhir.NewResource("Observation").SetString("id", id).SetString("status", "final")
	return n.Set("subject", fhir.NewObject().SetString("reference", "Patient/"+patient(1).ID())).SetString("valueString", value)
}

// A report carries all its results.
func TestManyResults(t *testing.T) {
	var ids []string
	var results []*fhir.Node
	for i := range 80 {
		ids = append(ids, fmt.Sprintf("o%d", i))
		results = append(results, observation(ids[i], "v"))
	}
	c := change(1, "a", 1, 1, patientItem(1), report(ids...))
	c.Related = results
	w := newWorld(t)
	w.fold(c)
	require.Equal(t, 80, strings.Count(fmt.Sprintf("%s", w.last(records.Result).Related), `"Observation"`))
}
