package tables_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/tables"
)

// An overlay takes single rules out of a table, by their line or their target, and
// puts others in their place; lines of messages too.
func TestEdits(t *testing.T) {
	mapper, err := compiled(fhir.NewSchema(), tables.Overlay{Name: "site.yaml", Data: []byte(`off PID to Patient: |
  -> maritalStatus
  PID-40 -> telecom
replace PID to Patient: |
  "other" -> gender
---
off: ADT_A0*
make: |
  NK1 -> RelatedPerson
  -> livingwill
---
replace: ADT_A01
make: |
  AL1 -> AllergyIntolerance allergy if AL1-2.1 = "FA" ; patient = patient
triggers: |
`)})
	require.NoError(t, err)
	message := func(event string) string {
		bundle, _ := mapOne(t, mapper, []byte("MSH|^~\\&|ADT|ALDER|||20260310||ADT^"+event+"|1|P|2.5.1\rEVN||20260310\rPID|1||1^^^ALDER||A^B|||F||||||||M\rPD1|||||||Y\rNK1|1|C^D|SPO\rPV1|1|I\rAL1|1|DA|PEN^Penicillin\rAL1|2|FA|NUT^Nuts\r"))
		return string(bundle)
	}
	got := message("A01^ADT_A01")
	for _, want := range []string{`"gender":"other"`, `"code":"NUT"`} {
		require.Contains(t, got, want)
	}
	for _, never := range []string{`"maritalStatus"`, `"RelatedPerson"`, `"code":"PEN"`, `75320-2`} {
		require.NotContains(t, got, never)
	}
	require.Contains(t, message("A28^ADT_A05"), `"code":"PEN"`)
}

// What a table says wrongly is told with its line and what to do.
func TestWordsOfTables(t *testing.T) {
	schema := fhir.NewSchema()
	for name, c := range map[string]struct{ overlay, want string }{
		"warn without a condition": {"add PID to Patient: |\n  warn odd \"text\"\n", `warn CODE "TEXT" if COND`},
		"differ without a bracket": {"add PID to Patient: |\n  warn odd \"text\" if differ\n", "expected differ(TIME, TIME)"},
		"differ not closed":        {"add PID to Patient: |\n  warn odd \"text\" if differ(PID-7\n", ""},
		"differ of a function":     {"add PID to Patient: |\n  warn odd \"text\" if differ(PID-7, nothing(PID-8))\n", "no function nothing()"},
		"earliest of a constant":   {"add SCH to Appointment: |\n  earliest(\"x\") -> start\n", "takes fields such as AIS-4"},
		"finish of two":            {"add SCH to Appointment: |\n  finish(AIS-4, AIS-7) -> end\n", "a start, an amount and a unit"},
		"a key's condition":        {"add PID to Patient: |\n  key PID-3.1 if PID-8\n", "expected"},
		"a part of an extension":   {"add PID to Patient: |\n  PID-7 -> extension(identifier-state).valueString\n", "extension identifier-state is a part of others: its URL is relative"},
		"a label by no field":      {"add PID to Patient: |\n  PID-7 -> contact[=c:PID].gender\n", "[=c:PID]: a label for each value of a field is written as [=name:OBX-4]"},
		"a label by a field":       {"add PID to Patient: |\n  PID-7 -> contact[c:PID-3].gender\n", "[c:PID-3]: a label for each value of a field is written as [=name:OBX-4]"},
		"an element's case":        {"add PID to Patient: |\n  PID-7 -> birthdate\n", "Patient has no element birthdate; it has birthDate, a date"},
		"a choice without type":    {"add PID to Patient: |\n  PID-30 -> deceased\n", "it has deceasedBoolean, deceasedDateTime"},
		"a type without as":        {"add PID to Patient: |\n  PID-5 -> name\n", "the element is a HumanName"},
		"a primitive as a type":    {"add PID to Patient: |\n  PID-7 -> birthDate as XPN\n", "site.yaml:2: the element is a date: no section writes into it, `as XPN` has no meaning here; name a component, or `as CWE` for the text of a coded value\n\tPID-7 -> birthDate as XPN"},
		"off of no rule":           {"off PID to Patient: |\n  PID-8 -> sex\n", "PID to Patient has no such rule; it has: PID-8"},
		"off of no target":         {"off PID to Patient: |\n  -> genders\n", "has no such rule"},
		"replace of no target":     {"replace PID to Patient: |\n  PID-8 -> multipleBirth\n", "has no such rule"},
		"a name of two types":      {"add: ADT_A01\nmake: |\n  OBX -> Observation patient\n", "site.yaml:3: \"patient\" is the Patient of a line above: another name for the Observation"},
		"replace of no section":    {"replace PIX to Patient: |\n  PID-8 -> gender\n", "no section of this name to replace"},
		"off of no make line":      {"off: ADT_A01\nmake: |\n  ZPD -> patient\n", "ADT_A01 has no such rule"},
		"off of no structure":      {"off: ADT_A99\nmake: |\n  PD1 -> patient\n", "no message structure ADT_A99"},
		"an unknown key":           {"extention:\n  a: b\n", "a code table has from:, to: and codes:"},
		"an unknown word":          {"ad: ADT_A01\n", "none of extensions, systems"},
		"an order nobody knows":    {"order: SCH-11\n", "messages are ordered by MSH-7 (their time), MSH-13 (their numbers) or arrival"},
		"YAML":                     {"add PID to Patient: |\n  PID-8 -> gender\n\t- x\n", "site.yaml:"},
		"an action nobody knows":   {"add: SIU_S12\ntriggers: |\n  S14 appointment - - often\n", "an action is upsert, delta or removal"},
		"before nothing":           {"before XYZ to Appointment: |\n  SCH-1 -> comment\n", "no section of this name to before"},
		"any without a field":      {"add SCH to Appointment: |\n  \"x\" -> comment  if any AIS-2\n", "expected ( REF )"},
		"a trigger's condition":    {"add: SIU_S12\ntriggers: |\n  S12 appointment - -  if nonsense\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := compiled(schema, tables.Overlay{Name: "site.yaml", Data: []byte(c.overlay)})
			require.ErrorContains(t, err, "site.yaml:")
			require.ErrorContains(t, err, c.want)
		})
	}
}

// What nests without an end is told, and costs neither the stack nor minutes.
func TestHostileTables(t *testing.T) {
	deep := func(open, inside, end string, n int) string {
		return strings.Repeat(open, n) + inside + strings.Repeat(end, n)
	}
	schema := fhir.NewSchema()
	for name, c := range map[string]struct{ overlay, want string }{
		"nots":      {"add PID to Patient: |\n  PID-8 -> maritalStatus.text if " + deep("not ", "valued(PID-8)", "", 5000) + "\n", "at most 2000 words"},
		"brackets":  {"add PID to Patient: |\n  PID-8 -> maritalStatus.text if " + deep("(", "valued(PID-8)", ")", 5000) + "\n", "at most 2000 words"},
		"functions": {"add PID to Patient: |\n  " + deep("earliest(", "PID-7", ")", 5000) + " -> birthDate\n", "at most 32 brackets"},
		"a syntax":  {"structure: X\nsyntax: \"" + deep("[", "PID", "]", 5000) + "\"\ntriggers: |\n  X^Y\n", "at most 2000 segments and brackets"},
		"YAML":      {"a: " + deep("[", "", "]", 100_000) + "\n", "nested more than 64 deep"},
	} {
		_, err := compiled(schema, tables.Overlay{Name: "site.yaml", Data: []byte(c.overlay)})
		require.Error(t, err, name)
		require.Contains(t, err.Error(), c.want, name)
		require.Contains(t, err.Error(), "site.yaml:", name)
	}
}
