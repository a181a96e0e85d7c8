package tables_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// That a record comes to an end is told once: what the same is said again of, with
// other content, is updated.
func TestEndedOnce(t *testing.T) {
	visit := func(reason string) string {
		return segment("PV1", map[int]string{1: "1", 2: "I", 3: reason, 19: "V1^^^ALDER^VN"})
	}
	order := func(minute int, control, note string) []string {
		return []string{header("OMG^O19", minute), segment("PID", person()), "ORC|" + control + "|O1^ALDER", "OBR|1|O1^ALDER||24331-1^Lipids^LN|||||||||" + note}
	}
	adt := func(trigger string, minute int, place string) []string {
		return []string{header("ADT^"+trigger, minute), segment("PID", person()), visit(place)}
	}
	document := func(minute int, trigger, note string) []string {
		return []string{header("MDM^"+trigger, minute), "EVN|" + trigger + "|20260310", segment("PID", person()), visit("4W"), "TXA|1|CN|TX|20260310||||||||D1^ALDER||||" + note + "|LA"}
	}
	for name, c := range map[string]struct {
		kind     records.Kind
		messages [][]string
		want     []string
	}{
		"order":        {records.Order, [][]string{order(1, "NW", "a"), order(2, "CA", "a"), order(3, "CA", "b")}, []string{"order.cancelled", "order.updated"}},
		"discontinued": {records.Order, [][]string{order(1, "NW", "a"), order(2, "DC", "a"), order(3, "DC", "b")}, []string{"order.discontinued", "order.updated"}},
		"visit":        {records.Encounter, [][]string{adt("A01", 1, "4W"), adt("A11", 2, "4W"), adt("A11", 3, "5W")}, []string{"encounter.cancelled", "encounter.bed-changed"}},
		"deleted":      {records.Encounter, [][]string{adt("A01", 1, "4W"), adt("A23", 2, "4W"), adt("A23", 3, "5W")}, []string{"encounter.deleted", "encounter.bed-changed"}},
		"document":     {records.Document, [][]string{document(1, "T02", "a"), document(2, "T11", "a"), document(3, "T11", "b")}, []string{"document.cancelled", "document.updated"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			f.send(c.messages[0]...)
			for i, want := range c.want {
				r := of(f.send(c.messages[i+1]...), c.kind)
				require.NotNil(t, r)
				require.Equal(t, want, r.EventType)
			}
		})
	}
}
