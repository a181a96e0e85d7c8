package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"
)

// A Consumer reads topics as they are, without a consumer group: for a person
// who looks, and for tests.
type Consumer struct {
	cfg    Config
	client *client
}

// ErrStop, returned by the function that Read calls, ends Read without error.
var ErrStop = errors.New("enough")

// NewConsumer checks the configuration; it does not connect. Of its topics
// only the names count.
func NewConsumer(cfg Config) (*Consumer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	return &Consumer{cfg: cfg, client: c}, nil
}

// Close ends the connections.
func (c *Consumer) Close() { c.client.close() }

// Reach waits until the brokers answer, or says that they did not until ctx is
// done.
func (c *Consumer) Reach(ctx context.Context) error {
	_, err := c.partitions(ctx, true)
	return err
}

// Read hands the records of the configured topics to fn, one at a time, each
// partition's in order: from the start of the log, or what comes from now on.
// It ends when fn returns an error (ErrStop counts as none), when ctx is done
// (no error either), when idle is positive and nothing has come for that long,
// or with a *Corrupt. A topic that the cluster does not have is passed over.
func (c *Consumer) Read(ctx context.Context, start bool, idle time.Duration, fn func(*Record) error) error {
	parts, err := c.partitions(ctx, start)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	taken, pause := fn, c.cfg.RetryMin
	if idle > 0 {
		quiet := time.AfterFunc(idle, cancel)
		defer quiet.Stop()
		taken = func(r *Record) error {
			if quiet.Stop() { // how long fn takes is no quiet
				defer quiet.Reset(idle)
			}
			return fn(r)
		}
	}
	var one sync.Mutex
	each := func(r *Record) error {
		one.Lock()
		defer one.Unlock()
		if err := ctx.Err(); err != nil {
			return err
		}
		pause = c.cfg.RetryMin
		return taken(r)
	}
	for {
		err := c.follow(ctx, parts, each)
		var own *handed
		var refused *failedAt
		var corrupt *Corrupt
		switch {
		case ctx.Err() != nil && !errors.As(err, &own), errors.Is(err, ErrStop):
			return nil
		case errors.As(err, &own):
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return nil
			}
			return own.error
		case errors.As(err, &refused) && refused.code == kafkago.OffsetOutOfRange: // retention was faster than we are
			if err := c.client.skip(ctx, refused.at, nil); err != nil {
				return err
			}
		case errors.As(err, &corrupt), !retriable(err):
			return err
		default:
			if stale(err) {
				c.client.refresh()
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, c.cfg.RetryMax)
		}
	}
}

// follow reads the partitions, a broker's together, until one of them fails.
func (c *Consumer) follow(ctx context.Context, parts []position, fn func(*Record) error) error {
	led := map[int32][]*position{}
	for i := range parts {
		p := &parts[i]
		err := c.client.request(ctx, func(ctx context.Context) error {
			leader, err := c.client.fetcher.leader(ctx, p.topic, p.partition)
			led[leader] = append(led[leader], p)
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(parts) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	work, ctx := errgroup.WithContext(ctx)
	for leader, group := range led {
		work.Go(func() error {
			for {
				err := c.client.request(ctx, func(ctx context.Context) error {
					return c.client.fetcher.fetch(ctx, leader, group, fetchWait, fn)
				})
				if err != nil {
					return err
				}
				group = append(group[1:], group[0]) // the answer is filled in the order of the request
			}
		})
	}
	return work.Wait()
}

// partitions lists where reading begins.
func (c *Consumer) partitions(ctx context.Context, start bool) ([]position, error) {
	var out []position
	err := c.client.retry(ctx, nil, func(ctx context.Context) error {
		metadata, err := c.client.kafka.Metadata(ctx, &kafkago.MetadataRequest{})
		if err != nil {
			return fmt.Errorf("kafka: look at the topics: %w", err)
		}
		out = out[:0]
		for _, t := range metadata.Topics {
			if t.Error != nil || !slices.ContainsFunc(c.cfg.Topics, func(want Topic) bool { return want.Name == t.Name }) {
				continue
			}
			for _, p := range t.Partitions {
				out = append(out, position{topic: t.Name, partition: int32(p.ID)})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	which := int64(kafkago.LastOffset)
	if start {
		which = kafkago.FirstOffset
	}
	for i := range out {
		at, err := c.client.offsets(ctx, out[i].topic, []int32{out[i].partition}, which, nil)
		if err != nil {
			return nil, err
		}
		out[i].offset = at[0]
	}
	return out, nil
}
