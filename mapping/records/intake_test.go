package records_test

import (
	"encoding/json"
	"fmt"
	"strings"
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

// A patient who is named by an identifier (R4 §2.3.0.1.3) is the record's, as one
// who is named by a reference.
func TestPatientByIdentifier(t *testing.T) {
	w := &client{world: newWorld(t)}
	w.ask("PUT", "Patient", "p1", `{"resourceType":"Patient","id":"p1","identifier":[{"type":{"coding":[{"code":"MR"}]},"system":"urn:x","value":"MRN1"},{"system":"urn:ss","value":"SS1"}]}`)
	order := func(subject string) *records.Record {
		made := w.ask("PUT", "ServiceRequest", "s1", `{"resourceType":"ServiceRequest","id":"s1","status":"active","intent":"order","subject":`+subject+`}`)
		require.Len(t, made, 1)
		return made[0]
	}
	number := func(system, value, more string) string {
		return `{` + more + `"identifier":{"system":"` + system + `","value":"` + value + `"}}`
	}
	for _, subject := range []string{
		number("urn:x", "MRN1", ""), number("urn:ss", "SS1", `"type":"Patient",`), number("urn:x", "MRN1", `"reference":"http://ehr/fhir/Patient/77",`),
	} {
		r := order(subject)
		require.NotNil(t, r.Subject.Survivor, subject)
		require.Equal(t, "MRN1", r.Subject.Survivor.ID, subject)
		require.Len(t, r.Subject.IDs, 2)
		require.Contains(t, fmt.Sprintf("%s", r.Related), `"MRN1"`)
	}
	made := w.ask("PUT", "Appointment", "a1", `{"resourceType":"Appointment","id":"a1","status":"booked","participant":[{"actor":`+number("urn:rooms", "R1", `"type":"Location",`)+`,"status":"accepted"},{"actor":`+number("urn:x", "MRN1", "")+`,"status":"accepted"}]}`)
	require.Equal(t, "MRN1", made[0].Subject.Survivor.ID)

	w.ask("POST", "", "", `{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"ServiceRequest","id":"s2","status":"active","intent":"order","subject":`+number("urn:ss", "SS9", `"type":"Patient",`)+`}},
		{"resource":{"resourceType":"Patient","id":"p9","identifier":[{"system":"urn:x","value":"MRN9"},{"system":"urn:ss","value":"SS9"}]}}]}`)
	require.Equal(t, "MRN9", w.lastOf(records.Order, "s2").Subject.Survivor.ID, "who is in the Bundle too")

	r := order(number("urn:x", "MRN2", `"type":"Patient",`)) // of whom nothing is known yet
	require.Equal(t, "MRN2", r.Subject.Survivor.ID)
	require.Contains(t, r.Quality.Warnings, "patient-changed")
	w.ask("PUT", "Patient", "p2", `{"resourceType":"Patient","id":"p2","identifier":[{"system":"urn:x","value":"MRN2"}]}`)
	w.ask("PUT", "Patient", "p3", `{"resourceType":"Patient","id":"p3","identifier":[{"system":"urn:x","value":"MRN3"}],"link":[{"other":{"reference":"Patient/p2"},"type":"replaces"}]}`)
	require.Equal(t, "MRN3", w.last(records.Order).Subject.Survivor.ID, "the order goes with him")
}

// A reference by a URL of our own, as the Location that a client was answered,
// and one that is a search, lead to what is held.
func TestReferencesToWhatIsHeld(t *testing.T) {
	for _, reference := range []string{"https://liaison:8080/fhir/Patient/p1", "http://liaison:8080/fhir/Patient/p1/_history/7", "Patient?identifier=urn:x|MRN1"} {
		order := `{"resourceType":"ServiceRequest","id":"s1","status":"active","intent":"order","subject":{"reference":"` + reference + `"}}`
		for name, request := range map[string]records.FHIRRequest{
			"alone":       {Method: "PUT", Type: "ServiceRequest", ID: "s1", Body: []byte(order)},
			"in a Bundle": {Method: "POST", Body: []byte(`{"resourceType":"Bundle","type":"transaction","entry":[{"resource":` + order + `,"request":{"method":"PUT","url":"ServiceRequest/s1"}}]}`)},
		} {
			t.Run(name, func(t *testing.T) {
				w := &client{world: newWorld(t)}
				w.ask("PUT", "Patient", "p1", `{"resourceType":"Patient","id":"p1","identifier":[{"system":"urn:x","value":"MRN1"}]}`)
				request.Base, request.Found = "liaison:8080/fhir", map[string]string{"Patient?identifier=urn:x|MRN1": "Patient/p1"}
				request.Received, request.Origin = time.Unix(9, 0), records.Origin{Source: "portal", SHA256: "9", Journal: 9}
				change, err := records.FromFHIR(request)
				require.NoError(t, err)
				made := w.fold(change)
				require.Contains(t, string(made[0].Resource), `{"reference":"Patient/p1"}`)
				require.Equal(t, "MRN1", made[0].Subject.Survivor.ID)
			})
		}
	}
}

// What comes before its patient is his when he comes, and goes where he goes.
func TestPatientBehindHisRecords(t *testing.T) {
	w := &client{world: newWorld(t)}
	count := 5 // more than a step takes
	for i := range count {
		id := fmt.Sprint("c", i)
		made := w.ask("PUT", "ChargeItem", id, `{"resourceType":"ChargeItem","id":"`+id+`","status":"billable","subject":{"reference":"Patient/p1"}}`)
		require.Nil(t, made[0].Subject)
		require.Equal(t, []string{"patient-unknown"}, made[0].Quality.Warnings)
	}
	w.ask("PUT", "ChargeItem", "c0", `{"resourceType":"ChargeItem","id":"c0","status":"billable","subject":{"reference":"Patient/p2"}}`)
	patient := func(id string, more string) []*records.Record {
		return w.ask("PUT", "Patient", id, `{"resourceType":"Patient","id":"`+id+`","identifier":[{"system":"urn:x","value":"MRN-`+id+`"}]`+more+`}`)
	}
	made := patient("p1", "")
	require.Len(t, made, count, "himself and all but c0")
	for _, r := range made {
		if r.Kind == records.Charge {
			require.Equal(t, []any{"charge.moved", "normal", uint64(2), "MRN-p1"}, []any{r.EventType, r.Transition, r.Version, r.Subject.Survivor.ID})
			require.Contains(t, fmt.Sprintf("%s", r.Related), `"MRN-p1"`)
			require.Empty(t, r.Changed, "it says what it said")
		}
	}
	require.Len(t, patient("p2", ""), 2)
	require.Empty(t, patient("p1", ""), "nothing waits any more")
	patient("p3", `,"link":[{"other":{"reference":"Patient/p1"},"type":"replaces"}]`)
	require.Equal(t, "MRN-p3", w.lastOf(records.Charge, "c1").Subject.Survivor.ID)

	w = &client{world: newWorld(t)} // one who is known under another id
	w.ask("PUT", "ServiceRequest", "s1", `{"resourceType":"ServiceRequest","id":"s1","status":"active","intent":"order","subject":{"reference":"Patient/p1"}}`)
	w.fold(change(2, "a", 2, 1, patientItem(1)))
	made = w.ask("PUT", "Patient", "p1", `{"resourceType":"Patient","id":"p1","identifier":[{"system":"`+patientKey(1).Assigner+`","value":"`+patientKey(1).ID+`"}]}`)
	require.Len(t, made, 1)
	require.Equal(t, []string{"order.moved", patientKey(1).ID}, []string{made[0].EventType, made[0].Subject.Survivor.ID})
	require.Contains(t, string(made[0].Resource), `"Patient/p1"`)
	w.holds()
}

// What a FHIR client says of a visit is told as the v2 trigger is named that says it.
func TestEventsOfAPutVisit(t *testing.T) {
	for class, steps := range map[string][]string{
		"IMP": {
			"planned preadmitted", "arrived registered", "triaged updated", "in-progress admitted", "onleave left", "in-progress returned",
			"finished discharged", "in-progress reopened", "entered-in-error deleted",
		},
		"AMB": {"in-progress registered", "finished discharged", "cancelled cancelled"},
	} {
		w := newWorld(t)
		for i, step := range steps {
			status, event, _ := strings.Cut(step, " ")
			c, err := records.FromFHIR(records.FHIRRequest{
				Method: "PUT", Type: "Encounter", ID: "e1", Received: time.Unix(int64(i), 0), Origin: records.Origin{Source: "portal", SHA256: fmt.Sprintf("%064d", i), Journal: uint64(i + 1)},
				Body: []byte(`{"resourceType":"Encounter","id":"e1","status":"` + status + `","class":{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"` + class + `"}}`),
			})
			require.NoError(t, err)
			made := w.fold(c)
			require.Len(t, made, 1)
			require.Equal(t, "encounter."+event, made[0].EventType, step)
			require.Equal(t, status, made[0].State)
		}
	}
}
