package engine

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/store"
)

// offsets are the ends of the partitions as last published, with the cluster
// that they were published to.
type offsets struct {
	Cluster string           `json:"cluster"`
	Ends    map[string]int64 `json:"ends"` // "topic/partition"
}

// batchBytes is how much is published at once.
const batchBytes = 4 << 20

// A stored event is what the outbox holds: topic and Kafka record.
type storedEvent struct {
	topic string
	pipelines.OutboxEvent
}

// encodeEvent fixes the bytes that go to Kafka: they are never made again. They
// are good until the next call.
func (e *Engine) encodeEvent(ev *records.Event) []byte {
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

// publish sends the outbox in its order until the processing has ended and
// nothing is left, or Kafka does not answer during the drain.
func (e *Engine) publish(ctx context.Context, processed <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // after the drain Kafka has a few seconds more
		select {
		case <-processed:
			select {
			case <-time.After(10 * time.Second):
				cancel()
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}()
	if err := e.reconcile(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	for ctx.Err() == nil {
		n, err := e.publishBatch(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			e.cfg.Log.Error("publish", "error", err)
			e.metrics.publishErrors.Inc()
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
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

// reconcile asks Kafka where its logs end. Events beyond the stored offsets were
// published before a crash: they are not sent again. A log that ends below them
// has lost its tail: everything that is kept is sent again.
func (e *Engine) reconcile(ctx context.Context) error {
	e.offsets = offsets{Ends: map[string]int64{}}
	if data, err := e.store.Meta("offsets"); err != nil {
		return err
	} else if data != nil {
		if err := json.Unmarshal(data, &e.offsets); err != nil {
			return fmt.Errorf("read offsets: %w", err)
		}
	}
	for {
		cluster, ends, err := e.publisher.LogEnds(ctx)
		if err == nil {
			return e.compare(ctx, cluster, ends)
		}
		if ctx.Err() != nil {
			return nil
		}
		e.cfg.Log.Warn("kafka does not answer yet", "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

func (e *Engine) compare(ctx context.Context, cluster string, ends map[pipelines.TopicPartition]int64) error {
	lost := e.offsets.Cluster != "" && e.offsets.Cluster != cluster
	for tp, end := range ends {
		name := partitionName(tp.Topic, tp.Partition)
		have := e.offsets.Ends[name]
		if end < have {
			lost = true
		}
		if end > have && !lost {
			err := e.publisher.ReadFrom(ctx, tp.Topic, tp.Partition, have, func(_ int64, ev pipelines.OutboxEvent) error {
				e.skip[ev.ID] = true
				return nil
			})
			if err != nil {
				return fmt.Errorf("read the end of %s: %w", name, err)
			}
		}
	}
	if lost {
		e.cfg.Log.Error("kafka has lost events that were published, or is another cluster: sending again all that is kept", "events", e.published)
		e.metrics.logLosses.Inc()
		e.mu.Lock()
		e.published = 0
		e.mu.Unlock()
		e.offsets.Ends = map[string]int64{}
	}
	e.offsets.Cluster = cluster
	return nil
}

func partitionName(topic string, partition int32) string {
	return fmt.Sprintf("%s/%d", topic, partition)
}

// publishBatch sends the next events, the partitions side by side.
func (e *Engine) publishBatch(ctx context.Context) (int, error) {
	groups := map[pipelines.TopicPartition][]pipelines.OutboxEvent{}
	e.mu.Lock()
	from := e.published + 1
	e.mu.Unlock()
	last, count, size := from-1, 0, 0
	if e.room == nil {
		e.room = make([]byte, 0, batchBytes)
	}
	room := e.room // the events of a batch stand in it until they are published
	err := e.store.Outbox(from, func(n uint64, stored []byte) (bool, error) {
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
			delete(e.skip, ev.ID)
			return true, nil
		}
		partitions, err := e.publisher.Partitions(ctx, ev.topic)
		if err != nil {
			return false, err
		}
		h := fnv.New32a()
		h.Write(ev.Key)
		tp := pipelines.TopicPartition{Topic: ev.topic, Partition: int32(h.Sum32() % uint32(max(partitions, 1)))}
		groups[tp] = append(groups[tp], ev.OutboxEvent)
		size += len(data)
		return count < 1024 && size < batchBytes, nil
	})
	if err != nil || count == 0 {
		return 0, err
	}
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	bases := make(map[pipelines.TopicPartition]*int64, len(groups))
	for tp, events := range groups {
		base := new(int64)
		bases[tp] = base
		group.Go(func() error {
			var err error
			*base, err = e.publisher.Publish(ctx, tp.Topic, tp.Partition, events)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return 0, fmt.Errorf("publish: %w", err)
	}
	e.failpoint("between-produce-and-mark")
	e.metrics.publish.Observe(time.Since(start).Seconds())
	for tp, events := range groups {
		e.offsets.Ends[partitionName(tp.Topic, tp.Partition)] = *bases[tp] + int64(len(events))
		e.metrics.published.WithLabelValues(tp.Topic).Add(float64(len(events)))
	}
	return count, e.markPublished(last)
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
