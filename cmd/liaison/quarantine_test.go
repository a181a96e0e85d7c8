package main

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Poison is acknowledged, held with its reason and place, and does not hold up
// what comes behind it. Retried as it is it is held again; retried edited it
// makes its records; dropped it is gone. A replay of the journal gives the same
// records, retries and all.
func TestQuarantine(t *testing.T) {
	cfg := embeddedConfig(t)
	a, stop := serving(t, cfg)
	message := func(id, family string) []byte {
		return []byte("MSH|^~\\&|ADT1|ALDER|||20260310120000-0400||ADT^A01^ADT_A01|" + id + "|P|2.5.1|||||USA|ASCII\rEVN|A01|20260310120000-0400\r" +
			"PID|1||" + id + "^^^ALDER^MR||" + family + "^Anna\rPV1|1|I|W^1^A||||||||||||||||V" + id + "^^^ALDER^VN\r")
	}
	sendAll(t, a.Addresses()["source:adt"], message("1", "M\xfcller"), message("2", "Sound"), message("3", "Ren\xe9"))
	require.NoError(t, a.Wait(t.Context()))
	operator := func(args ...string) string {
		code, out, errs := liaison(t, append(args, "--server", a.Addresses()["operations"])...)
		require.Equal(t, exitDone, code, errs)
		require.NoError(t, a.Wait(t.Context()))
		return out
	}
	held := operator("quarantine", "list")
	require.Equal(t, 2, strings.Count(held, "undecodable PID-5.1"), held)
	require.NotContains(t, held, "ller")
	outcomes := func() string { return operator("journal", "list") }
	require.Equal(t, 1, strings.Count(outcomes(), "published"), outcomes())

	groups := operator("quarantine", "list", "--group")
	require.Equal(t, 1, strings.Count(groups, "\n"), groups)
	require.Contains(t, groups, "2  undecodable PID-5.1  adt ADT^A01  2 to 4: set MSH-18 or the source's default_charset, then retry")
	shown := operator("quarantine", "show", "2")
	require.Contains(t, shown, `"advice":"set MSH-18`)
	require.Contains(t, shown, `"understood":{"message":"ADT^A01","segments":["MSH","EVN","PID","PV1"],"reason":"undecodable","place":"PID-5.1"`)

	require.Regexp(t, `^[0-9]+: quarantined again, undecodable PID-5.1: set MSH-18`, operator("quarantine", "retry", "2", "--by", "kim"))
	require.Equal(t, "0 retried\n", operator("quarantine", "retry", "--reason", "syntax"))
	require.Equal(t, "2 retried: 2 quarantined\n", operator("quarantine", "retry", "--reason", "undecodable", "--source", "adt"))
	require.Equal(t, 2, strings.Count(operator("quarantine", "list"), "undecodable"))
	code, _, _ := liaison(t, "quarantine", "retry", "2", "--all", "--server", a.Addresses()["operations"])
	require.Equal(t, exitUsage, code)
	worse := filepath.Join(t.TempDir(), "worse.hl7")
	require.NoError(t, os.WriteFile(worse, message("1", "M\xfcller-Wolf"), 0o600))
	operator("quarantine", "retry", "2", "--with", worse, "--by", "kim")
	shown = operator("quarantine", "show", "2")
	require.Contains(t, shown, `"original":"`+base64.StdEncoding.EncodeToString(message("1", "M\xfcller"))+`"`, "the original is kept")
	require.Regexp(t, `"edits":\[{"sequence":[0-9]+,"by":"kim from 127.0.0.1:[0-9]+","at":"[^"]+","changed":\["PID-5"\]}\]`, shown)
	edited := filepath.Join(t.TempDir(), "edited.hl7")
	require.NoError(t, os.WriteFile(edited, message("1", "Mueller"), 0o600))
	require.Regexp(t, `^[0-9]+: published, 2 events\n$`, operator("quarantine", "retry", "2", "--with", edited))
	operator("quarantine", "drop", "4", "--why", "sent again by the sender")
	require.Empty(t, strings.TrimSpace(operator("quarantine", "list")))
	require.GreaterOrEqual(t, strings.Count(outcomes(), "published"), 2, outcomes())
	_, _, events, published := a.Engine().Progress()
	require.Equal(t, events, published)
	require.Equal(t, uint64(4), events, "patient and encounter of two messages")
	stop()
	file := filepath.Join(t.TempDir(), "liaison.yaml")
	require.NoError(t, os.WriteFile(file, []byte(demoYAML(cfg.Data)), 0o600))
	code, out, errs := liaison(t, "journal", "list", "--json", "--data", cfg.Data)
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, `"why":"sent again by the sender"`)
	require.Contains(t, out, `"changed":["PID-5"]`)
	require.NotContains(t, out, "ller")
	code, out, errs = liaison(t, "journal", "replay", "--data", cfg.Data, "--config", file)
	require.Equal(t, exitDone, code, out+errs)
	require.Contains(t, out, " 0 differ")
}

// A directory without data is refused, and stays as it was.
func TestNoData(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"journal", "list"}, {"quarantine", "list"}, {"journal", "show", "1"}, {"journal", "replay"}, {"journal", "replay", "--dry-run"}} {
		code, _, errs := liaison(t, append(args, "--data", dir)...)
		require.Equal(t, exitFailed, code)
		require.Contains(t, errs, "no data of Liaison")
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A caller who takes nothing of his answer does not keep the program from
// stopping, nor the store open behind it.
func TestSlowOperator(t *testing.T) {
	var said bytes.Buffer
	a, stop := servingWith(t, embeddedConfig(t), slog.New(slog.NewTextHandler(&said, nil)), nil)
	large := "MSH|^~\\&|ADT1|ALDER|||20260310120000-0400||ADT^A08^ADT_A01|1|P|2.5.1\rNTE|1||" + strings.Repeat("x", 15<<20) + "\r"
	sendAll(t, a.Addresses()["source:adt"], []byte(large))
	caller, err := net.Dial("tcp", a.Addresses()["operations"])
	require.NoError(t, err)
	defer func() { _ = caller.Close() }()
	_, err = caller.Write([]byte("GET /journal/2/raw HTTP/1.1\r\nHost: liaison\r\n\r\n"))
	require.NoError(t, err)
	_, err = caller.Read(make([]byte, 1)) // the answer has begun
	require.NoError(t, err)
	stop()
	require.NotContains(t, said.String(), "tear-down")
}
