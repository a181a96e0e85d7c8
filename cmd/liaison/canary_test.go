package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/connectors/mllp"
)

// canaries are values that stand nowhere but in an invented patient's messages.
var canaries = []string{"Quetzalcanary", "Ibisbirdgiven", "9977553311", "19310217", "1931-02-17", "Wrenlane77", "5550177123", "SSN88442266", "Finchnote", "V9988776655"}

// leaks says which canaries a text holds.
func leaks(text string) (found []string) {
	for _, c := range canaries {
		if strings.Contains(strings.ToLower(text), strings.ToLower(c)) {
			found = append(found, c)
		}
	}
	return found
}

// messages of the patient in every way in which a message can fare.
func canaryMessages() map[string]string {
	head := func(typ, id string) string {
		return "MSH|^~\\&|ADT1|ALDER|||20260310120000-0400||" + typ + "|" + id + "|P|2.5.1|||||USA|ASCII\rEVN|A01|20260310120000-0400\r"
	}
	pid := "PID|1||9977553311^^^ALDER^MR||Quetzalcanary^Ibisbirdgiven||19310217|F|||Wrenlane77^^Town||5550177123||||||SSN88442266\r"
	pv1 := "PV1|1|I|W^1^A||||||||||||||||V9988776655^^^ALDER^VN\r"
	return map[string]string{
		"good":             head("ADT^A01^ADT_A01", "K1") + pid + pv1 + "NTE|1||Finchnote\r",
		"merge":            head("ADT^A40^ADT_A39", "K2") + pid + "MRG|9977553311x^^^ALDER^MR||||||Quetzalcanary^Old\r",
		"undecodable":      head("ADT^A01^ADT_A01", "K3") + strings.Replace(pid, "Quetzalcanary", "Quetzalcanary\xfc", 1) + pv1,
		"unknown type":     head("QQQ^Q99", "K4") + pid + pv1,
		"odd dates":        head("ADT^A08^ADT_A01", "K5") + strings.Replace(pid, "|19310217|", "|Quetzalcanary19310217|", 1) + "PV1|1|Quetzalcanary|Wrenlane77|||||||||||||||||5550177123\r",
		"wrong processing": strings.Replace(head("ADT^A01^ADT_A01", "K6"), "|P|", "|X|", 1) + pid,
		"no header":        pid + pv1,
		"broken header":    "MSH|Quetzalcanary\r" + pid,
		"bad escapes":      head("ORU^R01^ORU_R01", "K7") + pid + "OBR|1||9977553311|Finchnote\\Zq\\^\\\r" + "OBX|1|NM|Finchnote||Quetzalcanary||||||Q\r" + "OBX|2|??|Finchnote||Quetzalcanary\r",
		"broken batch":     "BHS|^~\\&|ADT1\r" + head("ADT^A01^ADT_A01", "K8") + pid + "BTS|7|Quetzalcanary\r",
		"unknown charset":  strings.Replace(head("ADT^A01^ADT_A01", "K9"), "|ASCII", "|NO-SUCH-SET", 1) + pid + pv1,
	}
}

// canaryResources are FHIR bodies, good and bad.
func canaryResources() map[string]string {
	return map[string]string{
		"good":         `{"resourceType":"Patient","id":"good1","identifier":[{"system":"urn:example:mr","value":"9977553311"}],"name":[{"family":"Quetzalcanary"}]}`,
		"not json":     `{"resourceType":"Patient","id":"good1","name":[{"family":"Quetzalcanary"`,
		"wrong code":   `{"resourceType":"Patient","id":"good1","gender":"Quetzalcanary"}`,
		"wrong date":   `{"resourceType":"Patient","id":"good1","birthDate":"Quetzalcanary19310217"}`,
		"unknown name": `{"resourceType":"Patient","id":"good1","Quetzalcanary":"Finchnote"}`,
		"bad value":    `{"resourceType":"Patient","id":"good1","name":"Quetzalcanary"}`,
		"bad id":       `{"resourceType":"Patient","id":"Quetzalcanary 9977553311"}`,
	}
}

// A locked buffer takes the log of many goroutines.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p) //nolint:wrapcheck // a buffer does not fail
}

func (l *locked) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// A patient's values are in the records and in the data, and nowhere else: not
// in logs, metrics, answers, lists, Kafka's keys and headers, Redis or names of
// files.
func TestPatientsDoNotLeak(t *testing.T) {
	dir := t.TempDir()
	store := miniredis.RunT(t)
	cfg, err := config.Parse("", []byte(demoYAML(filepath.Join(dir, "data"))+"  - {name: nightly, files: {directory: "+filepath.Join(dir, "in")+", interval: 10ms}}\n"))
	require.NoError(t, err)
	cfg.Redis.Address = store.Addr()
	cfg.Gate.Outbound, cfg.Gate.Sample = "sample", 1
	cfg.Sources[0].SilentAfter = time.Hour
	log := &locked{}
	a, stop := servingWith(t, cfg, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), nil)
	defer stop()
	clean := func(what, text string) { t.Helper(); require.Empty(t, leaks(text), "%s", what) }

	for name, message := range canaryMessages() {
		clean("answer to "+name, answerTo(t, a.Addresses()["source:adt"], message))
		clean("answer to "+name+", sent again", answerTo(t, a.Addresses()["source:adt"], message))
		file := filepath.Join(dir, "in", "f"+strings.ReplaceAll(name, " ", "-")+".hl7")
		require.NoError(t, os.WriteFile(file+".part", []byte(message), 0o600))
		require.NoError(t, os.Rename(file+".part", file))
	}
	portal := "http://" + a.Addresses()["source:portal"] + "/fhir/"
	for name, body := range canaryResources() {
		for _, to := range []string{"Patient/good1", "Quetzalcanary/9977553311", "Patient?name=Quetzalcanary"} {
			clean("answer to "+name, sendResource(t, http.MethodPut, portal+to, body))
		}
		clean("answer to "+name, sendResource(t, http.MethodPost, portal, body))
	}
	require.Eventually(t, func() bool {
		left, err := filepath.Glob(filepath.Join(dir, "in", "*.hl7"))
		return err == nil && len(left) == 0
	}, time.Minute, 5*time.Millisecond)
	require.NoError(t, a.Wait(t.Context()))

	operations := "http://" + a.Addresses()["operations"]
	held := string(get(t, operations+"/quarantine"))
	require.Contains(t, held, "undecodable")
	clean("quarantine", held)
	clean("journal", string(get(t, operations+"/journal")))
	metrics := string(get(t, operations+"/metrics"))
	clean("metrics", metrics)
	documented(t, metrics)
	code, out, errs := liaison(t, "quarantine", "retry", "999999", "--server", a.Addresses()["operations"])
	require.NotZero(t, code)
	clean("an operator's mistake", out+errs)
	found := 0
	for _, r := range kafkaRecords(t, a) {
		found += len(leaks(string(r.Value)))
		clean("key", string(r.Key))
		for _, h := range r.Headers {
			clean("header "+h.Name, h.Value)
		}
	}
	require.Greater(t, found, len(canaries), "the canaries are in the records")
	require.NotEmpty(t, store.Keys())
	clean("redis", store.Dump())
	require.NoError(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		clean("a file's name", name)
		if err == nil && !d.IsDir() && strings.Contains(name, "report") {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			clean("a report", string(text))
		}
		return err
	}))
	stop()
	require.NotEmpty(t, log.String())
	clean("log", log.String())
	http.DefaultClient.CloseIdleConnections()
}

// documented checks that the list of metrics in pipelines/README.md is what is
// served.
func documented(t *testing.T, served string) {
	t.Helper()
	text, err := os.ReadFile("../../pipelines/README.md")
	require.NoError(t, err)
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(liaison_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
		listed[m[1]] = true
	}
	require.NotEmpty(t, listed)
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (liaison_[a-z_]+) `).FindAllStringSubmatch(served, -1) {
		require.True(t, listed[m[1]], "%s is not documented", m[1])
		delete(listed, m[1])
	}
	require.Empty(t, listed, "documented, but not served")
}

// A feed that falls silent is seen, and seen to be back.
func TestSilentFeed(t *testing.T) {
	cfg := embeddedConfig(t)
	cfg.Sources[0].SilentAfter = 200 * time.Millisecond
	a, stop := serving(t, cfg)
	defer stop()
	silent := func() bool { return metricOf(t, a, "liaison_source_silent") == "1" }
	require.Eventually(t, silent, time.Minute, 10*time.Millisecond)
	n := 0
	require.Eventually(t, func() bool {
		n++
		sendAll(t, a.Addresses()["source:adt"], update(fmt.Sprintf("C%d", n), "4100001", fmt.Sprintf("Name%d", n)))
		return !silent()
	}, time.Minute, time.Millisecond)
	require.Eventually(t, silent, time.Minute, 10*time.Millisecond)
	http.DefaultClient.CloseIdleConnections()
}

// answerTo sends one frame and gives what comes back, which may be nothing.
func answerTo(t *testing.T, address, message string) string {
	t.Helper()
	client, err := mllp.Dial(t.Context(), address, nil, 2*time.Second)
	require.NoError(t, err)
	defer func() { _ = client.Close() }()
	answer, err := client.Send(t.Context(), []byte(message))
	if err != nil {
		return err.Error()
	}
	return string(answer)
}

func sendResource(t *testing.T, method, url, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/fhir+json")
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, answer.Body.Close()) }()
	var outcome json.RawMessage
	_ = json.NewDecoder(answer.Body).Decode(&outcome)
	return string(outcome)
}
