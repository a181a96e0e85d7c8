package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
)

// A merge of a patient with more records than a step moves, and its undoing by
// the operator: each record has one version a step, gap-free, and goes back to
// the patient that messages named; the journal replays to the same bytes.
func TestUnmerge(t *testing.T) {
	t.Parallel()
	cfg := embeddedConfig(t)
	a, stop := serving(t, cfg)
	const many = 300 // a step moves 256
	send := func(messages ...[]byte) {
		sendAll(t, a.Addresses()["source:adt"], messages...)
		require.NoError(t, a.Wait(context.Background()))
	}
	n := 0
	visit := func(patient, visit string) []byte {
		n++
		return fmt.Appendf(nil, "MSH|^~\\&|ADT1|ALDER|||2026031012%02d%02d-0400||ADT^A01^ADT_A01|C%d|P|2.5.1\rEVN|A01|20260310120000-0400\r"+
			"PID|1||%s^^^ALDER^MR||Sound^Anna\rPV1|1|I|W^1^A||||||||||||||||%s^^^ALDER^VN\r", n/60, n%60, n, patient, visit)
	}
	var visits [][]byte
	for i := range many {
		visits = append(visits, visit("P1", fmt.Sprint("V", i)))
	}
	send(append(visits, visit("P2", "W1"))...)
	send([]byte("MSH|^~\\&|ADT1|ALDER|||20260310130000-0400||ADT^A40^ADT_A39|M1|P|2.5.1\rEVN|A40|20260310130000-0400\rPID|1||P2^^^ALDER^MR||Sound^Anna\rMRG|P1^^^ALDER^MR\r"))
	send(visit("P1", "V-late"), visit("P2", "W2"))
	operator := func(want int, args ...string) string {
		code, out, errs := liaison(t, append(args, "--server", a.Addresses()["operations"])...)
		require.Equal(t, want, code, out+errs)
		require.NoError(t, a.Wait(context.Background()))
		return out
	}
	code, out, errs := liaison(t, "tail", "--brokers", a.Addresses()["kafka"], "--from", "start", "--kind", "patient", "--idle", "2s")
	require.Equal(t, exitDone, code, errs)
	var retired records.Key
	for _, r := range decodeAll(t, out) {
		if r.Merge != nil {
			require.Equal(t, many, r.Merge.Moved)
			retired = r.Merge.Retired
		}
	}
	require.Equal(t, "P1", retired.ID)
	operator(exitUsage, "journal", "unmerge", "--id", retired.ID)
	operator(exitFailed, "journal", "unmerge", "--assigner", retired.Assigner, "--id", "P2", "--why", "not merged")
	operator(exitDone, "journal", "unmerge", "--assigner", retired.Assigner, "--id", retired.ID, "--why", "two people")
	require.Contains(t, operator(exitDone, "journal", "list"), "unmerge")

	code, out, errs = liaison(t, "tail", "--brokers", a.Addresses()["kafka"], "--from", "start", "--kind", "encounter", "--idle", "2s")
	require.Equal(t, exitDone, code, errs)
	newest := map[string]*records.Record{}
	for _, r := range decodeAll(t, out) {
		if old := newest[r.Key.ID]; old != nil {
			require.Equal(t, old.Version+1, r.Version, r.Key.ID)
		}
		newest[r.Key.ID] = r
	}
	require.Len(t, newest, many+3)
	for id, r := range newest {
		want, version := "P1", uint64(3)
		switch {
		case id[0] == 'W':
			want, version = "P2", 1
		case id == "V-late":
			version = 2
		}
		require.Equal(t, want, r.Subject.Survivor.ID, id)
		require.Equal(t, version, r.Version, id)
	}
	account := func(control, trigger, structure, pid, mrg string) []byte {
		n++
		return fmt.Appendf(nil, "MSH|^~\\&|ADT1|ALDER|||202603101400%02d-0400||ADT^%s^%s|%s|P|2.5.1\rEVN|%s|20260310140000-0400\r"+
			"PID|1||P2^^^ALDER^MR||Sound^Anna|||||||||||||%s^^^ALDER^AN\r%s", n%60, trigger, structure, control, trigger, pid, mrg)
	}
	send(account("N1", "A08", "ADT_A01", "ACC1", "PV1|1|O\r"), account("N2", "A08", "ADT_A01", "ACC2", "PV1|1|O\r"), account("N3", "A41", "ADT_A39", "ACC1", "MRG|P2^^^ALDER^MR||ACC2^^^ALDER^AN\r"))
	last := func() *records.Record {
		code, out, errs := liaison(t, "tail", "--brokers", a.Addresses()["kafka"], "--from", "start", "--kind", "account", "--idle", "500ms")
		require.Equal(t, exitDone, code, errs)
		var found *records.Record
		for _, r := range decodeAll(t, out) {
			if r.Key.ID == "ACC2" {
				found = r
			}
		}
		return found
	}
	merged := last()
	require.Equal(t, "merged", merged.State)
	operator(exitFailed, "journal", "unmerge", "--assigner", merged.Key.Assigner, "--id", "ACC2", "--why", "a patient is meant")
	operator(exitFailed, "journal", "unmerge", "--kind", "charge", "--assigner", merged.Key.Assigner, "--id", "ACC2", "--why", "no such merge")
	operator(exitDone, "journal", "unmerge", "--kind", "account", "--assigner", merged.Key.Assigner, "--id", "ACC2", "--why", "two accounts")
	require.Equal(t, "account.unmerged", last().EventType)
	stop()
	file := filepath.Join(t.TempDir(), "liaison.yaml")
	require.NoError(t, os.WriteFile(file, []byte(demoYAML(cfg.Data)), 0o600))
	code, out, errs = liaison(t, "journal", "replay", "--data", cfg.Data, "--config", file)
	require.Equal(t, exitDone, code, out+errs)
	require.Contains(t, out, " 0 differ")
}

// decodeAll reads records as they came off Kafka; each is as the schema has it.
func decodeAll(t *testing.T, lines string) []*records.Record {
	check := recordstest.New(t)
	var out []*records.Record
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		check.Valid(t, []byte(line))
		var r records.Record
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		out = append(out, &r)
	}
	return out
}
