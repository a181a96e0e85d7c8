package records_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
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

// A change that lies only in what a record refers to, or in what refers to it,
// is a version that says what changed; the same again is none.
func TestRelatedChanged(t *testing.T) {
	w := newWorld(t)
	send := func(n int, more ...*fhir.Node) []*records.Record {
		c := change(n, "a", n, 1, patientItem(1), report("o1"))
		c.Related = more
		return w.fold(c)
	}
	send(1, observation("o1", "17"))
	require.Empty(t, send(2, observation("o1", "17")))
	made := send(3, observation("o1", "7.1"))
	require.Len(t, made, 1)
	require.Equal(t, "result.updated", made[0].EventType)
	require.Equal(t, []records.RecordChange{{Path: "related[Observation/o1].valueString", Old: []byte(`"17"`), New: []byte(`"7.1"`)}}, made[0].Changed)
	made = send(4, observation("o1", "7.2").SetString("status", "corrected"))
	require.Equal(t, "result.corrected", made[0].EventType)
	require.Equal(t, "correction", made[0].Transition)

	allergy := func(id, text string) *fhir.Node {
		n := fhir.NewResource("AllergyIntolerance").SetString("id", id)
		return n.Set("patient", fhir.NewObject().SetString("reference", "Patient/"+patient(1).ID())).SetString("note", text)
	}
	made = send(5, allergy("a1", "penicillin"))
	require.Len(t, made, 1)
	require.Equal(t, records.Patient, made[0].Kind, "it refers to the patient")
	require.Equal(t, "related[AllergyIntolerance/a1]", made[0].Changed[0].Path)
	require.Contains(t, fmt.Sprintf("%s", made[0].Related), "penicillin")
	require.Empty(t, send(6, allergy("a1", "penicillin")))
	require.Empty(t, send(7, allergy("a2", "penicillin")), "the same under another number")
	require.Len(t, send(8, allergy("a1", "penicillin G")), 1)
	w.holds()
}

// What messages carry of one resource ends as the newest that speaks of it has
// it, held and shown, in whatever order they come.
func TestRelatedInAnyOrder(t *testing.T) {
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]string{}
		var changes []*records.Change
		for i := range rapid.IntRange(1, 6).Draw(t, "messages") {
			c := change(i+1, "a", i+1, 1, patientItem(1), report("o1", "o2"))
			for _, id := range []string{"o1", "o2"} {
				if rapid.Bool().Draw(t, id) {
					want[id] = fmt.Sprint("value ", rapid.IntRange(1, 3).Draw(t, "value"))
					c.Related = append(c.Related, observation(id, want[id]))
				}
			}
			changes = append(changes, c)
		}
		w := newWorldWith(t, check)
		for _, c := range rapid.Permutation(changes).Draw(t, "order") {
			w.fold(c)
		}
		w.holds()
		shown := fmt.Sprintf("%s", w.last(records.Result).Related)
		for id, value := range want {
			require.Equal(t, value, w.resource("Observation", id)["valueString"])
			require.Contains(t, shown, `"id":"`+id+`","status":"final","subject":{"reference":"Patient/`+patient(1).ID()+`"},"valueString":"`+value+`"`)
		}
	})
}
