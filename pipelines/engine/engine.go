// Package engine takes messages into the journal, and the journal in its order
// through deduplication, mapping and folding to the outbox, and the outbox to
// Kafka. One write makes state, events, outcome and checkpoint durable
// together, so a crash at any point repeats work but never its effect.
package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/store"
)

// A Pipeline is how one source's messages are read.
type Pipeline struct {
	Source          string
	Mapper          *tables.Mapper
	Location        *time.Location
	DefaultCharset  string
	DefaultAssigner string
	Systems         map[string]string
	ProcessingIDs   []string // MSH-11 that may pass; empty: P and none
	Application     string   // MSH-5 that the source must address; "": any
	Facility        string   // MSH-6
	// Gate looks at what the mapping made; nil: nothing does. A finding sends
	// the message to quarantine, or with Sample above 1, where only every so
	// manieth journal entry is looked at, is a warning in its records.
	Gate   func(*tables.Result) (place, reason string)
	Sample uint64
}

// Config says how an engine works.
type Config struct {
	Dir           string // its data
	Window        time.Duration
	Workers       int // parallel parsing and mapping; 0: two
	Batch         int // messages a write; 0: 64
	RecordBytes   int // the largest record; 0: any
	Retention     time.Duration
	RetentionSize int64
	FreeSpace     uint64        // bytes of the volume below which nothing is taken
	Housekeeping  time.Duration // how often space and retention are looked at; 0: 1 s
	Finish        time.Duration // how long stopping goes on with what the journal has; 0: 10 s, below: to its end
	Drain         time.Duration // how long stopping then waits for Kafka; 0: 10 s
	Patience      time.Duration // how long a partition may keep the others waiting; 0: 3 s
	Key           []byte        // the site's; nil: SiteKey's
	// Settings is the configuration as the journal keeps it: all that bears on
	// records, without secrets. Empty: the engine adds neither settings nor
	// ticks to the journal, as in a replay.
	Settings  []byte
	Failpoint func(name string)                // nil outside fault tests
	Free      func(dir string) (uint64, error) // free bytes of a volume; nil: the system's answer
	Clock     func() time.Time                 // nil: the machine's
	Log       *slog.Logger
	Registry  prometheus.Registerer
}

// An Engine is one partition's worker: Intake, Outcomes, and the way to Kafka.
type Engine struct {
	cfg                              Config
	store                            *store.Store
	filter                           pipelines.EarlyFilter
	filterState                      filterState
	publisher                        pipelines.Publisher
	pipelines                        map[string]*Pipeline
	folder                           *records.Folder
	hmacKey                          []byte
	metrics                          *metrics
	clock                            func() time.Time // of ticks and retention
	outbox                           chan struct{}    // a token when events were written
	mu                               sync.Mutex
	waiters                          map[uint64][]chan struct{}
	checkpoint, lastEvent, published uint64  // what is durable
	folded                           written // what is readable: the processing's own
	written                          chan written
	remember                         chan pipelines.FilterEntry
	passed                           uint64            // how far the publishing has got where nothing is stuck
	left                             int               // events up to there that are not on Kafka
	ahead                            map[string]uint64 // by partition: the last event that it has, where that is beyond published
	partitions                       map[string]int    // of the topics
	stuck                            []string          // topics
	cache                            *cache            // the processing's own, as mac and event
	keys                             *keys
	mac                              hash.Hash
	event                            []byte
	floor                            atomic.Int64 // Unix nanoseconds: what the index holds from before is forgotten
	expired                          chan expiry
	swept                            struct { // how far the index was looked through
		after  []byte
		before time.Time
		done   bool
	}
	ticked struct { // the last tick
		at   time.Time
		tail uint64
	}
}

// New opens the engine's data. filter may be nil.
func New(cfg Config, s *store.Store, filter pipelines.EarlyFilter, publisher pipelines.Publisher, sources []*Pipeline) (*Engine, error) {
	if cfg.Batch <= 0 {
		cfg.Batch = 64
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 2
	}
	if cfg.Window <= 0 {
		cfg.Window = 7 * 24 * time.Hour
	}
	if cfg.Housekeeping <= 0 {
		cfg.Housekeeping = time.Second
	}
	if cfg.Finish == 0 {
		cfg.Finish = 10 * time.Second
	}
	if cfg.Drain <= 0 {
		cfg.Drain = 10 * time.Second
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 3 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		cfg: cfg, store: s, filter: filter, publisher: publisher, pipelines: map[string]*Pipeline{}, folder: records.NewFolder(0, cfg.RecordBytes),
		outbox: make(chan struct{}, 1), waiters: map[uint64][]chan struct{}{}, remember: make(chan pipelines.FilterEntry, 4096),
		cache: newCache(24 << 20), keys: newKeys(), expired: make(chan expiry, 16),
	}
	if e.cfg.Free == nil {
		e.cfg.Free = freeSpace
	}
	e.clock = e.cfg.Clock
	if began := time.Now(); e.clock == nil { // it does not jump when somebody sets the machine's
		e.clock, e.cfg.Clock = func() time.Time { return began.Add(time.Since(began)) }, time.Now
	}
	for _, p := range sources {
		e.pipelines[p.Source] = p
	}
	var err error
	if e.checkpoint, err = s.Number("checkpoint"); err != nil {
		return nil, err
	}
	if e.lastEvent, err = s.Number("events"); err != nil {
		return nil, err
	}
	e.folded = written{position: e.checkpoint, event: e.lastEvent}
	if e.published, err = s.Number("published"); err != nil {
		return nil, err
	}
	e.passed = e.published
	o, err := e.readOffsets()
	if err != nil {
		return nil, err
	}
	e.ahead, e.partitions = o.Sent, o.partitions()
	if e.hmacKey = cfg.Key; e.hmacKey == nil {
		if e.hmacKey, err = SiteKey(cfg.Dir, s); err != nil {
			return nil, err
		}
	}
	if err := e.cache.load(s); err != nil {
		return nil, err
	}
	floor, err := s.Number("dedup-floor")
	if err != nil {
		return nil, err
	}
	e.floor.Store(int64(floor))
	e.metrics = newMetrics(cfg.Registry, e)
	return e, errors.Join(e.settle(), e.startClock(e.clock()))
}

// SiteKey reads the key of Kafka keys and filter entries, or makes it once. Data
// without its key is an error: a new key would move every record to another
// partition.
func SiteKey(dir string, s *store.Store) ([]byte, error) {
	events, err := s.Number("events")
	if err != nil {
		return nil, err
	}
	hasData := events > 0
	name := filepath.Join(dir, "site.key")
	key, err := os.ReadFile(name)
	switch {
	case err == nil && len(key) == 32:
		return key, nil
	case err == nil:
		return nil, fmt.Errorf("%s is not 32 bytes", name)
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("read site key: %w", err)
	case hasData:
		return nil, fmt.Errorf("%s is gone, but its data is here: bring the key back", name)
	}
	key = make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make site key: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make site key: %w", err)
	}
	return key, writeKey(name, key)
}

// writeKey makes the file whole and durable before it has its name.
func writeKey(name string, key []byte) error {
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make site key: %w", err)
	}
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(name+".new", name)
	}
	if err == nil {
		var dir *os.File
		if dir, err = os.Open(filepath.Dir(name)); err == nil {
			err = errors.Join(dir.Sync(), dir.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("make site key: %w", err)
	}
	return nil
}

// Run works until ctx is done, then drains: what is in the journal becomes
// events. What is not done after a while, or Kafka does not take by then, waits
// for the next start. A volume that takes nothing then ends the process.
func (e *Engine) Run(ctx context.Context) error {
	if err := e.resume(); err != nil {
		return err
	}
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(max(e.cfg.Finish, 0) + e.cfg.Drain):
			e.store.StopWaiting()
		case <-work.Done():
		}
	})()
	group, groupCtx := errgroup.WithContext(work)
	processed := make(chan struct{})
	group.Go(func() error {
		defer close(processed)
		return e.process(groupCtx, ctx.Done())
	})
	group.Go(func() error { return e.publish(groupCtx, processed) })
	group.Go(func() error {
		background()
		if err := e.keys.read(ctx, e.store); err != nil {
			e.cfg.Log.Warn("the state's keys cannot be read through: each is looked for", "error", err)
		}
		return nil
	})
	group.Go(func() error { return e.keepHouse(groupCtx, processed) })
	group.Go(func() error { return e.remembering(groupCtx, processed) })
	return group.Wait()
}

func (e *Engine) failpoint(name string) {
	if e.cfg.Failpoint != nil {
		e.cfg.Failpoint(name)
	}
}

// Wait implements pipelines.Outcomes.
func (e *Engine) Wait(ctx context.Context, position uint64) (pipelines.Outcome, error) {
	for {
		e.mu.Lock()
		done := make(chan struct{})
		pending := position > e.checkpoint
		if pending {
			e.waiters[position] = append(e.waiters[position], done)
		}
		e.mu.Unlock()
		switch {
		case e.store.Failed():
			return pipelines.Outcome{Status: pipelines.Pending}, pipelines.ErrClosed
		case !pending:
			return e.settled(position)
		}
		select {
		case <-done:
		case <-ctx.Done():
			e.gone(position, done)
			return pipelines.Outcome{Status: pipelines.Pending}, fmt.Errorf("wait for the outcome: %w", ctx.Err())
		}
	}
}

// gone forgets one who waited.
func (e *Engine) gone(position uint64, done chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	left := slices.DeleteFunc(e.waiters[position], func(c chan struct{}) bool { return c == done })
	if e.waiters[position] = left; len(left) == 0 {
		delete(e.waiters, position)
	}
}

// settled is the outcome of a message that has one. Of one that retention has
// taken only quarantine is still known; the others were published.
func (e *Engine) settled(position uint64) (pipelines.Outcome, error) {
	o, ok, err := e.store.Outcome(position)
	if err != nil || ok {
		return o, err
	}
	h, err := e.quarantined(position)
	if err != nil || h == nil {
		return pipelines.Outcome{Status: pipelines.Published}, err
	}
	return pipelines.Outcome{Status: pipelines.Quarantined, Reason: string(h.Reason), Place: h.Place}, nil
}

// reached wakes who waits for positions up to the checkpoint.
func (e *Engine) reached(checkpoint, lastEvent uint64) {
	e.mu.Lock()
	e.checkpoint, e.lastEvent = checkpoint, lastEvent
	for pos, list := range e.waiters {
		if pos <= checkpoint {
			for _, done := range list {
				close(done)
			}
			delete(e.waiters, pos)
		}
	}
	e.mu.Unlock()
	select {
	case e.outbox <- struct{}{}:
	default:
	}
}

// Progress gives the journal's last position, the last that has its outcome,
// the last event, and the last before the first that is not on Kafka.
func (e *Engine) Progress() (tail, checkpoint, event, published uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.store.Tail(), e.checkpoint, e.lastEvent, e.published
}

// Search finds the held resources of a type that meet a condition: Type/id, two
// at most.
func (e *Engine) Search(_ context.Context, resourceType string, c fhir.Condition) ([]string, error) {
	found, err := records.Search(e.store, resourceType, c)
	if err != nil {
		return nil, fmt.Errorf("search %s: %w", resourceType, err)
	}
	return found, nil
}

// Brought gives the position of the message that brought a resource and had its
// effect: the message at this position, or the first one where that is a
// duplicate. 0: it did not; or, of a resource that is no record of its own, and
// so does not know its message, that is no longer what the message said.
func (e *Engine) Brought(ctx context.Context, position uint64, ref string) (uint64, error) {
	data, err := e.store.Entry(position)
	if err != nil || data == nil {
		return 0, err
	}
	en, err := decodeEntry(position, data)
	if err != nil || en.Format != pipelines.FHIR {
		return 0, err
	}
	o, ok, err := e.store.Outcome(position)
	if err != nil || !ok {
		return 0, err
	}
	switch o.Status {
	case pipelines.Published, pipelines.Unchanged:
	case pipelines.Duplicate:
		position = o.Of
	default:
		return 0, nil
	}
	req := records.FHIRRequest{}
	if err := json.Unmarshal(en.Meta, &req); err != nil {
		return 0, fmt.Errorf("read journal: %w", err)
	}
	req.Body, req.Origin = en.raw, records.Origin{Source: en.Source}
	refs, err := records.Identify(req)
	if err != nil {
		return 0, fmt.Errorf("read journal: %w", err)
	}
	if !slices.Contains(refs, ref) {
		return 0, nil
	}
	typ, id, _ := strings.Cut(ref, "/")
	held, version, err := e.ReadResource(ctx, typ, id)
	if err != nil {
		return 0, err
	}
	if version > 0 {
		return position, nil
	}
	change, err := records.FromFHIR(req)
	if err != nil {
		return 0, fmt.Errorf("read journal: %w", err)
	}
	if slices.ContainsFunc(change.Related, func(n *fhir.Node) bool {
		return n.ResourceType() == typ && n.ID() == id && bytes.Equal(n.JSON(), held)
	}) {
		return position, nil
	}
	return 0, nil
}

// Expected gives the sequence number that is expected next of a sender; -1: any.
func (e *Engine) Expected(sender string) (int64, error) {
	n, err := e.store.Number("sequence " + sender)
	return int64(n) - 1, err
}

// Expect notes the sequence number that is expected next of a sender; it is
// durable on return.
func (e *Engine) Expect(sender string, next int64) error {
	if e.store.Full() {
		return pipelines.ErrFull
	}
	b := e.store.NewBatch()
	if err := b.Number("sequence "+sender, uint64(next+1)); err != nil {
		return err
	}
	refusing, done := e.store.Refusing(), make(chan error, 1)
	go func() { done <- b.Commit() }()
	select {
	case err := <-done:
		return err
	case <-refusing: // it is kept once the volume takes it: the sender's repeat is a duplicate, or is told the number
		return pipelines.ErrFull
	}
}

// Stuck names the topics of which a partition does not take events.
func (e *Engine) Stuck() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stuck
}

// Full says that nothing is taken, for want of room or because the volume is
// read-only.
func (e *Engine) Full() bool { return e.store.Full() }

// ReadResource gives a held resource and its version, nil where there is none.
func (e *Engine) ReadResource(_ context.Context, resourceType, id string) ([]byte, uint64, error) {
	data, version, err := records.LookupResource(e.store, resourceType, id)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", resourceType, err)
	}
	return data, version, nil
}
