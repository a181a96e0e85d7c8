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

func numbered(kind records.Kind, id string) records.Key {
	return records.Key{Type: "N", Assigner: "urn:oid:1.2.7." + string(kind), ID: id}
}

func refTo(kind records.Kind, id string) *fhir.Node {
	k, typ := numbered(kind, id), records.Kinds()[kind]
	return fhir.NewObject().SetString("reference", typ+"/"+fhir.ID(typ, k.Assigner, k.ID))
}

func patientRef(n int) *fhir.Node {
	return fhir.NewObject().SetString("reference", "Patient/"+patient(n).ID())
}

// thing is an account, a visit or a charge with a text of the message's, of a
// patient, and what it refers to: "account=A1", "encounter=V1".
func thing(kind records.Kind, id, text string, who int, refers ...string) records.Item {
	k, typ := numbered(kind, id), records.Kinds()[kind]
	n := fhir.NewResource(typ).SetString("id", fhir.ID(typ, k.Assigner, k.ID))
	n.Append("identifier", fhir.NewObject().SetString("system", k.Assigner).SetString("value", k.ID))
	n.SetString("status", map[records.Kind]string{records.Account: "active", records.Encounter: "in-progress", records.Charge: "billable"}[kind])
	n.SetString("description", text)
	switch kind {
	case records.Patient:
	case records.Account:
		n.Append("subject", patientRef(who))
	default:
		n.Set("subject", patientRef(who))
	}
	for _, r := range refers {
		name, to, _ := strings.Cut(r, "=")
		switch {
		case name == "account":
			n.Append("account", refTo(records.Account, to))
		case kind == records.Charge:
			n.Set("context", refTo(records.Encounter, to))
		}
	}
	return records.Item{Kind: kind, Key: k, Resource: n, Trigger: "A08"}
}

func joining(n, order int, op string, kind records.Kind, survivor, retired string, who int) *records.Change {
	c := change(n, "a", order, who, patientItem(who))
	c.Edges = []records.Edge{{Op: op, Kind: kind, Survivor: numbered(kind, survivor), Retired: numbered(kind, retired)}}
	if op == "move" {
		c.Edges[0].Survivor = patientKey(who)
	}
	return c
}

// A merge of accounts is a version of each, and one of every charge and visit of
// the retired account, which shows the survivor; later messages for the retired
// number are the survivor's.
func TestAccountMerge(t *testing.T) {
	w := newWorld(t)
	w.fold(change(1, "a", 1, 1, patientItem(1), thing(records.Account, "A1", "one", 1), thing(records.Account, "A2", "two", 1)))
	w.fold(change(2, "a", 2, 1, patientItem(1), thing(records.Encounter, "V1", "visit", 1, "account=A2"), thing(records.Charge, "C1", "charge", 1, "account=A2", "encounter=V1")))
	made := w.fold(joining(3, 3, "merge", records.Account, "A1", "A2", 1))
	var events []string
	for _, r := range made {
		events = append(events, r.EventType)
	}
	require.ElementsMatch(t, []string{"account.merged", "account.merged", "encounter.moved", "charge.moved"}, events)
	old := w.lastOf(records.Account, "A2")
	require.Equal(t, "merged", old.State)
	require.Contains(t, string(old.Resource), `"status":"inactive"`)
	require.Contains(t, string(old.Resource), refTo(records.Account, "A1").Str("reference"))
	require.Equal(t, "A1", old.Merge.Survivor.ID)
	require.Equal(t, 2, old.Merge.Moved)
	survivor := w.lastOf(records.Account, "A1")
	require.Equal(t, "active", survivor.State)
	require.Contains(t, string(survivor.Resource), `"value":"A2"`, "found by its old number")
	require.Contains(t, string(survivor.Resource), `"description":"one"`)
	for _, kind := range []records.Kind{records.Charge, records.Encounter} {
		r := w.last(kind)
		require.Contains(t, string(r.Resource), refTo(records.Account, "A1").Str("reference"))
		require.NotContains(t, string(r.Resource), refTo(records.Account, "A2").Str("reference"))
		require.Len(t, r.Changed, 2, "one reference goes, one comes")
		require.Equal(t, "merge", r.Transition)
	}
	c := change(4, "a", 4, 1, patientItem(1), thing(records.Account, "A2", "later", 1), thing(records.Charge, "C2", "late charge", 1, "account=A2"))
	c.Account = new(numbered(records.Account, "A2"))
	w.fold(c)
	require.Contains(t, string(w.lastOf(records.Account, "A1").Resource), `"description":"later"`)
	require.Equal(t, uint64(2), w.lastOf(records.Account, "A2").Version)
	require.Contains(t, string(w.lastOf(records.Charge, "C2").Resource), refTo(records.Account, "A1").Str("reference"))
	require.Equal(t, "A1", w.lastOf(records.Charge, "C2").Account.ID)
	require.Empty(t, w.fold(joining(5, 5, "merge", records.Account, "A1", "A2", 1)), "again")
	w.holds()
}

// A visit's changed number leaves one record that knows all that either told, and
// its state.
func TestVisitNumberChanges(t *testing.T) {
	w := newWorld(t)
	admit := visitMessage(1, 1, "A01 place=A doctor=X")
	w.fold(admit)
	old := admit.Items[1].Key
	next := records.Key{Type: "VN", Assigner: old.Assigner, ID: "V9"}
	named := func(n, order int, text string, k records.Key) *records.Change {
		c := visitMessage(n, order, text)
		c.Items[1].Key = k
		c.Items[1].Resource.SetString("id", fhir.ID("Encounter", k.Assigner, k.ID))
		return c
	}
	c := named(2, 2, "A08 place=A", next)
	c.Edges = []records.Edge{{Op: "change", Kind: records.Encounter, Survivor: next, Retired: old}}
	w.fold(c)
	r := w.lastOf(records.Encounter, "V9")
	require.Equal(t, "encounter.identity.changed", r.EventType)
	require.Equal(t, "V1", r.Merge.Retired.ID)
	require.Equal(t, map[string]string{"state": "in-progress", "status": "in-progress", "place": "A", "doctor": "X"}, shows(t, r))
	require.Equal(t, "merged", w.lastOf(records.Encounter, "V1").State)
	w.fold(named(3, 3, "A02 place=B", old))
	require.Equal(t, "B", shows(t, w.lastOf(records.Encounter, "V9"))["place"], "the old number leads there")
	w.fold(named(4, 4, "A12 place=B", next))
	require.Equal(t, "A", shows(t, w.lastOf(records.Encounter, "V9"))["place"], "what was before is known under both numbers")
	w.fold(named(5, 5, "A03", next))
	require.Equal(t, "finished", w.lastOf(records.Encounter, "V9").State)
	w.holds()
}

// Accounts and visits merge in chains and rings, charges name them by any number,
// and all of it comes in any order of one sender's: every charge shows the
// survivors, as a plain reference has them.
func TestJoins(t *testing.T) {
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]records.Kind{records.Account, records.Encounter}).Draw(t, "kind")
		const things = 4
		name := func(n int) string { return fmt.Sprintf("X%d", n) }
		want := newPeople()
		var changes []*records.Change
		charges := map[string]int{}
		for n := range rapid.IntRange(2, 10).Draw(t, "messages") {
			n++
			p := rapid.IntRange(1, things).Draw(t, "thing")
			if rapid.Bool().Draw(t, "merge") {
				q := rapid.IntRange(1, things).Draw(t, "retired")
				want.merge(n, p, q)
				c := joining(n, n, "merge", kind, name(p), name(q), 1)
				if p == q {
					c.Edges = nil
				}
				changes = append(changes, c)
				continue
			}
			id := fmt.Sprintf("C%d", rapid.IntRange(1, 3).Draw(t, "charge"))
			charges[id] = p
			changes = append(changes, change(n, "a", n, 1, patientItem(1), thing(kind, name(p), "t", 1), thing(records.Charge, id, fmt.Sprint(n), 1, string(kind)+"="+name(p))))
		}
		w := newWorldWith(t, check)
		for _, c := range rapid.Permutation(changes).Draw(t, "order") {
			w.fold(c)
		}
		w.holds()
		for id, named := range charges {
			r := w.lastOf(records.Charge, id)
			for n := 1; n <= things; n++ {
				ref := `"` + refTo(kind, name(n)).Str("reference") + `"`
				require.Equal(t, n == want.end(named), strings.Contains(string(r.Resource), ref), "%s of %d leads to %d: %s", id, named, n, r.Resource)
			}
		}
		for n := 1; n <= things; n++ {
			if r := w.lastOf(kind, name(n)); r != nil {
				require.Equal(t, want.end(n) != n, r.State == "merged", "%s %d is %s", kind, n, r.State)
			}
		}
	})
}

// Numbers change, in chains, while messages name a visit by the numbers it had:
// one record has the newest of every element, in any order.
func TestChangesOfNumbers(t *testing.T) {
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		elements := []string{"one", "two", "three"}
		kind := rapid.SampledFrom([]records.Kind{records.Encounter, records.Account, records.Patient}).Draw(t, "kind")
		want := map[string]string{}
		numbers := rapid.IntRange(2, 4).Draw(t, "numbers")
		var changes []*records.Change
		n, state := 0, ""
		for number := 1; number <= numbers; number++ {
			id := fmt.Sprintf("X%d", number)
			if number > 1 {
				n++
				changes = append(changes, joining(n, n, "change", kind, id, fmt.Sprintf("X%d", number-1), 1))
			}
			for range rapid.IntRange(0, 3).Draw(t, "messages") {
				n++
				named := rapid.IntRange(1, number).Draw(t, "named")
				it := thing(kind, fmt.Sprintf("X%d", named), "", 1)
				for _, e := range elements {
					if rapid.Bool().Draw(t, e) {
						want[e] = fmt.Sprint(n)
						it.Resource.SetString(e, fmt.Sprint(n))
					}
				}
				if kind == records.Encounter && rapid.Bool().Draw(t, "asked") {
					state = rapid.SampledFrom([]string{"planned", "in-progress", "finished"}).Draw(t, "state")
					it.State, it.Event, it.Trigger = state, "asked", "E"+fmt.Sprint(n)
				}
				changes = append(changes, change(n, "a", n, 1, patientItem(1), it))
			}
		}
		w := newWorldWith(t, check)
		for _, c := range rapid.Permutation(changes).Draw(t, "order") {
			w.fold(c)
		}
		w.holds()
		r := w.lastOf(kind, fmt.Sprintf("X%d", numbers))
		got := map[string]any{}
		require.NoError(t, json.Unmarshal(r.Resource, &got))
		for _, e := range elements {
			value, _ := got[e].(string)
			require.Equal(t, want[e], value, "%s: %s", e, r.Resource)
		}
		if state != "" {
			require.Equal(t, state, r.State)
		}
		for number := 1; number < numbers; number++ {
			require.Equal(t, "merged", w.lastOf(kind, fmt.Sprintf("X%d", number)).State)
		}
	})
}

// An account goes to another patient, and with it its visits and their charges,
// those that come late too; a visit goes alone.
func TestMoves(t *testing.T) {
	w := newWorld(t)
	w.fold(change(1, "a", 1, 1, patientItem(1), thing(records.Account, "A1", "t", 1), thing(records.Account, "A2", "t", 1)))
	w.fold(change(2, "a", 2, 1, patientItem(1), thing(records.Encounter, "V1", "t", 1, "account=A1"), thing(records.Encounter, "V2", "t", 1, "account=A2")))
	w.fold(change(3, "a", 3, 1, patientItem(1), thing(records.Charge, "C1", "t", 1, "encounter=V1"), thing(records.Charge, "C2", "t", 1, "encounter=V2"), thing(records.Charge, "C3", "t", 1, "account=A1")))
	under := func(kind records.Kind, id string, who int) {
		t.Helper()
		r := w.lastOf(kind, id)
		require.Equal(t, patientKey(who).ID, r.Subject.Survivor.ID, "%s %s", kind, id)
		require.Contains(t, string(r.Resource), patientRef(who).Str("reference"), "%s %s", kind, id)
		require.NotContains(t, string(r.Resource), patientRef(3-who).Str("reference"), "%s %s", kind, id)
	}
	c := joining(10, 10, "move", records.Account, "", "A1", 2)
	c.Items = append(c.Items, thing(records.Account, "A1", "t", 2))
	c.Items[1].Action = records.Upsert
	made := w.fold(c)
	events := map[string]string{}
	for _, r := range made {
		events[r.Key.ID] = r.EventType
	}
	require.Equal(t, map[string]string{"P2": "patient.registered", "A1": "account.moved", "V1": "encounter.moved", "C1": "charge.moved", "C3": "charge.moved"}, events)
	for id, kind := range map[string]records.Kind{"A1": records.Account, "V1": records.Encounter, "C1": records.Charge, "C3": records.Charge} {
		under(kind, id, 2)
	}
	w.fold(change(11, "a", 4, 1, patientItem(1), thing(records.Charge, "C4", "late", 1, "encounter=V1")))
	under(records.Charge, "C4", 2)
	w.fold(change(12, "a", 12, 1, patientItem(1), thing(records.Charge, "C5", "after", 1, "encounter=V2")))
	under(records.Charge, "C5", 1)
	w.fold(joining(12, 5, "move", records.Encounter, "", "V1", 1))
	under(records.Encounter, "V1", 2)
	under(records.Charge, "C1", 2) // the account's move is newer
	w.fold(joining(13, 13, "move", records.Encounter, "", "V2", 2))
	under(records.Encounter, "V2", 2)
	under(records.Charge, "C2", 2)
	under(records.Account, "A2", 1)
	w.fold(merging(14, "a", 14, 3, 2))
	for _, id := range []string{"C1", "C2", "C4", "C5"} {
		require.Equal(t, "P3", w.lastOf(records.Charge, id).Subject.Survivor.ID, "a merge takes what was moved along: %s", id)
		require.Contains(t, string(w.lastOf(records.Charge, id).Resource), patientRef(3).Str("reference"))
	}
	w.fold(change(16, "a", 16, 1, patientItem(1), thing(records.Charge, "C6", "named after the move", 1, "encounter=V2")))
	under(records.Charge, "C6", 1)
	w.fold(joining(15, 9, "move", records.Account, "", "A1", 1))
	require.Contains(t, w.flags, "move-late")
	w.holds()
}

// Moves of accounts and visits between patients, with messages that name the
// patient they were of, in any order: everything ends under the patient that the
// newest word about it has.
func TestMovesInAnyOrder(t *testing.T) {
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		var changes []*records.Change
		kind := rapid.SampledFrom([]records.Kind{records.Account, records.Encounter}).Draw(t, "kind")
		moved, told := map[string][2]int{}, map[string][3]string{}
		for n := range rapid.IntRange(2, 9).Draw(t, "messages") {
			n++
			id, who := fmt.Sprintf("X%d", rapid.IntRange(1, 2).Draw(t, "thing")), rapid.IntRange(1, 3).Draw(t, "patient")
			if rapid.Bool().Draw(t, "move") {
				moved[id] = [2]int{who, n}
				changes = append(changes, joining(n, n, "move", kind, "", id, who))
				continue
			}
			charge := fmt.Sprintf("C%d", rapid.IntRange(1, 3).Draw(t, "charge"))
			told[charge] = [3]string{id, fmt.Sprint(who), fmt.Sprint(n)}
			changes = append(changes, change(n, "a", n, who, patientItem(who), thing(records.Charge, charge, fmt.Sprint(n), who, string(kind)+"="+id)))
		}
		w := newWorldWith(t, check)
		for _, c := range rapid.Permutation(changes).Draw(t, "order") {
			w.fold(c)
		}
		w.holds()
		for id, last := range told {
			who := last[1]
			if m := moved[last[0]]; fmt.Sprint(m[1]) > last[2] {
				who = fmt.Sprint(m[0])
			}
			r := w.lastOf(records.Charge, id)
			require.Equal(t, "P"+who, r.Subject.Survivor.ID, id)
			for n := 1; n <= 3; n++ {
				require.Equal(t, fmt.Sprint(n) == who, strings.Contains(string(r.Resource), patientRef(n).Str("reference")), "%s and patient %d: %s", id, n, r.Resource)
			}
		}
	})
}

func unjoining(n int, kind records.Kind, retired string) *records.Change {
	c := change(n, "operator", n, 1)
	c.Subject = nil
	c.Edges = []records.Edge{{Op: "unmerge", Kind: kind, Retired: numbered(kind, retired)}}
	return c
}

// An account's or a visit's merge that an operator undoes: what refers to it names
// it again, each has what only its own messages said, state and all, and the merge
// sent again merges nothing.
func TestUnmergeOfAccountsAndVisits(t *testing.T) {
	for _, kind := range []records.Kind{records.Account, records.Encounter} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t)
			name := string(kind)
			w.fold(change(1, "a", 1, 1, patientItem(1), thing(kind, "A1", "one", 1), thing(kind, "A2", "two", 1)))
			w.fold(change(2, "a", 2, 1, patientItem(1), thing(records.Charge, "C1", "t", 1, name+"=A2"), thing(records.Charge, "C0", "t", 1, name+"=A1")))
			w.fold(joining(3, 3, "merge", kind, "A1", "A2", 1))
			later := thing(kind, "A2", "later", 1)
			later.State, later.Event = map[records.Kind]string{records.Account: "inactive", records.Encounter: "finished"}[kind], "ended"
			w.fold(change(4, "a", 4, 1, patientItem(1), later, thing(records.Charge, "C2", "t", 1, name+"=A2")))
			require.Contains(t, string(w.lastOf(kind, "A1").Resource), "later")
			require.Equal(t, later.State, w.lastOf(kind, "A1").State)
			made := w.fold(unjoining(5, kind, "A2"))
			require.Len(t, made, 4, "both of them, and what named the retired one")
			for _, r := range made {
				require.Equal(t, "correction", r.Transition)
			}
			one, two := w.lastOf(kind, "A1"), w.lastOf(kind, "A2")
			require.Equal(t, name+".unmerged", one.EventType)
			require.Equal(t, "A2", two.Merge.Retired.ID)
			require.Contains(t, string(one.Resource), `"one"`)
			require.NotContains(t, string(one.Resource), "later")
			require.NotEqual(t, later.State, one.State)
			require.Contains(t, string(two.Resource), `"later"`)
			require.Equal(t, later.State, two.State)
			require.NotContains(t, string(two.Resource), "replaced-by")
			for charge, to := range map[string]string{"C0": "A1", "C1": "A2", "C2": "A2"} {
				require.Contains(t, string(w.lastOf(records.Charge, charge).Resource), refTo(kind, to).Str("reference"), charge)
			}
			w.fold(joining(6, 3, "merge", kind, "A1", "A2", 1))
			require.Contains(t, w.flags, "merge-undone")
			w.fold(unjoining(7, kind, "A2"))
			require.Contains(t, w.flags, "not-merged")
			w.holds()
		})
	}
}

// A change of number (A49, A50) that an operator undoes gives the old number its
// own record back.
func TestUnmergeOfAChange(t *testing.T) {
	w := newWorld(t)
	w.fold(change(1, "a", 1, 1, patientItem(1), thing(records.Encounter, "V1", "one", 1), thing(records.Charge, "C1", "t", 1, "encounter=V1")))
	w.fold(joining(2, 2, "change", records.Encounter, "V2", "V1", 1))
	require.Contains(t, string(w.lastOf(records.Charge, "C1").Resource), refTo(records.Encounter, "V2").Str("reference"))
	w.fold(unjoining(3, records.Encounter, "V1"))
	require.Equal(t, "in-progress", w.lastOf(records.Encounter, "V1").State)
	require.Contains(t, string(w.lastOf(records.Charge, "C1").Resource), refTo(records.Encounter, "V1").Str("reference"))
	w.holds()
}

// The move of an account to another patient that an operator undoes: it and what
// belongs to it are under the patient again whom their messages name.
func TestUnmergeOfAMove(t *testing.T) {
	w := newWorld(t)
	w.fold(change(1, "a", 1, 1, patientItem(1), thing(records.Account, "A1", "t", 1), thing(records.Encounter, "V1", "t", 1, "account=A1")))
	w.fold(change(2, "a", 2, 1, patientItem(1), thing(records.Charge, "C1", "t", 1, "encounter=V1")))
	w.fold(joining(3, 3, "move", records.Account, "", "A1", 2))
	of := func() (out []string) {
		for id, kind := range map[string]records.Kind{"A1": records.Account, "V1": records.Encounter, "C1": records.Charge} {
			out = append(out, w.lastOf(kind, id).Subject.Survivor.ID)
		}
		return out
	}
	require.Equal(t, []string{"P2", "P2", "P2"}, of())
	made := w.fold(unjoining(4, records.Account, "A1"))
	require.Len(t, made, 3)
	for _, r := range made {
		require.Equal(t, "correction", r.Transition)
	}
	require.Equal(t, []string{"P1", "P1", "P1"}, of())
	w.fold(joining(5, 3, "move", records.Account, "", "A1", 2))
	require.Contains(t, w.flags, "move-undone")
	require.Equal(t, []string{"P1", "P1", "P1"}, of())
	w.fold(unjoining(6, records.Account, "A1"))
	require.Contains(t, w.flags, "not-merged")
	w.holds()
}
