package records_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
)

// A charged is one financial transaction in plain words.
type charged struct{ id, kind, reference, code, date, amount string }

func (c charged) item() records.Item {
	k := records.Key{Assigner: "urn:x:charges", ID: c.id + "/" + c.kind}
	n := fhir.NewResource("ChargeItem").SetString("id", fhir.ID("ChargeItem", k.Assigner, k.ID)).SetString("status", "billable")
	if c.kind == "PY" || c.kind == "AJ" || c.kind == "CO" {
		n.SetString("status", "not-billable")
	}
	coding := func(code string) *fhir.Node {
		return fhir.NewObject().Append("coding", fhir.NewObject().SetString("code", code))
	}
	n.Append("extension", fhir.NewObject().SetString("url", "https://liaison.health/fhir/StructureDefinition/transaction-type").Set("valueCodeableConcept", coding(c.kind)))
	n.Append("identifier", fhir.NewObject().SetString("system", "urn:x:transactions").SetString("value", c.id))
	if c.reference != "" {
		identifier := fhir.NewObject().Set("identifier", fhir.NewObject().SetString("value", c.reference))
		n.Append("extension", fhir.NewObject().SetString("url", "https://liaison.health/fhir/StructureDefinition/reverses").Set("valueReference", identifier))
	}
	n.Set("code", coding(c.code)).SetString("occurrenceDateTime", c.date)
	n.Append("account", fhir.NewObject().SetString("reference", "Account/a1"))
	n.Set("priceOverride", fhir.NewObject().Set("value", fhir.NewNumber(c.amount)).SetString("currency", "USD"))
	return records.Item{Kind: records.Charge, Key: k, Resource: n, Trigger: "P03"}
}

// A credit names the charge that it takes back, and the charge tells that it
// was: found by the transaction's id, the reference, or code, date, amount and
// account; in whichever order the two come; once.
func TestReversal(t *testing.T) {
	cg := charged{id: "T1", kind: "CG", code: "80053", date: "2026-03-10", amount: "120.50"}
	for name, cd := range map[string]charged{
		"same id":   {id: "T1", kind: "CD", code: "80053", date: "2026-03-11", amount: "-120.50"},
		"reference": {id: "T2", kind: "CD", reference: "T1", code: "80053", date: "2026-03-11", amount: "120.5"},
		"likeness":  {id: "T3", kind: "CD", code: "80053", date: "2026-03-10", amount: "-120.5"},
	} {
		for _, swapped := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				post := change(1, "a", 1, 1, patientItem(1), cg.item())
				reverse := change(2, "a", 2, 1, patientItem(1), cd.item())
				if swapped {
					w.fold(reverse)
					require.Contains(t, w.lastOf(records.Charge, cd.item().Key.ID).Quality.Warnings, "reversal-without-charge")
					w.fold(post)
				} else {
					w.fold(post)
					require.Equal(t, "charge.posted", w.last(records.Charge).EventType)
					made := w.fold(reverse)
					require.Equal(t, "charge.reversed", made[0].EventType)
				}
				charge, credit := w.lastOf(records.Charge, "T1/CG"), w.lastOf(records.Charge, cd.item().Key.ID)
				require.Equal(t, "aborted", charge.State)
				require.Contains(t, string(charge.Resource), `"status":"aborted"`)
				require.Equal(t, credit.Key, *charge.ReversedBy)
				require.Equal(t, charge.Key, *credit.Reverses)
				require.Contains(t, string(credit.Resource), `"CD"`)
				if !swapped {
					require.Equal(t, "charge.corrected", charge.EventType)
					require.Equal(t, "correction", charge.Transition)
					require.Equal(t, "billable", charge.PreviousState)
				}
				posted := 0
				for _, r := range w.fold(change(3, "a", 3, 1, patientItem(1), cg.item())) {
					posted++
					require.Equal(t, "aborted", r.State, "sent again, the charge stays taken back")
				}
				require.Zero(t, posted, "and makes no version")
				w.holds()
			})
		}
	}
}

// After a merge a credit finds the charge under the survivor and under the
// retired patient, whichever of them it was posted for; after an unmerge what
// is the other patient's again is not found.
func TestReversalAcrossMerge(t *testing.T) {
	cg := charged{id: "T1", kind: "CG", code: "80053", date: "2026-03-10", amount: "120.50"}
	byID := charged{id: "T1", kind: "CD", code: "80053", date: "2026-03-11", amount: "-120.50"}
	for _, cd := range []charged{byID, {id: "T3", kind: "CD", code: "80053", date: "2026-03-10", amount: "-120.5"}} {
		for _, who := range [][2]int{{1, 2}, {2, 1}, {1, 1}, {2, 2}} {
			w := newWorld(t)
			w.fold(change(1, "a", 1, who[0], patientItem(who[0]), cg.alone()))
			w.fold(merging(2, "a", 2, 2, 1))
			w.fold(change(3, "a", 3, who[1], patientItem(who[1]), cd.alone()))
			require.Equal(t, "aborted", w.lastOf(records.Charge, "T1/CG").State, "%s: posted for %d, taken back for %d", cd.id, who[0], who[1])
			w.holds()
		}
	}
	w := newWorld(t)
	w.fold(change(1, "a", 1, 1, patientItem(1), cg.alone()))
	w.fold(merging(2, "a", 2, 2, 1))
	w.fold(unmerging(3, 1))
	w.fold(change(4, "a", 4, 2, patientItem(2), byID.alone()))
	require.Equal(t, "billable", w.lastOf(records.Charge, "T1/CG").State)
}

// alone is a transaction without an account.
func (c charged) alone() records.Item {
	it := c.item()
	it.Resource.Delete("account")
	return it
}

// A credit takes back one charge, of several alike; never a charge that its
// sender posted after it; and not the whole of one of another amount.
func TestReversalOfOne(t *testing.T) {
	w := newWorld(t)
	like := func(id, kind, amount string) records.Item {
		return charged{id: id, kind: kind, code: "80053", date: "2026-03-10", amount: amount}.item()
	}
	w.fold(change(1, "a", 1, 1, patientItem(1), like("T1", "CG", "10")))
	w.fold(change(2, "a", 2, 1, patientItem(1), like("T2", "CG", "10")))
	// The corrected charge comes in one message with the credit of the old one.
	w.fold(change(3, "a", 3, 1, patientItem(1), like("T3", "CD", "10"), like("T4", "CG", "10")))
	w.fold(change(4, "a", 4, 1, patientItem(1), like("T5", "CD", "10")))
	w.fold(change(5, "a", 5, 1, patientItem(1), like("T6", "CD", "10")))
	w.fold(change(6, "a", 6, 1, patientItem(1), like("T7", "CD", "10"), like("T8", "CG", "11")))
	w.fold(change(7, "a", 7, 1, patientItem(1), like("T9", "CG", "10")))
	for id, want := range map[string]string{"T1": "aborted", "T2": "aborted", "T4": "aborted", "T8": "billable", "T9": "billable"} {
		require.Equal(t, want, w.lastOf(records.Charge, id+"/CG").State, id)
	}
	require.Nil(t, w.lastOf(records.Charge, "T7/CD").Reverses)

	// A credit that names a charge takes back no other that is like it.
	w.fold(change(9, "a", 9, 1, patientItem(1), charged{id: "T10", kind: "CD", reference: "T99", code: "80053", date: "2026-03-10", amount: "10"}.item()))
	require.Equal(t, "billable", w.lastOf(records.Charge, "T9/CG").State)

	part := charged{id: "T8", kind: "CD", code: "80053", date: "2026-03-12", amount: "5"}
	w.fold(change(10, "a", 10, 1, patientItem(1), part.item()))
	r := w.lastOf(records.Charge, "T8/CG")
	require.Equal(t, "billable", r.State, "part of a charge is taken back, not the charge")
	require.Equal(t, "T8/CD", r.ReversedBy.ID)
	require.Contains(t, r.Quality.Warnings, "reversal-of-another-amount")
	w.holds()
}

// Payments, adjustments and co-payments keep their kind and take no charge back.
func TestOtherTransactions(t *testing.T) {
	w := newWorld(t)
	w.fold(change(1, "a", 1, 1, patientItem(1), charged{id: "T1", kind: "CG", code: "80053", date: "2026-03-10", amount: "10"}.item()))
	for i, want := range map[string]string{"PY": "charge.payment", "AJ": "charge.adjusted", "CO": "charge.copay"} {
		w.fold(change(2, "a", 2, 1, charged{id: "T1", kind: i, code: "80053", date: "2026-03-10", amount: "-10"}.item()))
		r := w.lastOf(records.Charge, "T1/"+i)
		require.Equal(t, want, r.EventType)
		require.Equal(t, "not-billable", r.State)
		require.Nil(t, r.Reverses)
	}
	require.Equal(t, "billable", w.lastOf(records.Charge, "T1/CG").State)
	w.holds()
}
