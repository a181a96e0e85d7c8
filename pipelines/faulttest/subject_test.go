package faulttest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/liaison-health/liaison/connectors/kafka"
	"github.com/liaison-health/liaison/connectors/mllp"
	"github.com/liaison-health/liaison/connectors/redis"
	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/pipelines/store"
)

// builtin loads the program's own tables once for all tests.
var builtin = sync.OnceValues(func() (*tables.Mapper, error) { return tables.Load(fhir.NewSchema()) })

// A plan says how a subject is put together; the wraps are where a test takes
// hold.
type plan struct {
	Dir, Kafka, Redis string
	FS                vfs.FS // nil: the disk
	Connections       int
	FrameTimeout      time.Duration
	MaxFrame          int
	InFlight          int64
	Window            time.Duration
	Pause             time.Duration // of the early filter after failures; 0: the program's
	TLS               *tls.Config
	Rate              int // messages a second of the source b; 0: any
	Failpoint         func(string)
	Free              func(string) (uint64, error)
	Clock             func() time.Time
	Fatal             func(string, ...any)
	Intake            func(pipelines.Intake) pipelines.Intake
	Publisher         func(pipelines.Publisher) pipelines.Publisher
	Mapper            *tables.Mapper
	Dead              *atomic.Bool // set by what makes it crash
	Log               *slog.Logger
}

// A subject is one Liaison under test: what `liaison run` wires, with two MLLP
// sources.
type subject struct {
	plan     plan
	store    *store.Store
	engine   *engine.Engine
	servers  []*mllp.Server
	filter   *redis.Filter
	kafka    *kafka.Publisher
	registry *prometheus.Registry
	dead     *atomic.Bool // crashed: nothing it does may be seen any more
	stop     func() error
}

var errDead = errors.New("the process is dead")

// gate lets nothing out of a crashed subject: no answer, no event.
type gate struct {
	s      *subject
	intake pipelines.Intake
	pipelines.Publisher
}

// Accept implements pipelines.Intake.
func (g *gate) Accept(ctx context.Context, m *pipelines.Message) (pipelines.Receipt, error) {
	receipt, err := g.intake.Accept(ctx, m)
	if g.s.dead.Load() {
		return pipelines.Receipt{}, pipelines.ErrClosed
	}
	return receipt, err
}

// Publish implements pipelines.Publisher.
func (g *gate) Publish(ctx context.Context, topic string, partition int32, events []pipelines.OutboxEvent) (int64, error) {
	if g.s.dead.Load() {
		return -1, errDead
	}
	return g.Publisher.Publish(ctx, topic, partition, events)
}

// paced lets one source bring in only so much, as its rate in the configuration.
type paced struct {
	pipelines.Intake
	source string
	pace   *pipelines.Pace
}

// Accept implements pipelines.Intake.
func (p *paced) Accept(ctx context.Context, m *pipelines.Message) (pipelines.Receipt, error) {
	if m.Source == p.source {
		if err := p.pace.Wait(ctx); err != nil {
			return pipelines.Receipt{}, err
		}
	}
	return p.Intake.Accept(ctx, m)
}

func (p *plan) withDefaults() {
	if p.Intake == nil {
		p.Intake = func(in pipelines.Intake) pipelines.Intake { return in }
	}
	if p.Publisher == nil {
		p.Publisher = func(pub pipelines.Publisher) pipelines.Publisher { return pub }
	}
	if p.Dead == nil {
		p.Dead = &atomic.Bool{}
	}
	if p.Connections == 0 {
		p.Connections = 256
	}
	if p.InFlight == 0 {
		p.InFlight = 128 << 20
	}
}

// start opens and runs a subject; sources names its MLLP listeners.
func start(p plan, sources ...string) (s *subject, err error) {
	p.withDefaults()
	s = &subject{plan: p, dead: p.Dead, registry: prometheus.NewRegistry()}
	var undo []func() error
	down := func() error {
		var err error
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, down())
		}
	}()
	if s.store, err = store.Open(p.Dir, store.Options{FS: p.FS, Fatal: p.Fatal}); err != nil {
		return nil, err
	}
	undo = append(undo, s.store.Close)
	key := []byte("0123456789abcdef0123456789abcdef")
	if s.filter, err = redis.New(redis.Config{Address: p.Redis, Window: time.Hour, Key: key, Pause: p.Pause}); err != nil {
		return nil, err
	}
	undo = append(undo, s.filter.Close)
	topics := []kafka.Topic{}
	for _, name := range records.Topics() {
		topics = append(topics, kafka.Topic{Name: name, Partitions: partitions})
	}
	s.kafka, err = kafka.NewPublisher(kafka.Config{
		Brokers: []string{p.Kafka}, Topics: topics, RequestTimeout: 5 * time.Second, RetryMin: time.Millisecond, RetryMax: 20 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	undo = append(undo, s.kafka.Close)
	if p.Mapper == nil {
		if p.Mapper, err = builtin(); err != nil {
			return nil, err
		}
	}
	var lines []*engine.Pipeline
	for _, name := range sources {
		lines = append(lines, &engine.Pipeline{Source: name, Mapper: p.Mapper, ProcessingIDs: []string{"P"}})
	}
	cfg := engine.Config{
		Dir: p.Dir, Key: key, Settings: []byte("{}"), Window: p.Window, Housekeeping: 2 * time.Millisecond, Drain: time.Millisecond,
		Failpoint: p.Failpoint, Free: p.Free, Clock: p.Clock, Log: p.Log, Registry: s.registry,
	}
	if p.Free != nil {
		cfg.FreeSpace = 1 << 20
	}
	g := &gate{s: s, Publisher: p.Publisher(s.kafka)}
	if s.engine, err = engine.New(cfg, s.store, s.filter, g, lines); err != nil {
		return nil, err
	}
	g.intake = p.Intake(&paced{Intake: s.engine, source: sources[len(sources)-1], pace: pipelines.NewPace(p.Rate)})
	room, descriptors := pipelines.NewRoom(p.InFlight), pipelines.NewDescriptors(p.Log)
	for _, name := range sources {
		server, err := mllp.Listen(context.Background(), mllp.Config{
			Name: name, Listen: "127.0.0.1:0", TLS: p.TLS, Connections: p.Connections, FrameTimeout: p.FrameTimeout, MaxFrame: p.MaxFrame, Room: room, Descriptors: descriptors, Outcomes: s.engine, Log: p.Log,
		})
		if err != nil {
			return nil, err
		}
		s.servers = append(s.servers, server)
		undo = append(undo, server.Close)
	}
	s.run(g, down)
	return s, nil
}

// run lets the subject work until stop.
func (s *subject) run(in pipelines.Intake, down func() error) {
	intake, stopIntake := context.WithCancel(context.Background())
	work, stopWork := context.WithCancel(context.Background())
	served, worked := make(chan error, len(s.servers)), make(chan error, 1)
	for _, server := range s.servers {
		go func() { served <- server.Run(intake, in) }()
	}
	go func() { worked <- s.engine.Run(work) }()
	s.stop = sync.OnceValue(func() error {
		stopIntake()
		var err error
		for range s.servers {
			err = errors.Join(err, <-served)
		}
		stopWork()
		return errors.Join(err, <-worked, down())
	})
}

// drained says whether all that was accepted is on Kafka.
func (s *subject) drained() bool {
	tail, checkpoint, event, published := s.engine.Progress()
	return tail == checkpoint && event == published
}

// metric is the sum of a counter or gauge over its labels.
func (s *subject) metric(name string) (total float64) {
	families, err := s.registry.Gather()
	if err != nil {
		return -1
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return total
}

// address is where a source listens.
func (s *subject) address(source int) string { return s.servers[source].Addr() }

func dial(ctx context.Context, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return c, nil
}
