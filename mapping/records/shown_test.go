package records_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
)

func (c *client) observation(id, value, status string, members ...string) []*records.Record {
	return c.ask("PUT", "Observation", id, `{"resourceType":"Observation","id":"`+id+`","status":"`+status+`","code":{"text":"Hb"},"valueString":"`+value+`"`+list("hasMember", members)+`}`)
}

func (c *client) report(id, status string, results ...string) []*records.Record {
	return c.ask("PUT", "DiagnosticReport", id, `{"resourceType":"DiagnosticReport","id":"`+id+`","status":"`+status+`","code":{"text":"CBC"}`+list("result", results)+`}`)
}

func list(name string, observations []string) string {
	var out []string
	for _, id := range observations {
		out = append(out, `{"reference":"Observation/`+id+`"}`)
	}
	if out == nil {
		return ""
	}
	return `,"` + name + `":[` + strings.Join(out, ",") + `]`
}

// An observation that is put right by itself is put right in the report that
// shows it.
func TestObservationOfAReport(t *testing.T) {
	w := &client{world: newWorld(t)}
	require.Empty(t, w.observation("o1", "12.0", "final"))
	require.Len(t, w.report("d1", "final", "o1", "o2"), 1)
	require.Empty(t, w.observation("o1", "12.0", "final"))
	made := w.observation("o1", "7.1", "corrected")
	require.Len(t, made, 1)
	require.Equal(t, []string{"result.corrected", "correction", "final"}, []string{made[0].EventType, made[0].Transition, made[0].State})
	require.Equal(t, []records.RecordChange{
		{Path: "related[Observation/o1].status", Old: []byte(`"final"`), New: []byte(`"corrected"`)},
		{Path: "related[Observation/o1].valueString", Old: []byte(`"12.0"`), New: []byte(`"7.1"`)},
	}, made[0].Changed)
	require.Contains(t, fmt.Sprintf("%s", made[0].Related), "7.1")
	require.Empty(t, w.report("d1", "final", "o1", "o2"), "it says so already")

	made = w.observation("o2", "4", "final") // a result that comes behind its report
	require.Len(t, made, 1)
	require.Equal(t, "result.updated", made[0].EventType)
	require.Equal(t, "related[Observation/o2]", made[0].Changed[0].Path)

	require.Len(t, w.report("d1", "amended", "o2"), 1)
	require.Empty(t, w.observation("o1", "9", "corrected"), "the report shows it no more")
	require.Equal(t, []string{"no-record"}, slices.Compact(w.flags))

	require.Len(t, w.report("d1", "amended", "panel"), 1)
	require.Len(t, w.observation("panel", "see its parts", "final", "o3"), 1)
	require.Len(t, w.observation("o3", "1", "final"), 1, "a part of what the report shows")
	made = w.observation("o3", "2", "amended")
	require.Len(t, made, 1)
	require.Equal(t, "related[Observation/o3].status", made[0].Changed[0].Path)
	w.holds()
}

// Whatever the order in which a report and its results come, and come again with
// other values, its newest version shows what each result was last.
func TestObservationsInAnyOrder(t *testing.T) {
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		w := &client{world: newWorldWith(t, check)}
		want := map[string]string{}
		results := []string{"o1", "o2", "o3"}
		reported := false
		for i := range rapid.IntRange(2, 12).Draw(t, "messages") {
			if rapid.Bool().Draw(t, "report") {
				reported = true
				w.report("d1", rapid.SampledFrom([]string{"preliminary", "final"}).Draw(t, "status"), results...)
				continue
			}
			id := rapid.SampledFrom([]string{"o1", "o2", "o3", "part"}).Draw(t, "observation")
			want[id] = fmt.Sprint("value ", rapid.IntRange(0, 1).Draw(t, "value")+i/4)
			if id == "o3" {
				w.observation(id, want[id], "final", "part")
			} else {
				w.observation(id, want[id], "final")
			}
		}
		w.holds()
		if !reported {
			require.Nil(t, w.last(records.Result))
			return
		}
		shown := fmt.Sprintf("%s", w.last(records.Result).Related)
		for id, value := range want {
			if id != "part" || want["o3"] != "" {
				require.Contains(t, shown, `"id":"`+id+`","status":"final","code":{"text":"Hb"},"valueString":"`+value+`"`)
			}
		}
	})
}
