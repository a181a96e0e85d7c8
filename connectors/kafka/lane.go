package kafka

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"slices"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/liaison-health/liaison/pipelines"
)

// A lane is the one way into one partition: a producer id of its own, one
// batch in flight, sequence numbers without a gap. It knows where the log has
// to end, so it notices a tail that the brokers lost, and what it sent without
// hearing the outcome, so it neither loses nor doubles that.
type lane struct {
	publisher *Publisher
	topic     string
	partition int32
	limit     int
	turn      chan struct{} // holds a token while nobody publishes

	producer int64 // -1: none yet
	epoch    int16
	sequence int32
	next     int64 // the offset that the next record will get, -1: not known yet

	seed    maphash.Seed
	sums    []uint64 // of the chunk being sent
	pending []uint64 // of the chunk that was sent without a known outcome
	carried []uint64 // of what the last, failed call had appended
	base    int64    // the offset of carried's first

	batch *batch
}

// renewAt is the sequence number at which a lane takes a fresh producer id,
// long before the number would wrap.
const renewAt = 1 << 30

func newLane(p *Publisher, topic string, partition int32, limit int) *lane {
	l := &lane{
		publisher: p, topic: topic, partition: partition, limit: limit, turn: make(chan struct{}, 1),
		producer: -1, next: -1, base: -1, seed: maphash.MakeSeed(), batch: newBatch(p.codec),
	}
	l.turn <- struct{}{}
	return l
}

func (l *lane) publish(ctx context.Context, events []pipelines.OutboxEvent) (int64, error) {
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
	case <-ctx.Done():
		return -1, &GaveUp{Cause: context.Cause(ctx), Last: errors.New("another call holds the partition")}
	}
	base, sent := int64(-1), 0
	if n := len(l.carried); n > 0 && l.match(l.carried, events) {
		base, sent = l.base, n
	} else {
		l.carried = l.carried[:0]
	}
	for sent < len(events) {
		offset, n, err := l.send(ctx, events[sent:])
		if err != nil {
			return base, err
		}
		if base < 0 {
			base = offset
		}
		l.base = base
		l.carried = append(l.carried, l.sums[:n]...)
		sent += n
	}
	l.carried = l.carried[:0]
	l.batch.shrink(2 * l.publisher.cfg.BatchBytes)
	return base, nil
}

// send puts the first events of the list into one batch and sees it through.
// It returns the offset of the first and how many there were.
func (l *lane) send(ctx context.Context, events []pipelines.OutboxEvent) (int64, int, error) {
	n := l.chunk(events)
	if len(l.pending) > 0 {
		if l.match(l.pending, events) {
			n = len(l.pending) // the same batch again, under the same sequence numbers
		} else if _, _, err := l.settle(ctx); err != nil {
			return -1, 0, err
		}
	}
	for {
		if err := l.begin(ctx); err != nil {
			return -1, 0, err
		}
		if err := l.batch.fill(events[:n], l.publisher.now()); err != nil {
			return -1, 0, err
		}
		l.sum(events[:n])
		var err error
		if l.batch.size() > l.limit {
			err = kafkago.MessageSizeTooLarge
		} else {
			var offset int64
			if offset, err = l.produce(ctx, n); err == nil {
				return offset, n, l.advance(offset, n)
			}
		}
		switch {
		case hasCode(err, kafkago.MessageSizeTooLarge, kafkago.RecordListTooLarge):
			l.pending = l.pending[:0] // refused before it reached the log
			if n == 1 {
				if limit := l.publisher.client.limit(ctx, l.topic); limit > l.limit { // it was raised since
					l.limit = limit
					continue
				}
				return -1, 0, &TooLarge{Topic: l.topic, EventID: events[0].ID, Size: l.batch.size(), Limit: l.limit}
			}
			n /= 2
		case hasCode(err, sequenceCodes()...):
			offset, found, err := l.settle(ctx)
			if err != nil || found {
				return offset, n, err
			}
		case retriable(err) || errors.As(err, new(*GaveUp)):
			return -1, 0, err
		default:
			return -1, 0, &Refused{Topic: l.topic, Partition: l.partition, Doing: "a batch", Err: err}
		}
	}
}

// chunk is how many of the events go into one batch.
func (l *lane) chunk(events []pipelines.OutboxEvent) int {
	size := 0
	for i := range events {
		size += eventSize(&events[i])
		if size > l.publisher.cfg.BatchBytes && i > 0 {
			return i
		}
	}
	return len(events)
}

// begin makes sure of a producer id and of where the log ends.
func (l *lane) begin(ctx context.Context) error {
	told := l.publisher.retried(l.topic, l.partition)
	if l.next < 0 {
		ends, err := l.publisher.client.offsets(ctx, l.topic, []int32{l.partition}, kafkago.LastOffset, told)
		if err != nil {
			return err
		}
		l.next = ends[0]
	}
	if l.producer >= 0 && (l.sequence < renewAt || len(l.pending) > 0) {
		return nil
	}
	return l.publisher.client.retry(ctx, told, func(ctx context.Context) error {
		response, err := l.publisher.client.kafka.InitProducerID(ctx, &kafkago.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1})
		if err == nil {
			err = response.Error
		}
		if err != nil {
			return err
		}
		l.producer, l.epoch, l.sequence = int64(response.Producer.ProducerID), int16(response.Producer.ProducerEpoch), 0
		return nil
	})
}

// produce sends the filled batch until it is answered for good.
func (l *lane) produce(ctx context.Context, n int) (int64, error) {
	l.batch.stamp(l.producer, l.epoch, l.sequence)
	l.pending = append(l.pending[:0], l.sums...)
	var offset int64
	err := l.publisher.client.retry(ctx, l.publisher.retried(l.topic, l.partition), func(ctx context.Context) error {
		response, err := l.publisher.client.kafka.RawProduce(ctx, &kafkago.RawProduceRequest{
			Topic: l.topic, Partition: int(l.partition), RequiredAcks: kafkago.RequireAll,
			RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(l.batch.wire)},
		})
		if err != nil {
			return err
		}
		offset = response.BaseOffset
		return response.Error
	})
	if err == nil && l.publisher.cfg.Observer.Published != nil {
		l.publisher.cfg.Observer.Published(l.topic, l.partition, n, len(l.batch.plain), l.batch.size())
	}
	return offset, err
}

// advance books an acknowledged batch. An offset below the expected one means
// that the log had lost its tail without the brokers noticing.
func (l *lane) advance(offset int64, n int) error {
	l.pending = l.pending[:0]
	l.sequence += int32(n)
	expected := l.next
	l.next = offset + int64(n)
	if offset < expected {
		l.carried = l.carried[:0] // what this call had appended may be gone too
		return &TailLost{Topic: l.topic, Partition: l.partition, Expected: expected, End: offset}
	}
	return nil
}

// settle finds out in the log itself whether the pending batch is there, and
// leaves the lane with a fresh producer id to come.
func (l *lane) settle(ctx context.Context) (offset int64, found bool, err error) {
	p := l.publisher
	told := p.retried(l.topic, l.partition)
	ends, err := p.client.offsets(ctx, l.topic, []int32{l.partition}, kafkago.LastOffset, told)
	if err != nil {
		return -1, false, err
	}
	end := ends[0]
	if end < l.next {
		lost := &TailLost{Topic: l.topic, Partition: l.partition, Expected: l.next, End: end}
		l.producer, l.next, l.pending, l.carried = -1, end, l.pending[:0], l.carried[:0]
		return -1, false, lost
	}
	offset = -1
	if end > l.next {
		at := 0 // how much of the pending batch the records before this one are
		err := p.client.read(ctx, l.topic, l.partition, l.next, end, told, func(r *Record) error {
			sum := l.sumOf(r.Key, r.Value)
			if at < len(l.pending) && sum == l.pending[at] {
				at++
			} else if at < len(l.pending) {
				at = 0
				if sum == l.pending[0] {
					at = 1
				}
			}
			if at == len(l.pending) && offset < 0 {
				offset = r.Offset - int64(at) + 1
			}
			return nil
		})
		if err != nil {
			return -1, false, err
		}
	}
	l.producer, l.next, l.pending = -1, end, l.pending[:0]
	if p.cfg.Observer.Resumed != nil {
		p.cfg.Observer.Resumed(l.topic, l.partition, offset >= 0)
	}
	return offset, offset >= 0, nil
}

// sum remembers what the events are, cheaply.
func (l *lane) sum(events []pipelines.OutboxEvent) {
	l.sums = l.sums[:0]
	for i := range events {
		l.sums = append(l.sums, l.sumOf(events[i].Key, events[i].Value))
	}
}

func (l *lane) sumOf(key, value []byte) uint64 {
	return maphash.Bytes(l.seed, value) ^ maphash.Bytes(l.seed, key)<<1
}

// match says whether the events begin with those of the sums.
func (l *lane) match(sums []uint64, events []pipelines.OutboxEvent) bool {
	if len(sums) > len(events) {
		return false
	}
	l.sum(events[:len(sums)])
	return slices.Equal(sums, l.sums)
}
