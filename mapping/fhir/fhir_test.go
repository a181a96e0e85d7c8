package fhir_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	model "github.com/samply/golang-fhir-models/fhir-models/fhir"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/fhir"
)

func parse(t testing.TB, in string) *fhir.Node {
	t.Helper()
	n, err := fhir.ParseJSON([]byte(in))
	require.NoError(t, err)
	return n
}

func TestStrictJSON(t *testing.T) {
	for name, in := range map[string]string{
		"duplicate key": `{"a":1,"a":2}`, "case variant": `{"status":"booked","STATUS":"x"}`, "trailing": `{} {}`, "comma": `{"a":1,}`,
		"array comma": `[1,]`, "leading zero": `01`, "point": `1.`, "exponent": `1e`, "control": "\"a\nb\"", "surrogate": `"\ud800"`, "open": `{"a":`,
		"utf-8": "\"\xff\"", "depth": strings.Repeat("[", 100), "key": `{"a b":1}`, "word": `nul`, "empty": ``, "escape": `"\x"`,
	} {
		_, err := fhir.ParseJSON([]byte(in))
		var bad *fhir.JSONError
		require.ErrorAs(t, err, &bad, name)
	}
	for in, want := range map[string]fhir.JSONError{
		`{"a":{"b":1,"b":2}}`:    {Path: "a.b", Offset: 15, Reason: "a key twice in one object"},
		"{\"a\":\"\ufffd\xff\"}": {Offset: 9, Reason: "not UTF-8"},
	} {
		_, err := fhir.ParseJSON([]byte(in))
		var bad *fhir.JSONError
		require.ErrorAs(t, err, &bad)
		require.Equal(t, want, *bad)
	}
	n := parse(t, `{"value":9007199254740993,"price":1234567.10,"s":"\u00fc\ud83d\ude00\n"}`)
	require.Equal(t, `{"value":9007199254740993,"price":1234567.10,"s":"ü😀\n"}`, string(n.JSON()), "numbers keep their text")
}

func anyNode(t *rapid.T, depth int) *fhir.Node {
	switch k := rapid.IntRange(0, 5).Draw(t, "kind"); {
	case k == 0 && depth > 0:
		n := fhir.NewObject()
		for i := range rapid.IntRange(0, 4).Draw(t, "fields") {
			n.Set("f"+string(rune('a'+i)), anyNode(t, depth-1))
		}
		return n
	case k == 1 && depth > 0:
		n := fhir.NewArray()
		for range rapid.IntRange(0, 4).Draw(t, "items") {
			n.Kids = append(n.Kids, anyNode(t, depth-1))
		}
		return n
	case k == 2:
		return fhir.NewNumber(rapid.SampledFrom([]string{"0", "-1", "3.140", "1e5"}).Draw(t, "number"))
	case k == 3:
		return fhir.NewBool(rapid.Bool().Draw(t, "bool"))
	default:
		return fhir.NewString(rapid.String().Draw(t, "string"))
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := anyNode(t, 4)
		again, err := fhir.ParseJSON(n.JSON())
		require.NoError(t, err)
		require.True(t, fhir.Equal(n, again))
		require.True(t, json.Valid(n.JSON()))
		indented, err := fhir.ParseJSON(n.AppendIndent(nil))
		require.NoError(t, err)
		require.True(t, fhir.Equal(n, indented))
		require.True(t, fhir.Equal(n, n.Clone()))
		require.Empty(t, fhir.Diff(n, again))
	})
}

func TestSchemaKnowsR4(t *testing.T) {
	s := fhir.NewSchema()
	for path, want := range map[string]string{
		"Patient.gender": "code", "Patient.birthDate": "date", "Patient.name": "HumanName", "Patient.contact": "PatientContact",
		"Patient.deceasedDateTime": "dateTime", "Observation.valueQuantity": "Quantity", "Quantity.value": "decimal", "Period.start": "dateTime",
		"Appointment.start": "instant", "Observation.issued": "instant", "Coverage.order": "positiveInt", "Patient.contained": "Resource",
		"Extension.valueDateTime": "dateTime", "ContactPoint.system": "code", "Identifier.system": "uri", "Condition.onsetDateTime": "dateTime",
		"Immunization.recorded": "dateTime", "Task.lastModified": "dateTime", "Basic.created": "date", "Device.expirationDate": "dateTime",
		"Location.description": "string", "Location.id": "id", "HumanName.id": "string", "Annotation.text": "markdown", "Attachment.size": "unsignedInt",
		"Consent.dateTime": "dateTime", "Endpoint.address": "url", "Meta.profile": "canonical", "Signature.when": "instant",
		"PractitionerRoleAvailableTime.availableStartTime": "time",
	} {
		owner, name, _ := strings.Cut(path, ".")
		typ, ok := s.Type(owner)
		require.True(t, ok, path)
		e, ok := typ.Element(name)
		require.True(t, ok, path)
		require.Equal(t, want, e.Type, path)
	}
	patient, _ := s.Type("Patient")
	gender, _ := patient.Element("gender")
	require.Equal(t, []string{"male", "female", "other", "unknown"}, gender.Codes)
	name, _ := patient.Element("name")
	require.True(t, name.List)
	observation, _ := s.Type("Observation")
	value, _ := observation.Element("valueQuantity")
	require.Equal(t, "value", value.Choice)
	require.Len(t, s.Resources(), 147)
	require.NotContains(t, s.Resources(), "DomainResource", "it is abstract")
}

func TestSchemaKnowsChoicesAndCodes(t *testing.T) {
	s := fhir.NewSchema()
	element := func(path string) *fhir.Element {
		owner, name, _ := strings.Cut(path, ".")
		typ, ok := s.Type(owner)
		require.True(t, ok, path)
		e, ok := typ.Element(name)
		require.True(t, ok, path)
		return e
	}
	for path, want := range map[string]string{
		"Provenance.occurredPeriod": "occurred", "DeviceRequest.codeReference": "code", "SpecimenCollection.fastingStatusDuration": "fastingStatus",
		"ServiceRequest.locationCode": "", "ServiceRequest.locationReference": "", "Procedure.usedCode": "", "ChargeItem.definitionUri": "",
	} {
		require.Equal(t, want, element(path).Choice, path)
	}
	require.True(t, element("MedicationRequest.medicationReference").Required, "medication[x] is 1..1")
	require.True(t, element("MedicationRequest.medicationCodeableConcept").Required)
	require.False(t, element("Observation.valueQuantity").Required)
	require.True(t, element("ClaimResponseAddItem.adjudication").Required)
	require.Contains(t, element("MedicationRequest.status").Codes, "draft")
	require.Contains(t, element("TimingRepeat.when").Codes, "PCV")
	require.Equal(t, []string{"completed", "entered-in-error", "not-done"}, element("Immunization.status").Codes)
}

func TestManyKeysAreRefused(t *testing.T) {
	var keys []string
	for i := range 300 {
		keys = append(keys, fmt.Sprintf("%q:1", fmt.Sprintf("k%d", i)))
	}
	_, err := fhir.ParseJSON([]byte("{" + strings.Join(keys, ",") + "}"))
	var bad *fhir.JSONError
	require.ErrorAs(t, err, &bad)
	_, err = fhir.ParseJSON([]byte("{" + strings.Join(keys[:200], ",") + "}"))
	require.NoError(t, err)
}

func TestTidyPutsFieldsInOrderWithoutEmptyOnes(t *testing.T) {
	n := parse(t, `{"birthDate":"1970","name":[{"given":["A",""],"family":"B"},{}],"id":"x","gender":"","_birthDate":{"extension":[{"valueString":"v","url":"u"},{"url":"bare"}]},"contact":[{"name":{}}],"resourceType":"Patient"}`)
	fhir.NewSchema().Tidy(n)
	require.Equal(t, `{"resourceType":"Patient","id":"x","name":[{"family":"B","given":["A"]}],"birthDate":"1970","_birthDate":{"extension":[{"url":"u","valueString":"v"}]}}`, string(n.JSON()))
}

func TestCompleteSaysWhatPartsLack(t *testing.T) {
	const unknown = `{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}`
	for _, c := range []struct{ in, out, lacking string }{
		{`{"resourceType":"Patient","contact":[{"gender":"male"},{"telecom":[{"value":"1"}]}]}`, `{"resourceType":"Patient","contact":[{"name":` + unknown + `,"gender":"male"},{"telecom":[{"value":"1"}]}]}`, "PatientContact.name"},
		{`{"resourceType":"Task","note":[{"time":"2026-03-10T12:00:00Z"}]}`, `{"resourceType":"Task","note":[{"time":"2026-03-10T12:00:00Z","_text":` + unknown + `}]}`, "Annotation.text"},
		{`{"resourceType":"Appointment","participant":[{"period":{"start":"2026"}}]}`, `{"resourceType":"Appointment","participant":[{"actor":` + unknown + `,"status":"needs-action","period":{"start":"2026"}}]}`, "AppointmentParticipant.actor AppointmentParticipant.status"},
		{`{"resourceType":"Observation","valueRatio":{"numerator":{"value":1}}}`, `{"resourceType":"Observation","valueRatio":{"numerator":{"value":1},"denominator":` + unknown + `}}`, "Ratio.denominator"},
		{`{"resourceType":"Medication","ingredient":[{"isActive":true}]}`, `{"resourceType":"Medication","ingredient":[{"itemCodeableConcept":` + unknown + `,"isActive":true}]}`, "MedicationIngredient.itemCodeableConcept"},
		{`{"resourceType":"Observation","valueRange":{"low":{"value":7.5,"unit":"g"},"high":{"unit":"g"}}}`, `{"resourceType":"Observation","valueRange":{"low":{"value":7.5,"unit":"g"}}}`, ""},
		{`{"resourceType":"Observation"}`, `{"resourceType":"Observation"}`, ""}, // its tables' business
	} {
		n := parse(t, c.in)
		lacking := fhir.NewSchema().Complete(n)
		slices.Sort(lacking)
		require.Equal(t, c.lacking, strings.Join(lacking, " "))
		require.Equal(t, c.out, string(n.JSON()))
	}
}

// TestTheModelsFaultsAreCured shows the fault of the plain model beside the cure.
func TestTheModelsFaultsAreCured(t *testing.T) {
	in := `{"resourceType":"MedicationRequest","contained":[{"resourceType":"Medication","id":"m"}],"status":"active","intent":"order",` +
		`"medicationReference":{"reference":"#m"},"subject":{"reference":"Patient/1"},"authoredOn":"2026","_authoredOn":{"id":"a"}}`
	node := parse(t, in)
	typed, err := fhir.Decode[model.MedicationRequest](node)
	require.NoError(t, err)
	raw, err := json.Marshal(typed)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "contained", "the plain model loses contained resources")
	require.NotContains(t, string(raw), "_authoredOn", "and extensions of primitives")
	require.Contains(t, string(raw), "medicationCodeableConcept", "and invents the other choice")
	cured, err := fhir.NewSchema().Encode(typed, node)
	require.NoError(t, err)
	require.JSONEq(t, in, string(cured.JSON()))
}

func TestDiffMatchesEntriesByIdentity(t *testing.T) {
	old := parse(t, `{"status":"booked","start":"a","participant":[{"actor":{"reference":"P/1"},"status":"accepted"},{"actor":{"reference":"L/1"}}]}`)
	next := parse(t, `{"status":"booked","end":"b","participant":[{"actor":{"reference":"L/2"}},{"actor":{"reference":"P/1"},"status":"declined"}]}`)
	got := map[string]string{}
	for _, d := range fhir.Diff(old, next) {
		text := func(n *fhir.Node) string {
			if n == nil {
				return "-"
			}
			return string(n.JSON())
		}
		name := d.Path
		if d.NewPath != "" {
			name += " -> " + d.NewPath
		}
		got[name+" "+text(d.Old)] = text(d.New)
	}
	require.Equal(t, map[string]string{
		`start "a"`: "-", `participant[0].status -> participant[1].status "accepted"`: `"declined"`, `participant[1] {"actor":{"reference":"L/1"}}`: "-",
		`participant[0] -`: `{"actor":{"reference":"L/2"}}`, "end -": `"b"`,
	}, got)
}

func TestTransactionResolvesInside(t *testing.T) {
	id := fhir.ID("Patient", "MR", "HOSP", "1")
	require.True(t, fhir.IsUUID(id))
	require.Equal(t, id, fhir.ID("Patient", "MR", "HOSP", "1"))
	require.NotEqual(t, fhir.ID("Patient", "a", "bc"), fhir.ID("Patient", "ab", "c"))
	patient := fhir.NewResource("Patient").SetString("id", id)
	visit := fhir.NewResource("Encounter").SetString("id", fhir.ID("Encounter", "1")).
		Set("subject", fhir.NewObject().SetString("reference", "Patient/"+id)).
		Set("partOf", fhir.NewObject().SetString("reference", "Encounter/elsewhere"))
	bundle := parse(t, string(fhir.AppendTransaction(nil, []*fhir.Node{patient, visit})))
	require.Equal(t, fhir.FullURL(id), bundle.Str("entry[0].fullUrl"))
	require.Equal(t, fhir.FullURL(id), bundle.Str("entry[1].resource.subject.reference"))
	require.Equal(t, "Encounter/elsewhere", bundle.Str("entry[1].resource.partOf.reference"))
	require.Equal(t, "Patient/"+id, bundle.Str("entry[0].request.url"))
}

func TestOutcomeAndCapability(t *testing.T) {
	n := fhir.OperationOutcome(fhir.Issue{Severity: "error", Code: "invalid", Expression: "Patient.gender", Diagnostics: "not a code"})
	require.JSONEq(t, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","diagnostics":"not a code","expression":["Patient.gender"]}]}`, string(n.JSON()))
	c := fhir.Capability("http://localhost/fhir", time.Unix(0, 0), []string{"Patient", "Provenance"}, func(t string) bool { return t == "Patient" })
	require.Equal(t, "4.0.1", c.Str("fhirVersion"))
	require.Equal(t, "Patient", c.Str("rest[0].resource[0].type"))
}

func TestPruneLeavesNothingEmpty(t *testing.T) {
	n := parse(t, `{"a":"","b":{"c":[]},"d":[{}, "x"]}`)
	require.True(t, n.Prune())
	require.Equal(t, `{"d":["x"]}`, string(n.JSON()))
}

func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(`{"resourceType":"Patient","name":[{"family":"\u00fcx"}],"n":1.50e2,"t":[true,null]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		n, err := fhir.ParseJSON(in)
		if err != nil {
			return
		}
		again, err := fhir.ParseJSON(n.JSON())
		require.NoError(t, err)
		require.True(t, fhir.Equal(n, again))
	})
}

func BenchmarkEncode(b *testing.B) {
	n := parse(b, `{"resourceType":"Patient","identifier":[{"system":"urn:oid:1.2","value":"4711"}],"name":[{"family":"Keller","given":["Anna"]}],"birthDate":"1970-02-03"}`)
	buf := n.JSON()
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = n.AppendJSON(buf[:0])
	}
}

func BenchmarkParseJSON(b *testing.B) {
	in := parse(b, `{"resourceType":"Patient","identifier":[{"system":"urn:oid:1.2","value":"4711"}],"name":[{"family":"Keller","given":["Anna"]}],"birthDate":"1970-02-03"}`).JSON()
	var arena fhir.Arena
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		arena.Reset()
		if _, err := fhir.ParseJSONIn(&arena, in); err != nil {
			b.Fatal(err)
		}
	}
}

// Any text comes back from its quoted form, wherever in it an escape stands.
func TestQuoted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.OneOf(rapid.RuneFrom([]rune("\"\\\n\r\t\x00\x1f\x7f é€😀")), rapid.RuneFrom([]rune("abcdefgh"))), 0, 40, -1).Draw(t, "text")
		var back string
		require.NoError(t, json.Unmarshal(fhir.AppendQuoted(nil, text), &back))
		require.Equal(t, text, back)
	})
}

// A document of tiny values would take fifty times its size.
func TestTooManyValues(t *testing.T) {
	_, err := fhir.ParseJSON([]byte("[" + strings.Repeat("0,", 1<<20) + "0]"))
	require.ErrorContains(t, err, "too many values")
	_, err = fhir.ParseJSON([]byte("[" + strings.Repeat("0,", 1<<15) + "0]"))
	require.NoError(t, err)
	_, err = fhir.ParseJSON([]byte("[" + strings.Repeat(`{"system":"a"},`, 1<<18) + "{}]"))
	require.NoError(t, err)
}
