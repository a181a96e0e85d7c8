package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/app"
	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/connectors/kafka"
	kafkaembedded "github.com/liaison-health/liaison/connectors/kafka/embedded"
	"github.com/liaison-health/liaison/connectors/mllp"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/testdata"
)

// standing is a clock that stands, so that two runs receive at the same time.
func standing() func() time.Time {
	now := time.Now().UTC().Truncate(time.Second)
	return func() time.Time { return now }
}

// morning is the first part of a hospital's day.
func morning(t *testing.T) []testdata.Message {
	t.Helper()
	messages, err := testdata.Day()
	require.NoError(t, err)
	return messages[:len(messages)*2/5]
}

// feedDay sends messages of a hospital's day, each answered positively.
func feedDay(t *testing.T, a *app.App, messages []testdata.Message) {
	t.Helper()
	d := demo{out: &bytes.Buffer{}, addresses: a.Addresses(), counts: map[string]int{}, events: map[string]map[string]int{}}
	require.NoError(t, d.send(t.Context(), messages))
	for code := range d.answers {
		require.Contains(t, []string{"AA", "CA", "HTTP 200 OK"}, code)
	}
}

// settledOn waits until all is published and gives the records by event id.
func settledOn(t *testing.T, a *app.App) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	require.NoError(t, a.Wait(ctx))
	texts, versions := readBack(t, a.Addresses()["kafka"])
	for key, list := range versions {
		for i, v := range list {
			require.Equal(t, uint64(i+1), v, "versions of a record in the order of its partition: %s", key)
		}
	}
	return texts
}

// A tap stands between the program and a server: it can hold back what the
// server says.
type tap struct {
	net.Listener
	delay atomic.Int64
	conns sync.WaitGroup
}

func newTap(t *testing.T, server string) *tap {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &tap{Listener: l}
	go func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", server)
			if err != nil {
				_ = down.Close()
				continue
			}
			p.conns.Go(func() { _, _ = io.Copy(up, down); _ = up.Close() })
			p.conns.Go(func() { p.answers(down, up); _ = down.Close() })
		}
	}()
	return p
}

func (p *tap) answers(down io.Writer, up io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := up.Read(buffer)
		if wait := time.Duration(p.delay.Load()); wait > 0 {
			<-time.After(wait)
		}
		if n > 0 {
			if _, err := down.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// spoil makes every key of a Redis something else: another type, a forged
// position, half a value, nothing.
func spoil(t *testing.T, m *miniredis.Miniredis) {
	t.Helper()
	for i, key := range m.Keys() {
		value, err := m.Get(key)
		if err != nil {
			continue
		}
		m.Del(key)
		switch i % 4 {
		case 0:
			_, err = m.Lpush(key, value)
		case 1:
			err = m.Set(key, strings.Repeat("\x00", 7)+"\x01"+value[8:]) // position 1 under another's mark
		case 2:
			err = m.Set(key, value[:8])
		}
		require.NoError(t, err)
	}
}

// A morning, and the morning again, with a Redis that works, that is slow, that is
// not there, and that evicts, is flushed and holds what others wrote: the
// records are the same byte for byte, and none is made twice. Only the
// positions in the journal tell how much a working one spared.
func TestRedisChangesNoResult(t *testing.T) {
	t.Parallel()
	messages := morning(t)
	clock := standing()
	runWith := func(t *testing.T, address string, between func()) (texts map[string]string, appended uint64) {
		cfg := embeddedConfig(t)
		cfg.Redis.Address = address
		a, stop := servingWith(t, cfg, slog.New(slog.DiscardHandler), &app.Seams{Clock: clock})
		defer stop()
		feedDay(t, a, messages)
		require.NoError(t, a.Wait(t.Context()))
		_, _, events, _ := a.Engine().Progress()
		between()
		feedDay(t, a, messages)
		texts = settledOn(t, a)
		tail, _, after, _ := a.Engine().Progress()
		require.Equal(t, events, after, "what is repeated makes no event")
		require.Len(t, texts, int(events))
		return texts, tail
	}
	healthy := miniredis.RunT(t)
	want, spared := runWith(t, healthy.Addr(), func() {})
	require.NotEmpty(t, healthy.Keys())
	t.Run("slow", func(t *testing.T) {
		server := miniredis.RunT(t)
		p := newTap(t, server.Addr())
		got, appended := runWith(t, p.Addr().String(), func() { p.delay.Store(int64(200 * time.Millisecond)) })
		require.NoError(t, p.Close())
		sameRecords(t, want, got)
		require.Greater(t, appended, spared, "no question waits for what comes after 50 ms")
	})
	t.Run("gone", func(t *testing.T) {
		server := miniredis.RunT(t)
		got, appended := runWith(t, server.Addr(), server.Close)
		sameRecords(t, want, got)
		require.Greater(t, appended, spared)
	})
	t.Run("spoiled", func(t *testing.T) {
		server := miniredis.RunT(t)
		got, appended := runWith(t, server.Addr(), func() { spoil(t, server) })
		sameRecords(t, want, got)
		require.Greater(t, appended, spared)
	})
}

// sameRecords compares records byte for byte, but for the position of their
// message in the journal, which says how much the early filter spared.
func sameRecords(t *testing.T, want, got map[string]string) {
	t.Helper()
	require.Len(t, got, len(want))
	for id, text := range want {
		require.Equal(t, withoutPosition(text), withoutPosition(got[id]), "%s", id)
	}
}

// withoutPosition leaves out at which journal position a record's message stands.
func withoutPosition(text string) string {
	before, after, ok := strings.Cut(text, `"journal":`)
	if !ok {
		return text
	}
	return before + strings.TrimLeft(after, "0123456789")
}

// While the broker is away messages are taken; when it is back all of it is
// published, in order, the same as with a broker that was never away. A broker
// that was emptied gets everything again.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	messages := morning(t)
	clock := standing()
	steady := embeddedConfig(t)
	a, stop := servingWith(t, steady, slog.New(slog.DiscardHandler), &app.Seams{Clock: clock})
	feedDay(t, a, messages)
	want := settledOn(t, a)
	stop()

	dir := t.TempDir()
	broker, err := kafkaembedded.Start(kafkaembedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	address := broker.Addr()
	start := func() {
		require.Eventually(t, func() bool {
			broker, err = kafkaembedded.Start(kafkaembedded.Config{Dir: dir, Listen: address})
			return err == nil
		}, time.Minute, 10*time.Millisecond, "the broker's port")
	}
	cfg := embeddedConfig(t)
	cfg.Kafka.Brokers = []string{address}
	a, stop = servingWith(t, cfg, slog.New(slog.DiscardHandler), &app.Seams{Clock: clock})
	third := len(messages) / 3
	feedDay(t, a, messages[:third])
	broker.Close()
	feedDay(t, a, messages[third:2*third])
	require.Eventually(t, func() bool {
		tail, checkpoint, events, published := a.Engine().Progress()
		return tail == checkpoint && events > published
	}, time.Minute, time.Millisecond, "what was taken becomes events while the broker is away")
	start()
	feedDay(t, a, messages[2*third:])
	sameRecords(t, want, settledOn(t, a))
	held := heldPartitions(t, address)
	require.Greater(t, held, 3)
	stop()

	broker.Close()
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "log"))) // the same cluster, without its log
	start()
	a, stop = servingWith(t, cfg, slog.New(slog.DiscardHandler), &app.Seams{Clock: clock})
	require.Eventually(t, func() bool { return metricOf(t, a, "liaison_log_losses_total") == strconv.Itoa(held) }, time.Minute, 5*time.Millisecond, "each partition that had events is a loss")
	sameRecords(t, want, settledOn(t, a))
	require.Equal(t, strconv.Itoa(held), metricOf(t, a, "liaison_log_losses_total"), "and each once")
	stop()
	broker.Close()
}

// heldPartitions counts the partitions that hold records.
func heldPartitions(t *testing.T, broker string) int {
	t.Helper()
	consumer, err := newConsumer(config.Default(), []string{broker})
	require.NoError(t, err)
	defer consumer.Close()
	held := map[string]bool{}
	require.NoError(t, consumer.Read(t.Context(), true, time.Second, func(r *kafka.Record) error {
		held[fmt.Sprintf("%s/%d", r.Topic, r.Partition)] = true
		return nil
	}))
	return len(held)
}

// metricOf is the first value of a metric, as the operator reads it.
func metricOf(t *testing.T, a *app.App, name string) string {
	t.Helper()
	for _, line := range strings.Split(string(get(t, "http://"+a.Addresses()["operations"]+"/metrics")), "\n") {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			return rest[strings.LastIndexByte(rest, ' ')+1:]
		}
	}
	return ""
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	return body
}

func update(control, patient, family string) []byte {
	return fmt.Appendf(nil, "MSH|^~\\&|ADT1|ALDER|||20260310120000-0400||ADT^A08^ADT_A01|%s|P|2.5.1\rEVN|A08|20260310120000-0400\r"+
		"PID|1||%s^^^ALDER^MR||%s^Anna\rPV1|1|O\r", control, patient, family)
}

// health is what /healthz says.
func health(t *testing.T, a *app.App) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+a.Addresses()["operations"]+"/healthz", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(text)
}

// A full disk: MLLP answers AE 207, FHIR 503, a file stays where it is, and all
// of them go on by themselves when there is room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	cfg, err := config.Parse("", []byte(demoYAML(filepath.Join(dir, "data"))+"  - {name: nightly, files: {directory: "+filepath.Join(dir, "in")+", interval: 20ms}}\n"))
	require.NoError(t, err)
	var free atomic.Uint64
	free.Store(1 << 40)
	a, stop := servingWith(t, cfg, slog.New(slog.DiscardHandler), &app.Seams{Free: func(string) (uint64, error) { return free.Load(), nil }})
	defer stop()
	sendAll(t, a.Addresses()["source:adt"], update("C1", "4100001", "Abbott"))
	client, err := mllp.Dial(t.Context(), a.Addresses()["source:adt"], nil, 30*time.Second)
	require.NoError(t, err)
	answer := func(n int) (string, string) {
		raw, err := client.Send(t.Context(), update(fmt.Sprintf("D%d", n), "4100001", fmt.Sprintf("Name%d", n)))
		require.NoError(t, err)
		ack, err := hl7v2.ParseAck(raw)
		require.NoError(t, err)
		return string(ack.Code), string(raw)
	}
	post := func() int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+a.Addresses()["source:portal"]+"/fhir/Patient/p1",
			strings.NewReader(`{"resourceType":"Patient","id":"p1","identifier":[{"system":"urn:example:mr","value":"1"}]}`))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/fhir+json")
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	free.Store(1)
	n := 0
	require.Eventually(t, func() bool { n++; code, _ := answer(n); return code == "AE" }, time.Minute, 10*time.Millisecond)
	code, text := answer(n)
	require.Equal(t, "AE", code)
	require.Contains(t, text, "207")
	require.Equal(t, http.StatusServiceUnavailable, post())
	file := filepath.Join(dir, "in", "batch.hl7")
	require.NoError(t, os.WriteFile(file+".part", update("F1", "4100002", "Baker"), 0o600))
	require.NoError(t, os.Rename(file+".part", file))
	code, _ = answer(n)
	require.Equal(t, "AE", code)
	require.Contains(t, health(t, a), "nothing is taken")
	require.FileExists(t, file)
	free.Store(1 << 40)
	require.Eventually(t, func() bool { code, _ := answer(n); return code == "AA" }, time.Minute, 10*time.Millisecond)
	require.NotContains(t, health(t, a), "nothing is taken")
	require.Contains(t, []int{http.StatusOK, http.StatusCreated}, post())
	require.Eventually(t, func() bool { _, err := os.Stat(file); return errors.Is(err, os.ErrNotExist) }, time.Minute, 10*time.Millisecond)
	require.NoError(t, client.Close())
	require.NoError(t, a.Wait(t.Context()))
	http.DefaultClient.CloseIdleConnections()
}

const onBadDisk = "LIAISON_TEST_BAD_DISK"

// runOnBadDisk is the program on a disk whose fsync fails once a file is there.
func runOnBadDisk(bad, file string, errs io.Writer) int {
	cfg, err := config.Load(file)
	if err != nil {
		fmt.Fprintln(errs, err)
		return exitUsage
	}
	fs := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpFileSync && op.Kind != errorfs.OpFileSyncData && op.Kind != errorfs.OpFileSyncTo {
			return nil
		}
		if _, err := os.Stat(bad); err == nil {
			return errors.New("the disk does not sync")
		}
		return nil
	}))
	a, err := app.New(context.Background(), cfg, logger(errs, "info"), &app.Seams{FS: fs})
	if err == nil {
		err = a.Run(context.Background())
	}
	fmt.Fprintln(errs, err)
	return exitFailed
}

// A failed fsync ends the process with its reason. Nothing is answered
// positively after it, and the next start has all that was.
func TestFailedSyncEndsTheProcess(t *testing.T) {
	dir := t.TempDir()
	data, file, bad := filepath.Join(dir, "data"), filepath.Join(dir, "liaison.yaml"), filepath.Join(dir, "bad")
	require.NoError(t, os.MkdirAll(data, 0o700))
	require.NoError(t, os.WriteFile(file, []byte(demoYAML(data)), 0o600))
	cmd := exec.Command(os.Args[0], file)
	cmd.Env = append(os.Environ(), onBadDisk+"="+bad)
	p := start(t, cmd, data)
	sendAll(t, p.addresses["source:adt"], update("C1", "4100001", "Abbott"), update("C2", "4100001", "Baker"))
	require.NoError(t, os.WriteFile(bad, nil, 0o600))
	client, err := mllp.Dial(t.Context(), p.addresses["source:adt"], nil, 30*time.Second)
	require.NoError(t, err)
	if answer, err := client.Send(t.Context(), update("C3", "4100001", "Cole")); err == nil {
		ack, err := hl7v2.ParseAck(answer)
		require.NoError(t, err)
		require.False(t, ack.Code.Positive(), "answered after a failed fsync")
	}
	_ = client.Close()
	require.Error(t, p.cmd.Wait(), "the process goes on")
	require.Equal(t, exitFailed, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.output.String(), "the disk does not sync")
	require.Contains(t, p.output.String(), "nothing is answered any more")

	again := spawn(t, file, data)
	require.NoError(t, drained(t.Context(), again.addresses["operations"]))
	list := string(get(t, "http://"+again.addresses["operations"]+"/journal"))
	require.Contains(t, list, `"control_id":"C1"`)
	require.Contains(t, list, `"control_id":"C2"`)
	again.kill()
	http.DefaultClient.CloseIdleConnections()
}

// kafkaRecords reads every record as it stands, keys and headers too.
func kafkaRecords(t *testing.T, a *app.App) []*kafka.Record {
	t.Helper()
	consumer, err := newConsumer(config.Default(), []string{a.Addresses()["kafka"]})
	require.NoError(t, err)
	defer consumer.Close()
	var out []*kafka.Record
	_, _, events, _ := a.Engine().Progress()
	require.NoError(t, consumer.Read(t.Context(), true, 0, func(r *kafka.Record) error {
		out = append(out, r)
		if len(out) == int(events) {
			return kafka.ErrStop
		}
		return nil
	}))
	return out
}
