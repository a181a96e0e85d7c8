package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A message is called published only once Kafka has its records: with the
// brokers away it is pending, with its events made. And a second signal ends an
// engine whose events have nowhere to go.
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

	// It drains what cannot drain; the second signal ends it at once.
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		r, err := http.Get("http://" + p.addresses["operations"] + "/readyz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusServiceUnavailable
	}, 10*time.Second, 5*time.Millisecond, "an engine that drains is not ready")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	began := time.Now()
	require.Error(t, p.cmd.Wait())
	require.Less(t, time.Since(began), 5*time.Second)
	require.Equal(t, exitFailed, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.output.String(), "stopped at once")
	code, out, errs = liaison(t, "journal", "list", "--json", "--limit", "1", "--data", data)
	require.Equal(t, exitDone, code, errs)
	require.NoError(t, json.Unmarshal([]byte(out), &fate))
	require.Equal(t, "pending", fate.Outcome)
}
