package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/pipelines/store"
)

const patience = time.Minute

// builtin loads the program's own tables once for all tests.
var builtin = sync.OnceValues(func() (*tables.Mapper, error) { return tables.Load(fhir.NewSchema()) })

// A log is a Kafka in memory that can be stopped, that can lose what it had,
// that refuses one topic when told, and does not answer for one partition. What
// it did not take must be offered again.
type log struct {
	mu      sync.Mutex
	cluster string
	parts   map[pipelines.TopicPartition][]pipelines.OutboxEvent
	refuse  map[string]error                           // by topic
	hangs   map[pipelines.TopicPartition]chan struct{} // closed when it answers again
	offered map[pipelines.TopicPartition][]string      // what it did not take
	missing string                                     // a topic that it does not have
	astray  error                                      // something else was offered
	down    chan struct{}                              // closed when it is back; nil: it is up
	before  func()                                     // called before each append, with nothing held
}

func newLog() *log {
	return &log{
		cluster: "one", parts: map[pipelines.TopicPartition][]pipelines.OutboxEvent{}, refuse: map[string]error{},
		hangs: map[pipelines.TopicPartition]chan struct{}{}, offered: map[pipelines.TopicPartition][]string{},
	}
}

func (l *log) stop() { l.mu.Lock(); defer l.mu.Unlock(); l.down = make(chan struct{}) }

func (l *log) start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.down)
	l.down = nil
}

// hang makes a partition answer no more, until the function is called.
func (l *log) hang(tp pipelines.TopicPartition) (again func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	hangs := make(chan struct{})
	l.hangs[tp] = hangs
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.hangs, tp)
		close(hangs)
	})
}

func (l *log) answers(ctx context.Context, tp pipelines.TopicPartition) error {
	l.mu.Lock()
	hangs := l.hangs[tp]
	l.mu.Unlock()
	if hangs == nil {
		return nil
	}
	select {
	case <-hangs:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%v does not answer: %w", tp, ctx.Err())
	}
}

func (l *log) up(ctx context.Context) error {
	l.mu.Lock()
	down := l.down
	l.mu.Unlock()
	if down == nil {
		return nil
	}
	select {
	case <-down:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("no broker answers: %w", ctx.Err())
	}
}

func (l *log) Publish(ctx context.Context, topic string, partition int32, events []pipelines.OutboxEvent) (int64, error) {
	tp := pipelines.TopicPartition{Topic: topic, Partition: partition}
	l.mu.Lock()
	for i, id := range l.offered[tp] {
		if i >= len(events) || events[i].ID != id {
			l.astray = fmt.Errorf("%v: other events than those that it did not take", tp)
		}
	}
	l.offered[tp] = nil
	for i := range events {
		l.offered[tp] = append(l.offered[tp], events[i].ID)
	}
	l.mu.Unlock()
	if err := l.up(ctx); err != nil {
		return -1, err
	}
	if err := l.answers(ctx, tp); err != nil {
		return -1, err
	}
	if l.before != nil {
		l.before()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refuse[topic]; err != nil {
		if errors.As(err, new(*pipelines.LogLost)) {
			l.offered[tp] = nil
		}
		return -1, err
	}
	l.offered[tp] = nil
	base := int64(len(l.parts[tp]))
	for _, ev := range events {
		ev.Key, ev.Value = bytes.Clone(ev.Key), bytes.Clone(ev.Value)
		l.parts[tp] = append(l.parts[tp], ev)
	}
	return base, nil
}

func (l *log) Topics(ctx context.Context) (string, map[string]int32, error) {
	if err := l.up(ctx); err != nil {
		return "", nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	partitions := map[string]int32{}
	for _, topic := range records.Topics() {
		partitions[topic] = 3
	}
	delete(partitions, l.missing)
	return l.cluster, partitions, nil
}

func (l *log) LogEnd(ctx context.Context, topic string, partition int32) (int64, error) {
	if err := l.answers(ctx, pipelines.TopicPartition{Topic: topic, Partition: partition}); err != nil {
		return -1, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if topic == l.missing {
		return -1, errMissing
	}
	return int64(len(l.parts[pipelines.TopicPartition{Topic: topic, Partition: partition}])), nil
}

func (l *log) ReadFrom(_ context.Context, topic string, partition int32, from int64, fn func(int64, pipelines.OutboxEvent) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.parts[pipelines.TopicPartition{Topic: topic, Partition: partition}]
	for i := from; i < int64(len(list)); i++ {
		if err := fn(i, list[i]); err != nil {
			return err
		}
	}
	return nil
}

func (l *log) Close() error { return nil }

// copied is the log as it stands.
func (l *log) copied() *log {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := newLog()
	for tp, list := range l.parts {
		out.parts[tp] = slices.Clone(list)
	}
	return out
}

// ids are the event ids of a topic, partition by partition.
func (l *log) ids(topic string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for p := range int32(3) {
		for _, ev := range l.parts[pipelines.TopicPartition{Topic: topic, Partition: p}] {
			out = append(out, ev.ID)
		}
	}
	return out
}

// all are the ids of every topic, in the order of their partitions.
func (l *log) all() []string {
	var out []string
	for _, topic := range records.Topics() {
		out = append(out, l.ids(topic)...)
	}
	return out
}

func (l *log) record(t *testing.T, id string) *records.Record {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, list := range l.parts {
		for _, ev := range list {
			if ev.ID == id {
				r, err := records.Decode(ev.Value)
				require.NoError(t, err)
				return r
			}
		}
	}
	require.Fail(t, "no such event on any topic", id)
	return nil
}

// A house is one engine over a store, and what is around it.
type house struct {
	t      *testing.T
	cfg    engine.Config
	fs     vfs.FS
	log    *log
	filter pipelines.EarlyFilter
	gate   func(*tables.Result) (string, string)
	fatal  func(string, ...any)
	cache  int64 // the store's
	gone   bool  // the configuration has the source adt no longer

	store  *store.Store
	engine *engine.Engine
	stop   func()
}

func newHouse(t *testing.T) *house {
	t.Helper()
	dir := t.TempDir()
	return &house{
		t: t, fs: vfs.NewCrashableMem(), log: newLog(),
		cfg:   engine.Config{Dir: dir, Key: []byte(strings.Repeat("k", 32)), Settings: []byte("{}"), Housekeeping: time.Millisecond, Drain: 50 * time.Millisecond},
		fatal: func(format string, args ...any) { t.Errorf("the store failed: "+format, args...) },
	}
}

// open opens the store and the engine without running it.
func (h *house) open() *house {
	h.t.Helper()
	var err error
	h.store, err = store.Open("data", store.Options{FS: h.fs, Fatal: h.fatal, Cache: h.cache})
	require.NoError(h.t, err)
	mapper, err := builtin()
	require.NoError(h.t, err)
	h.cfg.Registry = prometheus.NewRegistry()
	if h.cfg.Log == nil && os.Getenv("LIAISON_TEST_LOG") != "" {
		h.cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	line := &engine.Pipeline{Source: "adt", Mapper: mapper, ProcessingIDs: []string{"P"}, Gate: h.gate}
	portal := &engine.Pipeline{Source: "portal", Mapper: mapper}
	sources := []*engine.Pipeline{portal, line}
	if h.gone {
		sources = sources[:1]
	}
	h.engine, err = engine.New(h.cfg, h.store, h.filter, h.log, sources)
	require.NoError(h.t, err)
	h.stop = func() { require.NoError(h.t, h.store.Close()) }
	return h
}

// run lets the engine work.
func (h *house) run() *house {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.engine.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(h.t, <-done)
		h.log.mu.Lock()
		require.NoError(h.t, h.log.astray)
		h.log.mu.Unlock()
		require.NoError(h.t, h.store.Close())
	})
	h.t.Cleanup(h.stop)
	return h
}

func (h *house) restart() *house {
	h.t.Helper()
	h.stop()
	return h.open().run()
}

func (h *house) accept(raw []byte) (pipelines.Receipt, error) {
	return h.engine.Accept(h.t.Context(), &pipelines.Message{Source: "adt", Format: pipelines.HL7v2, Raw: raw})
}

func (h *house) send(raw []byte) uint64 {
	h.t.Helper()
	receipt, err := h.accept(raw)
	require.NoError(h.t, err)
	return receipt.Position
}

func (h *house) fhir(meta, body string) uint64 {
	h.t.Helper()
	receipt, err := h.engine.Accept(h.t.Context(), &pipelines.Message{Source: "portal", Format: pipelines.FHIR, Meta: []byte(meta), Raw: []byte(body)})
	require.NoError(h.t, err)
	return receipt.Position
}

func (h *house) outcome(pos uint64) pipelines.Outcome {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	o, err := h.engine.Wait(ctx, pos)
	require.NoError(h.t, err)
	return o
}

func (h *house) outcomeOf(raw []byte) pipelines.Outcome {
	h.t.Helper()
	return h.outcome(h.send(raw))
}

// drained returns when everything accepted is published.
func (h *house) drained() {
	h.t.Helper()
	require.Eventually(h.t, func() bool {
		tail, checkpoint, event, published := h.engine.Progress()
		return tail == checkpoint && event == published
	}, patience, time.Millisecond, "not everything is published")
}

// metric is the sum of a metric over its labels, or of those that have a value.
func (h *house) metric(name string, label ...string) float64 {
	h.t.Helper()
	families, err := h.cfg.Registry.(*prometheus.Registry).Gather()
	require.NoError(h.t, err)
	total := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				named := len(label) == 0
				for _, l := range m.GetLabel() {
					named = named || l.GetValue() == label[0]
				}
				if !named {
					continue
				}
				total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return total
}

// adt is an update of an invented patient.
func adt(control, patient, family string) []byte {
	return fmt.Appendf(nil, "MSH|^~\\&|ADT1|ALDER|||20260310120000-0400||ADT^A08^ADT_A01|%s|P|2.5.1\rEVN|A08|20260310120000-0400\r"+
		"PID|1||%s^^^ALDER^MR||%s^Anna\rPV1|1|O\r", control, patient, family)
}

// poison cannot be mapped until its character set is named.
func poison(control, patient string) []byte { return adt(control, patient, "M\xfcller") }

func once(ids []string) []string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}

var errRefused = errors.New("not allowed to write")
