package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/cmd/internal/app"
	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/connectors/kafka"
	"github.com/liaison-health/liaison/connectors/mllp"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/testdata"
)

func demoCommand() *cobra.Command {
	var keep string
	c := &cobra.Command{
		Use: "demo", Short: "A hospital's day through real sockets, everything embedded", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return runDemo(c.Context(), c.OutOrStdout(), c.ErrOrStderr(), keep)
		},
	}
	c.Flags().StringVar(&keep, "data", "", "keep the data in this directory")
	return c
}

// demoConfig is the hospital of the demo: four feeds and a portal.
func demoConfig(data string) (*config.Config, error) {
	cfg, err := config.Parse("", []byte(demoYAML(data)))
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return cfg, nil
}

func demoYAML(data string) string {
	return `
data: ` + data + `
kafka: {listen: "127.0.0.1:0"}
operations: {listen: "127.0.0.1:0"}
free_space: 16MiB
log_level: error
sources:
  - {name: adt, mllp: {listen: "127.0.0.1:0"}, time_zone: America/New_York, systems: &alder {ALDER: "urn:oid:2.16.840.1.113883.19.4.6"}}
  - {name: scheduling, mllp: {listen: "127.0.0.1:0"}, time_zone: America/New_York, default_charset: "8859/1", systems: *alder}
  - {name: lab, mllp: {listen: "127.0.0.1:0"}, time_zone: America/New_York, systems: *alder}
  - {name: billing, mllp: {listen: "127.0.0.1:0"}, time_zone: America/New_York, systems: *alder}
  - {name: portal, fhir: {listen: "127.0.0.1:0"}}
`
}

func runDemo(ctx context.Context, out, errs io.Writer, keep string) error {
	dir := keep
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "liaison-demo-"); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
	}
	cfg, err := demoConfig(dir)
	if err != nil {
		return err
	}
	a, err := app.New(ctx, cfg, logger(errs, cfg.LogLevel), nil)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	day, err := testdata.Day()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make(chan error, 1)
	go func() { done <- a.Run(run) }()
	addresses := a.Addresses()
	d := demo{out: out, addresses: addresses, counts: map[string]int{}, events: map[string]map[string]int{}, began: time.Now()}
	fmt.Fprintf(out, "A hospital's day: %d messages of four HL7 v2 feeds and a FHIR portal, through real sockets.\n\n%-28s %-10s %-4s %-14s %s\n", len(day), "record", "key", "", "state", "what changed")
	consumer, err := newConsumer(cfg, []string{addresses["kafka"]})
	if err != nil {
		return errors.Join(err, halt(stop, done))
	}
	defer consumer.Close()
	read, stopRead := context.WithCancel(ctx)
	defer stopRead()
	reading := make(chan error, 1)
	if err := a.Ready(ctx); err != nil {
		return errors.Join(err, halt(stop, done))
	}
	go func() { reading <- consumer.Read(read, true, 0, d.record) }()
	err = d.send(ctx, day)
	if err == nil {
		err = a.Wait(ctx)
	}
	if err == nil {
		err = d.caughtUp(ctx, a.Engine())
	}
	stopRead()
	err = errors.Join(err, <-reading)
	if err == nil {
		err = d.summary(a.Engine(), keep)
	}
	return errors.Join(err, halt(stop, done))
}

func halt(stop func(), done <-chan error) error {
	stop()
	return <-done
}

// demo is one run.
type demo struct {
	out       io.Writer
	addresses map[string]string
	began     time.Time
	answers   map[string]int
	mu        sync.Mutex
	counts    map[string]int            // by kind
	events    map[string]map[string]int // by kind and what happened
	seen      int
	news      chan struct{}
}

// send sends the day in its order, each feed over its own connection.
func (d *demo) send(ctx context.Context, day []testdata.Message) error {
	d.answers = map[string]int{}
	clients := map[string]*mllp.Client{}
	defer func() {
		for _, c := range clients {
			_ = c.Close()
		}
	}()
	for _, m := range day {
		feed := strings.TrimSuffix(m.File, filepath.Ext(m.File))
		if strings.HasSuffix(m.File, ".json") {
			if err := d.post(ctx, m.Raw); err != nil {
				return err
			}
			continue
		}
		c := clients[feed]
		if c == nil {
			var err error
			if c, err = mllp.Dial(ctx, d.addresses["source:"+feed], nil, 10*time.Second); err != nil {
				return fmt.Errorf("demo: %w", err)
			}
			clients[feed] = c
		}
		answer, err := c.Send(ctx, m.Raw)
		if err != nil {
			return fmt.Errorf("demo: %s: %w", m.Type, err)
		}
		ack, err := hl7v2.ParseAck(answer)
		if err != nil {
			return fmt.Errorf("demo: %s: %w", m.Type, err)
		}
		d.answers[string(ack.Code)]++
	}
	return nil
}

func (d *demo) post(ctx context.Context, bundle []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.addresses["source:portal"]+"/fhir", bytes.NewReader(bundle))
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	request.Header.Set("Content-Type", "application/fhir+json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("demo: portal: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("demo: portal: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("demo: portal: %s: %s", response.Status, body)
	}
	d.answers["HTTP "+response.Status]++
	return nil
}

// record prints one record without any patient's data: the type, the topic's
// key (an HMAC), and which elements changed.
func (d *demo) record(r *kafka.Record) error {
	record, err := records.Decode(r.Value)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	var paths []string
	for _, c := range record.Changed {
		top, _, _ := strings.Cut(strings.ReplaceAll(c.Path, "[", "."), ".")
		if !slices.Contains(paths, top) {
			paths = append(paths, top)
		}
	}
	note := strings.Join(paths, " ")
	if len(paths) > 6 {
		note = strings.Join(paths[:6], " ") + " …"
	}
	if record.Version == 1 {
		note = "new"
	}
	if record.Transition != "normal" {
		note += " [" + record.Transition + "]"
	}
	fmt.Fprintf(d.out, "%-28s %.10s v%-3d %-14s %s\n", record.EventType, r.Key, record.Version, record.State, note)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[string(record.Kind)]++
	_, what, _ := strings.Cut(record.EventType, ".")
	if d.events[string(record.Kind)] == nil {
		d.events[string(record.Kind)] = map[string]int{}
	}
	d.events[string(record.Kind)][what]++
	d.seen++
	if d.news != nil {
		select {
		case d.news <- struct{}{}:
		default:
		}
	}
	return nil
}

// caughtUp waits until the consumer has seen every event.
func (d *demo) caughtUp(ctx context.Context, e *engine.Engine) error {
	d.mu.Lock()
	d.news = make(chan struct{}, 1)
	d.mu.Unlock()
	_, _, events, _ := e.Progress()
	for {
		d.mu.Lock()
		done := d.seen >= int(events)
		d.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-d.news:
		case <-time.After(10 * time.Second):
			return fmt.Errorf("demo: of %d records %d came off kafka", events, d.seen)
		case <-ctx.Done():
			return fmt.Errorf("demo: %w", ctx.Err())
		}
	}
}

// summary says what came of the day: by kind, of the answers, of the messages.
func (d *demo) summary(e *engine.Engine, keep string) error {
	outcomes, entries, answered := map[string]int{}, 0, 0
	err := e.Journal(0, func(f *engine.Fate) error {
		if f.Source != "" { // the rest is the engine's own: what is in force
			outcomes[f.Outcome]++
			entries++
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	for _, n := range d.answers {
		answered += n
	}
	outcomes[pipelines.Duplicate] += answered - entries // what the early filter knew is not even in the journal
	fmt.Fprintf(d.out, "\nThe day in %s: %d messages, %d records.\n\n", time.Since(d.began).Round(time.Millisecond), answered, d.seen)
	for _, kind := range slices.Sorted(maps.Keys(d.counts)) {
		fmt.Fprintf(d.out, "  %-12s %4d   ", kind, d.counts[kind])
		d.list(d.events[kind], 22)
	}
	fmt.Fprintln(d.out)
	fmt.Fprintf(d.out, "  %-12s ", "answers")
	d.list(d.answers, 15)
	fmt.Fprintf(d.out, "  %-12s ", "messages")
	d.list(outcomes, 15)
	err = e.Quarantined(func(h *engine.Held) error {
		fmt.Fprintf(d.out, "  %-12s entry %d of %s: %s at %s\n", "quarantine", h.Position, h.Source, h.Reason, h.Place)
		return nil
	})
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	next := [][2]string{
		{"journal list --data " + cmp.Or(keep, "DIR"), "each message and what became of it"},
		{"quarantine list --data " + cmp.Or(keep, "DIR"), "what could not go on, and why"},
		{"run", "serve: then liaison send 127.0.0.1:2575 FILE, and liaison tail"},
	}
	if keep == "" {
		next = append([][2]string{{"demo --data DIR", "the same, with the data kept"}}, next...)
	}
	fmt.Fprint(d.out, "\nWhere to look next:\n")
	for _, n := range next {
		fmt.Fprintf(d.out, "  liaison %-28s  %s\n", n[0], n[1])
	}
	return nil
}

// list prints counts, the most frequent first, in lines of a terminal's width.
func (d *demo) list(counts map[string]int, indent int) {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	at := indent
	for i, name := range names {
		part := fmt.Sprintf("%s %d", name, counts[name])
		if i < len(names)-1 {
			part += ","
		}
		if i > 0 {
			if at+1+len(part) > 100 {
				fmt.Fprintf(d.out, "\n%*s", indent, "")
				at = indent
			} else {
				fmt.Fprint(d.out, " ")
				at++
			}
		}
		fmt.Fprint(d.out, part)
		at += len(part)
	}
	fmt.Fprintln(d.out)
}
