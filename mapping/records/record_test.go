package records_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
)

func encounterItem(trigger, state, event string, elements map[string]*fhir.Node) records.Item {
	k := records.Key{Type: "VN", Assigner: "urn:oid:1.2.6", ID: "V1"}
	n := fhir.NewResource("Encounter").SetString("id", fhir.ID("Encounter", k.Assigner, k.ID))
	for _, name := range []string{"status", "class", "location", "period", "meta"} {
		if v := elements[name]; v != nil {
			n.Set(name, v)
		}
	}
	n.Set("subject", fhir.NewObject().SetString("reference", "Patient/"+patient(1).ID()))
	return records.Item{Kind: records.Encounter, Key: k, Resource: n, Trigger: trigger, State: state, Event: event}
}

func bed(name string) *fhir.Node {
	return fhir.NewArray(fhir.NewObject().Set("location", fhir.NewObject().SetString("reference", "Location/"+name)))
}

// A visit's states, what reopens and what updates, by its events.
func TestEncounterEvents(t *testing.T) {
	class := func(code string) *fhir.Node { return fhir.NewObject().SetString("code", code) }
	ended := func() *fhir.Node { return fhir.NewObject().SetString("end", "2026-03-12T10:00:00Z") }
	w := newWorld(t)
	for i, c := range []struct {
		trigger, state, event string
		elements              map[string]*fhir.Node
		want, wantState       string
	}{
		{"A05", "planned", "preadmitted", nil, "preadmitted", "planned"},
		{"A04", "arrived", "registered", nil, "registered", "arrived"},
		{"A01", "in-progress", "admitted", map[string]*fhir.Node{"location": bed("b1"), "class": class("IMP")}, "admitted", "in-progress"},
		{"A08", "", "", map[string]*fhir.Node{"status": fhir.NewString("unknown"), "location": bed("b2")}, "bed-changed", "in-progress"},
		{"A08", "", "", map[string]*fhir.Node{"class": class("OBSENC")}, "class-changed", "in-progress"},
		{"A08", "", "", map[string]*fhir.Node{"meta": fhir.NewObject().Append("security", class("R"))}, "label.changed", "in-progress"},
		{"A02", "in-progress", "transferred", map[string]*fhir.Node{"location": bed("b3")}, "transferred", "in-progress"},
		{"A12", "in-progress", "transfer-cancelled", map[string]*fhir.Node{"location": bed("b2")}, "transfer-cancelled", "in-progress"},
		{"A21", "onleave", "left", nil, "left", "onleave"},
		{"A22", "in-progress", "returned", nil, "returned", "in-progress"},
		{"A03", "finished", "discharged", map[string]*fhir.Node{"period": ended()}, "discharged", "finished"},
		{"A13", "in-progress", "reopened", nil, "reopened", "in-progress"},
		{"A11", "cancelled", "cancelled", nil, "cancelled", "cancelled"},
	} {
		w.fold(change(i+1, "a", i+1, 1, patientItem(1), encounterItem(c.trigger, c.state, c.event, c.elements)))
		r := w.last(records.Encounter)
		require.Equal(t, "encounter."+c.want, r.EventType, c.trigger)
		require.Equal(t, c.wantState, r.State, c.trigger)
		if c.trigger == "A13" {
			require.NotContains(t, string(r.Resource), "2026-03-12", "the discharge is taken back")
		}
	}
	require.Equal(t, []string{"R"}, w.last(records.Encounter).Labels)
	w.fold(change(20, "a", 20, 1, patientItem(1), encounterItem("A12", "in-progress", "transfer-cancelled", map[string]*fhir.Node{"location": bed("b2")})))
	require.Contains(t, w.last(records.Encounter).Quality.Warnings, "transfer-cancelled-without-move", "the bed that it names is the one that was taken back")
	w.holds()
}

// A patient's and a visit's confidentiality label the records that are about
// them, and a change of it is an event of its own.
func TestLabels(t *testing.T) {
	w := newWorld(t)
	w.fold(change(1, "a", 1, 1, patientItem(1), booking("A", 1, "s")))
	require.Empty(t, w.last(records.Appointment).Labels)
	secret := patientItem(1)
	secret.Resource.Set("meta", fhir.NewObject().Append("security", fhir.NewObject().SetString("code", "V")))
	made := w.fold(change(2, "a", 2, 1, secret))
	require.Equal(t, "patient.label.changed", made[0].EventType)
	require.Equal(t, []string{"V"}, made[0].Labels)
	w.fold(change(3, "a", 3, 1, patientItem(1), booking("A", 1, "s2")))
	require.Equal(t, []string{"V"}, w.last(records.Appointment).Labels)
}

// Resources of a FHIR client: each record belongs to the patient that its
// resource refers to, a Bundle's of several patients and those known from
// before; a PUT takes away what it does not say; bytes stay as sent.
func TestFHIR(t *testing.T) {
	w := newWorld(t)
	n := 0
	send := func(method, typ, id, body string) []*records.Record {
		n++
		c, err := records.FromFHIR(records.FHIRRequest{
			Method: method, Type: typ, ID: id, Body: []byte(body), Received: time.Unix(int64(n), 0),
			Origin: records.Origin{Source: "portal", SHA256: fmt.Sprintf("%064d", n), Journal: uint64(n)},
		})
		require.NoError(t, err)
		return w.fold(c)
	}
	who := func(id string) string {
		return `{"resourceType":"Patient","id":"` + id + `","identifier":[{"system":"urn:x","value":"` + id + `"}],"birthDate":"1950-01-01"}`
	}
	visit := func(id, patient string) string {
		return `{"resourceType":"Appointment","id":"` + id + `","status":"booked","identifier":[{"system":"urn:y","value":"` + id + `"}],"participant":[{"actor":{"reference":"Patient/` + patient + `"},"status":"accepted"}]}`
	}
	send("POST", "", "", `{"resourceType":"Bundle","type":"collection","entry":[{"resource":`+strings.Join([]string{who("p1"), who("p2"), visit("a1", "p1"), visit("a2", "p2")}, `},{"resource":`)+`}]}`)
	require.Equal(t, "p1", w.lastOf(records.Appointment, "a1").Subject.Survivor.ID)
	require.Equal(t, "p2", w.lastOf(records.Appointment, "a2").Subject.Survivor.ID)
	body := strings.Replace(visit("a3", "p2"), `,"status"`, ` , "status"`, 1)
	made := send("PUT", "Appointment", "a3", body)
	require.Equal(t, "p2", made[0].Subject.Survivor.ID, "known from before")
	require.Contains(t, fmt.Sprintf("%s", made[0].Related), "1950-01-01")
	require.Equal(t, body, string(made[0].Resource), "byte for byte")
	made = send("PUT", "Patient", "p2", `{"resourceType":"Patient","id":"p2","identifier":[{"system":"urn:x","value":"p2"}],"gender":"female"}`)
	require.NotContains(t, string(made[0].Resource), "1950-01-01")
	for _, c := range made[0].Changed {
		require.True(t, c.Path == "gender" && c.Old == nil || c.Path == "birthDate" && c.New == nil, c.Path)
	}
	require.Empty(t, send("PUT", "Patient", "p2", `{"resourceType":"Patient","id":"p2","identifier":[{"system":"urn:x","value":"p2"}],"gender":"female"}`))
	made = send("POST", "", "", `{"resourceType":"Bundle","type":"collection","entry":[{"resource":`+visit("a4", "p1")+`},{"resource":{"resourceType":"Consent","id":"c1","status":"active","identifier":[{"system":"urn:z","value":"CON-7"}]}}]}`)
	require.Equal(t, "CON-7", made[0].Consent)
	w.holds()
}

// A resource of a type that no record is made of is held for GET and makes no
// version: its outcome has a flag, so that it is not taken for what was known.
func TestNoRecord(t *testing.T) {
	w := newWorld(t)
	for n, body := range []string{
		`{"resourceType":"Claim","id":"c1","status":"active"}`,
		`{"resourceType":"AppointmentResponse","id":"r1","appointment":{"reference":"Appointment/a1"},"participantStatus":"declined"}`,
	} {
		typ, id := "Claim", "c1"
		if n > 0 {
			typ, id = "AppointmentResponse", "r1"
		}
		c, err := records.FromFHIR(records.FHIRRequest{
			Method: "PUT", Type: typ, ID: id, Body: []byte(body), Received: time.Unix(int64(n), 0),
			Origin: records.Origin{Source: "portal", SHA256: fmt.Sprintf("%064d", n), Journal: uint64(n)},
		})
		require.NoError(t, err)
		w.flags = nil
		require.Empty(t, w.fold(c))
		require.Equal(t, []string{"no-record"}, w.flags)
		held, _, err := records.LookupResource(w.state, typ, id)
		require.NoError(t, err)
		require.JSONEq(t, body, string(held))
	}
	w.flags = nil
	w.fold(change(5, "a", 5, 1, patientItem(1)))
	require.Empty(t, w.flags)
}

// The schema finds what it does not declare, and what records do not have.
func TestSchemaFinds(t *testing.T) {
	w := newWorld(t)
	effects, err := w.folder.Fold(w.state, change(1, "a", 1, 1, patientItem(1)))
	require.NoError(t, err)
	good := effects.Events[0].Payload
	check := recordstest.New(t)
	check.Valid(t, good)
	for _, bad := range []string{
		`{"undeclared":1,`, `{"consent":"",`, `{"consent":null,`, `{"labels":[],`, `{"visit":{},`, `{"merge":{"survivor":{"id":"1"},"retired":{"id":"2"}},`,
		`{"changed":[{"path":"x","other":1}],`, `{"changed":[{"path":"x","new":null}],`,
	} {
		require.Error(t, check.Check(append([]byte(bad), good[1:]...)), bad)
	}
	for _, change := range [][2]string{{`"kind":"patient"`, `"kind":"person"`}, {`"transition":"normal"`, `"transition":"x"`}, {`"version":1`, `"version":0`}} {
		require.Contains(t, string(good), change[0])
		require.Error(t, check.Check(bytes.Replace(good, []byte(change[0]), []byte(change[1]), 1)), change[1])
	}
}

// Whoever reads the schema or the AsyncAPI document learns how charges are summed.
func TestBalanceRule(t *testing.T) {
	for name, write := range map[string]func() ([]byte, error){"schema": records.JSONSchema, "AsyncAPI": records.AsyncAPI} {
		text, err := write()
		require.NoError(t, err)
		require.Contains(t, string(text), "the sum over the newest version of each", name)
		require.Contains(t, string(text), "all credits of this charge", name)
	}
}

// The AsyncAPI document: its version and members (AsyncAPI 3.0.0), every
// reference leads somewhere, every topic is a channel, and its payload is a
// schema that takes records.
func TestAsyncAPI(t *testing.T) {
	text, err := records.AsyncAPI()
	require.NoError(t, err)
	var doc map[string]any
	require.NoError(t, json.Unmarshal(text, &doc))
	require.Equal(t, "3.0.0", doc["asyncapi"])
	info := doc["info"].(map[string]any)
	require.NotEmpty(t, info["title"])
	require.NotEmpty(t, info["version"])
	for name := range doc {
		require.Contains(t, []string{"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"}, name)
	}
	resolve := func(ref string) any {
		var at any = doc
		for _, step := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
			m, ok := at.(map[string]any)
			require.True(t, ok, ref)
			at, ok = m[step]
			require.True(t, ok, ref)
		}
		return at
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				resolve(ref)
			}
			for _, k := range v {
				walk(k)
			}
		case []any:
			for _, k := range v {
				walk(k)
			}
		}
	}
	walk(doc)
	addresses := map[string]bool{}
	for name, v := range doc["channels"].(map[string]any) {
		channel := v.(map[string]any)
		addresses[channel["address"].(string)] = true
		require.NotEmpty(t, channel["messages"], name)
	}
	for _, topic := range records.Topics() {
		require.True(t, addresses[topic], topic)
	}
	for name, v := range doc["operations"].(map[string]any) {
		operation := v.(map[string]any)
		require.Equal(t, "send", operation["action"], name)
		require.Contains(t, operation["channel"], "$ref", name)
	}
	message := resolve("#/components/messages/record").(map[string]any)
	payload, err := json.Marshal(message["payload"])
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(payload))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7) // AsyncAPI's own schema language builds on it
	require.NoError(t, c.AddResource("payload.json", document))
	schema, err := c.Compile("payload.json")
	require.NoError(t, err)
	w := newWorld(t)
	effects, err := w.folder.Fold(w.state, change(1, "a", 1, 1, patientItem(1), booking("A", 1, "s")))
	require.NoError(t, err)
	for i := range effects.Events {
		record, err := jsonschema.UnmarshalJSON(bytes.NewReader(effects.Events[i].Payload))
		require.NoError(t, err)
		require.NoError(t, schema.Validate(record))
	}
}

// A cancelled discharge that comes first takes its own discharge time away too.
func TestReopenedFirst(t *testing.T) {
	w := newWorld(t)
	period := map[string]*fhir.Node{"period": fhir.NewObject().SetString("end", "2026-03-12T10:00:00Z")}
	w.fold(change(1, "a", 3, 1, patientItem(1), encounterItem("A13", "in-progress", "reopened", period)))
	w.fold(change(2, "a", 1, 1, patientItem(1), encounterItem("A01", "in-progress", "admitted", nil)))
	require.NotContains(t, string(w.last(records.Encounter).Resource), "2026-03-12")
	require.NotContains(t, string(w.last(records.Encounter).Resource), "period")
}

// A discharge that is pending no more (A25) has no time and no destination, whether it
// comes before or behind what it takes back.
func TestPendingDischargeCancelled(t *testing.T) {
	pending := func() map[string]*fhir.Node {
		return map[string]*fhir.Node{"period": fhir.NewObject().SetString("end", "2026-03-12T10:00:00Z")}
	}
	for name, order := range map[string][]int{"in order": {1, 2, 3}, "the pending one late": {1, 3, 2}} {
		w := newWorld(t)
		for i, n := range order {
			item := encounterItem("A01", "in-progress", "admitted", nil)
			switch n {
			case 2:
				item = encounterItem("A16", "", "discharge-pending", pending())
			case 3:
				item = encounterItem("A25", "", "discharge-pending-cancelled", nil)
				item.Cancels = []string{"A16"}
			}
			w.fold(change(i+1, "a", n, 1, patientItem(1), item))
		}
		require.NotContains(t, string(w.last(records.Encounter).Resource), "2026-03-12", name)
	}
}
