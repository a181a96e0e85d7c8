package tables_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/tables"
)

func TestLoad(t *testing.T) {
	_, err := compiled(fhir.NewSchema())
	require.NoError(t, err)
}

// What `use` names wrongly is an error with its place, in the shared lines too.
func TestUse(t *testing.T) {
	_, err := compiled(fhir.NewSchema(), tables.Overlay{Name: "site.yaml", Data: []byte(`lines: ours
make: |
  use patient in PATIENT
  use theirs
---
lines: round
make: |
  use round
---
add: ADT_A01
make: |
  use ours
  use round
`)})
	require.Error(t, err)
	require.ErrorContains(t, err, "site.yaml:4")
	require.ErrorContains(t, err, "site.yaml:8")
	require.NotContains(t, err.Error(), "site.yaml:3")
}

// A trigger row or an edge that is wrong is an error with its place and what is
// meant.
func TestEdgesAndCancels(t *testing.T) {
	for text, want := range map[string]string{
		"add: ADT_A01\ntriggers: |\n  A08 encounter - - cancels":                               "TRIGGER KIND STATE EVENT [ACTION] [cancels TRIGGER",
		"add: ADT_A01\ntriggers: |\n  A08 encounter - - undoes A01":                            "TRIGGER KIND STATE EVENT [ACTION] [cancels TRIGGER",
		"add: ADT_A01\nedges: |\n  join patient cx(PID-3) <- cx(MRG-1)":                        "an edge is one of merge",
		"add: ADT_A01\nedges: |\n  merge charge cx(PID-3) <- cx(MRG-1)":                        "no edges join records of this kind",
		"add: ADT_A01\nedges: |\n  merge patient cx(PID-3) to cx(MRG-1)":                       "OP KIND KEY <- KEY",
		"add: ADT_A01\nedges: |\n  merge patient cx(PID-3) <- cx(MRG-1)  if PID-3 resembles x": "expected =",
	} {
		_, err := compiled(fhir.NewSchema(), tables.Overlay{Name: "site.yaml", Data: []byte(text + "\n")})
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, "site.yaml:3", text)
	}
	_, err := compiled(fhir.NewSchema(), tables.Overlay{Name: "site.yaml", Data: []byte("add: ADT_A01\nedges: |\n  merge account cx(PID-18) <- cx(MRG-3)  if valued(MRG-3)\n")})
	require.NoError(t, err)
}

// What one source's overlay changes is the other sources' not, though all are
// compiled from the tables as they were read once.
func TestCompileKeepsTheTables(t *testing.T) {
	read, err := tables.Read()
	require.NoError(t, err)
	schema := fhir.NewSchema()
	bundle := func(overlays ...tables.Overlay) string {
		m, err := read.Compile(schema, overlays...)
		require.NoError(t, err)
		msg, err := hl7v2.Parse([]byte("MSH|^~\\&|A|ALDER|||20260110044000||ADT^A01^ADT_A01|1|P|2.5.1\rPID|1||4711^^^ALDER^MR||Rivera^Ana||19800102|F\rPV1|1|I\r"))
		require.NoError(t, err)
		r, err := m.Map(msg, tables.Context{Source: "test", Received: received()})
		require.NoError(t, err)
		defer m.Release(r)
		return string(r.AppendBundle(nil))
	}
	want := bundle()
	require.Contains(t, want, `"gender":"female"`)
	overlaid := bundle(
		tables.Overlay{Name: "site.yaml", Data: []byte("off PID to Patient: |\n  PID-7 -> birthDate\n")},
		tables.Overlay{Name: "site.csv", Data: []byte("table,code,to\nAdministrativeSex,F,other\n")},
	)
	require.Contains(t, overlaid, `"gender":"other"`)
	require.NotContains(t, overlaid, `"birthDate"`)
	require.Equal(t, want, bundle())
}
