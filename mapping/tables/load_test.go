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
