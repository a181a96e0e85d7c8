package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A fhirClient is a FHIR client of the demo's portal.
type fhirClient struct {
	t    *testing.T
	base string
}

func (c fhirClient) call(method, url, body string, headers ...string) (*http.Response, string) {
	c.t.Helper()
	if !strings.HasPrefix(url, "http") {
		url = c.base + url
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, url, strings.NewReader(body))
	require.NoError(c.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/fhir+json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(c.t, err)
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	require.NoError(c.t, err)
	return answer, string(text)
}

// status makes a call whose answer has this status.
func (c fhirClient) status(want int, method, url, body string, headers ...string) (*http.Response, string) {
	c.t.Helper()
	r, text := c.call(method, url, body, headers...)
	require.Equal(c.t, want, r.StatusCode, "%s %s: %s", method, url, text)
	return r, text
}

func portal(t *testing.T) fhirClient {
	a, stop := serving(t, embeddedConfig(t))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		stop()
	})
	return fhirClient{t, "http://" + a.Addresses()["source:portal"] + "/fhir"}
}

// What a client of a FHIR server expects of what it has just written.
func TestFHIRWriteThenRead(t *testing.T) {
	c := portal(t)
	const jane = `{"resourceType":"Patient","identifier":[{"system":"urn:oid:1.2.3","value":"4711"}],"name":[{"family":"Doe"}]}`
	made, _ := c.status(201, "POST", "/Patient", jane)
	location := made.Header.Get("Location")
	at, _, _ := strings.Cut(location, "/_history/")
	for _, url := range []string{location, at} {
		r, text := c.status(200, "GET", url, "")
		require.Contains(t, text, `"4711"`)
		require.Equal(t, made.Header.Get("ETag"), r.Header.Get("ETag"), "the tag of the answer is the tag of what is held")
	}
	c.status(304, "GET", at, "", "If-None-Match", made.Header.Get("ETag"))
	c.status(406, "GET", at, "", "Accept", "application/fhir+xml")
	c.status(406, "GET", at+"?_format=xml", "")
	c.status(200, "GET", at+"?_format=json", "", "Accept", "application/fhir+xml")
	c.status(405, "DELETE", at, "")

	_, id, _ := strings.Cut(at, "/Patient/")
	put := func(family string) string {
		return `{"resourceType":"Patient","id":"` + id + `","identifier":[{"system":"urn:oid:1.2.3","value":"4711"}],"name":[{"family":"` + family + `"}]}`
	}
	first := made.Header.Get("ETag")
	changed, _ := c.status(200, "PUT", at, put("Roe"), "If-Match", first)
	require.NotEqual(t, first, changed.Header.Get("ETag"))
	_, text := c.status(412, "PUT", at, put("Poe"), "If-Match", first)
	require.Contains(t, text, "OperationOutcome")
	r, text := c.status(200, "GET", at, "")
	require.Equal(t, put("Roe"), text, "an update is carried byte for byte, and the refused one is not taken")
	require.Equal(t, changed.Header.Get("ETag"), r.Header.Get("ETag"))
	c.status(404, "GET", location, "") // the first version is not held any more
	repeated, _ := c.status(200, "PUT", at, put("Roe"))
	c.status(200, "GET", repeated.Header.Get("Location"), "")
	c.status(304, "GET", at, "", "If-None-Match", repeated.Header.Get("ETag"))
	c.status(200, "PUT", at, put("Roe"), "If-Match", repeated.Header.Get("ETag"))
	c.status(200, "PUT", at, put("Moe"), "If-Match", changed.Header.Get("ETag")) // what changed nothing is no other version
	c.status(412, "PUT", at, put("Poe"), "If-Match", repeated.Header.Get("ETag"))
	created, _ := c.status(201, "POST", "/Patient", jane) // a repeat too, of what is held no more
	c.status(412, "PUT", at, put("Poe"), "If-Match", created.Header.Get("ETag"))
	c.status(412, "PUT", at, put("Poe"), "If-None-Match", "*")
	c.status(412, "PUT", "/Patient/none", `{"resourceType":"Patient","id":"none"}`, "If-Match", `W/"1"`)
	c.status(200, "PUT", "/Patient/none", `{"resourceType":"Patient","id":"none"}`, "If-None-Match", "*")

	// the client's own id for a patient that is known already
	own := strings.Replace(put("Own"), id, "own-id", 1)
	c.status(200, "PUT", "/Patient/own-id", own)
	_, text = c.status(200, "GET", "/Patient/own-id", "")
	require.Equal(t, own, text)

	// what is no record of its own has a tag of its content; the answer's tag
	// and Location name it as long as it is what that message said
	payer := func(family string) string {
		return `{"resourceType":"Organization","id":"n1","name":"` + family + `"}`
	}
	made, _ = c.status(200, "PUT", "/Organization/n1", payer("Ames"))
	c.status(200, "GET", made.Header.Get("Location"), "")
	c.status(304, "GET", "/Organization/n1", "", "If-None-Match", made.Header.Get("ETag"))
	team, _ := c.status(201, "POST", "/CareTeam", `{"resourceType":"CareTeam",  "name":"Ward"}`)
	c.status(200, "GET", team.Header.Get("Location"), "")
	_, text = c.status(200, "POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[
		{"fullUrl":"urn:uuid:0b3c0a52-7c46-4e84-a0e1-3ed6a2a0a001","resource":{"resourceType":"Organization","name":"Alder"},"request":{"method":"POST","url":"Organization"}},
		{"resource":{"resourceType":"Group","id":"w2","type":"person","actual":true,"managingEntity":{"reference":"urn:uuid:0b3c0a52-7c46-4e84-a0e1-3ed6a2a0a001"}},"request":{"method":"PUT","url":"Group/w2"}}]}`)
	_, version, _ := strings.Cut(text, `"location":"Group/w2/_history/`)
	version, _, _ = strings.Cut(version, `"`)
	c.status(200, "GET", "/Group/w2/_history/"+version, "")
	r, _ = c.status(200, "GET", "/Organization/n1", "")
	c.status(304, "GET", "/Organization/n1", "", "If-None-Match", r.Header.Get("ETag"))
	c.status(200, "PUT", "/Organization/n1", payer("Bell"), "If-Match", made.Header.Get("ETag"))
	c.status(412, "PUT", "/Organization/n1", payer("Cole"), "If-Match", made.Header.Get("ETag"))
	c.status(412, "PUT", "/Organization/n1", payer("Cole"), "If-Match", r.Header.Get("ETag"))
	c.status(404, "GET", made.Header.Get("Location"), "")
	c.status(200, "GET", "/Organization/n1", "", "If-None-Match", r.Header.Get("ETag"))

	pdf := base64.StdEncoding.EncodeToString([]byte("%PDF-1.7"))
	c.status(200, "PUT", "/Binary/b1", `{"resourceType":"Binary","id":"b1","contentType":"application/pdf","data":"`+pdf+`"}`)
	r, text = c.status(200, "GET", "/Binary/b1", "", "Accept", "application/pdf")
	require.Equal(t, "%PDF-1.7", text)
	require.Equal(t, "application/pdf", r.Header.Get("Content-Type"))
	_, text = c.status(200, "GET", "/Binary/b1", "", "Accept", "application/fhir+json")
	require.Contains(t, text, pdf)
}

// If-None-Exist: one of many at once creates, the others are told of it; in a
// transaction, what exists is neither changed nor called created.
func TestFHIRConditionalCreate(t *testing.T) {
	c := portal(t)
	create := func(n string) string {
		return `{"resourceType":"Patient","identifier":[{"system":"urn:oid:1.2.3","value":"1"}],"name":[{"family":"Doe` + n + `"}]}`
	}
	var mu sync.Mutex
	statuses := map[int]int{}
	tags := map[string]int{}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			r, _ := c.call("POST", "/Patient", create(strings.Repeat("x", i)), "If-None-Exist", "identifier=urn:oid:1.2.3|1")
			mu.Lock()
			defer mu.Unlock()
			statuses[r.StatusCode]++
			tags[r.Header.Get("Location")]++
		})
	}
	group.Wait()
	require.Equal(t, map[int]int{201: 1, 200: 7}, statuses)
	require.Len(t, tags, 1)
	var location string
	for location = range tags {
		continue
	}
	_, before := c.status(200, "GET", location, "")
	transaction := func(condition string) string {
		return `{"resourceType":"Bundle","type":"transaction","entry":[
			{"fullUrl":"urn:uuid:4f1c2a60-7d35-4c8e-9b0a-5d2f6e31a701","resource":` + create("other") + `,"request":{"method":"POST","url":"Patient","ifNoneExist":"identifier=urn:oid:1.2.3|1"}},
			{"resource":{"resourceType":"Practitioner","id":"d1"},"request":{"method":"PUT","url":"Practitioner/d1"` + condition + `}}]}`
	}
	_, text := c.status(200, "POST", "", transaction(""))
	var answer struct {
		Entry []struct {
			Response struct{ Status, Location, Etag string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(text), &answer))
	require.Equal(t, "200 OK", answer.Entry[0].Response.Status)
	require.True(t, strings.HasSuffix(location, answer.Entry[0].Response.Location), answer.Entry[0].Response.Location)
	require.Equal(t, "200 OK", answer.Entry[1].Response.Status)
	_, after := c.status(200, "GET", location, "")
	require.Equal(t, before, after)
	_, text = c.status(412, "POST", "", transaction(`,"ifMatch":"W/\"1\""`))
	require.Contains(t, text, "Bundle.entry[1].request")
}

// A conditional create finds what is held by its identifiers, however it came
// and however the condition is written, after a restart too; a reference in a
// transaction goes to what is found.
func TestFHIRConditionFindsAll(t *testing.T) {
	cfg := embeddedConfig(t)
	a, stop := serving(t, cfg)
	c := fhirClient{t, "http://" + a.Addresses()["source:portal"] + "/fhir"}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		stop()
	})
	c.status(200, "PUT", "/Patient/p1", `{"resourceType":"Patient","id":"p1","identifier":[{"system":"urn:a","value":"1"},{"system":"urn:b","value":"2 %"},{"value":"bare"}]}`)
	c.status(200, "POST", "", `{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","id":"p2","identifier":[{"system":"urn:c","value":"3"}]}},
		{"resource":{"resourceType":"Practitioner","id":"d1","identifier":[{"system":"urn:npi","value":"55"}]}}]}`)
	sendAll(t, a.Addresses()["source:adt"], []byte("MSH|^~\\&|ADT1|ALDER|||20260310120000-0400||ADT^A28^ADT_A05|K1|P|2.5.1\rEVN|A28|20260310120000-0400\rPID|1||77^^^&1.2.3.4&ISO^MR~88^^^&1.2.3.5&ISO^PI||Keene^Ada\r"))
	require.NoError(t, a.Wait(t.Context()))
	created := c.create
	for range 2 {
		require.Equal(t, "/Patient/p1", created(200, "Patient", "identifier=urn:a|1"))
		require.Equal(t, "/Patient/p1", created(200, "Patient", "identifier=urn%3Ab%7C2%20%25"), "an identifier that is not its key")
		require.Equal(t, "/Patient/p1", created(200, "Patient", "identifier=|bare"))
		require.Equal(t, "/Patient/p1", created(200, "Patient", "identifier=urn:b|"))
		require.Equal(t, "/Patient/p2", created(200, "Patient", "identifier=urn:c|3"))
		require.Equal(t, "/Practitioner/d1", created(200, "Practitioner", "identifier=urn:npi|55"))
		keene := created(200, "Patient", "identifier=urn:oid:1.2.3.4|77")
		require.Equal(t, keene, created(200, "Patient", "identifier=urn:oid:1.2.3.5|88&identifier=urn:oid:1.2.3.4|"))
		_, text := c.status(200, "GET", keene, "")
		require.Contains(t, text, "Keene")
		created(412, "Patient", "identifier=urn:a|1,urn:c|3")
		created(400, "Patient", "name=Keene")
		require.Equal(t, "412", c.ifMatch("p2", 1<<40))
		http.DefaultClient.CloseIdleConnections()
		stop()
		a, stop = serving(t, cfg)
		c.base = "http://" + a.Addresses()["source:portal"] + "/fhir"
		created = c.create
	}
	_, text := c.status(200, "POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[
		{"fullUrl":"urn:uuid:4f1c2a60-7d35-4c8e-9b0a-5d2f6e31a711","resource":{"resourceType":"Patient","gender":"male"},"request":{"method":"POST","url":"Patient","ifNoneExist":"identifier=urn:b|2%20%25"}},
		{"resource":{"resourceType":"Observation","id":"o1","status":"final","code":{"text":"x"},"subject":{"reference":"urn:uuid:4f1c2a60-7d35-4c8e-9b0a-5d2f6e31a711"}},"request":{"method":"PUT","url":"Observation/o1"}}]}`)
	require.Contains(t, text, `"location":"Patient/p1/`)
	_, text = c.status(200, "GET", "/Patient/p1", "")
	require.NotContains(t, text, "male")
	_, text = c.status(200, "GET", "/Observation/o1", "")
	require.Contains(t, text, `"Patient/p1"`)
	c.status(200, "PUT", "/Patient/p1", `{"resourceType":"Patient","id":"p1","identifier":[{"system":"urn:a","value":"1"}]}`)
	at := created(201, "Patient", "identifier=urn:b|2%20%25")
	require.NotEqual(t, "/Patient/p1", at, "what it no longer has does not find it")
}

// create makes a conditional create and gives where the resource is.
func (c fhirClient) create(status int, typ, condition string) string {
	c.t.Helper()
	r, _ := c.status(status, "POST", "/"+typ, `{"resourceType":"`+typ+`"}`, "If-None-Exist", condition)
	at, _, _ := strings.Cut(r.Header.Get("Location"), "/_history/")
	return strings.TrimPrefix(at, c.base)
}

// ifMatch gives the status of an update with a version.
func (c fhirClient) ifMatch(id string, version uint64) string {
	c.t.Helper()
	r, _ := c.call("PUT", "/Patient/"+id, `{"resourceType":"Patient","id":"`+id+`"}`, "If-Match", fmt.Sprintf(`W/"%d"`, version))
	return fmt.Sprint(r.StatusCode)
}

// A batch is taken whole or not at all: one entry that the gate refuses leaves
// nothing of the others behind.
func TestFHIRBatchIsWhole(t *testing.T) {
	c := portal(t)
	batch := func(gender string) string {
		return `{"resourceType":"Bundle","type":"batch","entry":[
			{"resource":{"resourceType":"Patient","id":"b1"},"request":{"method":"PUT","url":"Patient/b1"}},
			{"resource":{"resourceType":"Patient","id":"b2","gender":"` + gender + `"},"request":{"method":"PUT","url":"Patient/b2"}}]}`
	}
	_, text := c.status(422, "POST", "", batch("unheard-of"))
	require.Contains(t, text, "Bundle.entry[1].resource")
	require.NotContains(t, text, "unheard-of")
	c.status(404, "GET", "/Patient/b1", "")
	_, text = c.status(200, "POST", "", batch("female"))
	require.Contains(t, text, "batch-response")
	c.status(200, "GET", "/Patient/b1", "")
	c.status(200, "GET", "/Patient/b2", "")
}

// A Bundle without entries is taken, as FHIR servers do, and says nothing.
func TestFHIREmptyBundle(t *testing.T) {
	a, stop := serving(t, embeddedConfig(t))
	defer stop()
	defer http.DefaultClient.CloseIdleConnections()
	c := fhirClient{t, "http://" + a.Addresses()["source:portal"] + "/fhir"}
	for _, typ := range []string{"batch", "transaction", "collection"} {
		c.status(200, "POST", "", `{"resourceType":"Bundle","type":"`+typ+`"}`)
	}
	require.NoError(t, a.Wait(t.Context()))
	_, out, _ := liaison(t, "journal", "list", "--json", "--server", a.Addresses()["operations"])
	require.Equal(t, 3, strings.Count(out, `"message":"FHIR`), out)
	require.NotContains(t, out, "quarantined")
}

// The CapabilityStatement says what is served: each interaction that it names
// is answered, and each that it does not is refused.
func TestFHIRCapability(t *testing.T) {
	c := portal(t)
	_, text := c.status(200, "GET", "/metadata", "")
	var statement struct {
		Rest []struct {
			Resource []struct {
				Type        string
				Interaction []struct{ Code string }
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(text), &statement))
	require.Greater(t, len(statement.Rest[0].Resource), 140)
	for _, resource := range statement.Rest[0].Resource {
		reads := false
		for _, i := range resource.Interaction {
			reads = reads || i.Code == "read"
		}
		body := `{"resourceType":"` + resource.Type + `","id":"x1"}`
		switch resource.Type {
		case "MessageHeader", "Provenance", "Bundle":
			require.False(t, reads, resource.Type)
			continue
		}
		require.True(t, reads, resource.Type)
		if r, _ := c.call("PUT", "/"+resource.Type+"/x1", body); r.StatusCode == 200 { // the gate lets a few be empty
			_, got := c.status(200, "GET", "/"+resource.Type+"/x1", "")
			require.Equal(t, body, got)
		} else {
			require.Equal(t, 422, r.StatusCode, resource.Type)
		}
		c.status(405, "DELETE", "/"+resource.Type+"/x1", "")
		c.status(405, "GET", "/"+resource.Type, "")
	}
}
