package records_test

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
)

func booking(id string, patient int, start string) records.Item {
	it := appointmentItem(id, map[string]string{"status": "booked", "start": start}, "booked", "")
	ref := "Patient/" + fhir.ID("Patient", patientKey(patient).Assigner, patientKey(patient).ID)
	it.Resource.Append("participant", fhir.NewObject().Set("actor", fhir.NewObject().SetString("reference", ref)))
	return it
}

func merging(n int, sender string, order, survivor, retired int) *records.Change {
	c := change(n, sender, order, survivor, patientItem(survivor))
	c.Items[0].Event = "merged"
	c.Edges = []records.Edge{{Op: "merge", Kind: records.Patient, Survivor: patientKey(survivor), Retired: patientKey(retired)}}
	return c
}

func unmerging(n, retired int) *records.Change {
	c := change(n, "operator", n, retired)
	c.Subject = nil
	c.Edges = []records.Edge{{Op: "unmerge", Kind: records.Patient, Retired: patientKey(retired)}}
	return c
}

// A people is the plain reference of merges: each patient's newest edge counts,
// and of a ring all but the oldest.
type people struct {
	edge  map[int][2]int // retired → survivor, order
	gone  map[int]int    // retired → order of the merge that was undone
	owner map[string][2]int
}

func newPeople() *people {
	return &people{edge: map[int][2]int{}, gone: map[int]int{}, owner: map[string][2]int{}}
}

func (p *people) merge(order, survivor, retired int) {
	if survivor != retired && order > p.edge[retired][1] && order > p.gone[retired] {
		p.edge[retired] = [2]int{survivor, order}
	}
}

func (p *people) end(who int) int {
	var path []int
	for {
		next, ok := p.edge[who]
		if !ok {
			return who
		}
		for i, have := range path {
			if have == who {
				oldest := who
				for _, k := range path[i:] {
					if p.edge[k][1] < p.edge[oldest][1] {
						oldest = k
					}
				}
				return oldest
			}
		}
		path = append(path, who)
		who = next[0]
	}
}

// agrees compares what was published last with the reference.
func (p *people) agrees(t require.TestingT, w *world, patients int) {
	w.holds()
	for id, owner := range p.owner {
		r := w.lastOf(records.Appointment, id)
		end := patientKey(p.end(owner[0]))
		require.Equal(t, end.ID, r.Subject.Survivor.ID, "appointment %s of patient %d", id, owner[0])
		require.Contains(t, string(r.Resource), fhir.ID("Patient", end.Assigner, end.ID), "the reference follows")
	}
	for who := 1; who <= patients; who++ {
		r := w.lastOf(records.Patient, patientKey(who).ID)
		if r == nil {
			continue
		}
		end := p.end(who)
		require.Equal(t, end != who, r.State == "merged", "patient %d is %s", who, r.State)
		require.Equal(t, patientKey(end).ID, r.Subject.Survivor.ID)
		var from []string
		for other := 1; other <= patients; other++ {
			for at, hops := other, 0; hops < patients && p.end(at) != at; hops++ {
				if at = p.edge[at][0]; at == who {
					from = append(from, patientKey(other).ID)
					break
				}
			}
		}
		var got []string
		for _, k := range r.Subject.MergedFrom {
			got = append(got, k.ID)
		}
		sort.Strings(got)
		require.Equal(t, from, got, "who was merged into patient %d", who)
		for _, k := range from {
			require.Contains(t, string(r.Resource), `"value":"`+k+`"`, "the survivor shows the retired one's identifier")
		}
	}
}

// Merges, chains and rings of them, with messages for patients retired and not
// among them, come in any order of one sender's: every record ends under the
// survivor of the patient whom the newest message names.
func TestMerges(t *testing.T) {
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		const patients = 4
		want := newPeople()
		var changes []*records.Change
		for n := range rapid.IntRange(2, 10).Draw(t, "messages") {
			n++
			p := rapid.IntRange(1, patients).Draw(t, "patient")
			if rapid.Bool().Draw(t, "merge") {
				q := rapid.IntRange(1, patients).Draw(t, "retired")
				want.merge(n, p, q)
				changes = append(changes, merging(n, "a", n, p, q))
				continue
			}
			id := fmt.Sprintf("A%d", rapid.IntRange(1, 3).Draw(t, "appointment"))
			want.owner[id] = [2]int{p, n}
			changes = append(changes, change(n, "a", n, p, patientItem(p), booking(id, p, fmt.Sprint(n))))
		}
		w := newWorldWith(t, check)
		for _, c := range rapid.Permutation(changes).Draw(t, "order") {
			w.fold(c)
		}
		want.agrees(t, w, patients)
	})
}

// Merges of two senders and an operator's undoing, as they come.
func TestUnmerges(t *testing.T) {
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		const patients = 4
		want, w := newPeople(), newWorldWith(t, check)
		for n := range rapid.IntRange(2, 14).Draw(t, "messages") {
			n++
			p := rapid.IntRange(1, patients).Draw(t, "patient")
			sender := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "sender")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				q := rapid.IntRange(1, patients).Draw(t, "retired")
				want.merge(n, p, q)
				w.fold(merging(n, sender, n, p, q))
			case 1:
				if edge, ok := want.edge[p]; ok {
					want.gone[p] = edge[1]
					delete(want.edge, p)
				}
				w.fold(unmerging(n, p))
			default:
				id := fmt.Sprintf("A%d", rapid.IntRange(1, 3).Draw(t, "appointment"))
				want.owner[id] = [2]int{p, n}
				w.fold(change(n, sender, n, p, patientItem(p), booking(id, p, fmt.Sprint(n))))
			}
			want.agrees(t, w, patients)
		}
	})
}

// A merge is one version of the survivor and one of the retired patient, and
// says who, and which records.
func TestMergeTells(t *testing.T) {
	w := newWorld(t)
	for i := range 5 { // more than a chunk
		w.fold(change(i+1, "a", i+1, 1, patientItem(1), booking(fmt.Sprintf("A%d", i), 1, fmt.Sprint(i))))
	}
	w.fold(change(10, "a", 10, 2, patientItem(2), booking("B", 2, "s")))
	made := w.fold(merging(11, "a", 11, 2, 1))
	require.Len(t, made, 2+5)
	for _, r := range made[:2] {
		require.Equal(t, "patient.merged", r.EventType)
		require.Equal(t, "merge", r.Transition)
		require.Equal(t, patientKey(2).ID, r.Merge.Survivor.ID)
		require.Equal(t, patientKey(1).ID, r.Merge.Retired.ID)
		require.Equal(t, 5, r.Merge.Moved)
		require.Len(t, r.Merge.Records, 5)
		require.Equal(t, records.Appointment, r.Merge.Records[0].Kind)
		require.Equal(t, records.Key{Assigner: "urn:oid:1.2.4", ID: "A0"}, r.Merge.Records[0].Key)
	}
	for _, r := range made[2:] {
		require.Equal(t, "appointment.moved", r.EventType)
		require.Equal(t, patientKey(2).ID, r.Subject.Survivor.ID)
		require.Equal(t, patientKey(1).ID, r.Subject.MergedFrom[0].ID)
		require.Len(t, r.Subject.IDs, 2, "every identifier of the patient")
	}
	require.Empty(t, w.fold(merging(12, "a", 12, 2, 1)), "the same merge again is unchanged")
	w.holds()
}

// What an operator undoes: records that messages named the retired patient for
// go back to him, those born after the merge among them; what was born under
// the survivor's own name stays. The merge that was undone does not come back
// when it is sent again.
func TestUnmerge(t *testing.T) {
	w := newWorld(t)
	w.fold(change(1, "a", 1, 1, patientItem(1), booking("old", 1, "s")))
	w.fold(change(2, "a", 2, 2, patientItem(2)))
	w.fold(merging(3, "a", 3, 2, 1))
	w.fold(change(4, "a", 4, 1, patientItem(1), booking("named", 1, "s")))
	w.fold(change(5, "a", 5, 2, patientItem(2), booking("own", 2, "s")))
	require.Equal(t, patientKey(2).ID, w.lastOf(records.Appointment, "named").Subject.Survivor.ID)
	made := w.fold(unmerging(6, 1))
	require.Len(t, made, 4)
	for _, r := range made {
		require.Equal(t, "correction", r.Transition)
	}
	for id, who := range map[string]int{"old": 1, "named": 1, "own": 2} {
		require.Equal(t, patientKey(who).ID, w.lastOf(records.Appointment, id).Subject.Survivor.ID, id)
	}
	for who := 1; who <= 2; who++ {
		r := w.lastOf(records.Patient, patientKey(who).ID)
		require.Equal(t, "patient.unmerged", r.EventType)
		require.Equal(t, "active", r.State)
		require.Equal(t, patientKey(1).ID, r.Merge.Retired.ID)
		require.Equal(t, patientKey(2).ID, r.Merge.Survivor.ID)
		require.NotContains(t, string(r.Resource), `"link"`)
		require.NotContains(t, string(r.Resource), `"active":false`)
		require.Len(t, r.Subject.IDs, 1, "each has his own identifiers again")
	}
	for _, r := range w.fold(merging(7, "a", 3, 2, 1)) {
		require.Equal(t, "late", r.Transition, "the merge that was undone, sent again, merges nothing")
		require.NotEqual(t, "patient.merged", r.EventType)
	}
	require.Contains(t, w.flags, "merge-undone")
	require.Empty(t, w.fold(unmerging(8, 1)))
	require.Contains(t, w.flags, "not-merged")
	w.holds()
}

// demographics is a patient's item with what a registration says.
func demographics(who int, birth, gender string) records.Item {
	it := patientItem(who)
	it.Resource.SetString("birthDate", birth)
	it.Resource.SetString("gender", gender)
	return it
}

// After a merge was undone each patient has what only his own messages said: the
// survivor nothing of the retired one, and he his later updates, whichever sender
// they were from, and whether they came before or after the merge.
func TestUnmergeDemographics(t *testing.T) {
	w := newWorld(t)
	w.fold(change(1, "a", 1, 1, demographics(1, "1950-01-01", "")))
	w.fold(change(2, "a", 2, 2, demographics(2, "1960-01-01", "male")))
	w.fold(merging(3, "a", 3, 1, 2))
	w.fold(change(4, "a", 4, 2, demographics(2, "1961-01-01", "female")))
	w.fold(change(5, "b", 9, 2, records.Item{Kind: records.Patient, Key: patientKey(2), Resource: patient(2).SetString("maritalStatus", "M")}))
	w.fold(change(6, "a", 6, 1, records.Item{Kind: records.Patient, Key: patientKey(1), Resource: patient(1).SetString("deceasedDateTime", "2026-01-01")}))
	shown := w.resource("Patient", patient(1).ID())
	require.Equal(t, []any{"1961-01-01", "female", "M", "2026-01-01"}, []any{shown["birthDate"], shown["gender"], shown["maritalStatus"], shown["deceasedDateTime"]})
	w.fold(unmerging(7, 2))
	one, two := w.resource("Patient", patient(1).ID()), w.resource("Patient", patient(2).ID())
	require.Equal(t, []any{"1950-01-01", nil, nil, "2026-01-01"}, []any{one["birthDate"], one["gender"], one["maritalStatus"], one["deceasedDateTime"]})
	require.Equal(t, []any{"1961-01-01", "female", "M", nil}, []any{two["birthDate"], two["gender"], two["maritalStatus"], two["deceasedDateTime"]})
	r := w.lastOf(records.Patient, "P2")
	require.Equal(t, "patient.unmerged", r.EventType)
	var told []string
	for _, c := range r.Changed {
		told = append(told, c.Path)
	}
	require.Subset(t, told, []string{"birthDate", "gender", "maritalStatus"}, "the version says what came back")
	w.fold(change(8, "a", 8, 2, demographics(2, "1962-01-01", "female")))
	require.Equal(t, "1962-01-01", w.resource("Patient", patient(2).ID())["birthDate"])
	require.Equal(t, "1950-01-01", w.resource("Patient", patient(1).ID())["birthDate"])
	w.holds()
}

// Merges of several patients into one, and chains, with updates of each in any
// order of theirs: a patient whom no merge joins any more has what only his own
// messages said, and one of whom nothing was undone what he had.
func TestUnmergeAnyDemographics(t *testing.T) {
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		const patients = 4
		w := newWorldWith(t, check)
		said := map[int]string{}
		merged := map[int]int{}
		n := 0
		update := func(who int) {
			n++
			birth := fmt.Sprintf("%d-01-01", 1900+n)
			said[who] = birth
			w.fold(change(n, "a", n, who, demographics(who, birth, "")))
		}
		for who := 1; who <= patients; who++ {
			update(who)
		}
		for range rapid.IntRange(2, 16).Draw(t, "messages") {
			who := rapid.IntRange(1, patients).Draw(t, "who")
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				into := rapid.IntRange(1, patients).Draw(t, "into")
				root := into
				for merged[root] != 0 {
					root = merged[root]
				}
				if merged[who] == 0 && root != who {
					n++
					merged[who] = into
					c := change(n, "a", n, into, patientItem(into))
					c.Edges = []records.Edge{{Op: "merge", Kind: records.Patient, Survivor: patientKey(into), Retired: patientKey(who)}}
					w.fold(c)
				}
			case 1:
				update(who)
			default:
				if merged[who] != 0 {
					n++
					delete(merged, who)
					w.fold(unmerging(n, who))
				}
			}
		}
		for who := 1; who <= patients; who++ {
			if merged[who] != 0 {
				n++
				w.fold(unmerging(n, who))
			}
		}
		for who := 1; who <= patients; who++ {
			require.Equal(t, said[who], w.resource("Patient", patient(who).ID())["birthDate"], "patient %d", who)
		}
		w.holds()
	})
}

// A24 ties two patients together and moves nothing; A37 unties them.
func TestLink(t *testing.T) {
	w := newWorld(t)
	w.fold(change(1, "a", 1, 1, patientItem(1), booking("A", 1, "s")))
	tie := func(n, order int, op string) []*records.Record {
		c := change(n, "a", order, 1, patientItem(1), patientItem(2))
		c.Edges = []records.Edge{{Op: op, Kind: records.Patient, Survivor: patientKey(1), Retired: patientKey(2)}}
		return w.fold(c)
	}
	made := tie(2, 2, "link")
	require.Len(t, made, 2)
	for _, r := range made {
		require.Equal(t, "patient.linked", r.EventType)
		require.Contains(t, string(r.Resource), `"seealso"`)
	}
	require.Empty(t, tie(3, 3, "link"))
	made = tie(4, 5, "unlink")
	require.Len(t, made, 2)
	for _, r := range made {
		require.Equal(t, "patient.unlinked", r.EventType)
		require.NotContains(t, string(r.Resource), "link")
	}
	tie(5, 4, "link")
	require.NotContains(t, string(w.lastOf(records.Patient, patientKey(2).ID).Resource), "link", "a late link does not undo the newer unlink")
	require.Equal(t, uint64(1), w.lastOf(records.Appointment, "A").Version)
	w.holds()
}

// A message that is older than the merge tells the retired patient as he was;
// a newer one the survivor, also where it overtook the merge.
func TestMergeOvertaken(t *testing.T) {
	named := func(who int, name string) records.Item {
		it := patientItem(who)
		it.Resource.SetString("birthDate", name)
		return it
	}
	changes := func() []*records.Change {
		return []*records.Change{
			change(1, "a", 1, 2, named(2, "1950-01-01")), change(2, "a", 2, 1, named(1, "1960-01-01")),
			merging(3, "a", 3, 2, 1), change(4, "a", 4, 1, named(1, "1970-01-01")),
		}
	}
	for _, order := range [][]int{{0, 1, 2, 3}, {0, 2, 1, 3}, {0, 3, 1, 2}, {2, 3, 1, 0}} {
		w := newWorld(t)
		for _, i := range order {
			w.fold(changes()[i])
		}
		require.Contains(t, string(w.lastOf(records.Patient, "P2").Resource), "1970-01-01", order)
		require.Equal(t, "merged", w.lastOf(records.Patient, "P1").State)
		w.holds()
	}
}

// Two patients in one message keep each his records.
func TestTwoPatientsInOneMessage(t *testing.T) {
	w := newWorld(t)
	w.fold(change(1, "a", 1, 1, patientItem(1), booking("A", 1, "s"), patientItem(2), booking("B", 2, "s")))
	require.Equal(t, "P1", w.lastOf(records.Appointment, "A").Subject.Survivor.ID)
	require.Equal(t, "P2", w.lastOf(records.Appointment, "B").Subject.Survivor.ID)
	var names []string
	for _, id := range w.lastOf(records.Appointment, "B").Subject.IDs {
		var v struct{ Value string }
		require.NoError(t, json.Unmarshal(id, &v))
		names = append(names, v.Value)
	}
	require.Equal(t, "P2", strings.Join(names, " "))
}

// A FHIR client tells of a merge by Patient.link: the records follow, whichever of
// the two comes first and says it, and the resource stays as it was sent.
func TestLinkOfAFHIRPatient(t *testing.T) {
	old := `{"resourceType":"Patient","id":"p1","active":false,"identifier":[{"system":"urn:x","value":"p1"}],"link":[{"other":{"reference":"Patient/p2"},"type":"replaced-by"}]}`
	plain := `{"resourceType":"Patient","id":"p1","identifier":[{"system":"urn:x","value":"p1"}]}`
	survivor := `{"resourceType":"Patient","id":"p2","identifier":[{"system":"urn:x","value":"p2"}]}`
	replaces := `{"resourceType":"Patient","id":"p2","identifier":[{"system":"urn:x","value":"p2"}],"link":[{"other":{"reference":"https://ehr.example.org/fhir/Patient/p1"},"type":"replaces"}]}`
	named := `{"resourceType":"Patient","id":"p2","identifier":[{"system":"urn:x","value":"p2"}],"link":[{"other":{"identifier":{"system":"urn:x","value":"p1"}},"type":"replaces"}]}`
	visit := `{"resourceType":"Appointment","id":"a1","status":"booked","identifier":[{"system":"urn:y","value":"a1"}],"participant":[{"actor":{"reference":"Patient/p1"},"status":"accepted"}]}`
	for name, bodies := range map[string][]string{
		"the survivor is known":   {plain, survivor, visit, old},
		"the survivor comes last": {old, visit, survivor},
		"the survivor says it":    {plain, visit, replaces},
		"by an identifier":        {plain, visit, named},
		"the survivor alone":      {replaces, plain, visit},
		"said again":              {plain, survivor, visit, old, old},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for n, body := range bodies {
				var head struct{ ResourceType, ID string }
				require.NoError(t, json.Unmarshal([]byte(body), &head))
				c, err := records.FromFHIR(records.FHIRRequest{
					Method: "PUT", Type: head.ResourceType, ID: head.ID, Body: []byte(body), Received: time.Unix(int64(n), 0),
					Origin: records.Origin{Source: "portal", SHA256: fmt.Sprintf("%064d", n), Journal: uint64(n + 1)},
				})
				require.NoError(t, err)
				w.fold(c)
			}
			require.Equal(t, "merged", w.lastOf(records.Patient, "p1").State)
			require.Equal(t, "p2", w.lastOf(records.Appointment, "a1").Subject.Survivor.ID)
			require.Contains(t, string(w.lastOf(records.Appointment, "a1").Resource), "Patient/p2")
			require.Equal(t, 1, strings.Count(string(w.lastOf(records.Patient, "p1").Resource), "replaced-by"))
			require.Equal(t, "p1", w.lastOf(records.Patient, "p2").Subject.MergedFrom[0].ID)
			w.holds()
		})
	}
}

// A record that names both patients names each again when the merge is undone.
func TestUnmergeOfBoth(t *testing.T) {
	w := newWorld(t)
	both := booking("A", 1, "s")
	ref2 := "Patient/" + patient(2).ID()
	both.Resource.Append("participant", fhir.NewObject().Set("actor", fhir.NewObject().SetString("reference", ref2)))
	w.fold(change(1, "a", 1, 1, patientItem(1), patientItem(2), both))
	w.fold(merging(2, "a", 2, 2, 1))
	require.Equal(t, 2, strings.Count(string(w.lastOf(records.Appointment, "A").Resource), ref2), "the survivor is both")
	w.fold(unmerging(3, 1))
	text := string(w.lastOf(records.Appointment, "A").Resource)
	require.Equal(t, 1, strings.Count(text, ref2), text)
	w.holds()
}

// A record's second patient is redirected too when he is retired, and comes
// back with an unmerge.
func TestSecondPatientMerged(t *testing.T) {
	w := newWorld(t)
	it := booking("A", 1, "s")
	second := booking("A", 2, "s").Resource.Get("participant").Items()[0]
	it.Resource.Append("participant", second.Clone())
	w.fold(change(1, "a", 1, 1, patientItem(1), it))
	w.fold(change(2, "a", 2, 2, patientItem(2)))
	w.fold(merging(3, "a", 3, 3, 2))
	require.NotContains(t, string(w.lastOf(records.Appointment, "A").Resource), patient(2).ID())
	w.fold(unmerging(4, 2))
	require.Contains(t, string(w.lastOf(records.Appointment, "A").Resource), patient(2).ID())
	w.holds()
}

// An identifier that comes late to a retired patient is shown on the survivor.
func TestLateIdentifier(t *testing.T) {
	w := newWorld(t)
	w.fold(change(1, "a", 1, 1, patientItem(1)))
	w.fold(change(2, "a", 2, 2, patientItem(2)))
	w.fold(merging(5, "a", 5, 2, 1))
	late := patientItem(1) // older than the merge: what it adds of the retired one
	late.Resource.Append("identifier", fhir.NewObject().SetString("system", "urn:ss").SetString("value", "SS1"))
	w.fold(change(6, "a", 3, 1, late))
	require.Contains(t, string(w.lastOf(records.Patient, "P1").Resource), "SS1")
	require.Contains(t, string(w.lastOf(records.Patient, "P2").Resource), "SS1", "the survivor shows every number of the retired one, whatever the order")
	w.holds()
}
