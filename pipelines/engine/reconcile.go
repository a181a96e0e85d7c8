package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/liaison-health/liaison/pipelines"
)

// offsets are the ends of the partitions as last published, with the cluster
// that they were published to, and what is to be published again.
type offsets struct {
	Cluster string           `json:"cluster"`
	Ends    map[string]int64 `json:"ends"`            // "topic/partition"
	Again   []string         `json:"again,omitempty"` // partitions that lost events; "*": all
	Until   uint64           `json:"until,omitempty"` // the last event that they may have lost
}

// lacks says whether a partition needs an event: one that was never published,
// or one that it lost.
func (o *offsets) lacks(n uint64, partition string) bool {
	return n > o.Until || slices.Contains(o.Again, partition) || slices.Contains(o.Again, "*")
}

// sent notes the progress of publishing again.
func (o *offsets) sent(last uint64) {
	if last >= o.Until {
		o.Again, o.Until = nil, 0
	}
}

// reconcile asks Kafka where its logs end. Events beyond the stored offsets were
// published before a crash: they are not sent again. A log that ends below
// them, another cluster, and a partition that the publisher found short have
// lost events: what is kept of them is sent again, in order, which is an alarm.
func (e *Engine) reconcile(ctx context.Context, short *pipelines.TopicPartition) error {
	e.offsets = offsets{}
	data, err := e.store.Meta("offsets")
	if err != nil {
		return err
	}
	if data != nil {
		if err := json.Unmarshal(data, &e.offsets); err != nil {
			return fmt.Errorf("read offsets: %w", err)
		}
	}
	if e.offsets.Ends == nil {
		e.offsets.Ends = map[string]int64{}
	}
	trouble := trouble{log: e.cfg.Log}
	for {
		cluster, ends, err := e.publisher.LogEnds(ctx)
		if err == nil {
			err = e.compare(ctx, cluster, ends, short)
		}
		if err == nil || ctx.Err() != nil {
			return nil
		}
		select {
		case <-time.After(trouble.wait(err)):
		case <-ctx.Done():
			return nil
		}
	}
}

// compare finds what Kafka has of the events and lets publishing go on from
// there.
func (e *Engine) compare(ctx context.Context, cluster string, ends map[pipelines.TopicPartition]int64, short *pipelines.TopicPartition) error {
	o := &e.offsets
	inFlight, err := e.inFlight()
	if err != nil {
		return err
	}
	skip := map[string]bool{}
	var lost []string
	switch {
	case len(o.Ends) == 0: // nothing of ours is there yet, whatever others have written
	case o.Cluster == cluster:
		for tp, end := range ends {
			name := partitionName(tp.Topic, tp.Partition)
			have := o.Ends[name]
			switch {
			case end < have || short != nil && *short == tp:
				lost = append(lost, name)
			case end > have:
				err := e.publisher.ReadFrom(ctx, tp.Topic, tp.Partition, have, func(_ int64, ev pipelines.OutboxEvent) error {
					if inFlight[ev.ID] { // whatever others write there
						skip[ev.ID] = true
					}
					return nil
				})
				if err != nil {
					return fmt.Errorf("read the end of %s: %w", name, err)
				}
			}
		}
	default:
		lost = []string{"*"}
	}
	e.mu.Lock()
	published := e.published
	e.mu.Unlock()
	if len(lost) > 0 {
		slices.Sort(lost)
		e.cfg.Log.Error("kafka has lost events that were published, or is another cluster: sending again all that is kept of them",
			"partitions", lost, "cluster", cluster, "before", o.Cluster, "events", published)
		e.metrics.logLosses.Inc()
		o.Again = slices.Compact(slices.Sorted(slices.Values(append(o.Again, lost...))))
		o.Until = max(o.Until, published)
		err := e.store.Outbox(0, func(n uint64, _ []byte) (bool, error) {
			published = min(published, n-1)
			return false, nil
		})
		if err != nil {
			return err
		}
	}
	o.Cluster, e.skip = cluster, skip
	for tp, end := range ends {
		o.Ends[partitionName(tp.Topic, tp.Partition)] = end
	}
	if len(lost) == 0 && len(skip) > 0 { // the ends are noted with the events that they are of
		return nil
	}
	o.sent(published)
	return e.markPublished(published)
}

// inFlight are the ids of what may have been on its way when the mark was not
// written: the next batch.
func (e *Engine) inFlight() (map[string]bool, error) {
	e.mu.Lock()
	from := e.published + 1
	e.mu.Unlock()
	ids := map[string]bool{}
	err := e.store.Outbox(from, func(_ uint64, stored []byte) (bool, error) {
		id, err := EventID(stored)
		ids[id] = true
		return len(ids) < batchEvents, err
	})
	return ids, err
}

// A trouble paces tries and what is said of them: each kind of failure is
// logged once, and again when it has lasted.
type trouble struct {
	log   *slog.Logger
	pause time.Duration
	text  string
	said  time.Time
}

// wait says how long to wait after a failure: 200 ms, then up to 10 s.
func (t *trouble) wait(err error) time.Duration {
	if text := err.Error(); text != t.text || time.Since(t.said) > time.Minute {
		t.text, t.said = text, time.Now()
		t.log.Error("kafka does not take events; they wait on disk", "error", err)
	}
	t.pause = min(max(2*t.pause, 200*time.Millisecond), 10*time.Second)
	return t.pause
}

// over ends the trouble.
func (t *trouble) over() {
	if t.pause > 0 {
		t.log.Info("kafka takes events again")
	}
	t.pause, t.text = 0, ""
}
