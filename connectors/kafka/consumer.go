package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
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
// (no error either), or when idle is positive and nothing has come for that
// long. A topic that the cluster does not have is passed over.
func (c *Consumer) Read(ctx context.Context, start bool, idle time.Duration, fn func(*Record) error) error {
	parts, err := c.partitions(ctx, start)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	records := make(chan *Record)
	failed := make(chan error, len(parts))
	for _, p := range parts {
		work.Go(func() {
			if err := c.follow(ctx, p, records); err != nil && ctx.Err() == nil {
				failed <- err
			}
		})
	}
	var quiet <-chan time.Time
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if idle > 0 {
			timer.Reset(idle)
			quiet = timer.C
		}
		select {
		case r := <-records:
			if err := fn(r); err != nil {
				if errors.Is(err, ErrStop) {
					return nil
				}
				return err
			}
		case err := <-failed:
			return err
		case <-quiet:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

type position struct {
	topic     string
	partition int32
	offset    int64
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

// follow fetches one partition for ever.
func (c *Consumer) follow(ctx context.Context, p position, to chan<- *Record) error {
	for ctx.Err() == nil {
		next := p.offset
		err := c.client.retry(ctx, nil, func(ctx context.Context) error {
			n, err := c.client.fetch(ctx, p.topic, p.partition, next, fetchWait, func(r *Record) error {
				select {
				case to <- r:
					next = r.Offset + 1
					return nil
				case <-ctx.Done():
					return &handed{ctx.Err()}
				}
			})
			next = max(next, n)
			return err
		})
		switch {
		case hasCode(err, kafkago.OffsetOutOfRange): // retention was faster than we are
			first, err := c.client.offsets(ctx, p.topic, []int32{p.partition}, kafkago.FirstOffset, nil)
			if err != nil {
				return err
			}
			next = first[0]
		case err != nil && ctx.Err() == nil:
			var given *handed
			if !errors.As(err, &given) { // a slow reader is no failure
				return err
			}
		}
		p.offset = next
	}
	return nil
}
