package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/app"
	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/connectors/kafka"
	"github.com/liaison-health/liaison/connectors/mllp"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/testdata"
)

// liaison runs one command and gives its exit code and output.
func liaison(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// serving runs an App; stop drains and closes it.
func serving(t *testing.T, cfg *config.Config) (a *app.App, stop func()) {
	t.Helper()
	return servingWith(t, cfg, slog.New(slog.DiscardHandler), nil)
}

// servingWith is serving with a log and a fault test's seams.
func servingWith(t *testing.T, cfg *config.Config, log *slog.Logger, seams *app.Seams) (a *app.App, stop func()) {
	t.Helper()
	a, err := app.New(t.Context(), cfg, log, seams)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	require.NoError(t, a.Ready(t.Context()))
	return a, sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

// sendAll sends messages over one connection, each of them acknowledged.
func sendAll(t *testing.T, address string, messages ...[]byte) {
	t.Helper()
	client, err := mllp.Dial(t.Context(), address, nil, 30*time.Second)
	require.NoError(t, err)
	for _, raw := range messages {
		answer, err := client.Send(t.Context(), raw)
		require.NoError(t, err)
		ack, err := hl7v2.ParseAck(answer)
		require.NoError(t, err)
		require.True(t, ack.Code.Positive(), "%s", answer)
	}
	require.NoError(t, client.Close())
}

// day runs a hospital's day through an App and gives the records by event id,
// in the order in which each key's came.
func day(t *testing.T, cfg *config.Config) (byID map[string]string, byKey map[string][]uint64) {
	t.Helper()
	messages, err := testdata.Day()
	require.NoError(t, err)
	a, stop := serving(t, cfg)
	d := demo{out: &bytes.Buffer{}, addresses: a.Addresses(), counts: map[string]int{}, events: map[string]map[string]int{}}
	require.NoError(t, d.send(t.Context(), messages))
	require.NoError(t, a.Wait(t.Context()))
	consumer, err := newConsumer(cfg, []string{a.Addresses()["kafka"]})
	require.NoError(t, err)
	defer consumer.Close()
	_, _, events, _ := a.Engine().Progress()
	byID, byKey = map[string]string{}, map[string][]uint64{}
	require.NoError(t, consumer.Read(t.Context(), true, 0, func(r *kafka.Record) error {
		record, err := records.Decode(r.Value)
		require.NoError(t, err)
		require.Equal(t, record.EventID, r.Header("ce_id"))
		if have, ok := byID[record.EventID]; ok {
			require.Equal(t, have, string(r.Value), "one id, one text")
		}
		byID[record.EventID] = string(r.Value)
		key := string(record.Kind) + "/" + record.Key.String()
		byKey[key] = append(byKey[key], record.Version)
		if len(byID) == int(events) {
			return kafka.ErrStop
		}
		return nil
	}))
	stop()
	return byID, byKey
}

func embeddedConfig(t *testing.T) *config.Config {
	t.Helper()
	cfg, err := demoConfig(t.TempDir())
	require.NoError(t, err)
	return cfg
}

func TestDemo(t *testing.T) {
	code, out, errs := liaison(t, "demo")
	require.Equal(t, exitDone, code, errs)
	for _, part := range []string{"appointment.rescheduled", "appointment.cancelled", "patient.merged", "encounter.reopened", "charge.reversed", "[late]", "quarantine", "duplicate"} {
		require.Contains(t, out, part)
	}
	messages, err := testdata.Day()
	require.NoError(t, err)
	for _, m := range messages { // no patient's name on the terminal
		for _, line := range strings.FieldsFunc(string(m.Raw), func(c rune) bool { return c == '\r' }) {
			if parts := strings.Split(line, "|"); strings.HasPrefix(line, "PID|") && len(parts) > 5 {
				family, _, _ := strings.Cut(parts[5], "^")
				if len(family) > 4 {
					require.NotContains(t, out, family)
				}
			}
		}
	}
}

// Every record's versions come 1, 2, 3 … in order, and every record keeps to
// its own schema's required members.
func TestVersionsWithoutGap(t *testing.T) {
	byID, byKey := day(t, embeddedConfig(t))
	require.Greater(t, len(byID), 500)
	for key, versions := range byKey {
		sorted := append([]uint64(nil), versions...)
		sort.Slice(sorted, func(i, j int) bool { return sorted[i] < sorted[j] })
		for i, v := range sorted {
			require.Equal(t, uint64(i+1), v, "versions of a record: %s", key)
		}
	}
	schema, err := records.JSONSchema()
	require.NoError(t, err)
	var parsed struct {
		Required   []string       `json:"required"`
		Properties map[string]any `json:"properties"`
	}
	require.NoError(t, json.Unmarshal(schema, &parsed))
	for _, text := range byID {
		var members map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(text), &members))
		for _, name := range parsed.Required {
			require.Contains(t, members, name)
		}
		for name := range members {
			require.Contains(t, parsed.Properties, name)
		}
		require.NotContains(t, text, ":null")
	}
}

// After the day: the journal, the quarantine and the replay, of a stopped engine.
func TestOperatorOfflineAndReplay(t *testing.T) {
	cfg := embeddedConfig(t)
	byID, _ := day(t, cfg)
	code, out, errs := liaison(t, "journal", "list", "--json", "--data", cfg.Data)
	require.Equal(t, exitDone, code, errs)
	events, outcomes := 0, map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		var fate struct {
			Outcome string
			Events  []string
		}
		require.NoError(t, json.Unmarshal([]byte(line), &fate))
		outcomes[fate.Outcome]++
		for _, id := range fate.Events {
			require.Contains(t, byID, id)
		}
		events += len(fate.Events)
	}
	require.Equal(t, 1, outcomes["quarantined"])
	require.Zero(t, outcomes["pending"])
	require.LessOrEqual(t, events, len(byID)) // a merge's later chunks stand under no message
	code, out, errs = liaison(t, "quarantine", "list", "--data", cfg.Data)
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, "undecodable PID-5")
	file := filepath.Join(t.TempDir(), "liaison.yaml")
	require.NoError(t, os.WriteFile(file, []byte(demoYAML(cfg.Data)), 0o600))
	code, out, errs = liaison(t, "journal", "replay", "--data", cfg.Data, "--config", file)
	require.Equal(t, exitDone, code, out+errs)
	require.Contains(t, out, " 0 differ")
}

func TestMapTwice(t *testing.T) {
	var first string
	for range 2 {
		code, out, errs := liaison(t, "map", "--output", "records", "../../testdata/day/adt.hl7")
		require.Equal(t, exitDone, code, errs)
		require.NotEmpty(t, out)
		if first == "" {
			first = out
		}
		require.Equal(t, first, out)
	}
	dir := t.TempDir()
	code, _, errs := liaison(t, "map", "--out", dir, "../../testdata/day/scheduling.hl7")
	require.Equal(t, exitDone, code, errs)
	made, err := os.ReadFile(filepath.Join(dir, "scheduling-0001.json"))
	require.NoError(t, err)
	require.Contains(t, string(made), `"type":"transaction"`)
	code, _, errs = liaison(t, "map", "../../testdata/day/lab.hl7")
	require.Equal(t, exitFailed, code, "a refused message fails the command")
	require.Contains(t, errs, "PID-5.1")
}

// What keeps Liaison from starting is said in one line, and the process ends
// with 1: data that another one uses, a port that is taken.
func TestStartRefused(t *testing.T) {
	cfg := embeddedConfig(t)
	a, stop := serving(t, cfg)
	defer stop()
	file := filepath.Join(t.TempDir(), "liaison.yaml")
	require.NoError(t, os.WriteFile(file, []byte(demoYAML(t.TempDir())), 0o600))
	taken := filepath.Join(t.TempDir(), "taken.yaml")
	require.NoError(t, os.WriteFile(taken, []byte("kafka: {listen: \"127.0.0.1:0\"}\noperations: {listen: \"127.0.0.1:0\"}\nsources:\n  - {name: adt, mllp: {listen: \""+a.Addresses()["source:"+cfg.Sources[0].Name]+"\"}}\n"), 0o600))
	for want, args := range map[string][]string{
		"is another Liaison using it?": {"--config", file, "--data", cfg.Data},
		"address already in use":       {"--config", taken, "--data", t.TempDir()},
		"not a directory":              {"--config", file, "--data", filepath.Join(file, "data")},
	} {
		code, _, errs := liaison(t, append([]string{"run"}, args...)...)
		require.Equal(t, exitFailed, code)
		require.Contains(t, errs, want)
		require.Contains(t, errs, "liaison: start: ")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"nothing"},
		{"run", "--nothing"},
		{"map"},
		{"map", "--output", "x", "f"},
		{"send", "host"},
		{"tail", "--from", "x"},
		{"tail", "--kind", "x"},
		{"journal", "bogus"},
		{"journal", "show", "x"},
		{"journal", "list", "--outcome", "quarantine"},
		{"quarantine", "retry", "0"},
		{"check"},
		{"quarantine", "drop", "1"},
		{"journal", "replay"},
	} {
		code, _, errs := liaison(t, args...)
		require.Equal(t, exitUsage, code, "%v: %s", args, errs)
		require.NotEmpty(t, errs)
	}
	code, _, errs := liaison(t, "tail", "--brokers", "127.0.0.1:1", "--timeout", "50ms")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "the brokers do not answer")
	for _, args := range [][]string{{"map"}, {"send", "host:1"}, {"journal", "show"}} {
		_, _, errs := liaison(t, args...)
		require.Contains(t, errs, ": liaison "+args[0], "the form of the command")
	}
	code, out, _ := liaison(t, "--version")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "liaison version ")
	code, out, _ = liaison(t, "schema")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "liaison.record/1")
	code, out, _ = liaison(t, "schema", "--asyncapi")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "liaison.scheduling")
}

func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "liaison.yaml")
	rows := []struct{ text, want string }{
		{"sources:\n  - {name: a, mllp: {listen: \":2575\"}}\n", ":2:30: beyond loopback a listener needs tls"},
		{"sources:\n  - {name: a, mllp: {listen: \"127.0.0.1:1\"}, time_zone: Mars/Base}\n", "no IANA time zone"},
		{"retention: {journal: 1h, journal_bytes: 1GiB}\nnonsense: 1\n", ":2:1: unknown field \"nonsense\""},
		{"sources:\n  - {name: a}\n", "one of mllp, fhir and files"},
		{"gate: {inbound: maybe}\n", "none of strict, off"},
	}
	for _, row := range rows {
		require.NoError(t, os.WriteFile(file, []byte(row.text), 0o600))
		code, _, errs := liaison(t, "check", "--config", file)
		require.Equal(t, exitFailed, code)
		require.Contains(t, errs, row.want)
		require.Contains(t, errs, "liaison.yaml")
	}
	require.NoError(t, os.WriteFile(file, []byte(demoYAML("x")), 0o600))
	code, out, errs := liaison(t, "check", "--config", file)
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, "5 sources")
	require.NotContains(t, out, "but ")
	require.NoError(t, os.WriteFile(file, []byte("sources:\n  - {name: a, mllp: {listen: \"127.0.0.1:1\"}}\n"), 0o600))
	code, out, _ = liaison(t, "check", "--config", file)
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "but source a has no time_zone")
}

// Load that finds nobody to take it ends with what is wrong.
func TestBenchFeedWithoutEngine(t *testing.T) {
	code, _, errs := liaison(t, "bench", "feed", closedPort(t), "../../testdata/day/adt.hl7", "--for", "1ms")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "connection refused")
}

// closedPort gives an address that nothing listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	return address
}
