package tables_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// A message with one corrected value, or with one of two isolates, leaves the rest of
// its report (HL7 v2.5.1 §7.4.2.3, §7.4.2.4), also when the whole report comes late.
func TestPartOfAReport(t *testing.T) {
	obx := func(code, sub, value, status string) string {
		return segment("OBX", map[int]string{2: "ST", 3: code + "^^L", 4: sub, 5: value, 11: status})
	}
	send := func(f *feed, minute int, segments ...string) *records.Record {
		head := []string{header("ORU^R01", minute), segment("PID", person()), segment("OBR", map[int]string{2: "P1^CPOE", 3: "F1^LAB", 4: "CULT^^L", 25: "F"})}
		for _, r := range f.send(append(head, segments...)...) {
			if r.Kind == records.Result {
				return r
			}
		}
		return nil
	}
	values := func(r *records.Record) (out []string) {
		var report struct{ Result []struct{ Reference string } }
		require.NoError(t, json.Unmarshal(r.Resource, &report))
		text := map[string]string{}
		for _, raw := range r.Related {
			var n struct{ ResourceType, ID, Status, ValueString string }
			require.NoError(t, json.Unmarshal(raw, &n))
			text[n.ResourceType+"/"+n.ID] = n.ValueString
			if n.Status == "entered-in-error" {
				text[n.ResourceType+"/"+n.ID] += " taken back"
			}
		}
		for _, ref := range report.Result {
			out = append(out, text[ref.Reference])
		}
		return out
	}
	whole := []string{obx("GRAM", "", "rods", "F"), obx("ORG", "1", "E. coli", "F"), obx("ORG", "2", "S. aureus", "F"), obx("NOTE", "", "line 1", "F"), obx("NOTE", "", "line 2", "F")}
	part := []string{obx("ORG", "2", "S. epidermidis", "C"), obx("NOTE", "", "see above", "C")}
	want := []string{"rods", "E. coli", "S. epidermidis", "see above"}

	f := newFeed(t)
	send(f, 1, whole...)
	require.Equal(t, want, values(send(f, 2, part...)))
	want[0] = "rods taken back"
	require.Equal(t, want, values(send(f, 3, obx("GRAM", "", "rods", "W"))))
	want[0] = "rods"

	f = newFeed(t)
	send(f, 2, part...)
	require.Equal(t, want, values(send(f, 1, whole...)))
}
