package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/connectors/kafka"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines/engine"
)

// A scanned report above the topic's limit: acknowledged, on Kafka with the
// scan by reference, and every byte of it at the FHIR endpoint. What comes
// behind it is not held up.
func TestScannedReport(t *testing.T) {
	cfg := embeddedConfig(t)
	a, stop := serving(t, cfg)
	scan := bytes.Repeat([]byte("%PDF scan of an invented patient "), 300_000)
	report := func(id, data string) []byte {
		return []byte("MSH|^~\\&|LAB|ALDER|||20260310120000-0400||ORU^R01^ORU_R01|" + id + "|P|2.5.1\rPID|1||4100300^^^ALDER^MR||Abbott^Anna\r" +
			"ORC|RE|P" + id + "^CPOE|F" + id + "^LAB\rOBR|1|P" + id + "^CPOE|F" + id + "^LAB|11526-1^Pathology study^LN|||20260310110000-0400|||||||||||||||20260310115900-0400||PAT|F\r" +
			"OBX|1|ED|11526-1^Pathology study^LN||LAB^application^pdf^Base64^" + data + "||||||F\r")
	}
	sendAll(t, a.Addresses()["source:lab"], report("L1", base64.StdEncoding.EncodeToString(scan)), report("L2", "QUJD"))
	require.NoError(t, a.Wait(t.Context()))
	consumer, err := newConsumer(cfg, []string{a.Addresses()["kafka"]})
	require.NoError(t, err)
	defer consumer.Close()
	found := map[string]*records.Record{}
	require.NoError(t, consumer.Read(t.Context(), true, 0, func(r *kafka.Record) error {
		record, err := records.Decode(r.Value)
		require.NoError(t, err)
		require.LessOrEqual(t, len(r.Value), int(cfg.Kafka.RecordBytes))
		if record.Kind == records.Result {
			found[record.Source.ControlID] = record
		}
		if len(found) == 2 {
			return kafka.ErrStop
		}
		return nil
	}))
	require.Contains(t, found["L1"].Quality.Warnings, "attachment-by-reference")
	url := ""
	for _, text := range found["L1"].Related {
		if at := bytes.Index(text, []byte(`"url":"Binary/`)); at > 0 {
			require.NoError(t, json.Unmarshal(text[at+6:at+6+len(`"Binary/`)+36+1], &url))
		}
	}
	require.True(t, strings.HasPrefix(url, "Binary/"))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+a.Addresses()["source:portal"]+"/fhir/"+url, nil)
	require.NoError(t, err)
	request.Header.Set("Accept", "application/pdf")
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	content, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.True(t, bytes.Equal(scan, content), "every byte of the scan")
	http.DefaultClient.CloseIdleConnections()
	stop()
}

// A message of a million segments, and one with a field of 10 MB: the first is
// in quarantine with its reason, the second becomes its records, and the memory
// that both take comes back.
func TestAbsurdMessages(t *testing.T) {
	cfg := embeddedConfig(t)
	a, stop := serving(t, cfg)
	defer stop()
	head := "MSH|^~\\&|ADT1|ALDER|||20260310120000-0400||ADT^A01^ADT_A01|%s|P|2.5.1\rEVN|A01|20260310120000-0400\r" +
		"PID|1||41005%s^^^ALDER^MR||Abbott^Anna\rPV1|1|I|W^1^A||||||||||||||||V%[1]s^^^ALDER^VN\r"
	sendAll(t, a.Addresses()["source:adt"], fmt.Appendf(nil, head, "1", "1"))
	require.NoError(t, a.Wait(t.Context()))
	before := inUse()
	sendAll(t, a.Addresses()["source:adt"],
		append(fmt.Appendf(nil, head, "2", "2"), strings.Repeat("NTE|1\r", 1_000_000)...),
		append(fmt.Appendf(nil, head, "3", "3"), "NTE|1||"+strings.Repeat("x", 10_000_000)+"\r"...),
		fmt.Appendf(nil, head, "4", "4"))
	require.NoError(t, a.Wait(t.Context()))
	code, out, errs := liaison(t, "journal", "list", "--json", "--server", a.Addresses()["operations"])
	require.Equal(t, exitDone, code, errs)
	got := map[string]string{}
	for line := range strings.Lines(out) {
		var fate engine.Fate
		require.NoError(t, json.Unmarshal([]byte(line), &fate))
		got[fate.ControlID] = strings.TrimSpace(fate.Outcome + " " + fate.Reason)
	}
	delete(got, "") // the settings
	require.Equal(t, map[string]string{"1": "published", "2": "quarantined too-many-segments", "3": "published", "4": "published"}, got)
	require.Less(t, inUse(), before+64<<20, "bytes that stay in use")
}

// inUse is the memory that is in use, without what only pools still hold.
func inUse() uint64 {
	runtime.GC()
	runtime.GC() // a pool lets go in the second round
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
