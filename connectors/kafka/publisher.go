package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/liaison-health/liaison/pipelines"
)

// A Publisher implements pipelines.Publisher over idempotent lanes, one a
// partition. It connects when first used, so that it can be made while the
// brokers are down. All methods are safe for concurrent use; calls for one
// partition queue up, calls for several run side by side. What may pass is
// repeated until the caller's context is done.
type Publisher struct {
	cfg    Config
	client *client
	codec  *codec

	setup      chan struct{} // holds a token while nobody sets up
	mu         sync.Mutex
	closed     bool
	topics     map[string]topicState // nil until the topics were looked at
	refused    map[string]error      // the topics that the cluster does not have
	deviations []Deviation
	lanes      map[pipelines.TopicPartition]*lane
}

// NewPublisher checks the configuration; it does not connect.
func NewPublisher(cfg Config) (*Publisher, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	client, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	codec, err := newCodec(cfg.Compression)
	if err != nil {
		return nil, err
	}
	p := &Publisher{
		cfg: cfg, client: client, codec: codec,
		setup: make(chan struct{}, 1), lanes: map[pipelines.TopicPartition]*lane{},
	}
	p.setup <- struct{}{}
	return p, nil
}

// Ensure creates the configured topics where they are missing, waits until
// they can be written, and reports where existing ones differ from the
// configuration. Every other method does the same first if nobody has. Topics
// that the cluster refuses are the error, a *Refused for each; the others can be
// used.
func (p *Publisher) Ensure(ctx context.Context) ([]Deviation, error) {
	if _, err := p.ready(ctx, true); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(p.refused)) {
		errs = append(errs, p.refused[name])
	}
	return p.deviations, errors.Join(errs...)
}

// ready gives the topics that the cluster has. Those that it refused are asked
// for again on demand.
func (p *Publisher) ready(ctx context.Context, again bool) (map[string]topicState, error) {
	missing, topics, err := p.missing(again)
	if err != nil || len(missing) == 0 {
		return topics, err
	}
	select {
	case <-p.setup:
		defer func() { p.setup <- struct{}{} }()
	case <-ctx.Done():
		return nil, fmt.Errorf("kafka: wait for the topics: %w", context.Cause(ctx))
	}
	if missing, topics, err = p.missing(again); err != nil || len(missing) == 0 {
		return topics, err
	}
	found, err := p.client.ensureTopics(ctx, missing)
	if err != nil {
		return nil, fmt.Errorf("kafka: prepare the topics: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	topics = maps.Clone(p.topics)
	if topics == nil {
		topics = map[string]topicState{}
	}
	maps.Copy(topics, found.states)
	p.topics, p.refused, p.deviations = topics, found.refused, append(p.deviations, found.deviations...)
	return topics, nil
}

// missing are the topics to look for, and those that are there.
func (p *Publisher) missing(again bool) ([]Topic, map[string]topicState, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, nil, errClosed
	case p.topics == nil:
		return p.cfg.Topics, map[string]topicState{}, nil
	case !again || len(p.refused) == 0:
		return nil, p.topics, nil
	}
	var out []Topic
	for _, t := range p.cfg.Topics {
		if p.refused[t.Name] != nil {
			out = append(out, t)
		}
	}
	return out, p.topics, nil
}

// Publish appends the events in order to the partition and returns the offset
// of the first. It returns nil only when the brokers have all of them with
// acks=all. After an error the caller repeats the same events, more may
// follow them: what stands in the log already is recognised and not appended
// again. Errors that repeating does not cure are *TooLarge, *Refused and
// *TailLost; *GaveUp says that ctx ended first.
func (p *Publisher) Publish(ctx context.Context, topic string, partition int32, events []pipelines.OutboxEvent) (int64, error) {
	state, err := p.partition(ctx, topic, partition)
	if err != nil || len(events) == 0 {
		return -1, err
	}
	return p.lane(topic, partition, state.limit).publish(ctx, events)
}

// partition is the state of the topic that has the partition.
func (p *Publisher) partition(ctx context.Context, topic string, partition int32) (topicState, error) {
	topics, err := p.ready(ctx, false)
	if err != nil {
		return topicState{}, err
	}
	state, ok := topics[topic]
	if !ok {
		p.mu.Lock()
		err := p.refused[topic]
		p.mu.Unlock()
		if err != nil {
			return topicState{}, err
		}
		return topicState{}, &Refused{Topic: topic, Partition: partition, Doing: "an event", Err: errUnlisted}
	}
	if partition < 0 || partition >= state.partitions {
		return topicState{}, &Refused{Topic: topic, Partition: partition, Doing: "an event", Err: fmt.Errorf("the topic has %d partitions", state.partitions)}
	}
	return state, nil
}

var errUnlisted = fmt.Errorf("the topic is not in the configuration")

func (p *Publisher) lane(topic string, partition int32, limit int) *lane {
	key := pipelines.TopicPartition{Topic: topic, Partition: partition}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lanes[key]
	if l == nil {
		l = newLane(p, topic, partition, limit)
		p.lanes[key] = l
	}
	return l
}

// Topics returns the cluster's id and how many partitions each configured
// topic has on it. One that the cluster refused is asked for again, and is not
// among them while it is refused.
func (p *Publisher) Topics(ctx context.Context) (string, map[string]int32, error) {
	topics, err := p.ready(ctx, true)
	if err != nil {
		return "", nil, err
	}
	var cluster string
	err = p.client.retry(ctx, p.retried("", -1), func(ctx context.Context) error {
		metadata, err := p.client.kafka.Metadata(ctx, &kafkago.MetadataRequest{})
		if err == nil {
			cluster = metadata.ClusterID
		}
		return err
	})
	if err != nil {
		return "", nil, err
	}
	partitions := make(map[string]int32, len(topics))
	for name, state := range topics {
		partitions[name] = state.partitions
	}
	return cluster, partitions, nil
}

// LogEnd returns the offset that a partition's next record will get.
func (p *Publisher) LogEnd(ctx context.Context, topic string, partition int32) (int64, error) {
	if _, err := p.partition(ctx, topic, partition); err != nil {
		return -1, err
	}
	ends, err := p.client.offsets(ctx, topic, []int32{partition}, kafkago.LastOffset, p.retried(topic, partition))
	if err != nil {
		return -1, err
	}
	return ends[0], nil
}

// ReadFrom hands every event from the offset (or the first one that is still
// kept) up to the end of the log as of now to fn, in order, and returns
// fn's error if it has one.
func (p *Publisher) ReadFrom(ctx context.Context, topic string, partition int32, from int64, fn func(offset int64, event pipelines.OutboxEvent) error) error {
	if _, err := p.ready(ctx, false); err != nil {
		return err
	}
	ends, err := p.client.offsets(ctx, topic, []int32{partition}, kafkago.LastOffset, p.retried(topic, partition))
	if err != nil {
		return err
	}
	return p.client.read(ctx, topic, partition, from, ends[0], p.retried(topic, partition), func(r *Record) error {
		return fn(r.Offset, pipelines.OutboxEvent{ID: r.Header(headerID), Key: r.Key, Headers: r.Headers, Value: r.Value})
	})
}

// Close ends the connections. Calls that are under way fail or finish; none
// may be started afterwards.
func (p *Publisher) Close() error {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if !closed {
		p.client.close()
		p.codec.close()
	}
	return nil
}

func (p *Publisher) retried(topic string, partition int32) func(int, error) {
	if p.cfg.Observer.Retry == nil {
		return nil
	}
	return func(attempt int, err error) { p.cfg.Observer.Retry(topic, partition, attempt, err) }
}

// now is the time that a batch's records carry, which only the brokers'
// retention looks at.
func (p *Publisher) now() time.Time { return time.Now() }
