package tables_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/tables"
)

// resourcesOf maps a message and gives its resources of a type by id.
func resourcesOf(t *testing.T, m *tables.Mapper, typ, message string) map[string]string {
	t.Helper()
	bundle, _ := mapOne(t, m, []byte(message))
	var parsed struct {
		Entry []struct{ Resource json.RawMessage }
	}
	require.NoError(t, json.Unmarshal(bundle, &parsed))
	out := map[string]string{}
	for _, e := range parsed.Entry {
		var head struct{ ResourceType, ID string }
		require.NoError(t, json.Unmarshal(e.Resource, &head))
		if head.ResourceType == typ {
			out[head.ID] = string(e.Resource)
		}
	}
	return out
}

// A number that nobody is said to have given is mostly a running one: what two
// patients have under the same one are two things. One with its authority is
// the same thing whoever says it.
func TestNumbersOfNobody(t *testing.T) {
	m, err := compiled(fhir.NewSchema())
	require.NoError(t, err)
	for name, c := range map[string]struct{ head, typ, first, second string }{
		"OBX-21": {"ORU^R01^ORU_R01", "Observation", "OBR|1||I1^LAB|X^X^L\rOBX|1|NM|K^K^L||3||||||F||||||||||NUMBER\r", "OBR|1||I2^LAB|X^X^L\rOBX|1|NM|K^K^L||6||||||F||||||||||NUMBER\r"},
		"SPM-2":  {"ORU^R01^ORU_R01", "Specimen", "OBR|1||I1^LAB|X^X^L\rSPM|1|NUMBER||BLD\r", "OBR|1||I2^LAB|X^X^L\rSPM|1|NUMBER||UR\r"},
		"IAM-7":  {"ADT^A60^ADT_A60", "AllergyIntolerance", "IAM|1|DA|PEN^Penicillin^L|||A|NUMBER\r", "IAM|1|FA|EGG^Egg^L|||A|NUMBER\r"},
		"DG1-20": {"ADT^A01^ADT_A01", "Condition", "PV1|1|I\rDG1|1||I10^x^I10|||A||||||||||||||NUMBER\r", "PV1|1|I\rDG1|1||E11^y^I10|||A||||||||||||||NUMBER\r"},
		"PR1-19": {"ADT^A01^ADT_A01", "Procedure", "PV1|1|I\rPR1|1||1^x^L||20260310||||||||||||||NUMBER\r", "PV1|1|I\rPR1|1||2^y^L||20260310||||||||||||||NUMBER\r"},
		"PRB-4":  {"PPR^PC1^PPR_PC1", "Condition", "PRB|AD|20260310|I10^x^I10|NUMBER\r", "PRB|AD|20260310|E11^y^I10|NUMBER\r"},
		"FT1-2":  {"DFT^P03^DFT_P03", "ChargeItem", "FT1|1|NUMBER||20260310||CG|A^a^L\r", "FT1|1|NUMBER||20260310||CG|B^b^L\r"},
	} {
		message := func(control, patient, rest, number string) string {
			return "MSH|^~\\&|EHR|ALDER|||20260310090000-0400||" + c.head + "|" + control + "|P|2.5.1\rEVN||20260310090000-0400\r" +
				"PID|1||" + patient + "^^^ALDER^MR||Doe^Jo\r" + strings.ReplaceAll(rest, "NUMBER", number)
		}
		one, other := resourcesOf(t, m, c.typ, message("1", "7700200", c.first, "1")), resourcesOf(t, m, c.typ, message("2", "7700999", c.second, "1"))
		require.Len(t, one, 1, name)
		require.Len(t, other, 1, name)
		for id := range one {
			require.NotContains(t, other, id, name)
		}
		if name == "FT1-2" { // a transaction's number is its sender's and account's
			continue
		}
		given := "1^CDS"
		if name == "SPM-2" { // a pair of them
			given = "1&CDS"
		}
		one, other = resourcesOf(t, m, c.typ, message("1", "7700200", c.first, given)), resourcesOf(t, m, c.typ, message("2", "7700200", c.second, given))
		for id := range one {
			require.Contains(t, other, id, name)
		}
	}
}

// Codes that differ only behind their suffix (HL7 v2.5.1 §7.2.4) are two
// observations, and two reports.
func TestCodesWithSuffix(t *testing.T) {
	m, err := compiled(fhir.NewSchema())
	require.NoError(t, err)
	head := "MSH|^~\\&|RIS|ALDER|||20260310090000-0400||ORU^R01^ORU_R01|1|P|2.5.1\rPID|1||100^^^ALDER^MR||Doe^Jo\r"
	found := resourcesOf(t, m, "Observation", head+"OBR|1||R1^RIS|71020^CXR^C4\rOBX|1|TX|71020&GDT^CXR^C4||No effusion.||||||F\rOBX|2|TX|71020&IMP^CXR^C4||Pneumonia.|||A|||F\r")
	require.Len(t, found, 2)
	for _, text := range found {
		require.Equal(t, strings.Contains(text, "Pneumonia."), strings.Contains(text, `"interpretation"`), text)
	}
	require.Len(t, resourcesOf(t, m, "DiagnosticReport", head+"OBR|1||R1^RIS|71020&PA^CXR^C4\rOBR|2||R1^RIS|71020&LAT^CXR^C4\r"), 2)
}

// Who is taken off is no participant, and the report says that the segment was
// read by nobody.
func TestRoleTakenOff(t *testing.T) {
	m, err := compiled(fhir.NewSchema())
	require.NoError(t, err)
	for _, c := range []struct{ action, typ, segment string }{
		{"AD", "encounter", "ROL"},
		{"DE", "encounter", "ROL"},
		{"UN", "encounter", "ROL"},
		{"AD", "patient", "ROL"},
		{"DE", "patient", "ROL"},
		{"AD", "encounter", "PRT"},
		{"D", "encounter", "PRT"},
		{"DE", "patient", "PRT"},
		{"AD", "patient", "PRT"},
	} {
		role := "ROL|2|" + c.action + "|PP^Provider^HL70443|5^Consult^Sultan\r"
		if c.segment == "PRT" {
			role = "PRT|2|" + c.action + "||PP^Provider^HL70443|5^Consult^Sultan\r"
		}
		message := "MSH|^~\\&|EHR|ALDER|||20260310090000-0400||ADT^A08^ADT_A01|1|P|2.9\rEVN||20260310090000-0400\rPID|1||100^^^ALDER^MR||Doe^Jo\r"
		if c.typ == "patient" {
			message += role + "PV1|1|I\r"
		} else {
			message += "PV1|1|I\r" + role
		}
		bundle, report := mapOne(t, m, []byte(message))
		require.Equal(t, c.action == "AD", strings.Contains(string(bundle), `"family":"Consult"`), c)
		require.Equal(t, c.action == "AD", len(report.Unmapped) == 0, c)
	}
}

// `""` where a thing is named says that there is none: it makes no thing without
// a name.
func TestNamedByNull(t *testing.T) {
	m, err := compiled(fhir.NewSchema())
	require.NoError(t, err)
	for typ, c := range map[string]struct{ none, some string }{
		"AllergyIntolerance": {`AL1|1|DA|""`, "AL1|1|DA|PEN^Penicillin^L"},
		"Condition":          {`DG1|1||""|||A`, "DG1|1||I10^x^I10|||A"},
		"RelatedPerson":      {`NK1|1|""|MTH`, "NK1|1|Doe^Ann|MTH"},
	} {
		head := "MSH|^~\\&|EHR|ALDER|||20260310090000-0400||ADT^A08^ADT_A01|1|P|2.5.1\rEVN||20260310090000-0400\rPID|1||100^^^ALDER^MR||Doe^Jo\rPV1|1|I\r"
		require.Empty(t, resourcesOf(t, m, typ, head+c.none+"\r"), typ)
		require.Len(t, resourcesOf(t, m, typ, head+c.some+"\r"), 1, typ)
		for _, kind := range []string{"Patient", "Encounter"} {
			for _, text := range resourcesOf(t, m, kind, head+c.none+"\r") {
				require.NotContains(t, text, `"contact"`, typ)
				require.NotContains(t, text, `"diagnosis"`, typ)
			}
		}
		_, report := mapOne(t, m, []byte(head+c.none+"\r"))
		require.Equal(t, report.Leaves, report.Found+report.Structural+len(report.Unmapped), typ)
	}
}

// A charge without its number says by what it is told from others.
func TestChargeWithoutNumber(t *testing.T) {
	m, err := compiled(fhir.NewSchema())
	require.NoError(t, err)
	charge := make([]string, 31)
	charge[0], charge[3], charge[5], charge[6] = "1", "20260310", "PY", "A^a^L"
	for payment, code := range map[string]string{"INV7": "key-fallback", "": "keyed-by-message"} {
		charge[30] = payment
		_, report := mapOne(t, m, []byte("MSH|^~\\&|FIN|ALDER|||20260310090000-0400||DFT^P03^DFT_P03|1|P|2.5.1\rEVN||20260310090000-0400\rPID|1||100^^^ALDER^MR||Doe^Jo\rFT1|"+strings.Join(charge, "|")+"\r"))
		require.Len(t, report.Warnings, 1)
		require.Equal(t, code, report.Warnings[0].Code)
	}
}
