package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/liaison-health/liaison/pipelines"
)

// headerID is the CloudEvents header that carries the event's id.
const headerID = "ce_id"

// fetchBytes and fetchWait bound one look at a partition. A larger batch is
// delivered whole all the same.
const (
	fetchBytes = 1 << 20
	fetchWait  = 500 * time.Millisecond
)

// A Record is one event as it stands on a topic.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Time      time.Time
	Key       []byte
	Headers   []pipelines.Header
	Value     []byte
}

// Header returns the first header of that name, or "".
func (r *Record) Header(name string) string {
	for i := range r.Headers {
		if r.Headers[i].Name == name {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}

// offsets asks for the first or last offset of some partitions of one topic,
// in the order given.
func (c *client) offsets(ctx context.Context, topic string, partitions []int32, which int64, told func(int, error)) ([]int64, error) {
	request := &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{}}
	for _, partition := range partitions {
		request.Topics[topic] = append(request.Topics[topic], kafkago.OffsetRequest{Partition: int(partition), Timestamp: which})
	}
	found := make([]int64, len(partitions))
	err := c.retry(ctx, told, func(ctx context.Context) error {
		response, err := c.kafka.ListOffsets(ctx, request)
		if err != nil {
			return err
		}
		for i := range found {
			found[i] = -1
		}
		for _, answer := range response.Topics[topic] {
			if answer.Error != nil {
				return answer.Error
			}
			for i, partition := range partitions {
				if int(partition) == answer.Partition {
					if found[i] = answer.LastOffset; which == kafkago.FirstOffset {
						found[i] = answer.FirstOffset
					}
				}
			}
		}
		for i, offset := range found {
			if offset < 0 {
				return fmt.Errorf("no offset of partition %d in the answer: %w", partitions[i], kafkago.UnknownTopicOrPartition)
			}
		}
		return nil
	})
	if err != nil && !errors.As(err, new(*GaveUp)) {
		err = fmt.Errorf("kafka: list the offsets of %s: %w", topic, err)
	}
	return found, err
}

// read hands the records of [from, to) to fn; what retention has taken away is
// skipped.
func (c *client) read(ctx context.Context, topic string, partition int32, from, to int64, told func(int, error), fn func(*Record) error) error {
	for from < to {
		next := from
		var called error
		err := c.retry(ctx, told, func(ctx context.Context) error {
			next, called = from, nil
			n, err := c.fetch(ctx, topic, partition, next, fetchWait, func(r *Record) error {
				if r.Offset >= to {
					next = to
					return nil
				}
				if called = fn(r); called != nil {
					return called
				}
				next, from = r.Offset+1, r.Offset+1
				return nil
			})
			if called != nil {
				return &handed{called}
			}
			next = max(next, n)
			return err
		})
		if called != nil {
			return called
		}
		if hasCode(err, kafkago.OffsetOutOfRange) {
			first, err := c.offsets(ctx, topic, []int32{partition}, kafkago.FirstOffset, told)
			if err != nil {
				return err
			}
			if first[0] <= from {
				return fmt.Errorf("kafka: read %s[%d] at %d: %w", topic, partition, from, kafkago.OffsetOutOfRange)
			}
			from = first[0]
			continue
		}
		if err != nil {
			return err
		}
		from = next
	}
	return nil
}

// handed carries an error of the caller's function through retry unrepeated.
type handed struct{ error }

func (*handed) permanent() {}

// fetch makes one request and hands over what it brought. It returns the
// offset to go on from. The record is the callee's to keep.
func (c *client) fetch(ctx context.Context, topic string, partition int32, offset int64, wait time.Duration, fn func(*Record) error) (int64, error) {
	response, err := c.kafka.Fetch(ctx, &kafkago.FetchRequest{
		Topic: topic, Partition: int(partition), Offset: offset, MinBytes: 1, MaxBytes: fetchBytes, MaxWait: wait,
	})
	if err == nil {
		err = response.Error
	}
	if err != nil {
		return offset, err
	}
	if closer, ok := response.Records.(io.Closer); ok {
		defer closer.Close() //nolint:errcheck // memory only
	}
	next := offset
	for {
		record, err := response.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return next, fmt.Errorf("decode a record: %w", err)
		}
		r, err := convert(record)
		if err != nil {
			return next, err
		}
		if r.Offset < next {
			continue // a batch may begin before the offset asked for
		}
		r.Topic, r.Partition = topic, partition
		next = r.Offset + 1
		if err := fn(r); err != nil {
			return next, err
		}
	}
	if next == offset && response.HighWatermark > offset {
		next++ // a control record, which is nobody's business
	}
	return next, nil
}

func convert(record *kafkago.Record) (*Record, error) {
	r := &Record{Offset: record.Offset, Time: record.Time}
	var err error
	if r.Key, err = readAll(record.Key); err != nil {
		return nil, err
	}
	if r.Value, err = readAll(record.Value); err != nil {
		return nil, err
	}
	if len(record.Headers) > 0 {
		r.Headers = make([]pipelines.Header, len(record.Headers))
		for i, h := range record.Headers {
			r.Headers[i] = pipelines.Header{Name: h.Key, Value: string(h.Value)}
		}
	}
	return r, nil
}

// readAll copies a record's bytes out of the response; nil stays nil.
func readAll(b protocol.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer b.Close() //nolint:errcheck // memory only
	out := make([]byte, b.Len())
	if _, err := io.ReadFull(b, out); err != nil {
		return nil, fmt.Errorf("read a record: %w", err)
	}
	return out, nil
}
