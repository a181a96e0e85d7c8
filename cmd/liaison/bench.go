package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/cmd/internal/load"
	"github.com/liaison-health/liaison/cmd/internal/offline"
	"github.com/liaison-health/liaison/connectors/mllp"
	"github.com/liaison-health/liaison/mapping/hl7v2"
)

func benchCommand() *cobra.Command {
	c := &cobra.Command{Use: "bench", Short: "Measure mapping, or a running engine under load", Args: cobra.NoArgs}
	c.AddCommand(benchMap(), benchFeed())
	return c
}

func benchMap() *cobra.Command {
	var file, source string
	var length time.Duration
	c := &cobra.Command{
		Use: "map FILE…", Short: "Messages a second from bytes to FHIR JSON, on one core", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			m, err := newMapping(file, source)
			if err != nil {
				return err
			}
			messages, err := readAll(args)
			if err != nil {
				return err
			}
			return measureMap(c.OutOrStdout(), m.line, messages, length)
		},
	}
	c.Flags().StringVar(&file, "config", "", "liaison.yaml")
	c.Flags().StringVar(&source, "source", "", "the source whose settings apply")
	c.Flags().DurationVar(&length, "for", 5*time.Second, "how long")
	return c
}

func measureMap(out io.Writer, line *offline.Pipeline, messages [][]byte, length time.Duration) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var n, refused, bytesIn, bytesOut int
	var buffer []byte
	start := time.Now()
	for time.Since(start) < length {
		for _, raw := range messages {
			var err error
			if buffer, err = line.AppendBundle(buffer[:0], raw); err != nil {
				refused++
				continue
			}
			n++
			bytesIn += len(raw)
			bytesOut += len(buffer)
		}
	}
	took := time.Since(start).Seconds()
	if n == 0 {
		return fmt.Errorf("every message was refused")
	}
	_, err := fmt.Fprintf(out, "%.0f messages/s on one core (%d messages of %d bytes on average to %d bytes of FHIR JSON; %d refused)\n",
		float64(n)/took, n, bytesIn/n, bytesOut/n, refused)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func readAll(names []string) ([][]byte, error) {
	var out [][]byte
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		items, err := hl7v2.SplitAll(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, i := range items {
			out = append(out, i.Raw)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no message in the files")
	}
	return out, nil
}

// A feed is one run of bench feed.
type feed struct {
	address    string
	operations string
	templates  []load.Template
	client     *config.ClientTLS
	length     time.Duration
	lanes      int
}

func benchFeed() *cobra.Command {
	var flags tlsFlags
	var f feed
	c := &cobra.Command{
		Use: "feed HOST:PORT FILE…", Short: "Load over MLLP with fresh identifiers in each round: acknowledged messages a second, p50, p99", Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			messages, err := readAll(args[1:])
			if err != nil {
				return err
			}
			for _, m := range messages {
				f.templates = append(f.templates, load.NewTemplate(m))
			}
			f.address, f.client = args[0], flags.config()
			return f.run(c.Context(), c.OutOrStdout())
		},
	}
	flags.register(c.Flags())
	c.Flags().IntVar(&f.lanes, "connections", 16, "connections, each with its own rounds")
	c.Flags().DurationVar(&f.length, "for", 10*time.Second, "how long")
	c.Flags().StringVar(&f.operations, "operations", "", "operations address: then also wait until all of it is on Kafka")
	return c
}

// lane is what one connection measured.
type lane struct {
	positive, negative int
	took               []time.Duration
}

func (f *feed) run(ctx context.Context, out io.Writer) error {
	t, err := config.Default().Client(f.client)
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	run := strconv.FormatInt(time.Now().Unix(), 36)
	lanes := make([]lane, f.lanes)
	group, gctx := errgroup.WithContext(ctx)
	var ready sync.WaitGroup
	ready.Add(f.lanes)
	var began time.Time
	start := make(chan struct{})
	for i := range lanes {
		group.Go(func() error {
			client, err := mllp.Dial(gctx, f.address, t, 30*time.Second)
			ready.Done()
			if err != nil {
				return fmt.Errorf("connect: %w", err)
			}
			defer func() { _ = client.Close() }()
			<-start
			return f.drive(gctx, client, began, run+strconv.FormatInt(int64(i), 36)+"x", &lanes[i])
		})
	}
	ready.Wait()
	began = time.Now()
	close(start)
	if err := group.Wait(); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	took := time.Since(began)
	var all []time.Duration
	positive, negative := 0, 0
	for _, l := range lanes {
		all = append(all, l.took...)
		positive += l.positive
		negative += l.negative
	}
	if len(all) == 0 {
		return errors.New("no message was sent")
	}
	slices.Sort(all)
	at := func(q float64) time.Duration { return all[int(q*float64(len(all)-1))].Round(10 * time.Microsecond) }
	fmt.Fprintf(out, "%.0f messages/s acknowledged (%d in %s over %d connections, %d negative); answer p50 %s p99 %s max %s\n",
		float64(positive)/took.Seconds(), positive, took.Round(time.Millisecond), f.lanes, negative, at(0.5), at(0.99), at(1))
	if f.operations == "" {
		return nil
	}
	if err := drained(ctx, f.operations); err != nil {
		return err
	}
	whole := time.Since(began)
	fmt.Fprintf(out, "%.0f messages/s acknowledged and published (all on Kafka %s after the last answer)\n",
		float64(positive)/whole.Seconds(), (whole - took).Round(time.Millisecond))
	return nil
}

func (f *feed) drive(ctx context.Context, client *mllp.Client, began time.Time, run string, l *lane) error {
	var buffer []byte
	for round := 0; ; round++ {
		for i := range f.templates {
			if time.Since(began) > f.length || ctx.Err() != nil {
				return nil
			}
			buffer = f.templates[i].AppendTo(buffer[:0], run, round)
			sent := time.Now()
			answer, err := client.Send(ctx, buffer)
			if err != nil {
				return fmt.Errorf("send: %w", err)
			}
			l.took = append(l.took, time.Since(sent))
			if answer == nil {
				l.positive++
				continue
			}
			ack, err := hl7v2.ParseAck(answer)
			if err == nil && ack.Code.Positive() {
				l.positive++
			} else {
				l.negative++
			}
		}
	}
}

// drained asks the engine's metrics until nothing is pending.
func drained(ctx context.Context, operations string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		pending, err := pendingWork(ctx, operations)
		if err != nil {
			return err
		}
		if pending == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for kafka: %w", ctx.Err())
		}
	}
}

func pendingWork(ctx context.Context, operations string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+operations+"/metrics", nil)
	if err != nil {
		return 0, fmt.Errorf("metrics: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	total := 0.0
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if name != "liaison_journal_pending" && name != "liaison_outbox_pending" {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("metrics: %w", err)
		}
		total += n
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("metrics: %w", err)
	}
	return total, nil
}
