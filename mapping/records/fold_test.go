package records_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
)

// world folds changes and keeps what was published.
type world struct {
	t      require.TestingT
	folder *records.Folder
	state  records.Memory
	events []*records.Record
	flags  []string
	check  *recordstest.Checker
	told   recordstest.History
}

func newWorld(t require.TestingT) *world { return newWorldWith(t, recordstest.New(t)) }

func newWorldWith(t require.TestingT, check *recordstest.Checker) *world {
	return &world{t: t, folder: records.NewFolder(2, 0), state: records.Memory{}, check: check, told: recordstest.History{}}
}

// inAnyOrder folds the messages as they were sent, and in another order, behind
// the first, and wants these appointments in the same states.
func inAnyOrder(t *rapid.T, check *recordstest.Checker, first func() *records.Change, messages []func() *records.Change, appointments ...string) {
	states := func(order []int) (out []string) {
		w := newWorldWith(t, check)
		if first != nil {
			w.fold(first())
		}
		for _, i := range order {
			w.fold(messages[i]())
		}
		w.holds()
		for _, id := range appointments {
			if r := w.lastOf(records.Appointment, id); r != nil {
				out = append(out, id+" "+r.State)
			}
		}
		return out
	}
	var sent []int
	for i := range messages {
		sent = append(sent, i)
	}
	require.Equal(t, states(sent), states(rapid.Permutation(sent).Draw(t, "order")))
}

// fold folds a change to its end. Every record is as the schema has it, and no
// change makes two versions of one.
func (w *world) fold(c *records.Change) []*records.Record {
	effects, err := w.folder.Fold(w.state, c)
	first := len(w.events)
	seen := map[string]bool{}
	for {
		require.NoError(w.t, err)
		w.state.Apply(effects)
		w.flags = append(w.flags, effects.Flags...)
		for i := range effects.Events {
			w.check.Valid(w.t, effects.Events[i].Payload)
			r, err := records.Decode(effects.Events[i].Payload)
			require.NoError(w.t, err)
			require.NoError(w.t, w.told.Follows(r))
			name := string(r.Kind) + "/" + r.Key.String()
			require.False(w.t, seen[name], "a second version of %s by one message", name)
			seen[name] = true
			w.events = append(w.events, r)
		}
		if effects.Continuation == nil {
			return w.events[first:]
		}
		effects, err = w.folder.Resume(w.state, effects.Continuation)
	}
}

// holds: of every record the versions are 1, 2, 3 …, and event ids are unique.
func (w *world) holds() {
	ids, versions := map[string]bool{}, map[string]uint64{}
	for _, r := range w.events {
		require.False(w.t, ids[r.EventID], "an event id twice")
		ids[r.EventID] = true
		key := string(r.Kind) + "/" + r.Key.String()
		require.Equal(w.t, versions[key]+1, r.Version, key)
		versions[key] = r.Version
	}
}

func (w *world) resource(resourceType, id string) map[string]any {
	data, _, err := records.LookupResource(w.state, resourceType, id)
	require.NoError(w.t, err)
	out := map[string]any{}
	if data != nil {
		require.NoError(w.t, json.Unmarshal(data, &out))
	}
	return out
}

func (w *world) last(kind records.Kind) *records.Record { return w.lastOf(kind, "") }

// lastOf gives the newest version of a record; "" any of the kind.
func (w *world) lastOf(kind records.Kind, id string) *records.Record {
	for i := len(w.events) - 1; i >= 0; i-- {
		if r := w.events[i]; r.Kind == kind && (id == "" || r.Key.ID == id) {
			return r
		}
	}
	return nil
}

func patientKey(n int) records.Key {
	return records.Key{Type: "MR", Assigner: "urn:oid:1.2.3", ID: fmt.Sprintf("P%d", n)}
}

func patient(n int) *fhir.Node {
	k := patientKey(n)
	p := fhir.NewResource("Patient").SetString("id", fhir.ID("Patient", k.Assigner, k.ID))
	p.Append("identifier", fhir.NewObject().SetString("system", k.Assigner).SetString("value", k.ID))
	return p
}

func change(n int, sender string, order int, who int, items ...records.Item) *records.Change {
	subject := patientKey(who)
	for i := range items {
		if items[i].Action == "" {
			items[i].Action = records.Upsert
		}
	}
	return &records.Change{
		Origin:   records.Origin{Source: "test", ControlID: fmt.Sprint(n), SHA256: fmt.Sprintf("%064d", n), Journal: uint64(n)},
		Received: time.Unix(int64(n), 0), Occurred: "2026-03-10T12:00:00Z", ZoneSource: "explicit",
		Stamp:   records.Stamp{Sender: sender, Order: fmt.Sprintf("t%06d", order)},
		Subject: &records.Subject{Key: subject}, Items: items, Pipeline: "test", Version: "1",
	}
}

func patientItem(n int) records.Item {
	return records.Item{Kind: records.Patient, Key: patientKey(n), Resource: patient(n)}
}

func appointmentItem(id string, elements map[string]string, state, event string) records.Item {
	k := records.Key{Type: "FILL", Assigner: "urn:oid:1.2.4", ID: id}
	n := fhir.NewResource("Appointment").SetString("id", fhir.ID("Appointment", k.Assigner, k.ID))
	for _, name := range []string{"status", "start", "end", "description", "comment"} {
		n.SetString(name, elements[name])
	}
	return records.Item{Kind: records.Appointment, Key: k, Resource: n, State: state, Event: event}
}

// The same change again makes no version.
func TestAgainIsUnchanged(t *testing.T) {
	w := newWorld(t)
	c := func(n int) *records.Change {
		return change(n, "a", 1, 1, patientItem(1), appointmentItem("A1", map[string]string{"status": "booked", "start": "s"}, "booked", "booked"))
	}
	w.fold(c(1))
	before := len(w.events)
	w.fold(c(2))
	require.Len(t, w.events, before)
	w.holds()
}

// S13 gives the old and the new time; what comes late does not undo it.
func TestRescheduled(t *testing.T) {
	w := newWorld(t)
	at := func(n, order int, start, state, event string) {
		w.fold(change(n, "a", order, 1, patientItem(1), appointmentItem("A1", map[string]string{"status": "booked", "start": start}, state, event)))
	}
	at(1, 1, "2026-03-10T09:00:00Z", "booked", "booked")
	at(2, 3, "2026-03-10T11:00:00Z", "booked", "rescheduled")
	r := w.last(records.Appointment)
	require.Equal(t, "appointment.rescheduled", r.EventType)
	require.Len(t, r.Changed, 1)
	require.Equal(t, "start", r.Changed[0].Path)
	require.Contains(t, string(r.Changed[0].Old), "09:00")
	require.Contains(t, string(r.Changed[0].New), "11:00")
	at(3, 2, "2026-03-10T10:00:00Z", "booked", "modified")
	r = w.last(records.Appointment)
	require.Equal(t, "late", r.Transition)
	require.Contains(t, string(r.Resource), "11:00", "a late message does not undo a newer one")
	w.holds()
}

// A cancellation before the booking: the booking, late, does not resurrect.
func TestCancelledFirst(t *testing.T) {
	w := newWorld(t)
	w.fold(change(1, "a", 2, 1, patientItem(1), appointmentItem("A1", map[string]string{"status": "cancelled"}, "cancelled", "cancelled")))
	w.fold(change(2, "a", 1, 1, patientItem(1), appointmentItem("A1", map[string]string{"status": "booked", "start": "s"}, "booked", "booked")))
	r := w.last(records.Appointment)
	require.Equal(t, "cancelled", r.State)
	require.Equal(t, "late", r.Transition)
	require.Contains(t, string(r.Resource), `"start":"s"`, "what only the late one knows is filled in")
	require.Contains(t, string(r.Resource), `"status":"cancelled"`)
	w.holds()
}

// The folder's memory changes nothing: a folder that is new for every change
// publishes the same bytes.
func TestMemoryDoesNotCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kept, fresh := records.NewFolder(0, 0), records.Memory{}
		state := records.Memory{}
		for i := range rapid.IntRange(1, 12).Draw(t, "messages") {
			p := rapid.IntRange(1, 3).Draw(t, "patient")
			id := fmt.Sprintf("A%d", p)
			order := rapid.IntRange(1, 12).Draw(t, "order")
			start := fmt.Sprint(rapid.IntRange(1, 3).Draw(t, "start"))
			make := func() *records.Change {
				return change(i+1, "a", order, p, patientItem(p), appointmentItem(id, map[string]string{"status": "booked", "start": start}, "booked", ""))
			}
			one, err := kept.Fold(state, make())
			require.NoError(t, err)
			other, err := records.NewFolder(0, 0).Fold(fresh, make())
			require.NoError(t, err)
			state.Apply(one)
			fresh.Apply(other)
			require.Equal(t, len(one.Events), len(other.Events))
			for k := range one.Events {
				require.Equal(t, string(other.Events[k].Payload), string(one.Events[k].Payload))
			}
			require.Equal(t, fresh, state)
		}
	})
}

// A record above the limit carries its attachment by reference: the Binary is
// held with every byte, and the record says so. One that is too large without
// any attachment is refused.
func TestLargeRecord(t *testing.T) {
	w := newWorld(t)
	w.folder = records.NewFolder(0, 64<<10)
	content := []byte(strings.Repeat("scanned page ", 40_000))
	report := func(id string, n *fhir.Node) records.Item {
		k := records.Key{Assigner: "urn:oid:1.2.5", ID: id}
		n.SetString("id", fhir.ID("DiagnosticReport", k.Assigner, k.ID)).SetString("status", "final")
		return records.Item{Kind: records.Result, Key: k, Resource: n}
	}
	attachment := fhir.NewObject().SetString("contentType", "application/pdf").SetString("data", base64.StdEncoding.EncodeToString(content))
	w.fold(change(1, "a", 1, 1, patientItem(1), report("R1", fhir.NewResource("DiagnosticReport").Append("presentedForm", attachment))))
	r := w.last(records.Result)
	require.Contains(t, r.Quality.Warnings, "attachment-by-reference")
	var resource struct {
		PresentedForm []struct {
			URL, Data, Hash string
			Size            int
		}
	}
	require.NoError(t, json.Unmarshal(r.Resource, &resource))
	form := resource.PresentedForm[0]
	require.Empty(t, form.Data)
	require.Equal(t, len(content), form.Size)
	require.NotEmpty(t, form.Hash)
	binary := w.resource("Binary", strings.TrimPrefix(form.URL, "Binary/"))
	data, err := base64.StdEncoding.DecodeString(binary["data"].(string))
	require.NoError(t, err)
	require.Equal(t, content, data)
	held := w.resource("DiagnosticReport", fhir.ID("DiagnosticReport", "urn:oid:1.2.5", "R1"))
	require.Contains(t, fmt.Sprint(held["presentedForm"]), "data", "what is held is whole")

	huge := report("R2", fhir.NewResource("DiagnosticReport").SetString("conclusion", strings.Repeat("x", 100_000)))
	_, err = w.folder.Fold(w.state, change(2, "a", 2, 1, patientItem(1), huge))
	require.ErrorIs(t, err, records.ErrTooLarge)
	w.holds()
}

// Fold leaves the change that it is given as it is.
func TestFoldIsPure(t *testing.T) {
	said := func() *records.Change {
		c := change(2, "a", 2, 1, patientItem(1), encounterItem("A13", "in-progress", "reopened", nil), booking("A", 1, "s"))
		c.Items[1].Deletes = append(make([]string, 0, 8), "class")
		c.Related = []*fhir.Node{fhir.NewResource("Location").SetString("id", "b1")}
		c.OnlyNew = []string{"Patient/" + patient(1).ID(), "Location/b1"}
		return c
	}
	w := newWorld(t)
	one := change(1, "a", 1, 1, patientItem(1))
	one.Related = said().Related
	w.fold(one)
	c := said()
	room := c.Items[1].Deletes[:cap(c.Items[1].Deletes)]
	w.fold(c)
	require.Equal(t, said(), c)
	require.Empty(t, room[1], "nor is anything written behind its lists")
}
