package faulttest_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/alicebob/miniredis/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/pipelines/faulttest"
)

// The harness's flags.
var (
	long       = flag.Bool("long", false, "the full form: more senders, more messages, more faults")
	seedFlag   = flag.Uint64("seed", 0, "seed of feeds and faults, as a failed run printed it; 0: a new one")
	messages   = flag.Int("messages", 1_000_000, "how many messages the tests of the full form send in all, about")
	times      = flag.Int("times", 1, "how often each fault test runs, each time with the next seed")
	reportFile = flag.String("report", "", "file for the report: JSON lines, or Markdown where it ends in .md")
)

const (
	partitions = 3
	canary     = "Anna" // stands in every patient's name: never in a log, a metric, Redis, a Kafka key
)

// reported are the runs of this process.
var reported struct {
	mu   sync.Mutex
	runs []*faulttest.Run
}

// scale chooses between the short and the full form.
func scale(short, full faulttest.Scale) faulttest.Scale {
	if *long {
		return full
	}
	return short
}

// share is a test's part of the full form: so many senders, and so many of a
// thousand of all messages. Where that were more than mostOfASender for each,
// there are more senders: a merge moves all that a patient has, so that what a
// sender makes of its messages grows with their square.
func share(senders, thousandths int, s faulttest.Scale) faulttest.Scale {
	all := *messages * thousandths / 1000
	s.Senders = max(senders, all/mostOfASender)
	s.Messages = max(10, all/s.Senders)
	return s
}

const mostOfASender = 100

// patience is how long a test waits for one thing.
func patience() time.Duration { return time.Duration(howMany(1, 15)) * time.Minute }

// howMany says how often something is done in either form.
func howMany(short, full int) int {
	if *long {
		return full
	}
	return short
}

// A world is what stands around a subject and outlives it: brokers, Redis, the
// disk, the senders' ledger.
type world struct {
	t       *testing.T
	name    string
	seed    uint64
	dir     string // goes after the subject has stopped
	random  *rand.Rand
	feed    *faulttest.Feed
	ledger  *faulttest.Ledger
	brokers *kfake.Cluster
	redis   *miniredis.Miniredis
	plan    plan
	logs    logBuffer
	slow    *slowProxy // before Redis, where a test has put it there
	began   time.Time

	mu       sync.Mutex
	subject  *subject
	address  [2]string     // of its sources; empty: there is none
	up       chan struct{} // closed while a subject serves
	faults   int
	recovery time.Duration
	figures  []faulttest.Figure
}

// A logBuffer keeps what was logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// each runs a fault test -times times, each with a seed of its own, beside
// others in the short form: the full one measures.
func each(t *testing.T, size faulttest.Scale, test func(w *world)) {
	if !*long {
		t.Parallel()
	}
	alone(t, size, test)
}

// alone is each for a test that measures memory.
func alone(t *testing.T, size faulttest.Scale, test func(w *world)) {
	first := cmp.Or(*seedFlag, uint64(time.Now().UnixNano())%1_000_000)
	for n := range *times {
		seed := first + uint64(n)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { test(newWorld(t, seed, size)) })
	}
}

// newWorld is a world of brokers and a Redis within the test.
func newWorld(t *testing.T, seed uint64, size faulttest.Scale) *world {
	t.Helper()
	w := emptyWorld(t, seed, size)
	w.redis = miniredis.RunT(t)
	var err error
	w.brokers, err = kfake.NewCluster(kfake.NumBrokers(3), kfake.ListenFn(func(network, _ string) (net.Listener, error) {
		return (&net.ListenConfig{}).Listen(context.Background(), network, "127.0.0.1:0")
	}))
	require.NoError(t, err)
	w.plan.Kafka, w.plan.Redis = w.brokers.ListenAddrs()[0], w.redis.Addr()
	t.Cleanup(w.brokers.Close)
	w.stopped()
	return w
}

// emptyWorld has neither brokers nor Redis yet.
func emptyWorld(t *testing.T, seed uint64, size faulttest.Scale) *world {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/seed=")
	t.Logf("again with: go test ./pipelines/faulttest -run '^%s$' -seed %d", name, seed)
	w := &world{
		t: t, name: strings.TrimPrefix(name, "Test"), seed: seed, random: rand.New(rand.NewPCG(seed, 99)), feed: faulttest.Generate(seed, size),
		ledger: faulttest.NewLedger(), dir: t.TempDir(), up: make(chan struct{}), began: time.Now(),
	}
	w.plan = plan{
		Dir: "data", FS: vfs.NewCrashableMem(), Pause: time.Duration(howMany(1, 0)) * time.Millisecond,
		Log:   slog.New(slog.NewTextHandler(&w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Fatal: func(format string, args ...any) { t.Errorf("the store failed: "+format, args...); runtime.Goexit() },
	}
	return w
}

// stopped has the subject stopped at the test's end, before what it needs.
func (w *world) stopped() {
	w.t.Cleanup(func() {
		w.mu.Lock()
		s := w.subject
		w.mu.Unlock()
		if s != nil {
			require.NoError(w.t, s.stop())
		}
		if w.t.Failed() && os.Getenv("LIAISON_TEST_LOG") != "" {
			w.t.Log(w.logs.String())
		}
	})
}

// measured puts the data on the disk in the full form, whose figures are those
// of one.
func (w *world) measured() {
	if *long {
		w.onDisk()
	}
}

// start brings a subject up.
func (w *world) start() *subject {
	w.t.Helper()
	s, err := start(w.plan, "a", "b")
	require.NoError(w.t, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subject = s
	w.address = [2]string{s.address(0), s.address(1)}
	close(w.up)
	return s
}

// down takes note that there is no subject.
func (w *world) down() *subject {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.subject
	w.subject, w.address, w.up = nil, [2]string{}, make(chan struct{})
	return s
}

// restart stops the subject in order and starts another.
func (w *world) restart() *subject {
	w.t.Helper()
	require.NoError(w.t, w.down().stop())
	return w.start()
}

// revive starts a subject on what a crash left, and measures how long it takes
// to the next positive answer.
func (w *world) revive(left vfs.FS) *subject {
	w.t.Helper()
	dead := w.down()
	w.plan.FS = left
	began := time.Now()
	w.ledger.OnAnswer(func() { w.recovered(began) })
	s := w.start()
	if err := dead.stop(); err != nil && !errors.Is(err, errDead) {
		w.t.Log("the dead one: ", err)
	}
	return s
}

func (w *world) recovered(since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recovery = max(w.recovery, time.Since(since))
}

func (w *world) fault() { w.mu.Lock(); defer w.mu.Unlock(); w.faults++ }

// where is the address of a source, once there is one.
func (w *world) where(ctx context.Context, source int) (string, error) {
	for {
		w.mu.Lock()
		address, up := w.address[source], w.up
		w.mu.Unlock()
		if address != "" {
			return address, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// A line is one sender's connection, made again when it breaks.
type line struct {
	w      *world
	source int
	conn   net.Conn
	r      *bufio.Reader
}

func (l *line) close() {
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

// frame wraps a message for MLLP.
func frame(raw []byte) []byte { return append(append([]byte{0x0b}, raw...), 0x1c, 0x0d) }

// try sends a message once and reads its answer: MSA-1 and MSA-2.
func (l *line) try(ctx context.Context, raw []byte) (code, names string, err error) {
	if l.conn == nil {
		address, err := l.w.where(ctx, l.source)
		if err != nil {
			return "", "", err
		}
		if l.conn, err = dial(ctx, address); err != nil {
			return "", "", err
		}
		l.r = bufio.NewReader(l.conn)
	}
	if err := l.conn.SetDeadline(time.Now().Add(patience())); err != nil {
		return "", "", err
	}
	if _, err := l.conn.Write(frame(raw)); err != nil {
		return "", "", err
	}
	return readAnswer(l.r)
}

func readAnswer(r *bufio.Reader) (code, names string, err error) {
	text, err := r.ReadString(0x1c)
	if err != nil {
		return "", "", err
	}
	if _, err := r.Discard(1); err != nil {
		return "", "", err
	}
	_, msa, ok := strings.Cut(text, "\rMSA|")
	if !ok {
		return "", "", fmt.Errorf("an answer without MSA")
	}
	fields := strings.Split(strings.Trim(msa, "\x1c\r"), "|")
	if len(fields) < 2 {
		return "", "", fmt.Errorf("an answer without MSA-2")
	}
	names, _, _ = strings.Cut(fields[1], "\r")
	return fields[0], names, nil
}

// deliver sends a message until it is answered positively.
func (l *line) deliver(ctx context.Context, m *faulttest.Message) {
	for pause := time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 50*time.Millisecond) {
		l.w.ledger.Send(m)
		began := time.Now()
		code, names, err := l.try(ctx, m.Bytes())
		if err == nil {
			l.w.ledger.Answer(m, code, names, time.Since(began))
			if faulttest.Positive(code) {
				return
			}
		} else {
			l.close()
		}
		select { // an honest sender waits before it sends again
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// drive sends the whole feed, each sender on a connection of its own and in its
// order; one message in twenty is sent again after its answer. done is called
// after each message that was answered.
func (w *world) drive(done func()) {
	w.t.Helper()
	require.NoError(w.t, w.driving(done))
}

// driving is drive for other goroutines than the test's.
func (w *world) driving(done func()) error { return w.driveFrom(0, 1, done) }

// driveFrom sends a part of each sender's messages: from and to are parts of one.
func (w *world) driveFrom(from, to float64, done func()) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Duration(howMany(4, 6))*patience())
	defer cancel()
	var work sync.WaitGroup
	for n, sent := range w.feed.Senders {
		work.Go(func() {
			random := rand.New(rand.NewPCG(w.seed, uint64(1000+n)))
			l := &line{w: w, source: 0}
			defer l.close()
			part := sent[int(from*float64(len(sent))):int(to*float64(len(sent)))]
			for _, m := range part {
				for again := true; again; again = random.IntN(20) == 0 {
					l.deliver(ctx, m)
				}
				if done != nil {
					done()
				}
			}
		})
	}
	work.Wait()
	if ctx.Err() != nil {
		return errors.New("not everything was answered in time")
	}
	return nil
}

// at calls a function once when so many messages have been answered.
func at(n int, do func()) func() {
	var count atomic.Int64
	return func() {
		if count.Add(1) == int64(n) {
			do()
		}
	}
}

// settle waits until everything that was accepted is on Kafka.
func (w *world) settle() {
	w.t.Helper()
	w.mu.Lock()
	s := w.subject
	w.mu.Unlock()
	require.Eventually(w.t, s.drained, patience(), 2*time.Millisecond, "not everything is published")
}

// stored counts the records on all topics, as the brokers tell where they end.
// The subject makes the topics when it has started.
func (w *world) stored(ctx context.Context, client *kgo.Client) (n int64) {
	w.t.Helper()
	request := kmsg.NewPtrListOffsetsRequest()
	for _, name := range records.Topics() {
		topic := kmsg.NewListOffsetsRequestTopic()
		topic.Topic = name
		for p := range int32(partitions) {
			partition := kmsg.NewListOffsetsRequestTopicPartition()
			partition.Partition, partition.Timestamp = p, -1
			topic.Partitions = append(topic.Partitions, partition)
		}
		request.Topics = append(request.Topics, topic)
	}
	var failed error
	require.Eventually(w.t, func() bool {
		n, failed = 0, nil
		var answer *kmsg.ListOffsetsResponse
		answer, failed = request.RequestWith(ctx, client)
		if failed == nil {
			for _, topic := range answer.Topics {
				for _, p := range topic.Partitions {
					failed = errors.Join(failed, kerr.ErrorForCode(p.ErrorCode))
					n += p.Offset
				}
			}
		}
		return !errors.Is(failed, kerr.UnknownTopicOrPartition)
	}, patience(), 5*time.Millisecond, "there are not all topics")
	require.NoError(w.t, failed)
	return n
}

// sink reads every topic from its beginning to its end with a Kafka client that
// is not ours.
func (w *world) sink() []faulttest.Delivery {
	w.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(w.plan.Kafka), kgo.ConsumeTopics(records.Topics()...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	require.NoError(w.t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience())
	defer cancel()
	want := w.stored(ctx, client)
	var out []faulttest.Delivery
	for int64(len(out)) < want {
		fetches := client.PollFetches(ctx)
		require.NoError(w.t, ctx.Err(), "the topics hold %d records and %d came", want, len(out))
		fetches.EachRecord(func(r *kgo.Record) {
			d := faulttest.Delivery{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value}
			require.False(w.t, bytes.ContainsFunc(r.Key, unicode.IsControl), "a key of several lines: %q", r.Key)
			for _, h := range r.Headers {
				if h.Key == "ce_id" {
					d.EventID = string(h.Value)
				}
				require.NotContains(w.t, string(h.Value), canary, "a header tells a patient's name")
				require.False(w.t, strings.ContainsFunc(h.Key+string(h.Value), unicode.IsControl), "a header of several lines: %q", h.Value)
			}
			out = append(out, d)
		})
	}
	return out
}

// held is what is in quarantine.
func (w *world) held() []faulttest.Held {
	w.t.Helper()
	var out []faulttest.Held
	require.NoError(w.t, w.subject.engine.Quarantined(func(h *engine.Held) error {
		out = append(out, faulttest.Held{Control: h.ControlID, Reason: string(h.Reason)})
		return nil
	}))
	return out
}

// quiet looks for the canary where a patient's name must not be.
func (w *world) quiet() (out []faulttest.Violation) {
	w.t.Helper()
	places := map[string]string{"log": w.logs.String()}
	if w.redis != nil {
		places["redis"] = w.redis.Dump()
	}
	families, err := w.subject.registry.Gather()
	require.NoError(w.t, err)
	places["metrics"] = fmt.Sprint(families)
	for place, text := range places {
		if strings.Contains(text, canary) {
			out = append(out, faulttest.Violation{Invariant: faulttest.Silence, Text: "a patient's name stands in the " + place})
		}
	}
	return out
}

// judge settles, reads everything back and gives what must not be.
func (w *world) judge() ([]faulttest.Violation, faulttest.Counts) {
	w.t.Helper()
	w.settle()
	out, counts := faulttest.Check(w.feed, w.ledger, w.sink(), w.held())
	return append(out, w.quiet()...), counts
}

// check is judge, for the report.
func (w *world) check() []faulttest.Violation {
	w.t.Helper()
	out, counts := w.judge()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	w.ledger.Phase("over")
	run := &faulttest.Run{
		Test: w.name, Seed: w.seed, Load: fmt.Sprintf("%d senders, %d messages", len(w.feed.Senders), w.feed.Count()), Faults: w.faults, Acked: w.ledger.Acked(),
		Lost: counts.Lost, Doubled: counts.Doubled, Disordered: counts.Disordered, Again: counts.Again, Recovery: w.recovery,
		Before: w.ledger.Percentile("before", 99), During: w.ledger.Percentile("during", 99), After: w.ledger.Percentile("after", 99), Memory: memory.Sys - memory.HeapReleased,
		Figures: w.figures,
	}
	for _, v := range out {
		run.Violations = append(run.Violations, v.String())
	}
	reported.mu.Lock()
	defer reported.mu.Unlock()
	reported.runs = append(reported.runs, run)
	require.NoError(w.t, writeReport(reported.runs))
	return out
}

// figure notes what was measured; the full form wants it within its bound.
func (w *world) figure(f faulttest.Figure) {
	w.t.Helper()
	w.figures = append(w.figures, f)
	w.t.Logf("%s: %.3g%s", f.Name, f.Value, f.Unit)
	if *long && !f.Reached() {
		w.t.Errorf("%s: %.4g%s is not within its bound", f.Name, f.Value, f.Unit)
	}
}

// slower is how many times longer 99 of a hundred answers took during the fault
// than before it.
func (w *world) slower() float64 {
	return float64(w.ledger.Percentile("during", 99)) / float64(max(1, w.ledger.Percentile("before", 99)))
}

// holds fails the test where an invariant does not hold.
func (w *world) holds() {
	w.t.Helper()
	list := w.check()
	for i, v := range list {
		w.t.Errorf("%s", v)
		if i == 9 {
			w.t.Errorf("… and %d more", len(list)-10)
			break
		}
	}
	w.t.Logf("%d messages acknowledged, %d faults, recovery %v", w.ledger.Acked(), w.faults, w.recovery)
}

// writeReport writes what there is by now: a run that is broken off has its
// report too.
func writeReport(runs []*faulttest.Run) error {
	if *reportFile == "" {
		return nil
	}
	f, err := os.Create(*reportFile)
	if err != nil {
		return err
	}
	return errors.Join(faulttest.WriteReport(f, runs, strings.HasSuffix(*reportFile, ".md")), f.Close())
}

// heap is what the process holds after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
