package tables_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/gate"
	"github.com/liaison-health/liaison/mapping/tables"
)

// Code systems are known by all the names that feeds use for them, in any case,
// and by their OIDs (HL7 table 0396).
func TestCodeSystems(t *testing.T) {
	mapper, err := loaded()
	require.NoError(t, err)
	rows := map[string]string{
		"http://loinc.org":                                        "LN LNC LOINC loinc 2.16.840.1.113883.6.1 urn:oid:2.16.840.1.113883.6.1 http://loinc.org",
		"http://snomed.info/sct":                                  "SCT SCT2 SNM SNOMED SNOMED-CT SNOMEDCT 2.16.840.1.113883.6.96",
		"http://unitsofmeasure.org":                               "UCUM ucum 2.16.840.1.113883.6.8",
		"http://hl7.org/fhir/sid/icd-9-cm":                        "I9 I9C I9CDX I9CP ICD9 ICD-9-CM 2.16.840.1.113883.6.103 2.16.840.1.113883.6.104",
		"http://hl7.org/fhir/sid/icd-10":                          "I10 ICD10 ICD-10 2.16.840.1.113883.6.3",
		"http://hl7.org/fhir/sid/icd-10-cm":                       "I10C ICD10CM ICD-10-CM 2.16.840.1.113883.6.90",
		"http://www.cms.gov/Medicare/Coding/ICD10":                "I10P ICD10PCS ICD-10-PCS 2.16.840.1.113883.6.4",
		"http://www.ama-assn.org/go/cpt":                          "C4 C5 CPT CPT4 CPT-4 2.16.840.1.113883.6.12",
		"http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets": "HCPCS HPC 2.16.840.1.113883.6.285",
		"http://hl7.org/fhir/sid/ndc":                             "NDC 2.16.840.1.113883.6.69",
		"http://www.nlm.nih.gov/research/umls/rxnorm":             "RXNORM RxNorm 2.16.840.1.113883.6.88",
		"http://hl7.org/fhir/sid/cvx":                             "CVX 2.16.840.1.113883.12.292",
		"http://hl7.org/fhir/sid/mvx":                             "MVX 2.16.840.1.113883.12.227",
		"http://nucc.org/provider-taxonomy":                       "HCPT NUCC 2.16.840.1.113883.6.101",
		"http://terminology.hl7.org/CodeSystem/v2-0487":           "HL70487 2.16.840.1.113883.12.487",
		"urn:oid:2.16.840.1.113883.19.77":                         "2.16.840.1.113883.19.77",
		"urn:x-liaison:codesystem:99LAB":                          "99LAB",
	}
	for uri, names := range rows {
		code := "ABS"
		if uri == "http://unitsofmeasure.org" {
			code = "m"
		}
		for _, name := range strings.Fields(names) {
			bundle, _ := mapOne(t, mapper, []byte("MSH|^~\\&|LAB|ALDER|||20260310||ORU^R01|1|P|2.5.1\rPID|1||1^^^ALDER\rOBR|1|P1|F1|X^X^L\rOBX|1|ST|"+code+"^Text^"+name+"||x||||||F\r"))
			require.Contains(t, string(bundle), `"code":{"coding":[{"system":"`+uri+`","code":"`+code+`"`, name)
		}
	}
}

// A code that no table knows never enters a required binding: the table's default
// stands there, or nothing and the reason, the report says so, and the original is
// kept with a URI for its system.
func TestUnknownCodes(t *testing.T) {
	schema := fhir.NewSchema()
	mapper, err := compiled(schema)
	require.NoError(t, err)
	check, err := gate.New(schema)
	require.NoError(t, err)
	bundle, report := mapOne(t, mapper, []byte(strings.Join([]string{
		"MSH|^~\\&|LAB|ALDER|||20260310||ORU^R01^ORU_R01|1|P|2.5.1", "PID|1||1^^^ALDER^ZZ||A^B^^^^^ZZ|||ZZ|||||||ZZ^Zz^HL70296|ZZ|ZZ", "PV1|1|ZZ||ZZ",
		"ORC|ZZ|P1|F1||ZZ", "OBR|1|P1|F1|X^X^L|ZZ|||||||||||||||||||ZZ|ZZ", "TQ1|1||||||||ZZ", "OBX|1|ST|Y^Y^L||x|||ZZ|||ZZ",
	}, "\r")+"\r"))
	require.Empty(t, check.CheckJSON(bundle))
	text := string(bundle)
	for _, want := range []string{
		`"system":"urn:x-liaison:codesystem:HL70203","code":"ZZ"`, `"system":"urn:x-liaison:codesystem:HL70002","code":"ZZ"`,
		`"system":"urn:x-liaison:codesystem:HL70007","code":"ZZ"`, `"system":"urn:x-liaison:codesystem:HL70078","code":"ZZ"`,
	} {
		require.Contains(t, text, want)
	}
	for _, never := range []string{`"gender":"ZZ"`, `"status":"ZZ"`, `"priority":"ZZ"`, `"use":"ZZ"`, `"system":"http://terminology.hl7.org/CodeSystem/v2-0203","code":"ZZ"`, `"system":"urn:ietf:bcp:47","code":"ZZ"`} {
		require.NotContains(t, text, never)
	}
	places := map[string]bool{}
	for _, n := range append(report.Defaulted, report.Warnings...) {
		places[n.Place] = true
	}
	for _, place := range []string{"PID-8.1", "OBX-11.1", "PV1-2.1"} {
		require.True(t, places[place], "%s: %v", place, report)
	}
	require.Equal(t, report.Leaves, report.Found+report.Structural+len(report.Unmapped))
}

// A site's code tables can be CSV: rows over a table, and tables of its own.
func TestCSVOverlay(t *testing.T) {
	csv := "table,code,to,system,display\nHospitalService,W7E,7-east,https://alder.example.org/fhir/CodeSystem/ward,\"Ward 7, East\"\nAdministrativeSex,WOMAN,female,,\n"
	semicolons := "table;code;to;system;display\r\nHospitalService;W7E;7-east;https://alder.example.org/fhir/CodeSystem/ward;Ward 7, East\r\nAdministrativeSex;WOMAN;female;;\r\n"
	for _, csv := range []string{csv, semicolons} {
		mapper, err := compiled(fhir.NewSchema(), tables.Overlay{Name: "alder.csv", Data: []byte(csv)})
		require.NoError(t, err)
		bundle, _ := mapOne(t, mapper, []byte("MSH|^~\\&|ADT|ALDER|||20260310||ADT^A01|1|P|2.5.1\rEVN||20260310\rPID|1||1^^^ALDER||A^B|||woman\rPV1|1|I||||||||W7E\r"))
		require.Contains(t, string(bundle), `"gender":"female"`)
		require.Contains(t, string(bundle), `{"system":"https://alder.example.org/fhir/CodeSystem/ward","code":"7-east","display":"Ward 7, East"}`)
	}
	for text, wrong := range map[string]string{
		"code,to\nA,b\n":                         "site.csv:1",
		"table,code,to\nHospitalService,A\n":     "site.csv:2",
		"table,code,to,system\nX,A,b,nosystem\n": "site.csv:2",
		"table,code,to\nX,A,b\nX,A,c\n":          "site.csv:3",
		"table,code,to\nX,\"A,b\n":               "site.csv:",
		"table,code,to,display\nAdministrativeSex,M,male,Mann\nAdministrativeSex,W,female,F\xfcr Frauen\n": "site.csv:3: not UTF-8: save the file as UTF-8",

		"table,code,to\nHospitalServices,W7,x\n": "site.csv:2: no rule uses a code table HospitalServices",

		"table,code,to\nAdministrativeSex,F,female\nAdministrativeSex,W,weiblich\n": `site.csv:3: Patient.gender cannot be "weiblich"; R4 has male`,
		"table,code,to\nAdministrativeSex,*,divers\n":                               `site.csv:2: Patient.gender cannot be "divers"; R4 has `,
	} {
		_, err := compiled(fhir.NewSchema(), tables.Overlay{Name: "site.csv", Data: []byte(text)})
		require.ErrorContains(t, err, wrong, text)
	}
	_, err := compiled(fhir.NewSchema(), tables.Overlay{Name: "site.yaml", Data: []byte("AdministrativeSex:\n  codes: |\n    F -> female\n    W -> weiblich\n")})
	require.ErrorContains(t, err, `site.yaml:4: Patient.gender cannot be "weiblich"`)
	_, err = compiled(fhir.NewSchema(), tables.Overlay{Name: "site.yaml", Data: []byte("AdministrativeSex:\n  codes: |\n    W -> female \"F\xfcr Frauen\"\n")})
	require.ErrorContains(t, err, "site.yaml:3: not UTF-8: save the file as UTF-8")
	_, err = compiled(fhir.NewSchema(), tables.Overlay{Name: "site.yaml", Data: []byte("add PID to Patient: |\n  PID-8 -> sex\n  PID-7 -> birthdate\nadd PV1 to Encounter: |\n  PV1-2 -> klass\noff NK1 to Patient: |\n  -> nothing\n")})
	require.Regexp(t, `(?s)^site.yaml:2: .*site.yaml:3: .*site.yaml:5: .*site.yaml:7: `, err.Error(), "in the order of the file")
}
