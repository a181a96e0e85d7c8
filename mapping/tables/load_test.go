package tables_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/tables"
)

func TestLoad(t *testing.T) {
	_, err := tables.Load(fhir.NewSchema())
	require.NoError(t, err)
}

// What `use` names wrongly is an error with its place, in the shared lines too.
func TestUse(t *testing.T) {
	_, err := tables.Load(fhir.NewSchema(), tables.Overlay{Name: "site.yaml", Data: []byte(`lines: ours
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
