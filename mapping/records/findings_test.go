package records_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
)

// A line is one observation of a report: one of a code, or of a text's lines.
type line struct {
	code string
	nth  int
}

func (l line) id() string { return fmt.Sprint(l.code, l.nth) }

// found is a message with a report of these observations.
func found(n int, sender string, order int, lines []line) *records.Change {
	var ids []string
	var more []*fhir.Node
	for _, l := range lines {
		o := observation(l.id(), fmt.Sprint(order))
		o.Set("code", fhir.NewObject().SetString("text", l.code))
		if l.code == "org" && l.nth > 0 { // told apart by OBX-4
			o.Append("extension", fhir.NewObject().SetString("url", "http://hl7.org/fhir/StructureDefinition/observation-v2-subid").
				SetString("valueString", fmt.Sprint(l.nth)))
		}
		ids, more = append(ids, l.id()), append(more, o)
	}
	it := report(ids...)
	it.Trigger = "R01"
	c := change(n, sender, order, 1, patientItem(1), it)
	c.Related = more
	return c
}

// findings are the report's observations as a consumer sees them.
func (w *world) findings() (ids []string) {
	var n struct{ Result []struct{ Reference string } }
	require.NoError(w.t, json.Unmarshal(w.last(records.Result).Resource, &n))
	for _, r := range n.Result {
		ids = append(ids, r.Reference[len("Observation/"):])
	}
	return ids
}

// A message that has a part of a report leaves the rest: a value that is put right,
// a text that gets shorter, a value that comes on its own, an earlier message that
// comes late.
func TestPartOfAReport(t *testing.T) {
	whole := []line{{"Na", 1}, {"K", 1}, {"text", 1}, {"Cl", 1}, {"text", 2}}
	corrected := []line{{"K", 1}}
	more := []line{{"Glu", 1}, {"text", 1}}
	w := newWorld(t)
	w.fold(found(1, "lab", 1, whole))
	require.Equal(t, []string{"Na1", "K1", "text1", "Cl1", "text2"}, w.findings())
	require.Empty(t, w.fold(found(2, "lab", 1, whole)))
	w.fold(found(3, "lab", 2, corrected))
	require.Equal(t, []string{"Na1", "K1", "text1", "Cl1", "text2"}, w.findings())
	w.fold(found(4, "lab", 3, more))
	require.Equal(t, []string{"Na1", "K1", "text1", "Cl1", "Glu1"}, w.findings())

	w = newWorld(t)
	w.fold(found(1, "lab", 3, more))
	w.fold(found(2, "lab", 2, corrected))
	w.fold(found(3, "lab", 1, whole))
	require.Equal(t, []string{"Na1", "K1", "text1", "Cl1", "Glu1"}, w.findings())
}

// A remark stays behind its value: a message whose remarks stand between its values
// is laid out as it stands, and one that comes late does not take it apart.
func TestRemarksStayBehindTheirValues(t *testing.T) {
	first := []line{{"Na", 1}, {"rem", 1}}
	final := []line{{"Na", 1}, {"rem", 1}, {"K", 1}, {"rem", 2}}
	other := []line{{"Cl", 1}}
	for _, order := range [][]int{{1, 2, 3}, {2, 1, 3}, {3, 1, 2}, {1, 3, 2}} {
		w := newWorld(t)
		for n, i := range order {
			w.fold(found(n+1, "lab", i, [][]line{first, other, final}[i-1]))
		}
		got := strings.Join(w.findings(), " ")
		require.Contains(t, got, "Na1 rem1 K1 rem2", fmt.Sprint(order))
		require.Contains(t, got, "Cl1")
	}
}

// What was told of a code without a sub-identifier, a culture's growth, goes when its
// isolates are told, and does not come back when it is late; isolates are told one by one.
func TestIsolatesInsteadOfGrowth(t *testing.T) {
	growth, first, second := []line{{"org", 0}}, []line{{"org", 1}}, []line{{"org", 2}}
	for _, order := range [][]int{{1, 2, 3}, {1, 3, 2}, {2, 1, 3}, {2, 3, 1}, {3, 1, 2}, {3, 2, 1}} {
		w := newWorld(t)
		for n, i := range order {
			w.fold(found(n+1, "lab", i, [][]line{growth, first, second}[i-1]))
		}
		require.Equal(t, []string{"org1", "org2"}, w.findings(), fmt.Sprint(order))
	}
	w := newWorld(t)
	w.fold(found(1, "lab", 1, []line{{"org", 0}, {"org", 1}}))
	w.fold(found(2, "lab", 2, second))
	require.Equal(t, []string{"org0", "org1", "org2"}, w.findings(), "told together, both stand")
}

// A FHIR client puts the whole report, and a message adds to what it put.
func TestPartOfAPutReport(t *testing.T) {
	w := newWorld(t)
	w.fold(found(1, "lab", 1, []line{{"Na", 1}, {"K", 1}}))
	put := found(2, "portal", 1, []line{{"text", 1}, {"text", 2}, {"K", 1}})
	put.Items[1].Trigger, put.Items[1].Action = "", records.Snapshot
	w.fold(put)
	require.Equal(t, []string{"text1", "text2", "K1"}, w.findings())
	w.fold(found(3, "lab", 2, []line{{"text", 1}, {"Na", 1}}))
	require.Equal(t, []string{"text1", "K1", "Na1"}, w.findings())
}

// Whatever parts of a report a sender's messages have, and in whatever order they
// come, each code is as the newest message has it that has it; and where each stands
// together, all stand in the order in which they were told first.
func TestPartsOfAReportInAnyOrder(t *testing.T) {
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		var messages [][]line
		mixed := rapid.Bool().Draw(t, "mixed")
		for range rapid.IntRange(1, 5).Draw(t, "messages") {
			var lines []line
			for _, code := range rapid.Permutation([]string{"a", "b", "c", "d"}).Draw(t, "codes") {
				for n := range rapid.IntRange(0, 3).Draw(t, "lines of "+code) {
					lines = append(lines, line{code, n + 1})
				}
			}
			if mixed && len(lines) > 0 {
				lines = rapid.Permutation(lines).Draw(t, "order of lines")
			}
			if len(lines) > 0 {
				messages = append(messages, lines)
			}
		}
		sent := make([]int, len(messages))
		newest := map[string][]string{}
		for i, lines := range messages {
			sent[i] = i
			said := map[string][]string{}
			for _, l := range lines {
				said[l.code] = append(said[l.code], l.id())
			}
			for code, ids := range said {
				newest[code] = ids
			}
		}
		if len(messages) == 0 {
			return
		}
		fold := func(order []int) []string {
			w := newWorldWith(t, check)
			for n, i := range order {
				w.fold(found(n+1, "lab", i+1, messages[i]))
				if rapid.Bool().Draw(t, "forget") {
					w.folder = records.NewFolder(2, 0)
				}
			}
			w.holds()
			return w.findings()
		}
		by := func(ids []string) map[string][]string {
			out := map[string][]string{}
			for _, id := range ids {
				out[id[:1]] = append(out[id[:1]], id)
			}
			return out
		}
		inOrder, inAnother := fold(sent), fold(rapid.Permutation(sent).Draw(t, "order"))
		require.Equal(t, newest, by(inOrder))
		require.Equal(t, newest, by(inAnother))
		if !mixed {
			require.Equal(t, inOrder, inAnother)
		}
	})
}
