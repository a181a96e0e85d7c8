package engine

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/store"
)

// How much is published at once.
const (
	batchBytes  = 4 << 20
	batchEvents = 1024
)

// A stored event is what the outbox holds: topic and Kafka record.
type storedEvent struct {
	topic    string
	received int64 // Unix nanoseconds: when its message came; 0: not known
	pipelines.OutboxEvent
}

// encodeEvent fixes the bytes that go to Kafka: they are never made again. They
// are good until the next call.
func (e *Engine) encodeEvent(ev *records.Event, received time.Time) []byte {
	if e.mac == nil {
		e.mac = hmac.New(sha256.New, e.hmacKey)
	}
	e.mac.Reset()
	e.mac.Write([]byte(ev.Subject))
	key := hex.EncodeToString(e.mac.Sum(nil)[:16])
	dst := e.event[:0]
	text := func(s string) {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	nanos := int64(0)
	if !received.IsZero() {
		nanos = received.UnixNano()
	}
	dst = binary.AppendVarint(dst, nanos)
	text(ev.Topic)
	text(ev.ID)
	text(key)
	headers := [][2]string{
		{"ce_specversion", "1.0"},
		{"ce_id", ev.ID},
		{"ce_type", ev.Type},
		{"ce_source", "liaison"},
		{"ce_time", ev.Occurred},
		{"content-type", "application/json"},
	}
	if len(ev.Occurred) < len("2006-01-02T15:04:05Z") { // CloudEvents wants RFC 3339
		headers = append(headers[:4], headers[5:]...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(headers)))
	for _, h := range headers {
		text(h[0])
		text(h[1])
	}
	e.event = append(dst, ev.Payload...)
	return e.event
}

func decodeEvent(data []byte) (storedEvent, error) {
	var ev storedEvent
	bad := fmt.Errorf("outbox: an event is damaged")
	failed := false
	text := func() string {
		n, k := binary.Uvarint(data)
		if k <= 0 || uint64(len(data)-k) < n {
			failed = true
			return ""
		}
		s := string(data[k : k+int(n)])
		data = data[k+int(n):]
		return s
	}
	received, k := binary.Varint(data)
	if k <= 0 {
		return ev, bad
	}
	data, ev.received = data[k:], received
	ev.topic, ev.ID, ev.Key = text(), text(), []byte(text())
	n, k := binary.Uvarint(data)
	if k <= 0 || n > 64 {
		return ev, bad
	}
	data = data[k:]
	for range n {
		ev.Headers = append(ev.Headers, pipelines.Header{Name: text(), Value: text()})
	}
	ev.Value = data
	if failed {
		return ev, bad
	}
	return ev, nil
}

// EventID is the id of an event as the outbox holds it.
func EventID(stored []byte) (string, error) {
	data, err := store.DecodeEvent(nil, stored)
	if err != nil {
		return "", fmt.Errorf("read outbox: %w", err)
	}
	ev, err := decodeEvent(data)
	return ev.ID, err
}

// EventValue is the record of an event as the outbox holds it, and its id.
func EventValue(stored []byte) (id string, value []byte, err error) {
	data, err := store.DecodeEvent(nil, stored)
	if err != nil {
		return "", nil, fmt.Errorf("read outbox: %w", err)
	}
	ev, err := decodeEvent(data)
	return ev.ID, ev.Value, err
}

// publish sends the outbox in its order until the processing has ended and
// nothing is left, or Kafka does not answer during the drain.
func (e *Engine) publish(ctx context.Context, processed <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // after the drain Kafka has a few seconds more
		select {
		case <-processed:
			select {
			case <-time.After(e.cfg.Drain):
				cancel()
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}()
	if err := e.reconcile(ctx, nil); err != nil && ctx.Err() == nil {
		return err
	}
	trouble := trouble{log: e.cfg.Log}
	for ctx.Err() == nil {
		n, err := e.publishBatch(ctx)
		var lost *pipelines.LogLost
		if errors.As(err, &lost) {
			err = errors.Join(err, e.reconcile(ctx, &lost.TopicPartition))
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			e.metrics.publishErrors.Inc()
			select {
			case <-time.After(trouble.wait(err)):
			case <-ctx.Done():
			}
			continue
		}
		trouble.over()
		if n > 0 {
			continue
		}
		select {
		case <-e.outbox:
		case <-processed:
			if _, _, last, done := e.Progress(); last == done {
				return nil
			}
		case <-ctx.Done():
		}
	}
	return nil
}

func partitionName(topic string, partition int32) string {
	return fmt.Sprintf("%s/%d", topic, partition)
}

// publishBatch sends the next events, the partitions side by side.
func (e *Engine) publishBatch(ctx context.Context) (int, error) {
	groups := map[pipelines.TopicPartition][]pipelines.OutboxEvent{}
	_, _, durable, from := e.Progress()
	from++
	last, count, size := from-1, 0, 0
	if e.room == nil {
		e.room = make([]byte, 0, batchBytes)
	}
	room := e.room // the events of a batch stand in it until they are published
	var received []int64
	var skipped []string
	err := e.store.Outbox(from, func(n uint64, stored []byte) (bool, error) {
		if n > durable {
			return false, nil
		}
		data, err := store.DecodeEvent(room, stored)
		if err != nil {
			return false, err
		}
		if len(data) <= cap(room) { // it stands there
			room = room[len(data):len(data)]
		}
		ev, err := decodeEvent(data)
		if err != nil {
			return false, err
		}
		last = n
		count++
		if e.skip[ev.ID] {
			skipped = append(skipped, ev.ID)
			return count < batchEvents, nil
		}
		partitions, err := e.publisher.Partitions(ctx, ev.topic)
		if err != nil {
			return false, err
		}
		h := fnv.New32a()
		h.Write(ev.Key)
		tp := pipelines.TopicPartition{Topic: ev.topic, Partition: int32(h.Sum32() % uint32(max(partitions, 1)))}
		if !e.offsets.lacks(n, partitionName(tp.Topic, tp.Partition)) {
			return count < batchEvents, nil
		}
		groups[tp] = append(groups[tp], ev.OutboxEvent)
		received = append(received, ev.received)
		size += len(data)
		return count < batchEvents && size < batchBytes, nil
	})
	if err != nil || count == 0 {
		return 0, err
	}
	start := time.Now()
	if err := e.produce(ctx, groups); err != nil {
		return 0, fmt.Errorf("publish: %w", err)
	}
	e.failpoint("between-produce-and-mark")
	now := time.Now()
	e.metrics.publish.Observe(now.Sub(start).Seconds())
	for _, at := range received {
		if at != 0 {
			e.metrics.whole.Observe(now.Sub(time.Unix(0, at)).Seconds())
		}
	}
	e.offsets.sent(last)
	if err := e.markPublished(last); err != nil {
		return 0, err
	}
	for _, id := range skipped {
		delete(e.skip, id)
	}
	return count, nil
}

// produce sends each partition's events. When some partitions fail, what the
// others took is not sent again with the next try.
func (e *Engine) produce(ctx context.Context, groups map[pipelines.TopicPartition][]pipelines.OutboxEvent) error {
	var group errgroup.Group
	var mu sync.Mutex
	var done []pipelines.TopicPartition
	for tp, events := range groups {
		group.Go(func() error {
			base, err := e.publisher.Publish(ctx, tp.Topic, tp.Partition, events)
			if err != nil {
				return err //nolint:wrapcheck // wrapped where it is one of several
			}
			mu.Lock()
			defer mu.Unlock()
			done = append(done, tp)
			e.offsets.Ends[partitionName(tp.Topic, tp.Partition)] = base + int64(len(events))
			e.metrics.published.WithLabelValues(tp.Topic).Add(float64(len(events)))
			return nil
		})
	}
	err := group.Wait()
	if err != nil {
		for _, tp := range done {
			for i := range groups[tp] {
				e.skip[groups[tp][i].ID] = true
			}
		}
	}
	return err
}

func (e *Engine) markPublished(last uint64) error {
	data, err := json.Marshal(e.offsets)
	if err != nil {
		return fmt.Errorf("write offsets: %w", err)
	}
	b := e.store.NewBatch()
	if err := b.Number("published", last); err != nil {
		return err
	}
	if err := b.Meta("offsets", data); err != nil {
		return err
	}
	if err := b.Commit(); err != nil {
		return err
	}
	e.mu.Lock()
	e.published = last
	e.mu.Unlock()
	return nil
}
