package records_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
)

func documentItem(id, trigger, status, docStatus string, extensions ...string) records.Item {
	k := records.Key{Assigner: "urn:x:documents", ID: id}
	n := fhir.NewResource("DocumentReference").SetString("id", fhir.ID("DocumentReference", k.Assigner, k.ID)).SetString("status", status)
	n.SetString("docStatus", docStatus)
	for _, name := range extensions {
		n.Append("extension", fhir.NewObject().SetString("url", "urn:x:"+name).SetString("valueString", trigger))
	}
	return records.Item{Kind: records.Document, Key: k, Action: records.Upsert, Resource: n, Trigger: trigger}
}

// A document's record tells how far its making has come, and each message of
// MDM what it did (HL7 v2.5.1 §9.5).
func TestDocument(t *testing.T) {
	w := newWorld(t)
	step := func(n int, it records.Item, event, state, previous string) {
		t.Helper()
		w.fold(change(n, "a", n, 1, patientItem(1), it))
		r := w.lastOf(records.Document, it.Key.ID)
		require.Equal(t, "document."+event, r.EventType)
		require.Equal(t, state, r.State)
		require.Equal(t, previous, r.PreviousState)
	}
	step(1, documentItem("D1", "T02", "current", "preliminary", "section", "storage"), "created", "preliminary", "")
	step(2, documentItem("D1", "T04", "current", "final", "storage"), "status-changed", "final", "preliminary")
	require.Contains(t, string(w.lastOf(records.Document, "D1").Resource), "urn:x:section", "a message that says nothing of an extension leaves it")
	step(3, documentItem("D2", "T06", "current", "final"), "addendum", "final", "")
	step(4, documentItem("D1", "T08", "current", "final", "reason"), "edited", "final", "final")
	step(5, documentItem("D3", "T10", "current", "final"), "replacement", "final", "")
	step(6, documentItem("D1", "T10", "superseded", "final"), "superseded", "superseded", "final")
	cancel := documentItem("D3", "T11", "entered-in-error", "final")
	cancel.State, cancel.Event = "entered-in-error", "cancelled"
	step(7, cancel, "cancelled", "entered-in-error", "final")
}
