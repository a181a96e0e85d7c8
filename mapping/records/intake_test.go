package records_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// A client is one that speaks FHIR to a world.
type client struct {
	*world
	n int
}

func (c *client) ask(method, typ, id, body string) []*records.Record {
	c.n++
	change, err := records.FromFHIR(records.FHIRRequest{
		Method: method, Type: typ, ID: id, Body: []byte(body), Received: time.Unix(int64(c.n), 0),
		Origin: records.Origin{Source: "portal", SHA256: fmt.Sprintf("%064d", c.n), Journal: uint64(c.n)},
	})
	require.NoError(c.t, err)
	return c.fold(change)
}

// What is put under an id is the resource of that id, whatever identifiers it
// has had (R4 §3.1.0.4).
func TestPutUnderOneID(t *testing.T) {
	c := &client{world: newWorld(t)}
	patient := func(id, identifier string) []*records.Record {
		return c.ask("PUT", "Patient", id, `{"resourceType":"Patient","id":"`+id+`",`+identifier+`"birthDate":"1950-01-01"}`)
	}
	number := func(mrn string) string { return `"identifier":[{"system":"urn:x","value":"` + mrn + `"}],` }
	patient("p1", "")
	for i, identifier := range []string{number("MRN1"), number("MRN2"), ""} {
		made := patient("p1", identifier)
		require.Len(t, made, 1)
		require.Equal(t, []any{uint64(i + 2), "p1"}, []any{made[0].Version, made[0].Key.ID}, identifier)
	}
	patient("p2", number("MRN3"))
	made := patient("p2", "")
	require.Len(t, made, 1)
	require.Equal(t, []any{uint64(2), "MRN3"}, []any{made[0].Version, made[0].Key.ID})

	appointment := func(status, identifier string) {
		c.ask("PUT", "Appointment", "a1", `{"resourceType":"Appointment","id":"a1","status":"`+status+`",`+identifier+`"participant":[{"status":"accepted","actor":{"display":"x"}}]}`)
	}
	appointment("booked", "")
	appointment("cancelled", number("A1"))
	require.Equal(t, "cancelled", c.lastOf(records.Appointment, "a1").State, "the booking that consumers know")
}

// A reference that is relative to its entry's server follows the new id, as one
// by the whole URL does (R4 §3.1.0.11.2, Bundle.entry.fullUrl).
func TestReferencesWithinATransaction(t *testing.T) {
	entry := func(url, body string) string {
		return `{"fullUrl":"` + url + `","resource":` + body + `,"request":{"method":"POST","url":"x"}}`
	}
	for name, c := range map[string]struct{ url, reference string }{
		"relative":             {"http://portal/fhir/Patient/p1", "Patient/p1"},
		"whole":                {"http://portal/fhir/Patient/p1", "http://portal/fhir/Patient/p1"},
		"by the resource's id": {"urn:uuid:6f2b8c1e-5a3f-4d0e-9b7a-111111111111", "Patient/p1"},
		"by uuid":              {"urn:uuid:6f2b8c1e-5a3f-4d0e-9b7a-111111111111", "urn:uuid:6f2b8c1e-5a3f-4d0e-9b7a-111111111111"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &client{world: newWorld(t)}
			w.ask("POST", "", "", `{"resourceType":"Bundle","type":"transaction","entry":[`+
				entry("http://portal/fhir/Appointment/a1", `{"resourceType":"Appointment","id":"a1","status":"booked","identifier":[{"system":"urn:y","value":"A1"}],"participant":[{"actor":{"reference":"`+c.reference+`"},"status":"accepted"}]}`)+`,`+
				entry(c.url, `{"resourceType":"Patient","id":"p1","identifier":[{"system":"urn:x","value":"MRN1"}]}`)+`]}`)
			patient := w.last(records.Patient)
			require.NotNil(t, patient.Resource)
			var id struct{ ID string }
			require.NoError(t, json.Unmarshal(patient.Resource, &id))
			require.Contains(t, string(w.last(records.Appointment).Resource), `"reference":"Patient/`+id.ID+`"`)
		})
	}
}

// A resource of the server that the transaction only refers to is not one of its
// own of the same id.
func TestReferencesOutOfATransaction(t *testing.T) {
	w := &client{world: newWorld(t)}
	w.ask("POST", "", "", `{"resourceType":"Bundle","type":"transaction","entry":[`+
		`{"fullUrl":"http://portal/fhir/Patient/p1","resource":{"resourceType":"Patient","id":"p1","identifier":[{"system":"urn:x","value":"MRN1"}]},"request":{"method":"POST","url":"Patient"}},`+
		`{"fullUrl":"http://liaison/fhir/Patient/p1","resource":{"resourceType":"Patient","id":"p1","birthDate":"1950-01-01"},"request":{"method":"PUT","url":"Patient/p1"}},`+
		`{"fullUrl":"http://liaison/fhir/Appointment/a1","resource":{"resourceType":"Appointment","status":"booked","identifier":[{"system":"urn:y","value":"A1"}],"participant":[{"actor":{"reference":"Patient/p1"},"status":"accepted"}]},"request":{"method":"POST","url":"Appointment"}}]}`)
	require.Contains(t, string(w.last(records.Appointment).Resource), `"reference":"Patient/p1"`)
}

// A history has its oldest versions last (R4 RESTful API, history): the newest
// is what the resource is, under the id that its server gave it.
func TestHistory(t *testing.T) {
	version := func(method, status, updated string) string {
		meta := ""
		if updated != "" {
			meta = `"meta":{"lastUpdated":"` + updated + `"},`
		}
		return `{"fullUrl":"http://portal/fhir/ChargeItem/c1","resource":{"resourceType":"ChargeItem","id":"c1",` + meta + `"status":"` + status + `"},"request":{"method":"` + method + `","url":"ChargeItem"},"response":{"status":"200"}}`
	}
	for name, entries := range map[string]string{
		"newest first":                   version("PUT", "billed", "") + "," + version("PUT", "billable", "") + "," + version("POST", "planned", ""),
		"newest first, with their times": version("PUT", "billed", "2026-03-10T12:00:00Z") + "," + version("POST", "planned", "2026-03-10T10:00:00Z"),
		"newest last, as they say":       version("POST", "planned", "2026-03-10T10:00:00Z") + "," + version("PUT", "billed", "2026-03-10T12:00:00Z"),
	} {
		t.Run(name, func(t *testing.T) {
			w := &client{world: newWorld(t)}
			made := w.ask("POST", "", "", `{"resourceType":"Bundle","type":"history","entry":[`+entries+`]}`)
			require.Len(t, made, 1)
			require.Equal(t, "billed", made[0].State)
			require.Contains(t, string(made[0].Resource), `"status":"billed"`)
			require.Equal(t, "c1", made[0].Key.ID)
			made = w.ask("PUT", "ChargeItem", "c1", `{"resourceType":"ChargeItem","id":"c1","status":"aborted"}`)
			require.Equal(t, uint64(2), made[0].Version)
		})
	}
}
