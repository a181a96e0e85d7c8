package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
)

// offsets are the ends of the partitions as last published, with the cluster
// that they were published to, and what the partitions have beyond the first
// event that is not on Kafka.
type offsets struct {
	Cluster string            `json:"cluster"`
	Ends    map[string]int64  `json:"ends"`           // "topic/partition"
	Sent    map[string]uint64 `json:"sent,omitempty"` // "topic/partition": the last event that it has
}

// partitions counts the topics' partitions.
func (o *offsets) partitions() map[string]int {
	out := map[string]int{}
	for name := range o.Ends {
		topic, _, _ := strings.Cut(name, "/")
		out[topic]++
	}
	return out
}

func (e *Engine) readOffsets() (o offsets, err error) {
	data, err := e.store.Meta("offsets")
	if err != nil {
		return o, err
	}
	if data != nil {
		if err := json.Unmarshal(data, &o); err != nil {
			return o, fmt.Errorf("read offsets: %w", err)
		}
	}
	if o.Ends == nil {
		o.Ends = map[string]int64{}
	}
	return o, nil
}

// begin asks Kafka where its logs end and lets publishing go on from there.
// Events beyond the stored offsets were published before a crash: they are not
// sent again. A log that ends below them, and another cluster, have lost
// events: what is kept of them is sent again, in order, which is an alarm. A
// partition that does not answer is asked again while the others go on.
func (p *publishing) begin(ctx context.Context) error {
	var err error
	if p.offsets, err = p.readOffsets(); err != nil {
		return err
	}
	cluster, counts, err := p.ask(ctx)
	if err != nil {
		return err
	}
	_, _, _, published := p.Progress()
	o := &p.offsets
	if len(o.Ends) > 0 && o.Cluster != cluster {
		p.cfg.Log.Error("kafka is another cluster: sending all that is kept of the events", "cluster", cluster, "before", o.Cluster)
		p.losses++
		if published, err = p.beforeKept(published); err != nil {
			return err
		}
		o.Ends, o.Sent = map[string]int64{}, nil
	}
	o.Cluster = cluster
	p.topics, p.all, p.waiting, p.troubles = map[string][]*partition{}, nil, map[string]int{}, map[string]*trouble{}
	for topic, n := range counts {
		for i := range n {
			p.add(topic, i, max(published, o.Sent[partitionName(topic, i)]))
		}
	}
	p.at, p.uneven = published, true
	p.mu.Lock()
	p.partitions = map[string]int{}
	for topic, n := range counts {
		p.partitions[topic] = int(n)
	}
	p.mu.Unlock()
	if err := p.mark(); err != nil { // before anything is sent to another cluster
		return err
	}
	p.compareAll(ctx)
	for _, part := range p.all {
		p.at = min(p.at, part.sent)
	}
	return p.mark()
}

// ask asks for cluster and topics until it is answered. Until then every topic is
// one that does not take events.
func (p *publishing) ask(ctx context.Context) (string, map[string]int32, error) {
	trouble := trouble{log: p.cfg.Log}
	for {
		try, cancel := context.WithTimeout(ctx, asking*p.cfg.Patience)
		cluster, counts, err := p.publisher.Topics(try)
		cancel()
		if err == nil {
			if trouble.text != "" {
				p.unreachable(false)
			}
			trouble.over()
			return cluster, counts, nil
		}
		if ctx.Err() != nil {
			return "", nil, fmt.Errorf("ask for the topics: %w", ctx.Err())
		}
		p.metrics.publishErrors.Inc()
		p.unreachable(true)
		select {
		case <-time.After(trouble.wait(err)):
		case <-ctx.Done():
			return "", nil, fmt.Errorf("ask for the topics: %w", ctx.Err())
		}
	}
}

// asking is how many times as long as a partition Kafka may take at first, when it
// may have to make the topics.
const asking = 3

// unreachable notes whether Kafka answers, before the partitions are known.
func (p *publishing) unreachable(is bool) {
	var topics []string
	mark := 0.0
	if is {
		topics, mark = records.Topics(), 1
	}
	for _, topic := range records.Topics() {
		p.metrics.stuck.WithLabelValues(topic).Set(mark)
	}
	p.mu.Lock()
	p.stuck = topics
	p.mu.Unlock()
}

// compareAll compares every partition, for as long as they have patience.
func (p *publishing) compareAll(ctx context.Context) {
	patient, cancel := context.WithTimeout(ctx, p.cfg.Patience)
	defer cancel()
	results := make([]result, len(p.all))
	var all sync.WaitGroup
	for i, part := range p.all {
		have, known := p.offsets.Ends[part.name]
		all.Go(func() {
			found, err := p.compare(patient, part, len(p.topics[part.Topic]), p.offsets.Cluster, have, known)
			results[i] = result{part: part, found: found, err: err}
		})
	}
	all.Wait()
	for _, r := range results {
		if r.err != nil {
			r.part.place = stuck
			p.failed(ctx, r.part, r.err)
			continue
		}
		p.take(r.part, r.found)
	}
}

// A standing is what a partition has.
type standing struct {
	cluster string
	end     int64    // of its log
	sent    uint64   // its events up to this one are there
	on      []uint64 // the events that were not known to be there
	new     bool     // the cluster has the topic now
	short   bool     // it has lost events
	lost    int      // how many it may have lost
}

// take notes what was found.
func (p *publishing) take(part *partition, f *standing) {
	if f.short {
		p.cfg.Log.Error("kafka has lost events that were published: sending again all that is kept of the partition",
			"partition", part.name, "end", f.end, "before", p.offsets.Ends[part.name], "events", f.lost)
		p.losses++
	}
	part.checked, part.short, part.sent = true, false, f.sent
	p.offsets.Ends[part.name] = f.end
}

// compare finds what a partition has of the events. Nothing of ours is on one
// whose end is not known, whatever others have written there.
func (p *publishing) compare(ctx context.Context, part *partition, partitions int, cluster string, have int64, known bool) (*standing, error) {
	f := &standing{cluster: cluster, sent: part.sent}
	var err error
	if part.short || part.Partition < 0 { // perhaps all is another's, or the topic has come
		var topics map[string]int32
		if f.cluster, topics, err = p.publisher.Topics(ctx); err != nil {
			return nil, err //nolint:wrapcheck // it says what it is
		}
		if f.new = part.Partition < 0 && topics[part.Topic] > 0; f.new {
			return f, nil
		}
	}
	if f.end, err = p.publisher.LogEnd(ctx, part.Topic, part.Partition); err != nil {
		return nil, err //nolint:wrapcheck // it says what it is
	}
	switch {
	case !known:
	case f.end < have || part.short:
		f.short = true
		if f.sent, err = p.beforeKept(part.sent); err != nil {
			return nil, err
		}
		err = p.eventsOf(part, partitions, f.sent, part.sent, func(uint64, string) bool { f.lost++; return true })
	case f.end > have:
		err = p.beyond(ctx, part, partitions, have, f)
	}
	return f, err
}

// beyond finds what stands on a partition beyond its stored end: it is the
// first of what was on its way when the mark was not written, with perhaps
// what others write there.
func (p *publishing) beyond(ctx context.Context, part *partition, partitions int, have int64, f *standing) error {
	var ids []string
	var numbers []uint64
	err := p.eventsOf(part, partitions, part.sent, part.sent+batchSpan, func(n uint64, id string) bool {
		ids, numbers = append(ids, id), append(numbers, n)
		return len(ids) < batchEvents
	})
	if err != nil {
		return err
	}
	there := 0
	err = p.publisher.ReadFrom(ctx, part.Topic, part.Partition, have, func(_ int64, ev pipelines.OutboxEvent) error {
		if there < len(ids) && ids[there] == ev.ID {
			there++
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the end of %s: %w", part.name, err)
	}
	if f.on = numbers[:there]; there > 0 {
		f.sent = numbers[there-1]
	}
	return nil
}

// eventsOf visits a partition's events behind one and up to another.
func (p *publishing) eventsOf(part *partition, partitions int, after, upTo uint64, visit func(n uint64, id string) bool) error {
	return p.events(after, nil, func(n uint64, ev *storedEvent, _ int) (bool, error) {
		switch {
		case n > upTo:
			return false, nil
		case !part.has(ev, partitions):
			return true, nil
		}
		return visit(n, ev.ID), nil
	})
}

// beforeKept is the number before the first event that is kept, at most so
// many.
func (p *publishing) beforeKept(most uint64) (uint64, error) {
	err := p.store.Outbox(0, func(n uint64, _ []byte) (bool, error) {
		most = min(most, n-1)
		return false, nil
	})
	return most, err
}
