package fhirrest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/liaison-health/liaison/connectors/fhirrest"
	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type intake struct {
	mu      sync.Mutex
	got     []pipelines.Message
	err     error
	outcome pipelines.Outcome
	held    map[string]string
	large   func() // called with a large message
}

func (i *intake) Accept(_ context.Context, m *pipelines.Message) (pipelines.Receipt, error) {
	if len(m.Raw) > pipelines.LargeMessage && i.large != nil {
		i.large()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err != nil {
		return pipelines.Receipt{}, i.err
	}
	if bytes.Contains(m.Raw, []byte("poison")) {
		panic("poison")
	}
	i.got = append(i.got, *m)
	return pipelines.Receipt{Position: 41}, nil
}

func (i *intake) Wait(context.Context, uint64) (pipelines.Outcome, error) { return i.outcome, nil }

func serve(t *testing.T, in *intake, change func(*fhirrest.Config)) string {
	t.Helper()
	cfg := fhirrest.Config{
		Name: "portal", Listen: "127.0.0.1:0", MaxBody: 64 << 10, Outcomes: in, Types: []string{"Patient", "Observation", "Binary", "Bundle"},
		Identify: func(r fhirrest.Request, body []byte) ([]string, error) {
			return records.Identify(records.FHIRRequest{Method: r.Method, Type: r.Type, ID: r.ID, IfNoneExist: r.IfNoneExist, Exists: r.Exists, Found: r.Found, Base: r.Base, Body: body})
		},
		Read: func(_ context.Context, typ, id string) ([]byte, uint64, error) {
			if held, ok := in.held[typ+"/"+id]; ok {
				return []byte(held), 7, nil
			}
			return nil, 0, nil
		},
		Search: func(_ context.Context, typ string, c fhir.Condition) ([]string, error) {
			var found []string
			for ref, text := range in.held {
				n, err := fhir.ParseJSON([]byte(text))
				if err != nil {
					return nil, err
				}
				if strings.HasPrefix(ref, typ+"/") && c.Matches(n) {
					found = append(found, ref)
				}
			}
			return found, nil
		},
		Brought: func(_ context.Context, position uint64, _ string) (uint64, error) {
			return map[uint64]uint64{9: 9, 10: 7, 11: 6}[position], nil // 10 and 11 are duplicates
		},
		Check: func(n *fhir.Node) []fhir.Issue {
			if n.Str("gender") == "wrong" {
				return []fhir.Issue{{Severity: "error", Code: "code-invalid", Expression: "Patient.gender", Diagnostics: "not a code of the value set"}}
			}
			return nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	s, err := fhirrest.Listen(t.Context(), cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, in) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		require.NoError(t, <-done)
	})
	return "http://" + s.Addr() + "/fhir"
}

func call(t *testing.T, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/fhir+json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(text)
}

const patient = `{"resourceType":"Patient","identifier":[{"system":"urn:oid:1.2.3","value":"4711"}],"name":[{"family":"Doe"}]}`

func TestCreate(t *testing.T) {
	in := &intake{}
	base := serve(t, in, nil)
	r, body := call(t, "POST", base+"/Patient", patient)
	require.Equal(t, http.StatusCreated, r.StatusCode)
	require.Empty(t, body)
	require.Regexp(t, `/fhir/Patient/[0-9a-f-]{36}/_history/41$`, r.Header.Get("Location"))
	require.Equal(t, `W/"41"`, r.Header.Get("ETag"))
	require.Equal(t, patient, string(in.got[0].Raw), "the bytes as they came")
	require.Equal(t, pipelines.FHIR, in.got[0].Format)
	require.JSONEq(t, `{"method":"POST","type":"Patient"}`, string(in.got[0].Meta))
	again, _ := call(t, "POST", base+"/Patient", patient)
	require.Equal(t, r.Header.Get("Location"), again.Header.Get("Location"), "the same resource, the same place")
	_, body = call(t, "POST", base+"/Patient", patient, "Prefer", "return=representation")
	require.Equal(t, patient, body)
	_, body = call(t, "POST", base+"/Patient", patient, "Prefer", "return=OperationOutcome")
	require.Contains(t, body, "OperationOutcome")
}

func TestUpdateAndRead(t *testing.T) {
	in := &intake{held: map[string]string{"Patient/p1": `{"resourceType":"Patient","id":"p1"}`, "Binary/b1": `{"resourceType":"Binary","id":"b1","contentType":"text/plain","data":"aGVsbG8="}`}}
	base := serve(t, in, nil)
	r, _ := call(t, "PUT", base+"/Patient/p1", `{"resourceType":"Patient","id":"p1"}`)
	require.Equal(t, http.StatusOK, r.StatusCode)
	r, body := call(t, "PUT", base+"/Patient/p2", `{"resourceType":"Patient","id":"p1"}`)
	require.Equal(t, http.StatusBadRequest, r.StatusCode)
	require.Contains(t, body, "Patient.id")
	r, body = call(t, "GET", base+"/Patient/p1", "")
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Equal(t, in.held["Patient/p1"], body)
	require.Equal(t, `W/"7"`, r.Header.Get("ETag"))
	r, _ = call(t, "GET", base+"/Patient/p1", "", "If-None-Match", `W/"7"`)
	require.Equal(t, http.StatusNotModified, r.StatusCode)
	r, _ = call(t, "GET", base+"/Patient/nobody", "")
	require.Equal(t, http.StatusNotFound, r.StatusCode)
	r, body = call(t, "GET", base+"/Binary/b1", "", "Accept", "*/*")
	require.Equal(t, "hello", body)
	require.Equal(t, "text/plain", r.Header.Get("Content-Type"))
	_, body = call(t, "GET", base+"/Binary/b1", "", "Accept", "application/fhir+json")
	require.Equal(t, in.held["Binary/b1"], body)
	r, body = call(t, "GET", base+"/metadata", "")
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Contains(t, body, "CapabilityStatement")
}

func TestIfNoneExist(t *testing.T) {
	in := &intake{}
	base := serve(t, in, nil)
	r, _ := call(t, "POST", base+"/Patient", patient, "If-None-Exist", "identifier=urn:oid:1.2.3|4711")
	require.Equal(t, http.StatusCreated, r.StatusCode)
	id := strings.Split(r.Header.Get("Location"), "/")[5]
	held := func(id, identifier string) string {
		return `{"resourceType":"Patient","id":"` + id + `","identifier":[` + identifier + `]}`
	}
	const own, bare = `{"system":"urn:oid:1.2.3","value":"4711"}`, `{"value":"A,1"}`
	in.held = map[string]string{"Patient/" + id: held(id, `{"value":"other"},`+own), "Patient/b": held("b", bare+`,{"system":"urn:x","value":"9"}`)}
	for condition, at := range map[string]string{
		"identifier=urn:oid:1.2.3|4711": id, "identifier=urn%3Aoid%3A1.2.3%7C4711": id, "?identifier=urn:oid:1.2.3|4711": id, "Patient?identifier=urn:oid:1.2.3|": id,
		`identifier=|A\,1`: "b", "identifier=|A%5C%2C1&identifier=urn:x|9": "b", "identifier=urn:x|9&identifier=|A%5C%2C1": "b", "identifier=urn:x|8,urn:x|9": "b",
	} {
		r, body := call(t, "POST", base+"/Patient", patient, "If-None-Exist", condition, "Prefer", "return=representation")
		require.Equal(t, http.StatusOK, r.StatusCode, condition)
		require.Equal(t, in.held["Patient/"+at], body, condition)
		require.Contains(t, r.Header.Get("Location"), "/Patient/"+at+"/_history/7")
	}
	for condition, status := range map[string]int{
		"identifier=urn:oid:1.2.3|4711,urn:x|9": 412, "name=Doe": 400, "identifier=urn:x|9&name=Doe": 400, "identifier=4711": 400, "identifier:exact=urn:x|9": 400,
		"identifier=": 400, "identifier=|": 400, "identifier=urn:x|%zz": 400, "_id=b": 400,
	} {
		r, body := call(t, "POST", base+"/Patient", patient, "If-None-Exist", condition)
		require.Equal(t, status, r.StatusCode, condition)
		require.Contains(t, body, "If-None-Exist: ")
		require.NotContains(t, body, "Doe")
	}
	require.Len(t, in.got, 1, "what exists is not created again")
	for _, condition := range []string{"identifier=urn:x|8", "identifier=|9", "identifier=urn:x|9&identifier=urn:x|8"} {
		r, _ = call(t, "POST", base+"/Patient", patient, "If-None-Exist", condition)
		require.Equal(t, http.StatusCreated, r.StatusCode, condition)
	}
	in.held["Patient/"+id] = held(id, bare)
	r, _ = call(t, "POST", base+"/Patient", patient, "If-None-Exist", "identifier=urn:oid:1.2.3|4711")
	require.Equal(t, http.StatusPreconditionFailed, r.StatusCode, "its id is taken")
}

// If-Match and the version of a read name what is held by the message that made
// it so, or by one that brought it and changed nothing; no other number does.
func TestVersions(t *testing.T) {
	in := &intake{held: map[string]string{"Patient/p1": `{"resourceType":"Patient","id":"p1"}`}}
	base := serve(t, in, nil)
	for tag, status := range map[string]int{"7": 200, "9": 200, "10": 200, "11": 412, "6": 412, "8": 412, "999999": 412, "x": 412} {
		r, _ := call(t, "PUT", base+"/Patient/p1", `{"resourceType":"Patient","id":"p1"}`, "If-Match", `W/"`+tag+`"`)
		require.Equal(t, status, r.StatusCode, tag)
		r, _ = call(t, "GET", base+"/Patient/p1/_history/"+tag, "")
		require.Equal(t, map[int]int{200: 200, 412: 404}[status], r.StatusCode, tag)
	}
}

func TestBundles(t *testing.T) {
	in := &intake{}
	base := serve(t, in, nil)
	transaction := `{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:4f1c2a60-7d35-4c8e-9b0a-5d2f6e31a701","resource":` + patient +
		`,"request":{"method":"POST","url":"Patient"}},{"resource":{"resourceType":"Observation","id":"o1","status":"final","code":{"text":"x"}},"request":{"method":"PUT","url":"Observation/o1"}}]}`
	r, body := call(t, "POST", base, transaction)
	require.Equal(t, http.StatusOK, r.StatusCode)
	answer, err := fhir.ParseJSON([]byte(body))
	require.NoError(t, err)
	require.Equal(t, "transaction-response", answer.Str("type"))
	require.Equal(t, "201 Created", answer.Str("entry[0].response.status"))
	require.Equal(t, "200 OK", answer.Str("entry[1].response.status"))
	require.Equal(t, "Observation/o1/_history/41", answer.Str("entry[1].response.location"))
	for _, kind := range []string{"message", "collection", "history"} {
		r, _ = call(t, "POST", base, `{"resourceType":"Bundle","type":"`+kind+`","entry":[{"resource":`+patient+`}]}`)
		require.Equal(t, http.StatusOK, r.StatusCode, kind)
	}
	r, _ = call(t, "POST", base, `{"resourceType":"Bundle","type":"searchset"}`)
	require.Equal(t, http.StatusUnprocessableEntity, r.StatusCode)
	for _, request := range []string{
		`{"method":"PUT","url":"https://ehr.example.org/fhir/Patient/q1"}`, `{"method":"PUT","url":"Observation/q1"}`, `{"method":"PUT","url":"Patient/other"}`,
		`{"method":"PUT","url":"Patient/q1/_history/3"}`, `{"method":"PUT","url":"Patient"}`, `{"method":"POST","url":"Patient/q1"}`, `{"method":"POST","url":""}`,
	} {
		r, body := call(t, "POST", base, `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Patient","id":"q1"},"request":`+request+`}]}`)
		require.Equal(t, http.StatusBadRequest, r.StatusCode, request)
		require.Contains(t, string(body), "Bundle.entry[0].request.url", request)
	}
	twice := `"entry":[{"resource":{"resourceType":"Patient","id":"q1"},"request":{"method":"PUT","url":"Patient/q1"}},
		{"resource":{"resourceType":"Patient","id":"q1","active":true},"request":{"method":"PUT","url":"Patient/q1"}}]}`
	r, text := call(t, "POST", base, `{"resourceType":"Bundle","type":"transaction",`+twice)
	require.Equal(t, http.StatusBadRequest, r.StatusCode, "which of the two it is to be is not said")
	require.Contains(t, string(text), "Bundle.entry[1].request.url")
	r, _ = call(t, "POST", base, `{"resourceType":"Bundle","type":"batch",`+twice)
	require.Equal(t, http.StatusOK, r.StatusCode, "one after the other")
	for _, alone := range []string{"Bundle"} {
		r, _ := call(t, "POST", base+"/"+alone, `{"resourceType":"`+alone+`","type":"collection"}`)
		require.Equal(t, http.StatusUnprocessableEntity, r.StatusCode, "%s by itself is held nowhere", alone)
	}
	for _, kind := range []string{"transaction", "batch", "history"} { // a deletion is not dropped without a word
		r, text := call(t, "POST", base, `{"resourceType":"Bundle","type":"`+kind+`","entry":[{"request":{"method":"DELETE","url":"Patient/1"},"response":{"status":"204"}}]}`)
		require.Equal(t, http.StatusUnprocessableEntity, r.StatusCode, kind)
		require.Contains(t, string(text), "Bundle.entry[0].request.method")
	}
}

// A reference may be a search (R4 §3.1.0.11.2, conditional references): it finds
// one resource, of the Bundle or held, or the request fails.
func TestReferencesThatSearch(t *testing.T) {
	in := &intake{held: map[string]string{
		"Patient/p1": `{"resourceType":"Patient","id":"p1","identifier":[{"system":"urn:x","value":"1"},{"system":"urn:all","value":"1"}]}`,
		"Patient/p2": `{"resourceType":"Patient","id":"p2","identifier":[{"system":"urn:x","value":"2"},{"system":"urn:all","value":"1"}]}`,
	}}
	base := serve(t, in, nil)
	transaction := func(search string) string {
		return `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Observation","id":"o1","status":"final","subject":{"reference":"` + search + `"}},"request":{"method":"PUT","url":"Observation/o1"}},
			{"resource":{"resourceType":"Patient","id":"p3","identifier":[{"system":"urn:x","value":"3"}]},"request":{"method":"PUT","url":"Patient/p3"}}]}`
	}
	for search, status := range map[string]int{
		"Patient?identifier=urn:x|1": 200, "Patient?identifier=urn:x|3": 200, "Patient?identifier=urn:x|9": 412, "Patient?identifier=urn:all|1": 412,
		"Patient?name=secret": 400, "Patient?identifier=secret": 400, "Pet?identifier=urn:x|1": 400,
	} {
		in.got = nil
		r, text := call(t, "POST", base, transaction(search))
		require.Equal(t, status, r.StatusCode, search)
		if status != 200 {
			require.Empty(t, in.got, search)
			require.Contains(t, text, "Bundle.entry[0].resource", search)
			require.NotContains(t, text, "secret")
			continue
		}
		require.JSONEq(t, `{"method":"POST","type":"","found":{"`+search+`":"Patient/p`+search[len(search)-1:]+`"}}`, string(in.got[0].Meta))
	}
	in.got = nil
	r, _ := call(t, "PUT", base+"/Observation/o1", `{"resourceType":"Observation","id":"o1","subject":{"reference":"Patient?identifier=urn:x|1"}}`)
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Contains(t, string(in.got[0].Meta), `"Patient/p1"`)
	r, _ = call(t, "PUT", base+"/Observation/o1", `{"resourceType":"Observation","id":"o1","subject":{"reference":"`+base+`/Patient/p1/_history/7"}}`)
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Contains(t, string(in.got[1].Meta), strings.TrimPrefix(base, "http://"))
}

func TestRefusals(t *testing.T) {
	rows := []struct {
		name, method, path, body string
		headers                  []string
		err                      error
		status                   int
		contains                 string
	}{
		{name: "not JSON", method: "POST", path: "/Patient", body: `{`, status: 400, contains: "structure"},
		{name: "a member twice", method: "POST", path: "/Patient", body: `{"resourceType":"Patient","resourceType":"Patient"}`, status: 400, contains: "resourceType"},
		{name: "another type", method: "POST", path: "/Patient", body: `{"resourceType":"Observation"}`, status: 400},
		{name: "no Bundle at the base", method: "POST", path: "", body: patient, status: 400},
		{name: "no such type", method: "POST", path: "/Pet", body: patient, status: 404},
		{name: "no such path", method: "GET", path: "/Patient/1/2/3", status: 404},
		{name: "a bad id", method: "GET", path: "/Patient/a_b", status: 404},
		{name: "no such method", method: "DELETE", path: "/Patient/1", status: 405},
		{name: "search", method: "GET", path: "/Patient", status: 405},
		{name: "XML in", method: "POST", path: "/Patient", body: "<Patient/>", headers: []string{"Content-Type", "application/fhir+xml"}, status: 415},
		{name: "XML out", method: "POST", path: "/Patient", body: patient, headers: []string{"Accept", "application/fhir+xml"}, status: 406},
		{name: "too big", method: "POST", path: "/Patient", body: `{"resourceType":"Patient","x":"` + strings.Repeat("x", 70<<10) + `"}`, status: 413},
		{name: "too many entries", method: "POST", path: "", body: `{"resourceType":"Bundle","type":"batch","entry":[` + strings.Repeat(`{},`, 3) + `{}]}`, status: 413, contains: "up to 3 entries"},
		{name: "a member in another case", method: "POST", path: "/Patient", body: `{"resourceType":"Patient","gender":"male","Gender":"male"}`, status: 400},
		{name: "nested too deep", method: "POST", path: "/Patient", body: `{"resourceType":"Patient","extension":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", status: 400},
		{name: "a number without end", method: "POST", path: "/Observation", body: `{"resourceType":"Observation","valueQuantity":{"value":` + strings.Repeat("9", 5000) + "}}", status: 400},
		{name: "a line end in an id", method: "GET", path: "/Patient/a%0d%0aX-Header:%20b", status: 404},
		{name: "a way out of the base", method: "GET", path: "/Patient/..%2f..%2fetc", status: 404},
		{name: "the gate", method: "POST", path: "/Patient", body: `{"resourceType":"Patient","gender":"wrong"}`, status: 422, contains: "Patient.gender"},
		{name: "no room", method: "POST", path: "/Patient", body: patient, err: pipelines.ErrFull, status: 503},
		{name: "stopping", method: "POST", path: "/Patient", body: patient, err: pipelines.ErrClosed, status: 503},
		{name: "refused", method: "POST", path: "/Patient", body: patient, err: &pipelines.Refused{Place: "Patient.name", Reason: "no"}, status: 422, contains: "Patient.name"},
		{name: "a panic", method: "POST", path: "/Patient", body: `{"resourceType":"Patient","id":"poison"}`, status: 500},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			in := &intake{err: row.err}
			base := serve(t, in, func(c *fhirrest.Config) { c.MaxEntries = 3 })
			r, body := call(t, row.method, base+row.path, row.body, row.headers...)
			require.Equal(t, row.status, r.StatusCode, body)
			require.Contains(t, body, `"OperationOutcome"`)
			require.Contains(t, body, row.contains)
			require.NotContains(t, body, "4711")
			require.Empty(t, in.got)
			if row.status == 503 {
				require.NotEmpty(t, r.Header.Get("Retry-After"))
			}
		})
	}
}

func TestGzip(t *testing.T) {
	in := &intake{}
	base := serve(t, in, nil)
	pack := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := io.WriteString(z, text)
		require.NoError(t, err)
		require.NoError(t, z.Close())
		return b.String()
	}
	r, _ := call(t, "POST", base+"/Patient", pack(patient), "Content-Encoding", "gzip")
	require.Equal(t, http.StatusCreated, r.StatusCode)
	require.Equal(t, patient, string(in.got[0].Raw))
	r, _ = call(t, "POST", base+"/Patient", pack(`{"resourceType":"Patient","x":"`+strings.Repeat("x", 1<<20)+`"}`), "Content-Encoding", "gzip")
	require.Equal(t, http.StatusRequestEntityTooLarge, r.StatusCode)
}

// With room for one large request, a second is asked to come again, and small
// ones go by.
func TestRoom(t *testing.T) {
	entered, release := make(chan struct{}, 8), make(chan struct{})
	in := &intake{}
	in.large = func() { entered <- struct{}{}; <-release }
	base := serve(t, in, func(c *fhirrest.Config) {
		c.MaxBody, c.Room, c.Timeout = 8<<20, pipelines.NewRoom(1), 10*time.Second
	})
	large := `{"resourceType":"Patient","name":[{"text":"` + strings.Repeat("x", 2*pipelines.LargeMessage) + `"}]}`
	first := make(chan int, 1)
	go func() {
		r, err := http.Post(base+"/Patient", "application/fhir+json", strings.NewReader(large))
		if err != nil {
			first <- 0
			return
		}
		_ = r.Body.Close()
		first <- r.StatusCode
	}()
	<-entered
	r, _ := call(t, "POST", base+"/Patient", patient)
	require.Equal(t, http.StatusCreated, r.StatusCode)
	impatient, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(impatient, "POST", base+"/Patient", strings.NewReader(large))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/fhir+json")
	_, err = http.DefaultClient.Do(request) //nolint:bodyclose // there is none
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, entered, "the second is not read while the first is being taken in")
	close(release)
	require.Equal(t, http.StatusCreated, <-first)
	r, _ = call(t, "POST", base+"/Patient", large)
	require.Equal(t, http.StatusCreated, r.StatusCode, "the room is given back")
}

func TestTokensAndOutcome(t *testing.T) {
	in := &intake{outcome: pipelines.Outcome{Status: pipelines.Quarantined, Place: "Patient.name", Reason: "odd"}}
	base := serve(t, in, func(c *fhirrest.Config) { c.Tokens = []string{"secret"}; c.Processed = true })
	r, _ := call(t, "POST", base+"/Patient", patient)
	require.Equal(t, http.StatusUnauthorized, r.StatusCode)
	r, body := call(t, "POST", base+"/Patient", patient, "Authorization", "Bearer secret")
	require.Equal(t, http.StatusUnprocessableEntity, r.StatusCode)
	require.Contains(t, body, "Patient.name")
	in.outcome = pipelines.Outcome{Status: pipelines.Published}
	r, _ = call(t, "POST", base+"/Patient", patient, "Authorization", "Bearer secret")
	require.Equal(t, http.StatusCreated, r.StatusCode)
}
