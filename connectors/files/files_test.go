package files_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/connectors/connectortest"
	"github.com/liaison-health/liaison/connectors/files"
	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/pipelines"
)

// A watch is a source that looks only when it is poked.
type watch struct {
	t    *testing.T
	dir  string
	in   *connectortest.Intake
	poke chan struct{}
	seen chan struct{} // one for each look that has ended
	stop func()
	log  *bytes.Buffer
}

func start(t *testing.T, dir string, in *connectortest.Intake, change func(*files.Config)) *watch {
	t.Helper()
	w := &watch{t: t, dir: dir, in: in, poke: make(chan struct{}), seen: make(chan struct{}, 100), log: &bytes.Buffer{}}
	cfg := files.Config{
		Name: "drop", Directory: dir, Interval: time.Hour, Poke: w.poke, Backoff: time.Hour, Outcomes: in, Looked: func() { w.seen <- struct{}{} },
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	s, err := files.Open(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, in) }()
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.NoError(t, <-done)
	}
	t.Cleanup(w.stop)
	w.ended()
	return w
}

// begin pokes the source.
func (w *watch) begin() {
	w.t.Helper()
	select {
	case w.poke <- struct{}{}:
	case <-time.After(20 * time.Second):
		require.Fail(w.t, "the source does not look")
	}
}

// ended waits for the end of a look.
func (w *watch) ended() {
	w.t.Helper()
	select {
	case <-w.seen:
	case <-time.After(20 * time.Second):
		require.Fail(w.t, "the look does not end")
	}
}

func (w *watch) look() {
	w.t.Helper()
	w.begin()
	w.ended()
}

// settle is one look that sees a file and one that finds it unchanged.
func (w *watch) settle() {
	w.t.Helper()
	w.look()
	w.look()
}

func (w *watch) put(name, content string) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o600))
}

func (w *watch) fate(name string) (bool, report) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done, r, err := fate(ctx, w.dir, name)
	require.NoError(w.t, err)
	require.NoFileExists(w.t, filepath.Join(w.dir, name))
	return done, r
}

// left lists what stands in the directory and its .progress.
func (w *watch) left() []string {
	w.t.Helper()
	var out []string
	for _, dir := range []string{w.dir, filepath.Join(w.dir, ".progress")} {
		entries, err := os.ReadDir(dir)
		require.NoError(w.t, err)
		for _, e := range entries {
			if !e.IsDir() {
				out = append(out, e.Name())
			}
		}
	}
	return out
}

func v2(n ...int) string {
	var b strings.Builder
	for _, i := range n {
		b.Write(connectortest.V2(i))
	}
	return b.String()
}

func batch(count int, messages string) string {
	return fmt.Sprintf("FHS|^~\\&|A|B\rBHS|^~\\&|A|B\r%sBTS|%d\rFTS|1\r", messages, count)
}

func TestLayouts(t *testing.T) {
	one, two := v2(1), v2(2)
	rows := []struct{ name, content string }{
		{"plain text", one + two},
		{"LF", strings.ReplaceAll(one+two, "\r", "\n")},
		{"MLLP frames", "\x0b" + one + "\x1c\r\x0b" + two + "\x1c\r"},
		{"a batch", batch(2, one+two)},
		{"a batch without counts", "BHS|^~\\&|A|B\r" + one + two + "BTS\r"},
		{"a byte order mark", "\xef\xbb\xbf" + one + two},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := start(t, t.TempDir(), &connectortest.Intake{}, nil)
			w.put("a.hl7", row.content)
			w.settle()
			done, r := w.fate("a.hl7")
			require.True(t, done)
			want := []string{one, two}
			if row.name == "LF" {
				want = []string{strings.ReplaceAll(one, "\r", "\n"), strings.ReplaceAll(two, "\r", "\n")}
			}
			require.Equal(t, want, w.in.Bytes())
			sum := sha256.Sum256([]byte(row.content))
			require.Equal(t, hex.EncodeToString(sum[:]), r.SHA256)
			require.Equal(t, len(row.content), r.Bytes)
			require.Equal(t, []any{"a.hl7", "drop", "hl7v2", 2, 2, 0, 0}, []any{r.File, r.Source, r.Format, r.Messages, r.Accepted, r.Duplicates, r.Refused})
			require.Len(t, r.Results, 2)
			require.Equal(t, []any{0, "C1", uint64(1), 1, "C2", uint64(2)}, []any{
				r.Results[0].Index, r.Results[0].ControlID, r.Results[0].Position, r.Results[1].Index, r.Results[1].ControlID, r.Results[1].Position,
			})
			require.Empty(t, w.left())
			kept, err := os.ReadFile(filepath.Join(w.dir, "done", "a.hl7"))
			require.NoError(t, err)
			require.Equal(t, row.content, string(kept))
		})
	}
}

func TestFailures(t *testing.T) {
	secret := "PATIENTNAME"
	named := strings.Replace(v2(1), "Example^Invented", secret, 1)
	rows := []struct {
		name, file, content string
		taken               int
		problem, err        *trouble
	}{
		{name: "cut short", file: "a.hl7", content: batch(3, named+v2(2)), problem: &trouble{"AE", "207", "BTS-1", "BTS-1 declares 3, found 2; send the file again whole"}},
		{name: "no trailer", file: "a.hl7", content: "BHS|^~\\&|A|B\r" + named + v2(2), problem: &trouble{"AE", "207", "BTS", "a batch without its trailer BTS; send the file again whole"}},
		{name: "cut frame", file: "a.hl7", content: "\x0b" + named + "\x1c\r\x0b" + v2(2)[:len(v2(2))-9], problem: &trouble{"AE", "207", "", "a frame without its end block; send the file again whole"}},
		{name: "nothing in it", file: "a.hl7", content: " \r\n\r\n", problem: &trouble{"AR", "100", "", "there is no message in the file"}},
		{name: "no message", file: "a.txt", content: secret + " was here\n", err: &trouble{"AR", "100", "MSH", ""}},
		{name: "text before the first message", file: "a.txt", content: secret + "\r" + v2(1), taken: 1, err: &trouble{"AR", "100", "MSH", ""}},
		{name: "an acknowledgement", file: "a.hl7", content: "MSH|^~\\&|A|B|C|D|20260310||ACK|9|P|2.5.1\rMSA|AA|1\r" + v2(1), taken: 1, err: &trouble{"AR", "200", "MSH-9", "an acknowledgement is not taken as a message"}},
		{name: "too long", file: "a.hl7", content: named + "OBX|1|TX|||" + strings.Repeat(secret, 10_000) + "\r" + v2(2), taken: 1, err: &trouble{"AR", "104", "", "message longer than the limit"}},
		{name: "no JSON", file: "a.json", content: `{"resourceType":"` + secret, err: &trouble{"AR", "100", "resourceType", ""}},
		{name: "a member twice", file: "a.json", content: `{"resourceType":"Patient","gender":"male","gender":"` + secret + `"}`, err: &trouble{"AR", "100", "gender", ""}},
		{name: "a resource type in another case", file: "a.json", content: `{"ResourceType":"Patient","gender":"` + secret + `"}`, err: &trouble{"AR", "101", "resourceType", "resourceType is missing"}},
		{name: "nested too deep", file: "a.json", content: `{"resourceType":"Patient","extension":` + strings.Repeat("[", 5000) + `"` + secret + `"` + strings.Repeat("]", 5000) + `}`, err: &trouble{"AR", "100", "extension", ""}},
		{name: "a number without end", file: "a.json", content: `{"resourceType":"Observation","valueQuantity":{"value":` + strings.Repeat("9", 5000) + `}}`, err: &trouble{"AR", "100", "valueQuantity.value", ""}},
		{name: "no text", file: "a.json", content: "{\"resourceType\":\"Patient\",\"gender\":\"\xff" + secret + `"}`, err: &trouble{"AR", "100", "", "not UTF-8"}},
		{name: "no resource", file: "a.json", content: `{"name":"` + secret + `"}`, err: &trouble{"AR", "101", "resourceType", "resourceType is missing"}},
		{name: "a search's Bundle", file: "a.json", content: `{"resourceType":"Bundle","type":"searchset"}`, err: &trouble{"AR", "103", "Bundle.type", ""}},
		{name: "a deletion", file: "a.json", content: `{"resourceType":"Bundle","type":"history","entry":[{"request":{"method":"DELETE","url":"Patient/1"}}]}`, err: &trouble{"AR", "103", "Bundle.entry[0].request.method", ""}},
		{name: "not valid", file: "a.JSON", content: `{"resourceType":"Patient","gender":"` + secret + `"}`, err: &trouble{"AR", "102", "Patient.gender", "not a code"}},
		{name: "a large resource", file: "a.json", content: `{"resourceType":"Patient","id":"` + strings.Repeat(secret, 10_000) + `"}`, err: &trouble{"AR", "104", "", "message longer than the limit"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := start(t, t.TempDir(), &connectortest.Intake{}, func(c *files.Config) {
				c.MaxMessage = 64 << 10
				c.Check = func(n *fhir.Node) []fhir.Issue {
					if n.Str("gender") == "" {
						return nil
					}
					return []fhir.Issue{{Severity: "error", Expression: "Patient.gender", Diagnostics: "not a code"}}
				}
			})
			w.put(row.file, row.content)
			w.settle()
			done, r := w.fate(row.file)
			require.False(t, done)
			require.Equal(t, row.taken, r.Accepted)
			require.Len(t, w.in.Taken(), row.taken)
			if row.problem != nil {
				require.Equal(t, []trouble{*row.problem}, r.Problems)
				require.Empty(t, r.Results)
			} else {
				require.Equal(t, 1, r.Refused)
				var got *trouble
				for _, res := range r.Results {
					if res.Error != nil {
						got = res.Error
					}
				}
				require.Equal(t, row.err.Code+row.err.Condition, got.Code+got.Condition)
				require.Contains(t, got.Place, row.err.Place)
				require.Contains(t, got.Reason, row.err.Reason)
				require.NotEmpty(t, got.Reason)
			}
			text, err := os.ReadFile(filepath.Join(w.dir, "failed", row.file+".report.json"))
			require.NoError(t, err)
			require.NotContains(t, string(text), secret)
			w.stop()
			require.NotContains(t, w.log.String(), secret)
			require.Empty(t, w.left())
		})
	}
}

func TestFHIRRequests(t *testing.T) {
	rows := map[string][2]string{
		"with an id":    {`{"resourceType":"Patient","id":"p1"}`, `{"method":"PUT","type":"Patient","id":"p1"}`},
		"without an id": {`{"resourceType":"Patient"}`, `{"method":"POST","type":"Patient"}`},
		"a transaction": {`{"resourceType":"Bundle","id":"b","type":"transaction"}`, `{"method":"POST","type":""}`},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			w := start(t, t.TempDir(), &connectortest.Intake{}, nil)
			w.put("a.json", row[0])
			w.settle()
			done, r := w.fate("a.json")
			require.True(t, done)
			require.Equal(t, "fhir", r.Format)
			m := w.in.Taken()[0]
			require.Equal(t, row[0], string(m.Raw))
			require.JSONEq(t, row[1], string(m.Meta))
			require.Equal(t, "a.json", m.Peer)
		})
	}
}

// What is not finished, not a file, or not ours is left alone.
func TestLeftAlone(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside.hl7")
	require.NoError(t, os.WriteFile(outside, []byte(v2(9)), 0o600))
	w := start(t, dir, &connectortest.Intake{}, nil)
	for _, name := range []string{".hidden.hl7", "a.tmp", "a.part"} {
		w.put(name, v2(1))
	}
	w.put("empty.hl7", "")
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link.hl7")))
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(dir, "linked")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sub", "a.hl7"), []byte(v2(2)), 0o600))
	w.put("good.hl7", v2(3))
	w.settle()
	done, _ := w.fate("good.hl7")
	require.True(t, done)
	require.Equal(t, []string{v2(3)}, w.in.Bytes())
	require.FileExists(t, outside)
	require.ElementsMatch(t, []string{".hidden.hl7", "a.tmp", "a.part", "empty.hl7", "link.hl7", "linked"}, w.left())
}

func TestOnlyWhatIsStable(t *testing.T) {
	w := start(t, t.TempDir(), &connectortest.Intake{}, nil)
	w.put("whole.hl7", v2(9))
	for n := 1; n < 4; n++ {
		w.put("slow.hl7", v2(1, 2, 3)[:n*len(v2(1))])
		w.look()
	}
	require.Equal(t, []string{v2(9)}, w.in.Bytes(), "a file that grows holds up no other")
	w.look()
	_, r := w.fate("slow.hl7")
	require.Equal(t, 3, r.Accepted)
	require.Equal(t, []string{v2(9), v2(1), v2(2), v2(3)}, w.in.Bytes())
}

func TestOldestFirst(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"c.hl7", "a.hl7", "b.hl7"} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(v2(i)), 0o600))
		at := time.Unix(1_700_000_000+int64(i/2), 0) // the last one later, two at the same time
		require.NoError(t, os.Chtimes(path, at, at))
	}
	w := start(t, dir, &connectortest.Intake{}, nil)
	w.settle()
	require.Equal(t, []string{v2(1), v2(0), v2(2)}, w.in.Bytes())
}

// Files of one name are all kept.
func TestSameNameAgain(t *testing.T) {
	w := start(t, t.TempDir(), &connectortest.Intake{}, nil)
	for i := range 3 {
		w.put("a.hl7", v2(i))
		w.settle()
	}
	for i, name := range []string{"a.hl7", "a-2.hl7", "a-3.hl7"} {
		kept, err := os.ReadFile(filepath.Join(w.dir, "done", name))
		require.NoError(t, err)
		require.Equal(t, v2(i), string(kept))
		require.FileExists(t, filepath.Join(w.dir, "done", name+".report.json"))
	}
	long := strings.Repeat("ü", 120) + ".hl7"
	w.put(long, v2(7))
	w.settle()
	require.Len(t, w.in.Taken(), 4)
	require.Empty(t, w.left())
}

// errEnded keeps a file where it is until the source stops.
var errEnded = errors.New("the program ended")

// TestStoppedWithin stops the source within a file and starts another one: each
// message is in the journal once, and the report tells of all.
func TestStoppedWithin(t *testing.T) {
	const n = 6
	for stopAt := range n {
		t.Run(fmt.Sprint(stopAt), func(t *testing.T) {
			dir := t.TempDir()
			in := &connectortest.Intake{}
			calls := 0
			in.Answer(func(*pipelines.Message) error {
				if calls++; calls > stopAt {
					return errEnded // for ever: the file waits here
				}
				return nil
			})
			w := start(t, dir, in, nil)
			w.put("a.hl7", v2(0, 1, 2, 3, 4, 5))
			w.look()
			w.begin()
			require.True(t, in.Called(t.Context(), stopAt+1))
			w.stop()
			require.Len(t, in.Taken(), stopAt)
			require.FileExists(t, filepath.Join(dir, "a.hl7"))
			in.Answer(nil)
			w = start(t, dir, in, nil)
			w.settle()
			done, r := w.fate("a.hl7")
			require.True(t, done)
			require.Equal(t, []string{v2(0), v2(1), v2(2), v2(3), v2(4), v2(5)}, in.Bytes())
			require.Len(t, r.Results, n)
			for i, res := range r.Results {
				require.Equal(t, []any{i, fmt.Sprintf("C%d", i), uint64(i + 1)}, []any{res.Index, res.ControlID, res.Position})
			}
		})
	}
}

// TestCrash cuts the progress at every byte, as a crash or a power cut may
// leave it: nothing is skipped, and at most what has no line is sent again.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	in := &connectortest.Intake{}
	calls := 0
	in.Answer(func(*pipelines.Message) error {
		if calls++; calls > 3 {
			return errEnded
		}
		return nil
	})
	w := start(t, dir, in, nil)
	w.put("a.hl7", v2(0, 1, 2, 3))
	w.look()
	w.begin()
	require.True(t, in.Called(t.Context(), 4))
	w.stop()
	left, err := filepath.Glob(filepath.Join(dir, ".progress", "*"))
	require.NoError(t, err)
	require.Len(t, left, 1)
	whole, err := os.ReadFile(left[0])
	require.NoError(t, err)
	for cut := 0; cut <= len(whole); cut += 3 {
		again := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(again, ".progress"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(again, ".progress", filepath.Base(left[0])), whole[:cut], 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(again, "a.hl7"), []byte(v2(0, 1, 2, 3)), 0o600))
		in := &connectortest.Intake{}
		w := start(t, again, in, nil)
		w.settle()
		_, r := w.fate("a.hl7")
		require.Equal(t, 4, r.Accepted, "cut at %d", cut)
		lines := max(0, bytes.Count(whole[:cut], []byte("\n"))-1)
		var want []string
		for i := lines; i < 4; i++ {
			want = append(want, v2(i))
		}
		require.Equal(t, want, in.Bytes(), "cut at %d", cut)
		w.stop()
	}
}

// Progress of other bytes under the same name counts for nothing.
func TestProgressOfAnotherFile(t *testing.T) {
	dir := t.TempDir()
	in := &connectortest.Intake{}
	in.Answer(func(m *pipelines.Message) error {
		if strings.Contains(string(m.Raw), "|C2|") {
			return errEnded
		}
		return nil
	})
	w := start(t, dir, in, nil)
	w.put("a.hl7", v2(1, 2))
	w.look()
	w.begin()
	require.True(t, in.Called(t.Context(), 2))
	w.stop()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.hl7"), []byte(v2(3, 4)), 0o600))
	w = start(t, dir, in, nil)
	w.settle()
	_, r := w.fate("a.hl7")
	require.Equal(t, 2, r.Accepted)
	require.Equal(t, []string{v2(1), v2(3), v2(4)}, in.Bytes())
}

// A file that is written to while it is read is taken again, whole.
func TestChangedWhileRead(t *testing.T) {
	dir := t.TempDir()
	in := &connectortest.Intake{}
	grown := false
	in.Answer(func(*pipelines.Message) error {
		if !grown {
			grown = true
			return os.WriteFile(filepath.Join(dir, "a.hl7"), []byte(v2(1, 2, 3)), 0o600)
		}
		return nil
	})
	w := start(t, dir, in, nil)
	w.put("a.hl7", v2(1, 2))
	for range 6 {
		w.look()
	}
	done, r := w.fate("a.hl7")
	require.True(t, done)
	require.Equal(t, 3, r.Messages)
	require.Equal(t, []string{v2(1), v2(2), v2(3)}, in.Bytes()[len(in.Bytes())-3:])
}

// A message that is refused or fails does not stop the others of its file.
func TestOthersGoOn(t *testing.T) {
	in := &connectortest.Intake{}
	var none []error
	in.Answer(func(m *pipelines.Message) error {
		switch {
		case strings.Contains(string(m.Raw), "|C1|"):
			return &pipelines.Refused{Code: "AR", Condition: "202", Place: "MSH-11", Reason: "test data"}
		case strings.Contains(string(m.Raw), "|C2|"):
			return none[len(m.Raw)]
		}
		return nil
	})
	counts := map[string]int{}
	w := start(t, t.TempDir(), in, func(c *files.Config) {
		c.Answered = func(source, code string) { counts[source+" "+code]++ }
	})
	w.put("a.hl7", v2(0, 1, 2, 3))
	w.settle()
	done, r := w.fate("a.hl7")
	require.False(t, done)
	require.Equal(t, []int{4, 2, 2}, []int{r.Messages, r.Accepted, r.Refused})
	require.Equal(t, trouble{"AR", "202", "MSH-11", "test data"}, *r.Results[1].Error)
	require.Equal(t, "AE", r.Results[2].Error.Code)
	require.Equal(t, []string{v2(0), v2(3)}, in.Bytes())
	w.stop()
	require.Equal(t, map[string]int{"drop AA": 2, "drop AR": 1, "drop AE": 1}, counts)
}

// outcomes tells the fate of positions.
type outcomes map[uint64]pipelines.Outcome

func (o outcomes) Wait(_ context.Context, position uint64) (pipelines.Outcome, error) {
	return o[position], nil
}

func TestProcessed(t *testing.T) {
	w := start(t, t.TempDir(), &connectortest.Intake{}, func(c *files.Config) {
		c.Processed = true
		c.Outcomes = outcomes{
			1: {Status: pipelines.Published},
			2: {Status: pipelines.Duplicate, Of: 1},
			3: {Status: pipelines.Quarantined, Place: "PID-3", Reason: "no patient id"},
		}
	})
	w.put("a.hl7", v2(1, 2, 3))
	w.settle()
	done, r := w.fate("a.hl7")
	require.False(t, done)
	require.Equal(t, []int{3, 0, 1}, []int{r.Accepted, r.Refused, r.Quarantined})
	require.Equal(t, []string{"published", "published", "quarantined"}, []string{r.Results[0].Outcome, r.Results[1].Outcome, r.Results[2].Outcome})
	require.Equal(t, trouble{"AE", "207", "PID-3", "no patient id"}, *r.Results[2].Error)
}

// A directory that cannot be read, or a file, is tried again and said once.
func TestCannotRead(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Log("root reads everything: only the missing directory is tested")
	}
	dir := filepath.Join(t.TempDir(), "in")
	w := start(t, dir, &connectortest.Intake{}, nil)
	w.look()
	require.NoError(t, os.Rename(dir, dir+".away"))
	w.look()
	w.look()
	require.NoError(t, os.Rename(dir+".away", dir))
	w.put("a.hl7", v2(1))
	w.settle()
	done, _ := w.fate("a.hl7")
	require.True(t, done)
	w.stop()
	require.Contains(t, w.log.String(), "directory not readable")
	require.NotContains(t, w.log.String(), dir)
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(dir, "done")))
	_, err := files.Open(files.Config{Name: "drop", Directory: dir})
	require.ErrorContains(t, err, "done is not a directory")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	_, err = files.Open(files.Config{Name: "drop", Directory: filepath.Join(dir, "file")})
	require.Error(t, err)
	_, err = files.Open(files.Config{Name: "drop", Directory: t.TempDir(), Processed: true})
	require.ErrorContains(t, err, "outcomes")
	s, err := files.Open(files.Config{Name: "drop", Directory: t.TempDir()})
	require.NoError(t, err)
	require.Equal(t, "drop", s.Name())
	require.DirExists(t, s.Addr())
	require.NoError(t, s.Close())
}

// counting takes every message and keeps none; it calls at after each of some.
type counting struct {
	taken int
	at    func(taken int)
}

func (c *counting) Accept(context.Context, *pipelines.Message) (pipelines.Receipt, error) {
	c.taken++
	c.at(c.taken)
	return pipelines.Receipt{Position: uint64(c.taken)}, nil
}

// A batch of any number of messages costs no memory for their number.
func TestManyMessages(t *testing.T) {
	const messages = 30_000
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "large.hl7"))
	require.NoError(t, err)
	w := bufio.NewWriter(f)
	_, err = w.WriteString("FHS|^~\\&|A|B\rBHS|^~\\&|A|B\r")
	require.NoError(t, err)
	for n := range messages {
		_, err := w.Write(connectortest.V2(n))
		require.NoError(t, err)
	}
	_, err = fmt.Fprintf(w, "BTS|%d\rFTS|1\r", messages)
	require.NoError(t, errors.Join(err, w.Flush(), f.Close()))
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var first, most uint64
	in := &counting{at: func(taken int) {
		switch {
		case taken == 1:
			first = heap()
		case taken%6_000 == 0:
			most = max(most, heap())
		}
	}}
	poke, seen := make(chan struct{}), make(chan struct{}, 10)
	s, err := files.Open(files.Config{Name: "drop", Directory: dir, Interval: time.Hour, Poke: poke, Looked: func() { seen <- struct{}{} }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, in) }()
	<-seen
	poke <- struct{}{}
	<-seen
	cancel()
	require.NoError(t, <-done)
	require.Equal(t, messages, in.taken)
	require.FileExists(t, filepath.Join(dir, "done", "large.hl7"))
	require.Less(t, int64(most)-int64(first), int64(1<<20), "%d bytes held at first, %d in between", first, most)
}

// A Bundle of more entries than are taken at once is refused, as over HTTP.
func TestManyEntries(t *testing.T) {
	in := &connectortest.Intake{}
	w := start(t, t.TempDir(), in, func(c *files.Config) { c.MaxEntries = 3 })
	bundle := func(n int) string {
		return `{"resourceType":"Bundle","type":"collection","entry":[` + strings.TrimSuffix(strings.Repeat(`{"resource":{"resourceType":"Basic","code":{"text":"x"}}},`, n), ",") + `]}`
	}
	w.put("three.json", bundle(3))
	w.put("four.json", bundle(4))
	w.settle()
	done, _ := w.fate("three.json")
	require.True(t, done)
	done, r := w.fate("four.json")
	require.False(t, done)
	require.Equal(t, "Bundle.entry", r.Results[0].Error.Place)
	require.Contains(t, r.Results[0].Error.Reason, "up to 3 entries")
}
