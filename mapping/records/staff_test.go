package records_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
)

func staffItem(trigger, active string, certificates ...string) records.Item {
	k := records.Key{Assigner: "urn:x:staff", ID: "77"}
	n := fhir.NewResource("Practitioner").SetString("id", fhir.ID("Practitioner", k.Assigner, k.ID))
	if active != "" {
		n.Set("active", fhir.NewBool(active == "true"))
	}
	for _, serial := range certificates {
		id := fhir.NewObject().SetString("value", serial)
		n.Append("qualification", fhir.NewObject().Append("identifier", id).Set("code", fhir.NewObject().SetString("text", trigger)))
	}
	return records.Item{Kind: records.Practitioner, Key: k, Action: records.Upsert, Resource: n, Trigger: trigger}
}

// A person of the staff is active until a message says otherwise, and has what
// was granted to him whatever another message speaks of (HL7 v2.5.1 §15.3).
func TestStaff(t *testing.T) {
	w := newWorld(t)
	step := func(n int, it records.Item, event, state string) *records.Record {
		t.Helper()
		c := change(n, "hr", n, 1, it)
		c.Subject = nil
		w.fold(c)
		r := w.last(records.Practitioner)
		require.Equal(t, "practitioner."+event, r.EventType)
		require.Equal(t, state, r.State)
		return r
	}
	step(1, staffItem("B02", "", "BOARD"), "created", "active")
	granted := staffItem("B07", "", "DEA")
	granted.Event = "certificate.granted"
	r := step(2, granted, "certificate.granted", "active")
	require.Contains(t, string(r.Resource), "BOARD", "what one message does not speak of stays")
	gone := staffItem("B05", "false")
	gone.State, gone.Event = "inactive", "deactivated"
	step(3, gone, "deactivated", "inactive")
	r = step(4, staffItem("B02", "", "BOARD", "NEW"), "updated", "inactive")
	require.Contains(t, string(r.Resource), "DEA")
	step(5, staffItem("M02", "true"), "updated", "active")
}
