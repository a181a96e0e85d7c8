package gate_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/gate"
)

func newGate(t testing.TB) *gate.Gate {
	t.Helper()
	g, err := gate.New(fhir.NewSchema())
	require.NoError(t, err)
	return g
}

// Each row has one fault; the gate names its rule and its place, and holds no
// value of the resource.
func TestFaults(t *testing.T) {
	const secret = "Zanzibar"
	rows := []struct{ name, resource, rule, path string }{
		{"sound", `{"resourceType":"Patient","name":[{"family":"Zanzibar"}],"gender":"female","birthDate":"1970-01-31"}`, "", ""},
		{"unknown element", `{"resourceType":"Patient","Zanzibar":1}`, "unknown", "Patient"},
		{"unknown type", `{"resourceType":"Zanzibar"}`, "type", ""},
		{"key twice", `{"resourceType":"Patient","active":true,"active":true}`, "json", ""},
		{"required code", `{"resourceType":"Patient","gender":"Zanzibar"}`, "code", "Patient.gender"},
		{"required element", `{"resourceType":"Observation","status":"final"}`, "required", "Observation.code"},
		{"date", `{"resourceType":"Patient","birthDate":"19700131"}`, "format", "Patient.birthDate"},
		{"id", `{"resourceType":"Patient","id":"Zanzibar with blanks"}`, "format", "Patient.id"},
		{"empty object", `{"resourceType":"Patient","name":[{}]}`, "empty", "Patient.name[0]"},
		{"list for one", `{"resourceType":"Patient","gender":["male"]}`, "cardinality", "Patient.gender"},
		{"one for list", `{"resourceType":"Patient","name":{"family":"Zanzibar"}}`, "cardinality", "Patient.name"},
		{"two of a choice", `{"resourceType":"Patient","deceasedBoolean":true,"deceasedDateTime":"2020"}`, "choice", "Patient"},
		{"extension with neither", `{"resourceType":"Patient","extension":[{"url":"http://example.org/x"}]}`, "ext-1", "Patient.extension[0]"},
		{"contact without system", `{"resourceType":"Patient","telecom":[{"value":"Zanzibar"}]}`, "cpt-2", "Patient.telecom[0]"},
		{"period backwards", `{"resourceType":"Encounter","status":"finished","class":{"code":"IMP"},"period":{"start":"2026-03-02","end":"2026-03-01"}}`, "per-1", "Encounter.period"},
		{"wrong target", `{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Organization/1"}}`, "reference", "Observation.subject"},
		{"money", `{"resourceType":"ChargeItem","status":"billable","code":{"text":"x"},"subject":{"reference":"Patient/1"},"priceOverride":{"value":1,"currency":"Zanzibar"}}`, "code", "ChargeItem.priceOverride"},
		{"booked without a time", `{"resourceType":"Appointment","status":"booked","participant":[{"actor":{"reference":"Patient/1"},"status":"accepted"}]}`, "app-3", "Appointment"},
		{"dangling reference", `{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:0e33d3d9-7eb6-568e-9dbf-c623daf65d72","resource":{"resourceType":"Patient","generalPractitioner":[{"reference":"urn:uuid:1e33d3d9-7eb6-568e-9dbf-c623daf65d72"}]},"request":{"method":"PUT","url":"Patient/1"}}]}`, "reference", "Bundle.entry[0].resource.generalPractitioner[0]"},
		{"script in a narrative", `{"resourceType":"Patient","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><script>Zanzibar</script></div>"}}`, "txt-1", "Patient.text.div"},
	}
	g := newGate(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			found := g.CheckJSON([]byte(row.resource))
			if row.rule == "" {
				require.Empty(t, found)
				return
			}
			match := false
			for _, f := range found {
				match = match || f.Rule == row.rule && strings.HasPrefix(f.Path, row.path)
				require.NotContains(t, f.String(), secret)
			}
			require.True(t, match, "%v", found)
		})
	}
}

// What is no FHIR at all: findings, never a panic, never a value.
func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{"resourceType":"Patient","name":[{"family":"x"}]}`, `{"resourceType":"Bundle","type":"batch","entry":[{"resource":{"resourceType":"Observation"}}]}`,
		`[]`, `null`, `{"resourceType":{}}`, `{"resourceType":"Patient","_birthDate":{"extension":[]}}`, `{"resourceType":"Patient","contained":[{"resourceType":"Patient","contained":[{}]}]}`,
	} {
		f.Add([]byte(seed))
	}
	g := newGate(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, finding := range g.CheckJSON(data) {
			if finding.Rule == "" || finding.Text == "" {
				t.Fatalf("a finding without rule or text: %v", finding)
			}
		}
	})
}
