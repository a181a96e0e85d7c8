package kafka_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/liaison-health/liaison/connectors/kafka"
	"github.com/liaison-health/liaison/connectors/kafka/embedded"
	"github.com/liaison-health/liaison/pipelines"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func broker(t *testing.T, dir string) string {
	t.Helper()
	b, err := embedded.Start(embedded.Config{Dir: dir, Listen: "127.0.0.1:0", Sync: true})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b.Addr()
}

func publisher(t *testing.T, address string) *kafka.Publisher {
	t.Helper()
	p, err := kafka.NewPublisher(kafka.Config{
		Brokers: []string{address}, Topics: []kafka.Topic{{Name: "liaison.flow", Partitions: 3, MaxMessageBytes: 1 << 20, Retention: time.Hour}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func events(from, n int) []pipelines.OutboxEvent {
	out := make([]pipelines.OutboxEvent, n)
	for i := range out {
		id := fmt.Sprintf("event-%04d", from+i)
		out[i] = pipelines.OutboxEvent{ID: id, Key: []byte("k"), Headers: []pipelines.Header{{Name: "ce_id", Value: id}}, Value: []byte(`{"n":` + fmt.Sprint(from+i) + `}`)}
	}
	return out
}

func TestPublishAndReadBack(t *testing.T) {
	dir := t.TempDir()
	p := publisher(t, broker(t, dir))
	cluster, partitions, err := p.Topics(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, cluster)
	require.Equal(t, int32(3), partitions["liaison.flow"])
	deviations, err := p.Ensure(t.Context())
	require.NoError(t, err)
	require.Empty(t, deviations)
	base, err := p.Publish(t.Context(), "liaison.flow", 1, events(0, 100))
	require.NoError(t, err)
	require.Equal(t, int64(0), base)
	base, err = p.Publish(t.Context(), "liaison.flow", 1, events(100, 5))
	require.NoError(t, err)
	require.Equal(t, int64(100), base)
	end, err := p.LogEnd(t.Context(), "liaison.flow", 1)
	require.NoError(t, err)
	require.Equal(t, int64(105), end)
	end, err = p.LogEnd(t.Context(), "liaison.flow", 0)
	require.NoError(t, err)
	require.Equal(t, int64(0), end)
	next := 10
	require.NoError(t, p.ReadFrom(t.Context(), "liaison.flow", 1, 10, func(offset int64, e pipelines.OutboxEvent) error {
		require.Equal(t, int64(next), offset)
		require.Equal(t, events(next, 1)[0], e)
		next++
		return nil
	}))
	require.Equal(t, 105, next)
}

func TestRefusals(t *testing.T) {
	p := publisher(t, broker(t, ""))
	_, err := p.Publish(t.Context(), "liaison.other", 0, events(0, 1))
	var refused *kafka.Refused
	require.ErrorAs(t, err, &refused)
	_, err = p.Publish(t.Context(), "liaison.flow", 7, events(0, 1))
	require.ErrorAs(t, err, &refused)
	big := events(0, 1)
	big[0].Value = make([]byte, 2<<20)
	for i := range big[0].Value {
		big[0].Value[i] = byte(i * i * 7 >> 3)
	}
	big[0].Value[0] = 1
	_, err = p.Publish(t.Context(), "liaison.flow", 0, incompressible(big))
	var large *kafka.TooLarge
	require.ErrorAs(t, err, &large)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	away, err := kafka.NewPublisher(kafka.Config{Brokers: []string{"127.0.0.1:1"}, Topics: []kafka.Topic{{Name: "liaison.flow"}}})
	require.NoError(t, err)
	defer func() { require.NoError(t, away.Close()) }()
	_, err = away.Publish(ctx, "liaison.flow", 0, events(0, 1))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func incompressible(list []pipelines.OutboxEvent) []pipelines.OutboxEvent {
	for _, e := range list {
		x := uint64(88172645463325252)
		for i := range e.Value {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			e.Value[i] = byte(x)
		}
	}
	return list
}

// A broker that is started again has what it acknowledged, under the same id.
func TestBrokerRestart(t *testing.T) {
	dir := t.TempDir()
	var cluster string
	for round := range 2 {
		b, err := embedded.Start(embedded.Config{Dir: dir, Listen: "127.0.0.1:0", Sync: true})
		require.NoError(t, err)
		p, err := kafka.NewPublisher(kafka.Config{Brokers: []string{b.Addr()}, Topics: []kafka.Topic{{Name: "liaison.flow", Partitions: 3}}})
		require.NoError(t, err)
		id, _, err := p.Topics(t.Context())
		require.NoError(t, err)
		end, err := p.LogEnd(t.Context(), "liaison.flow", 2)
		require.NoError(t, err)
		require.Equal(t, int64(round*10), end)
		if round > 0 {
			require.Equal(t, cluster, id)
		}
		cluster = id
		_, err = p.Publish(t.Context(), "liaison.flow", 2, events(round*10, 10))
		require.NoError(t, err)
		require.NoError(t, p.Close())
		b.Close()
	}
}

// The embedded broker's disk and memory are bounded: the oldest records go.
func TestBrokerTrims(t *testing.T) {
	b, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", PartitionBytes: 64 << 10, Trim: 10 * time.Millisecond})
	require.NoError(t, err)
	defer b.Close()
	p, err := kafka.NewPublisher(kafka.Config{Brokers: []string{b.Addr()}, Topics: []kafka.Topic{{Name: "liaison.flow", Partitions: 1}}, BatchBytes: 16 << 10})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	for i := range 20 {
		list := events(i*10, 10)
		for k := range list {
			list[k].Value = make([]byte, 4<<10)
		}
		_, err := p.Publish(t.Context(), "liaison.flow", 0, incompressible(list))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		first := int64(-1)
		err := p.ReadFrom(t.Context(), "liaison.flow", 0, 0, func(offset int64, _ pipelines.OutboxEvent) error {
			first = offset
			return kafka.ErrStop
		})
		return errors.Is(err, kafka.ErrStop) && first >= 150
	}, time.Minute, 10*time.Millisecond)
}

// Other settings than a topic was made with are told of a shared cluster, and
// made so on one of the program's own.
func TestTopicSettings(t *testing.T) {
	address := broker(t, "")
	ensure := func(own bool, kept int64, largest int) []kafka.Deviation {
		p, err := kafka.NewPublisher(kafka.Config{Brokers: []string{address}, Own: own, Topics: []kafka.Topic{
			{Name: "liaison.flow", Partitions: 2, RetentionBytes: kept, MaxMessageBytes: largest}, {Name: "liaison.claims", Partitions: 2},
		}})
		require.NoError(t, err)
		defer func() { require.NoError(t, p.Close()) }()
		deviations, err := p.Ensure(t.Context())
		require.NoError(t, err)
		slices.SortFunc(deviations, func(a, b kafka.Deviation) int { return strings.Compare(a.Setting, b.Setting) })
		return deviations
	}
	require.Empty(t, ensure(false, 2<<20, 1<<20))
	require.Equal(t, []kafka.Deviation{
		{Topic: "liaison.flow", Setting: "max.message.bytes", Want: "2097152", Have: "1048576"},
		{Topic: "liaison.flow", Setting: "retention.bytes", Want: "1048576", Have: "2097152"},
	}, ensure(false, 1<<20, 2<<20))
	require.Empty(t, ensure(true, 1<<20, 2<<20))
	require.Empty(t, ensure(false, 1<<20, 2<<20), "it lasts")
}

func TestConsumer(t *testing.T) {
	address := broker(t, "")
	p := publisher(t, address)
	for partition := range int32(3) {
		_, err := p.Publish(t.Context(), "liaison.flow", partition, events(int(partition)*100, 50))
		require.NoError(t, err)
	}
	c, err := kafka.NewConsumer(kafka.Config{Brokers: []string{address}, Topics: []kafka.Topic{{Name: "liaison.flow"}, {Name: "not.there"}}})
	require.NoError(t, err)
	defer c.Close()
	next := map[int32]int64{}
	count := 0
	require.NoError(t, c.Read(t.Context(), true, 0, func(r *kafka.Record) error {
		require.Equal(t, next[r.Partition], r.Offset)
		next[r.Partition]++
		require.Equal(t, fmt.Sprintf("event-%04d", int64(r.Partition)*100+r.Offset), r.Header("ce_id"))
		if count++; count == 150 {
			return kafka.ErrStop
		}
		return nil
	}))
	require.Equal(t, 150, count)
	require.NoError(t, c.Read(t.Context(), false, 50*time.Millisecond, func(*kafka.Record) error { return errors.New("nothing is new") }))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, c.Read(ctx, true, 0, func(*kafka.Record) error { return errors.New("not called") }))
}

// The log loses its tail between two batches of one call: the call says so, and
// the next one sends all of it again, what it had appended itself too.
func TestTailLostWithinACall(t *testing.T) {
	address := broker(t, "")
	client := &kafkago.Client{Addr: kafkago.TCP(address), Transport: &kafkago.Transport{}}
	const topic = "liaison.claims"
	lose := sync.OnceFunc(func() { // the topic is made anew, empty
		_, err := client.DeleteTopics(t.Context(), &kafkago.DeleteTopicsRequest{Topics: []string{topic}})
		require.NoError(t, err)
		_, err = client.CreateTopics(t.Context(), &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}}})
		require.NoError(t, err)
	})
	p, err := kafka.NewPublisher(kafka.Config{
		Brokers: []string{address}, Topics: []kafka.Topic{{Name: topic, Partitions: 1, MaxMessageBytes: 8 << 20}}, BatchBytes: 10_000,
		Observer: kafka.Observer{Published: func(string, int32, int, int, int) { lose() }},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	list := events(0, 3)
	for i := range list {
		list[i].Value = make([]byte, 8000) // a batch each
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(list[i].Value)
	}
	_, err = p.Publish(t.Context(), topic, 0, list)
	var lost *pipelines.LogLost
	require.ErrorAs(t, err, &lost)
	_, err = p.Publish(t.Context(), topic, 0, list)
	require.NoError(t, err)
	var have []string
	require.NoError(t, p.ReadFrom(t.Context(), topic, 0, 0, func(_ int64, ev pipelines.OutboxEvent) error { have = append(have, ev.ID); return nil }))
	require.Subset(t, have, []string{"event-0000", "event-0001", "event-0002"})
	require.IsIncreasing(t, have[len(have)-3:])
	client.Transport.(*kafkago.Transport).CloseIdleConnections()
}

// A call is cut off while the broker holds its batch, which the broker takes all
// the same: the same events again, with others behind them, stand there once.
func TestCutOffWhileTheBrokerTakesIt(t *testing.T) {
	brokers, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(brokers.Close)
	held, release := make(chan struct{}), make(chan struct{})
	holds := sync.OnceFunc(func() { close(held) })
	brokers.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		holds()
		brokers.SleepControl(func() { <-release })
		return nil, nil, false // it takes it then
	})
	p := publisher(t, brokers.ListenAddrs()[0])
	_, _, err = p.Topics(t.Context())
	require.NoError(t, err)
	ctx, cut := context.WithCancel(t.Context())
	cutOff := make(chan error, 1)
	go func() {
		_, err := p.Publish(ctx, "liaison.flow", 1, events(0, 20))
		cutOff <- err
	}()
	<-held
	cut()
	require.ErrorIs(t, <-cutOff, context.Canceled)
	close(release)
	base, err := p.Publish(t.Context(), "liaison.flow", 1, events(0, 25))
	require.NoError(t, err)
	require.Zero(t, base)
	var have []string
	require.NoError(t, p.ReadFrom(t.Context(), "liaison.flow", 1, 0, func(_ int64, ev pipelines.OutboxEvent) error { have = append(have, ev.ID); return nil }))
	require.Len(t, have, 25, "nothing twice")
	require.IsIncreasing(t, have)
}

// A topic's limit that was raised while an event was too large for it lets the
// event pass.
func TestLimitRaised(t *testing.T) {
	address := broker(t, "")
	const topic = "liaison.clinical"
	limited := func(limit int) *kafka.Publisher {
		p, err := kafka.NewPublisher(kafka.Config{Brokers: []string{address}, Topics: []kafka.Topic{{Name: topic, Partitions: 1, MaxMessageBytes: limit}}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, p.Close()) })
		return p
	}
	_, err := limited(20_000).Ensure(t.Context())
	require.NoError(t, err)
	p := limited(8 << 20)
	deviations, err := p.Ensure(t.Context())
	require.NoError(t, err)
	require.Len(t, deviations, 1)
	require.True(t, deviations[0].Smaller())
	large := events(0, 1)
	large[0].Value = make([]byte, 50_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(large[0].Value)
	_, err = p.Publish(t.Context(), topic, 0, large)
	var tooLarge *kafka.TooLarge
	require.ErrorAs(t, err, &tooLarge)
	client := &kafkago.Client{Addr: kafkago.TCP(address), Transport: &kafkago.Transport{}}
	_, err = client.IncrementalAlterConfigs(t.Context(), &kafkago.IncrementalAlterConfigsRequest{Resources: []kafkago.IncrementalAlterConfigsRequestResource{{
		ResourceType: kafkago.ResourceTypeTopic, ResourceName: topic,
		Configs: []kafkago.IncrementalAlterConfigsRequestConfig{{Name: "max.message.bytes", Value: "8388608", ConfigOperation: kafkago.ConfigOperationSet}},
	}}})
	require.NoError(t, err)
	client.Transport.(*kafkago.Transport).CloseIdleConnections()
	_, err = p.Publish(t.Context(), topic, 0, large)
	require.NoError(t, err, "the limit was raised, as the error asks")
}

// A topic that the cluster does not make is missing alone, and is asked for
// again.
func TestTopicThatIsNotMade(t *testing.T) {
	brokers, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(brokers.Close)
	const claims = "liaison.claims"
	var allowed atomic.Bool
	brokers.ControlKey(int16(kmsg.CreateTopics), func(r kmsg.Request) (kmsg.Response, error, bool) {
		brokers.KeepControl()
		if request := r.(*kmsg.CreateTopicsRequest); !allowed.Load() {
			request.Topics = slices.DeleteFunc(request.Topics, func(t kmsg.CreateTopicsRequestTopic) bool { return t.Topic == claims })
		}
		return nil, nil, false
	})
	p, err := kafka.NewPublisher(kafka.Config{
		Brokers: []string{brokers.ListenAddrs()[0]}, RetryMin: time.Millisecond, RetryMax: 2 * time.Millisecond,
		Topics: []kafka.Topic{{Name: claims, Partitions: 2, MaxMessageBytes: 1 << 20}, {Name: "liaison.flow", Partitions: 3, MaxMessageBytes: 1 << 20}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	_, topics, err := p.Topics(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int32{"liaison.flow": 3}, topics)
	_, err = p.Publish(t.Context(), "liaison.flow", 1, events(0, 5))
	require.NoError(t, err)
	_, err = p.Publish(t.Context(), claims, 1, events(0, 5))
	var refused *kafka.Refused
	require.ErrorAs(t, err, &refused)
	require.Equal(t, claims, refused.Topic)
	_, err = p.Ensure(t.Context())
	require.ErrorAs(t, err, &refused)
	allowed.Store(true)
	_, topics, err = p.Topics(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int32{"liaison.flow": 3, claims: 2}, topics)
	_, err = p.Ensure(t.Context())
	require.NoError(t, err)
	_, err = p.Publish(t.Context(), claims, 1, events(0, 5))
	require.NoError(t, err)
}

// A broker whose batches boast, of records, headers or bytes that are not there,
// or that are cut, ends neither the process nor the wait in silence: a consumer
// is told where, a publisher asks again and is served when the batch is whole.
func TestBrokerThatLies(t *testing.T) {
	record := func(headers int64) []byte {
		r := []byte{0, 0, 0, 2, 'k', 2, 'v'} // attributes, deltas, key, value
		r = binary.AppendVarint(r, headers)
		return append(binary.AppendVarint(nil, int64(len(r))), r...)
	}
	honest := kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: 1, Records: record(0)}
	lies := map[string]func(*kmsg.RecordBatch){
		"records":         func(b *kmsg.RecordBatch) { b.NumRecords, b.Records = math.MaxInt32, nil },
		"fewer than none": func(b *kmsg.RecordBatch) { b.NumRecords = -1 },
		"headers":         func(b *kmsg.RecordBatch) { b.Records = record(1 << 40) },
		"a few headers":   func(b *kmsg.RecordBatch) { b.Records = record(3) },
		"length":          func(b *kmsg.RecordBatch) { b.Records = append(binary.AppendVarint(nil, math.MaxInt32), b.Records...) },
		"cut":             func(b *kmsg.RecordBatch) { b.Records = b.Records[:len(b.Records)-1] },
		"not snappy":      func(b *kmsg.RecordBatch) { b.Attributes = 2 },
		"a snappy boast":  func(b *kmsg.RecordBatch) { b.Attributes, b.Records = 2, binary.AppendUvarint(nil, math.MaxUint32) },
		"a xerial boast": func(b *kmsg.RecordBatch) {
			b.Attributes, b.Records = 2, []byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\xff\xff\xff\xf0")
		},
		"unknown squeezed": func(b *kmsg.RecordBatch) { b.Attributes = 7 },
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			brokers, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "liaison.flow"))
			require.NoError(t, err)
			t.Cleanup(brokers.Close)
			batch := honest
			batch.Records = slices.Clone(honest.Records)
			lie(&batch)
			var honestNow atomic.Bool
			answer := func(b kmsg.RecordBatch) []byte {
				b.Length = int32(49 + len(b.Records))
				wire := b.AppendTo(nil)
				binary.BigEndian.PutUint32(wire[17:], crc32.Checksum(wire[21:], crc32.MakeTable(crc32.Castagnoli)))
				return wire
			}
			_, err = publisher(t, brokers.ListenAddrs()[0]).Publish(t.Context(), "liaison.flow", 0, events(0, 1))
			require.NoError(t, err)
			brokers.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
				brokers.KeepControl()
				response := r.ResponseKind().(*kmsg.FetchResponse)
				part := kmsg.NewFetchResponseTopicPartition()
				part.HighWatermark, part.RecordBatches = 1, answer(batch)
				if honestNow.Load() {
					part.RecordBatches = answer(honest)
				}
				response.Topics = []kmsg.FetchResponseTopic{{Topic: "liaison.flow", Partitions: []kmsg.FetchResponseTopicPartition{part}}}
				return response, nil, true
			})
			cfg := kafka.Config{
				Brokers: brokers.ListenAddrs(), RetryMin: time.Millisecond, RetryMax: 2 * time.Millisecond,
				Topics: []kafka.Topic{{Name: "liaison.flow", Partitions: 1}},
			}
			consumer, err := kafka.NewConsumer(cfg)
			require.NoError(t, err)
			t.Cleanup(consumer.Close)
			var corrupt *kafka.Corrupt
			require.ErrorAs(t, consumer.Read(t.Context(), true, 0, func(*kafka.Record) error { return errors.New("no record") }), &corrupt)
			require.Equal(t, "liaison.flow", corrupt.Topic)
			require.Zero(t, corrupt.Offset)

			var said atomic.Int32
			cfg.Observer.Retry = func(_ string, _ int32, attempt int, err error) {
				if errors.As(err, new(*kafka.Corrupt)) {
					said.Add(1)
					honestNow.Store(attempt > 1)
				}
			}
			p, err := kafka.NewPublisher(cfg)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, p.Close()) })
			var values []string
			require.NoError(t, p.ReadFrom(t.Context(), "liaison.flow", 0, 0, func(_ int64, e pipelines.OutboxEvent) error {
				values = append(values, string(e.Value))
				return nil
			}))
			require.Equal(t, []string{"v"}, values)
			require.Equal(t, int32(2), said.Load())
		})
	}
}

// A consumer follows its partitions from one broker to another.
func TestConsumerFollowsTheLeader(t *testing.T) {
	brokers, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(3, "liaison.flow"))
	require.NoError(t, err)
	t.Cleanup(brokers.Close)
	p := publisher(t, brokers.ListenAddrs()[0])
	send := func(round int) {
		for partition := range int32(3) {
			_, err := p.Publish(t.Context(), "liaison.flow", partition, events(round*10, 10))
			require.NoError(t, err)
		}
	}
	send(0)
	c, err := kafka.NewConsumer(kafka.Config{Brokers: brokers.ListenAddrs(), Topics: []kafka.Topic{{Name: "liaison.flow"}}, RetryMin: time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	next := map[int32]int64{}
	count := 0
	require.NoError(t, c.Read(t.Context(), true, 0, func(r *kafka.Record) error {
		require.Equal(t, next[r.Partition], r.Offset)
		next[r.Partition]++
		switch count++; count {
		case 30, 60:
			for partition := range int32(3) {
				require.NoError(t, brokers.MoveTopicPartition("liaison.flow", partition, (partition+int32(count/30))%3))
			}
			send(count / 30)
		case 90:
			return kafka.ErrStop
		}
		return nil
	}))
}
