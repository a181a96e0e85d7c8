// Package app wires one running Liaison from its configuration: store, early
// filter, broker, engine, sources, operations. Intake stops first, and what was
// started last is taken down first.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/cmd/internal/registry"
	"github.com/liaison-health/liaison/connectors/kafka"
	kafkaembedded "github.com/liaison-health/liaison/connectors/kafka/embedded"
	"github.com/liaison-health/liaison/connectors/redis"
	redisembedded "github.com/liaison-health/liaison/connectors/redis/embedded"
	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/gate"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/pipelines/store"
)

// An App is one Liaison, opened and ready to run.
type App struct {
	cfg     *config.Config
	log     *slog.Logger
	engine  *engine.Engine
	sources []registry.Source
	ops     *operations
	brokers []string
	kafka   *kafka.Publisher
	watch   *watch
	undo    []func() // taken down last-in-first-out
}

// Seams are where a fault test takes hold.
type Seams struct {
	Failpoint func(name string)
	Free      func(dir string) (uint64, error) // free bytes of the data's volume
	FS        store.FS                         // of the store
	Clock     func() time.Time                 // when messages are received
}

// New opens everything that the configuration names: files, ports, the store.
// Nothing is accepted before Run. seams are nil but in tests.
func New(ctx context.Context, cfg *config.Config, log *slog.Logger, seams *Seams) (opened *App, err error) {
	if seams == nil {
		seams = &Seams{}
	}
	a := &App{cfg: cfg, log: log, brokers: cfg.Kafka.Brokers}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	data, err := store.Open(cfg.Data, store.Options{Fatal: a.fatal, Report: func(text string) { log.Error("store", "error", text) }, FS: seams.FS})
	if err != nil {
		return nil, fmt.Errorf("data directory %s (is another Liaison using it?): %w", cfg.Data, err)
	}
	a.undone(func() error { return data.Close() })
	key, err := engine.SiteKey(cfg.Data, data)
	if err != nil {
		return nil, err
	}
	filter, err := a.filter(key)
	if err != nil {
		return nil, err
	}
	publisher, err := a.publisher()
	if err != nil {
		return nil, err
	}
	lines, check, err := Pipelines(cfg)
	if err != nil {
		return nil, err
	}
	inForce, err := settingsOf(cfg)
	if err != nil {
		return nil, err
	}
	a.engine, err = engine.New(engine.Config{
		Dir: cfg.Data, Window: cfg.Redis.Window, Retention: cfg.Retention.Journal, RetentionSize: int64(cfg.Retention.JournalBytes),
		FreeSpace: uint64(cfg.FreeSpace), RecordBytes: recordLimit(cfg), Key: key, Settings: inForce, Failpoint: seams.Failpoint, Free: seams.Free, Clock: seams.Clock, Log: log, Registry: reg,
	}, data, filter, publisher, lines)
	if err != nil {
		return nil, err
	}
	a.watch = newWatch(cfg, a.engine, reg)
	room, descriptors := pipelines.NewRoom(int64(cfg.InFlight)), pipelines.NewDescriptors(log)
	for i := range cfg.Sources {
		name := cfg.Sources[i].Name
		s, err := registry.Open(ctx, cfg, &cfg.Sources[i], registry.Deps{
			Room: room, Descriptors: descriptors, Outcomes: a.engine, Answered: a.engine.Answered, Log: log, Check: inbound(cfg, check, func() { a.engine.GateFound(name) }), Read: a.engine.ReadResource,
			Search: a.engine.Search, Brought: a.engine.Brought, Sequences: a.engine, Types: check.Resources(),
		})
		if err != nil {
			return nil, err
		}
		a.sources = append(a.sources, s)
		a.undone(s.Close)
	}
	if asked, most := connections(cfg), descriptors.MostConnections(); asked > most {
		log.Warn("the sources' connections are more than the process may have open files for: fewer are served (ulimit -n)", "connections", asked, "served", most)
	}
	if a.ops, err = a.listenOperations(ctx, reg); err != nil {
		return nil, err
	}
	a.undone(a.ops.close)
	return a, a.writeAddresses()
}

// undone registers a tear-down.
func (a *App) undone(f func() error) {
	a.undo = append(a.undo, func() {
		if err := f(); err != nil {
			a.log.Error("tear-down", "error", err.Error())
		}
	})
}

func (a *App) close() {
	for i := len(a.undo) - 1; i >= 0; i-- {
		a.undo[i]()
	}
	a.undo = nil
}

// fatal ends the process when the store can no longer be written: after that
// nothing may be answered.
func (a *App) fatal(format string, args ...any) {
	a.log.Error("the store cannot be written; nothing is answered any more", "reason", fmt.Sprintf(format, args...))
	os.Exit(1)
}

func (a *App) filter(key []byte) (*redis.Filter, error) {
	r := &a.cfg.Redis
	address := r.Address
	if address == "" {
		s, err := redisembedded.Start(0)
		if err != nil {
			return nil, fmt.Errorf("start: %w", err)
		}
		a.undone(func() error { s.Close(); return nil })
		address = s.Addr()
	}
	t, err := a.cfg.Client(r.TLS)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	password, err := a.cfg.Secret(r.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	f, err := redis.New(redis.Config{
		Address: address, Username: r.Username, Password: password, Database: r.Database, TLS: t, Window: r.Window, Key: key,
	})
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	a.undone(f.Close)
	return f, nil
}

func (a *App) publisher() (*kafka.Publisher, error) {
	k := &a.cfg.Kafka
	topics := Topics(a.cfg)
	if len(k.Brokers) == 0 {
		b, err := kafkaembedded.Start(kafkaembedded.Config{
			Dir: filepath.Join(a.cfg.Data, "kafka"), Listen: k.Listen, PartitionBytes: int64(k.MaxBytes) / int64(len(topics)) / int64(k.Partitions),
		})
		if err != nil {
			return nil, fmt.Errorf("start: %w", err)
		}
		a.undone(func() error { b.Close(); return nil })
		a.brokers = []string{b.Addr()}
	}
	cfg, err := KafkaConfig(a.cfg, a.brokers)
	if err != nil {
		return nil, err
	}
	cfg.Topics, cfg.Own = topics, len(k.Brokers) == 0
	p, err := kafka.NewPublisher(cfg)
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	a.undone(p.Close)
	a.kafka = p
	return p, nil
}

// recordLimit is the largest record: the topics' limit less what a batch and
// the headers around a record take.
func recordLimit(cfg *config.Config) int {
	return int(cfg.Kafka.RecordBytes) - min(int(cfg.Kafka.RecordBytes)/8, 64<<10)
}

// Topics are the topics that Liaison writes, as it creates them.
func Topics(cfg *config.Config) []kafka.Topic {
	k := &cfg.Kafka
	var out []kafka.Topic
	for _, name := range records.Topics() {
		t := kafka.Topic{
			Name: name, Partitions: k.Partitions, Replication: int(k.Replicas), Retention: k.Retention, MaxMessageBytes: int(k.RecordBytes),
		}
		if k.Replicas >= 3 { // one of three may be away, and what is acknowledged stands on two
			t.MinInSync = 2
		}
		if len(k.Brokers) == 0 {
			t.RetentionBytes = int64(k.MaxBytes) / int64(len(records.Topics())) / int64(k.Partitions)
		}
		out = append(out, t)
	}
	return out
}

// KafkaConfig is how brokers are reached.
func KafkaConfig(cfg *config.Config, brokers []string) (kafka.Config, error) {
	k := &cfg.Kafka
	t, err := cfg.Client(k.TLS)
	if err != nil {
		return kafka.Config{}, fmt.Errorf("kafka: %w", err)
	}
	compression, err := kafka.ParseCompression(k.Compression)
	if err != nil {
		return kafka.Config{}, fmt.Errorf("kafka: %w", err)
	}
	out := kafka.Config{Brokers: brokers, TLS: t, Compression: compression}
	if k.SASL != nil {
		out.SASL = &kafka.SASL{Mechanism: k.SASL.Mechanism, User: k.SASL.Username, Password: func() (string, error) {
			return cfg.Secret(k.SASL.PasswordFile)
		}}
	}
	return out, nil
}

// Pipelines compiles the tables of every source, with the configured gate behind
// them; sources without overlays share one compilation.
func Pipelines(cfg *config.Config) ([]*engine.Pipeline, *gate.Gate, error) {
	return pipelinesWith(cfg, overlayFiles(cfg))
}

// overlayFiles reads overlays where the configuration names them.
func overlayFiles(cfg *config.Config) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) { return os.ReadFile(cfg.Path(name)) }
}

func pipelinesWith(cfg *config.Config, overlay func(name string) ([]byte, error)) ([]*engine.Pipeline, *gate.Gate, error) {
	schema := fhir.NewSchema()
	check, err := gate.New(schema)
	if err != nil {
		return nil, nil, fmt.Errorf("gate: %w", err)
	}
	builtin, err := tables.Read()
	if err != nil {
		return nil, nil, fmt.Errorf("tables: %w", err)
	}
	// Sources with the same overlays share a mapper.
	mappers := map[string]*tables.Mapper{}
	var out []*engine.Pipeline
	for i := range cfg.Sources {
		s := &cfg.Sources[i]
		p := &engine.Pipeline{
			Source: s.Name, DefaultCharset: s.DefaultCharset, DefaultAssigner: s.DefaultAssigner, Systems: s.Systems,
			ProcessingIDs: s.ProcessingID, Application: s.Receiver.Application, Facility: s.Receiver.Facility,
		}
		var err error
		if s.TimeZone != "" {
			if p.Location, err = hl7v2.LoadLocation(s.TimeZone); err != nil {
				return nil, nil, fmt.Errorf("source %s: %w", s.Name, err)
			}
		}
		names := strings.Join(s.Overlays, "\x00")
		if p.Mapper = mappers[names]; p.Mapper == nil {
			if p.Mapper, err = compile(builtin, schema, s.Overlays, overlay); err != nil {
				return nil, nil, fmt.Errorf("source %s: %w", s.Name, err)
			}
			mappers[names] = p.Mapper
		}
		out = append(out, p)
	}
	outbound(cfg, check, out)
	return out, check, nil
}

func compile(builtin *tables.Tables, schema *fhir.Schema, names []string, read func(name string) ([]byte, error)) (*tables.Mapper, error) {
	var overlays []tables.Overlay
	for _, name := range names {
		data, err := read(name)
		if err != nil {
			return nil, fmt.Errorf("overlay: %w", err)
		}
		overlays = append(overlays, tables.Overlay{Name: name, Data: data})
	}
	m, err := builtin.Compile(schema, overlays...)
	if err != nil {
		return nil, fmt.Errorf("overlays: %w", err)
	}
	return m, nil
}

// Run serves until ctx is done. Then the sources stop and answer what they
// have read, the engine drains, and everything is closed.
func (a *App) Run(ctx context.Context) error {
	defer a.close()
	work, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()
	engineDone := make(chan error, 1)
	go func() { engineDone <- a.engine.Run(work) }()
	intake, stopIntake := context.WithCancel(ctx)
	defer stopIntake()
	group, gctx := errgroup.WithContext(intake)
	for _, s := range a.sources {
		group.Go(func() error { return s.Run(gctx, a.watch) })
	}
	group.Go(func() error { return a.lookAtTopics(gctx) })
	a.ops.ready.Store(true)
	go a.ops.serve()
	sourcesDone := make(chan error, 1)
	go func() { sourcesDone <- group.Wait() }()
	var errs []error
	running := true
	select {
	case err := <-sourcesDone: // stopped, or one of them failed
		errs = append(errs, err)
	case err := <-engineDone:
		errs, running = append(errs, err), false
		stopIntake()
		errs = append(errs, <-sourcesDone)
	}
	a.ops.ready.Store(false)
	a.log.Info("intake has stopped, draining")
	stopEngine()
	if running {
		errs = append(errs, <-engineDone)
	}
	tail, checkpoint, event, published := a.engine.Progress()
	a.log.Info("stopped", "messages_waiting", tail-checkpoint, "events_waiting_for_kafka", event-published)
	return errors.Join(errs...)
}

// lookAtTopics tells where the topics are other than configured, once Kafka
// answers. Topics of a cluster that take less than the largest record end the
// program: such a record would hold up all that is behind it.
func (a *App) lookAtTopics(ctx context.Context) error {
	deviations, _ := a.kafka.Ensure(ctx) // publishing meets the same error, and says so
	var errs []error
	for _, d := range deviations {
		a.log.Error("a topic is not as it is configured", "topic", d.Topic, "setting", d.Setting, "is", d.Have, "configured", d.Want)
		if d.Smaller() && len(a.cfg.Kafka.Brokers) > 0 {
			errs = append(errs, fmt.Errorf("kafka: %s: raise it, or lower kafka.record_bytes", d))
		}
	}
	return errors.Join(errs...)
}

// Addresses names where everything listens.
func (a *App) Addresses() map[string]string {
	out := map[string]string{"operations": a.ops.addr(), "kafka": a.brokers[0]}
	for _, s := range a.sources {
		out["source:"+s.Name()] = s.Addr()
	}
	return out
}

// Wait returns when everything accepted so far is on Kafka.
func (a *App) Wait(ctx context.Context) error {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		tail, checkpoint, event, published := a.engine.Progress()
		if tail == checkpoint && event == published {
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for kafka: %w", ctx.Err())
		}
	}
}

// Engine is the running engine.
func (a *App) Engine() *engine.Engine { return a.engine }

// Ready returns when the topics exist, so that a reader finds them.
func (a *App) Ready(ctx context.Context) error {
	if _, err := a.kafka.Ensure(ctx); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}

// connections is how many all sources allow together.
func connections(cfg *config.Config) int {
	n := 0
	for i := range cfg.Sources {
		if m := cfg.Sources[i].MLLP; m != nil {
			n += m.Connections
		}
		if f := cfg.Sources[i].FHIR; f != nil {
			n += f.Connections
		}
	}
	return n
}
