package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/app"
	"github.com/liaison-health/liaison/cmd/internal/config"
)

// A table was wrong for a while: what it made of records is corrected from the
// journal. Each record that differs gets one version that says so, the others
// none; later messages go on from there, a second correction finds nothing, and
// the journal still makes every event again byte for byte.
func TestCorrections(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, file, overlay := filepath.Join(dir, "data"), filepath.Join(dir, "liaison.yaml"), filepath.Join(dir, "adt.yaml")
	configured := func(system string) {
		require.NoError(t, os.WriteFile(file, []byte(strings.Replace(demoYAML(data), "{name: adt,", "{name: adt, overlays: [adt.yaml],", 1)), 0o600))
		require.NoError(t, os.WriteFile(overlay, []byte("add PV1 to Encounter: |\n  PV1-39.1 -> identifier[costcentre].value  with system = \""+system+"\"\n"), 0o600))
	}
	serve := func(do func(a *app.App)) {
		t.Helper()
		cfg, err := config.Load(file)
		require.NoError(t, err)
		a, stop := serving(t, cfg)
		do(a)
		require.NoError(t, a.Wait(t.Context()))
		stop()
	}
	message := func(trigger string, control, visit int, centre, class string) []byte {
		return fmt.Appendf(nil, "MSH|^~\\&|ADT1|ALDER|||202603101%d0000||ADT^%s|C%d|P|2.5.1\rEVN||20260310120000\r"+
			"PID|1||410000%d^^^ALDER^MR||Abbott^Anna\rPV1|1|%s|W^1^A||||||||||||||||V%d^^^ALDER^VN||||||||||||||||||||%s|||||20260310115500\r", control, trigger, control, visit, class, visit, centre)
	}
	send := func(messages ...[]byte) func(*app.App) {
		return func(a *app.App) { sendAll(t, a.Addresses()["source:adt"], messages...) }
	}
	publish := []string{"journal", "replay", "--data", data, "--config", file, "--publish", "--why", "the cost centres' system was wrong", "--by", "kim"}
	configured("https://alder.example.org/wrong")
	serve(send(message("A01", 1, 1, "CC1", "I"), message("A01", 2, 2, "", "I"), message("A08", 3, 1, "CC1", "E"), message("A01", 4, 3, "CC3", "I")))

	configured("https://alder.example.org/right")
	code, _, errs := liaison(t, publish[:7]...)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "--why")
	code, out, errs := liaison(t, append(publish, "--to", "4")...) // the first visit, not the third
	require.Equal(t, exitDone, code, out+errs)
	require.Regexp(t, `(?m)^1 records are corrected when the engine runs: journal entries [0-9]+ to [0-9]+$`, out)
	require.NotContains(t, out, "CC1")
	code, _, errs = liaison(t, publish...)
	require.Equal(t, exitFailed, code, "the first one waits")
	require.Contains(t, errs, "wait for their outcome")

	var versions []map[string]any
	serve(func(a *app.App) {
		send(message("A08", 5, 1, "CC9", "E"))(a)
		require.NoError(t, a.Wait(t.Context()))
		read := func() bool {
			versions = nil
			code, out, errs := liaison(t, "tail", "--brokers", a.Addresses()["kafka"], "--idle", "500ms")
			require.Equal(t, exitDone, code, errs)
			for line := range strings.Lines(out) {
				var record map[string]any
				require.NoError(t, json.Unmarshal([]byte(line), &record))
				if record["kind"] == "encounter" && strings.Contains(line, `"V1"`) {
					versions = append(versions, record)
				} else {
					require.NotEqual(t, "correction", record["transition"], "nothing else is corrected")
				}
			}
			return len(versions) >= 4
		}
		for until := time.Now().Add(time.Minute); !read() && time.Now().Before(until); { // a busy machine may take longer than it is idle
		}
	})
	require.Len(t, versions, 4)
	for i, transition := range []string{"normal", "normal", "correction", "normal"} {
		require.InDelta(t, i+1, versions[i]["version"], 0)
		require.Equal(t, transition, versions[i]["transition"])
	}
	changed := versions[2]["changed"].([]any)
	require.Len(t, changed, 2)
	require.Equal(t, map[string]any{"system": "https://alder.example.org/wrong", "value": "CC1"}, changed[0].(map[string]any)["old"])
	require.Equal(t, map[string]any{"system": "https://alder.example.org/right", "value": "CC1"}, changed[1].(map[string]any)["new"])
	require.Equal(t, "correction", versions[2]["source"].(map[string]any)["message"])

	code, out, errs = liaison(t, publish...)
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, "1 records are corrected", "the third visit's")
	serve(func(*app.App) {})
	code, out, errs = liaison(t, publish...)
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, "nothing to correct")
	code, out, errs = liaison(t, "journal", "replay", "--data", data)
	require.Equal(t, exitDone, code, out+errs)
	require.Contains(t, out, " 0 differ")
	code, out, errs = liaison(t, "journal", "list", "--json", "--data", data)
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, `"message":"correction"`)
	require.Contains(t, out, `"why":"the cost centres' system was wrong"`)

	// A configuration that refuses what was taken would take back what it said.
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(demoYAML(data), "{name: adt,", "{name: wards,", 1)), 0o600))
	code, _, errs = liaison(t, publish...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "5 messages that were taken go to quarantine with this configuration, the first is 2")
}
