package main

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/tables"
)

// Pages of the program's file leave memory, and what is wanted again comes back.
func TestFilePagesGivenBack(t *testing.T) {
	resident := func() int {
		status, err := os.ReadFile("/proc/self/status")
		require.NoError(t, err)
		_, rest, ok := strings.Cut(string(status), "RssFile:")
		require.True(t, ok)
		kib, err := strconv.Atoi(strings.Fields(rest)[0])
		require.NoError(t, err)
		return kib
	}
	_, err := tables.Load(fhir.NewSchema())
	require.NoError(t, err)
	before := resident()
	dropFilePages()
	require.Less(t, resident(), before-1024)
	_, err = tables.Load(fhir.NewSchema())
	require.NoError(t, err)
}
