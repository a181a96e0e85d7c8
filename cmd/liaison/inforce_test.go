package main

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// The journal has the configurations that were in force, overlays' text and
// all, without a secret; a replay runs each part with its own, whatever the
// files say today, and with a file all of it with that one.
func TestReplayWithWhatWasInForce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, file, overlay := filepath.Join(dir, "data"), filepath.Join(dir, "liaison.yaml"), filepath.Join(dir, "adt.yaml")
	secret := filepath.Join(dir, "portal.token")
	require.NoError(t, os.WriteFile(secret, []byte("Tr0ub4dor"), 0o600))
	run := func(zone, system string, messages ...[]byte) {
		t.Helper()
		text := strings.Replace(demoYAML(data), "{name: adt,", "{name: adt, overlays: [adt.yaml],", 1)
		text = strings.Replace(text, "time_zone: America/New_York", "time_zone: "+zone, 1)
		text = strings.Replace(text, "{name: portal, fhir: {", "{name: portal, fhir: {token_file: portal.token, ", 1)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		require.NoError(t, os.WriteFile(overlay, []byte("add PV1 to Encounter: |\n  PV1-39.1 -> identifier[costcentre].value  with system = \""+system+"\"\n"), 0o600))
		cfg, err := config.Load(file)
		require.NoError(t, err)
		a, stop := serving(t, cfg)
		sendAll(t, a.Addresses()["source:adt"], messages...)
		require.NoError(t, a.Wait(t.Context()))
		stop()
	}
	admit := func(n int) []byte {
		return fmt.Appendf(nil, "MSH|^~\\&|ADT1|ALDER|||20260310120000||ADT^A01^ADT_A01|C%d|P|2.5.1\rEVN|A01|20260310120000\r"+
			"PID|1||%d^^^ALDER^MR||Abbott^Anna\rPV1|1|I|W^1^A||||||||||||||||V%d^^^ALDER^VN||||||||||||||||||||CC%d|||||20260310115500\r", n, 4100000+n, n, n)
	}
	run("America/New_York", "https://alder.example.org/one", admit(1), admit(2))
	run("America/Chicago", "https://alder.example.org/two", admit(3), admit(1))
	run("America/Chicago", "https://alder.example.org/two", admit(4))

	code, out, errs := liaison(t, "journal", "list", "--data", data)
	require.Equal(t, exitDone, code, errs)
	require.Equal(t, 2, strings.Count(out, "settings"), out)
	code, out, errs = liaison(t, "journal", "show", "1", "--raw", "--data", data)
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, "America/New_York")
	require.Contains(t, out, "https://alder.example.org/one")
	require.Contains(t, out, `"tables":`)
	require.NotContains(t, out, "Tr0ub4dor")
	require.NotContains(t, out, "token")

	code, out, errs = liaison(t, "journal", "replay", "--data", data)
	require.Equal(t, exitDone, code, out+errs)
	require.Contains(t, out, " 0 differ")
	code, out, errs = liaison(t, "journal", "replay", "--data", data, "--config", file)
	require.Equal(t, exitFailed, code, out+errs)
	require.NotContains(t, out, "another configuration", "it is the last one in force")
	require.Contains(t, errs, "the first that differs is event")
	require.NotContains(t, errs, "event 0")
	// What today's tables would make of the first two messages: the cost centre's
	// system, and the times without an offset.
	code, out, errs = liaison(t, "journal", "replay", "--data", data, "--config", file, "--from", "2", "--to", "3", "--dry-run")
	require.Equal(t, exitFailed, code, out+errs)
	require.Contains(t, out, "encounter version 1: changed")
	require.Regexp(t, `(?m)^ +resource\.identifier\[[0-9]+\]\.system$`, out)
	require.NotContains(t, out, "alder.example.org", "places, no values")
	require.NotContains(t, out, "only")
	code, out, _ = liaison(t, "journal", "replay", "--data", data, "--config", file, "--from", "2", "--to", "2", "--values", "--json")
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, `"published":"https://alder.example.org/one","now":"https://alder.example.org/two"`)
	require.NotContains(t, out, `"sequence":3`)
	code, out, errs = liaison(t, "journal", "replay", "--data", data, "--dry-run")
	require.Equal(t, exitDone, code, out+errs)
	require.Contains(t, out, " 0 differ")
	require.NoError(t, os.WriteFile(file, []byte(demoYAML(data)), 0o600))
	_, out, _ = liaison(t, "journal", "replay", "--data", data, "--config", file)
	require.Contains(t, out, "another configuration")
}

// What is answered, and when: on receipt, after the outcome, or both, as the
// source is configured and as the message asks (HL7 v2.5.1 §2.9).
func TestAnswersBySource(t *testing.T) {
	yaml := strings.Replace(demoYAML(t.TempDir()), "{name: lab,", "{name: lab, ack: processed,", 1)
	cfg, err := config.Parse("", []byte(yaml))
	require.NoError(t, err)
	a, stop := servingWith(t, cfg, slog.New(slog.DiscardHandler), nil)
	defer stop()
	good, bad := update("G%d", "4100001", "Abbott"), update("B%d", "4100001", "M\xfcller")
	both := func(m []byte) []byte {
		return []byte(strings.Replace(string(m), "|P|2.5.1\r", "|P|2.5.1|||AL|AL\r", 1))
	}
	rows := []struct {
		source  string
		message []byte
		want    []string
	}{
		{"adt", good, []string{"AA"}},
		{"adt", bad, []string{"AA"}},
		{"lab", good, []string{"AA"}},
		{"lab", bad, []string{"AE"}},
		{"adt", both(good), []string{"CA", "AA"}},
		{"adt", both(bad), []string{"CA", "AE"}},
		{"lab", both(bad), []string{"CA", "AE"}},
	}
	for n, row := range rows {
		for range 2 { // and the same when it is sent again
			require.Equal(t, row.want, answers(t, a.Addresses()["source:"+row.source], fmt.Appendf(nil, string(row.message), n), len(row.want)), "row %d", n)
		}
	}
}

// answers sends one message and reads so many answers on the same connection.
func answers(t *testing.T, address string, message []byte, n int) (codes []string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = conn.Write(append(append([]byte{0x0b}, message...), 0x1c, '\r'))
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	for range n {
		frame, err := r.ReadBytes(0x1c)
		require.NoError(t, err)
		_, err = r.ReadByte()
		require.NoError(t, err)
		ack, err := hl7v2.ParseAck(frame[1 : len(frame)-1])
		require.NoError(t, err)
		codes = append(codes, string(ack.Code))
	}
	return codes
}
