package tables_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/tables"
)

// Every leaf of every golden Bundle is a value of the message, a row of a table,
// or made by a rule of values of the message; every reference resolves.
func TestOrigins(t *testing.T) {
	mapper, err := loaded()
	require.NoError(t, err)
	files, err := filepath.Glob("../../testdata/mapping/*.hl7")
	require.NoError(t, err)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		msg, err := hl7v2.Parse(bytes.ReplaceAll(bytes.TrimSpace(raw), []byte("\n"), []byte("\r")))
		require.NoError(t, err)
		location, err := newYork()
		require.NoError(t, err)
		ctx := tables.Context{Source: "test", Location: location, Received: received(), Journal: 1, SHA256: strings.Repeat("0", 64)}
		origins, err := mapper.Origins(msg, ctx)
		require.NoError(t, err)
		require.Empty(t, origins.Unknown, file)
		require.Equal(t, origins.Leaves, origins.Source+origins.Table+origins.Computed, file)
		require.Greater(t, origins.Source, origins.Leaves/6, file)
		result, err := mapper.Map(msg, ctx)
		require.NoError(t, err)
		require.Empty(t, result.Unresolved(), file)
		mapper.Release(result)
	}
}
