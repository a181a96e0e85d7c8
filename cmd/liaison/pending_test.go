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
	outcome := func(args ...string) (outcome string, events int) {
		code, out, errs := liaison(t, append([]string{"journal", "list", "--json"}, args...)...)
		require.Equal(t, exitDone, code, errs)
		for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
			var fate struct {
				Source, Outcome string
				Events          []string
			}
			require.NoError(t, json.Unmarshal([]byte(line), &fate))
			if fate.Source == "adt" {
				outcome, events = fate.Outcome, len(fate.Events)
			}
		}
		return outcome, events
	}
	require.Eventually(t, func() bool {
		_, events := outcome("--server", p.addresses["operations"])
		return events > 0
	}, time.Minute, 5*time.Millisecond)
	now, _ := outcome("--server", p.addresses["operations"])
	require.Equal(t, "pending", now)

	// It drains what cannot drain; the second signal ends it at once.
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		r, err := http.Get("http://" + p.addresses["operations"] + "/readyz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusServiceUnavailable
	}, time.Minute, 5*time.Millisecond, "an engine that drains is not ready")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, p.cmd.Wait())
	require.Equal(t, exitFailed, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.output.String(), "stopped at once")
	now, events := outcome("--data", data)
	require.Equal(t, "pending", now)
	require.Positive(t, events)
}
