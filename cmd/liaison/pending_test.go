package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A message is called published only once Kafka has its records: with the
// brokers away it is pending, with its events made.
func TestPendingUntilOnKafka(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.MkdirAll(data, 0o700))
	file := filepath.Join(t.TempDir(), "liaison.yaml")
	away := strings.Replace(demoYAML(data), `listen: "127.0.0.1:0"`, `brokers: ["127.0.0.1:1"]`, 1)
	require.NoError(t, os.WriteFile(file, []byte(away), 0o600))
	p := spawn(t, file, data)
	code, out, errs := liaison(t, "send", p.addresses["source:adt"], "../../testdata/mapping/ADT_A01.hl7")
	require.Equal(t, exitDone, code, out+errs)
	var fate struct {
		Outcome string
		Events  []string
	}
	require.Eventually(t, func() bool {
		code, out, errs = liaison(t, "journal", "list", "--json", "--limit", "1", "--server", p.addresses["operations"])
		require.Equal(t, exitDone, code, errs)
		require.NoError(t, json.Unmarshal([]byte(out), &fate))
		return len(fate.Events) > 0
	}, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, "pending", fate.Outcome)
	p.kill()
	code, out, errs = liaison(t, "journal", "list", "--json", "--limit", "1", "--data", data)
	require.Equal(t, exitDone, code, errs)
	require.NoError(t, json.Unmarshal([]byte(out), &fate))
	require.Equal(t, "pending", fate.Outcome)
}
