package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/liaison-health/liaison/pipelines"
)

// headerID is the CloudEvents header that carries the event's id.
const headerID = "ce_id"

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

// errPast ends read behind its last record.
var errPast = errors.New("past the end")

// read hands the records of [from, to) to fn; what retention has taken away is
// skipped.
func (c *client) read(ctx context.Context, topic string, partition int32, from, to int64, told func(int, error), fn func(*Record) error) error {
	at := &position{topic, partition, from}
	bounded := func(r *Record) error {
		if r.Offset >= to {
			return errPast
		}
		return fn(r)
	}
	for at.offset < to {
		err := c.retry(ctx, told, func(ctx context.Context) error {
			leader, err := c.fetcher.leader(ctx, topic, partition)
			if err != nil {
				return err
			}
			return c.fetcher.fetch(ctx, leader, []*position{at}, fetchWait, bounded)
		})
		var own *handed
		switch {
		case errors.As(err, &own):
			if own.error == errPast {
				return nil
			}
			return own.error
		case hasCode(err, kafkago.OffsetOutOfRange):
			if err := c.skip(ctx, at, told); err != nil {
				return err
			}
		case err != nil:
			return err
		}
	}
	return nil
}

// skip moves a position behind what retention has taken away.
func (c *client) skip(ctx context.Context, at *position, told func(int, error)) error {
	first, err := c.offsets(ctx, at.topic, []int32{at.partition}, kafkago.FirstOffset, told)
	if err != nil {
		return err
	}
	if first[0] <= at.offset {
		return fmt.Errorf("kafka: read %s[%d] at %d: %w", at.topic, at.partition, at.offset, kafkago.OffsetOutOfRange)
	}
	at.offset = first[0]
	return nil
}
