package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/liaison-health/liaison/pipelines"
)

// fetchBytes, fetchTotal and fetchWait bound one look at a partition, at all
// that a broker leads, and how long the broker waits for something to come. A
// larger batch is delivered whole all the same.
const (
	fetchBytes = 1 << 20
	fetchTotal = 4 << 20
	fetchWait  = 500 * time.Millisecond
)

// Corrupt says that what a broker gave back at an offset is no batch of
// records: its sum is wrong, it is cut, or the numbers in it do not agree with
// its bytes. Another broker may have it whole.
type Corrupt struct {
	Topic     string
	Partition int32
	Offset    int64
	Err       error
}

func (e *Corrupt) Error() string {
	return fmt.Sprintf("kafka: what stands at offset %d of %s[%d] cannot be read: %v", e.Offset, e.Topic, e.Partition, e.Err)
}

func (e *Corrupt) Unwrap() error { return e.Err }

// errCut is what is wrong with a batch that has fewer whole records than it says.
var errCut = errors.New("the batch has fewer whole records than it says")

// A position is where reading a partition goes on.
type position struct {
	topic     string
	partition int32
	offset    int64
}

// A fetcher reads record batches through franz-go: kafka-go makes room for as
// many records, headers and bytes as a batch says that it has, before it looks
// whether they are there.
type fetcher struct {
	brokers *kgo.Client
	unpack  *unpacker

	mu      sync.Mutex
	leaders map[string][]int32 // by topic and partition; nil has to be asked for
}

func newFetcher(cfg Config) (*fetcher, error) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.Fetch), 12) // the last that names topics by their names
	options := []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...), kgo.ClientID(cfg.ClientID), kgo.DialTimeout(cfg.DialTimeout),
		kgo.MaxVersions(versions), kgo.RequestRetries(0), kgo.DisableClientMetrics(),
	}
	if cfg.TLS != nil {
		options = append(options, kgo.DialTLSConfig(cfg.TLS))
	}
	if cfg.SASL != nil {
		options = append(options, kgo.SASL(fetchMechanism(*cfg.SASL)))
	}
	brokers, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	unpack, err := newUnpacker()
	if err != nil {
		brokers.Close()
		return nil, err
	}
	return &fetcher{brokers: brokers, unpack: unpack}, nil
}

func (f *fetcher) close() {
	f.brokers.Close()
	f.unpack.close()
}

// fetchMechanism is newMechanism's for franz-go; the mechanism's name is checked there.
func fetchMechanism(s SASL) sasl.Mechanism {
	if s.Mechanism == "PLAIN" {
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			p, err := s.secret()
			return plain.Auth{User: s.User, Pass: p}, err
		})
	}
	secret := func(context.Context) (scram.Auth, error) {
		p, err := s.secret()
		return scram.Auth{User: s.User, Pass: p}, err
	}
	if s.Mechanism == "SCRAM-SHA-512" {
		return scram.Sha512(secret)
	}
	return scram.Sha256(secret)
}

// forget makes the next request ask who leads what.
func (f *fetcher) forget() {
	f.mu.Lock()
	f.leaders = nil
	f.mu.Unlock()
}

// leader says who leads a partition.
func (f *fetcher) leader(ctx context.Context, topic string, partition int32) (int32, error) {
	f.mu.Lock()
	known := f.leaders[topic]
	f.mu.Unlock()
	if known == nil {
		request := kmsg.NewPtrMetadataRequest()
		wanted := kmsg.NewMetadataRequestTopic()
		wanted.Topic = &topic
		request.Topics = append(request.Topics, wanted)
		answer, err := request.RequestWith(ctx, f.brokers)
		if err != nil {
			return -1, brokerError(err)
		}
		for _, t := range answer.Topics {
			if t.Topic == nil || *t.Topic != topic {
				continue
			}
			if t.ErrorCode != 0 {
				return -1, kafkago.Error(t.ErrorCode)
			}
			slices.SortFunc(t.Partitions, func(a, b kmsg.MetadataResponseTopicPartition) int { return cmp.Compare(a.Partition, b.Partition) })
			for i, p := range t.Partitions {
				if int(p.Partition) == i {
					known = append(known, p.Leader)
				}
			}
		}
		f.mu.Lock()
		if f.leaders == nil {
			f.leaders = map[string][]int32{}
		}
		f.leaders[topic] = known
		f.mu.Unlock()
	}
	if partition < 0 || int(partition) >= len(known) {
		return -1, kafkago.UnknownTopicOrPartition
	}
	if known[partition] < 0 {
		return -1, kafkago.LeaderNotAvailable
	}
	return known[partition], nil
}

// fetch asks one broker for what stands at the positions, which it leads, hands
// it over partition by partition and moves the positions behind it. Of several
// partitions that fail it returns the first one's error, after the records of
// the others. The records are the callee's to keep.
func (f *fetcher) fetch(ctx context.Context, broker int32, at []*position, wait time.Duration, fn func(*Record) error) error {
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = int32(wait.Milliseconds()), 1, fetchTotal
	for _, p := range at {
		asked := kmsg.NewFetchRequestTopicPartition()
		asked.Partition, asked.FetchOffset, asked.PartitionMaxBytes = p.partition, p.offset, fetchBytes
		if last := len(request.Topics) - 1; last >= 0 && request.Topics[last].Topic == p.topic {
			request.Topics[last].Partitions = append(request.Topics[last].Partitions, asked)
			continue
		}
		topic := kmsg.NewFetchRequestTopic()
		topic.Topic, topic.Partitions = p.topic, append(topic.Partitions, asked)
		request.Topics = append(request.Topics, topic)
	}
	response, err := f.brokers.Broker(int(broker)).Request(ctx, request)
	if err != nil {
		return brokerError(err)
	}
	answer, ok := response.(*kmsg.FetchResponse)
	if !ok {
		return fmt.Errorf("an answer of kind %T to a fetch", response)
	}
	if answer.ErrorCode != 0 {
		return kafkago.Error(answer.ErrorCode)
	}
	var failed error
	for i := range answer.Topics {
		t := &answer.Topics[i]
		for k := range t.Partitions {
			given := &t.Partitions[k]
			n := slices.IndexFunc(at, func(p *position) bool { return p.topic == t.Topic && p.partition == given.Partition })
			if n < 0 {
				continue
			}
			err := f.take(at[n], given, fn)
			if own := (*handed)(nil); errors.As(err, &own) {
				return err
			}
			failed = cmp.Or(failed, err)
		}
	}
	return failed
}

// take hands over what one partition's answer holds.
func (f *fetcher) take(at *position, given *kmsg.FetchResponseTopicPartition, fn func(*Record) error) error {
	if given.ErrorCode != 0 {
		return &failedAt{at, kafkago.Error(given.ErrorCode)}
	}
	found, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: at.offset, Topic: at.topic, Partition: at.partition,
	}, given, f.unpack, nil)
	asked := at.offset
	for _, record := range found.Records {
		if record.Offset < at.offset || record.Offset == math.MaxInt64 {
			continue // no order to keep
		}
		r := &Record{
			Topic: at.topic, Partition: at.partition, Offset: record.Offset, Time: record.Timestamp,
			Key: record.Key, Value: record.Value,
		}
		if len(record.Headers) > 0 {
			r.Headers = make([]pipelines.Header, len(record.Headers))
			for i, h := range record.Headers {
				r.Headers[i] = pipelines.Header{Name: h.Key, Value: string(h.Value)}
			}
		}
		if err := fn(r); err != nil {
			return &handed{err}
		}
		at.offset = r.Offset + 1
	}
	at.offset = max(at.offset, next) // behind control records, which are nobody's business
	switch {
	case found.Err != nil:
		return &Corrupt{at.topic, at.partition, at.offset, found.Err}
	case at.offset == asked && len(given.RecordBatches) > 0:
		return &Corrupt{at.topic, at.partition, at.offset, errCut}
	}
	return nil
}

// handed carries an error of the caller's function through retry unrepeated.
type handed struct{ error }

func (*handed) permanent() {}

func (h *handed) Unwrap() error { return h.error }

// failedAt says which partition a broker refused.
type failedAt struct {
	at   *position
	code kafkago.Error
}

func (f *failedAt) Error() string {
	return fmt.Sprintf("%s[%d] at offset %d: %v", f.at.topic, f.at.partition, f.at.offset, f.code)
}

func (f *failedAt) Unwrap() error { return f.code }

// brokerError is an answer that franz-go turned into an error, as the rest of
// the package knows answers.
func brokerError(err error) error {
	var answer *kerr.Error
	if errors.As(err, &answer) {
		return fmt.Errorf("%w: %w", kafkago.Error(answer.Code), err)
	}
	return err
}
