package tables

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// What is remembered of other messages, and of the same one, changes neither a
// Bundle nor its report: a traced mapping remembers nothing.
func TestRememberedValues(t *testing.T) {
	mapper, err := Load(fhir.NewSchema())
	require.NoError(t, err)
	zone, err := hl7v2.LoadLocation("America/New_York")
	require.NoError(t, err)
	var messages [][]byte
	require.NoError(t, filepath.WalkDir("../../testdata", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".hl7" {
			return err
		}
		raw, err := os.ReadFile(path)
		raw = bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\r")), []byte("\n"), []byte("\r"))
		for i, m := range bytes.Split(raw, []byte("MSH|")) {
			if i > 0 {
				messages = append(messages, append([]byte("MSH|"), bytes.TrimSpace(m)...))
			}
		}
		return err
	}))
	require.Greater(t, len(messages), 500)
	made := func(msg *hl7v2.Message, t *trace) (string, error) {
		result, err := mapper.mapTraced(msg, Context{Source: "adt", Location: zone}, t)
		if err != nil {
			return err.Error(), nil
		}
		defer mapper.Release(result)
		report, err := json.Marshal(result.Report)
		return string(result.AppendBundle(nil)) + "\n" + string(report), err
	}
	for range 2 {
		for _, raw := range messages {
			var msg hl7v2.Message
			if msg.Parse(raw) != nil {
				continue
			}
			want, err := made(&msg, &trace{source: map[string]bool{}, made: map[string]bool{}})
			require.NoError(t, err)
			got, err := made(&msg, nil)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}
	require.Greater(t, len(mapper.parts.values.young), 400)
	require.Greater(t, len(mapper.parts.resources.young), 400)
}
