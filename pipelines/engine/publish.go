package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/liaison-health/liaison/pipelines"
)

// How much is published at once.
const (
	batchBytes  = 4 << 20
	batchEvents = 1024
	batchSpan   = 4 * batchEvents // of the outbox, where most of it is for other partitions
)

// A place says how a partition comes by its events.
type place uint8

const (
	front  place = iota // with the others, in the order of the outbox
	behind              // with the others that catch up
	stuck               // it did not take events: it is tried alone, and nobody waits for it
)

// A partition is how far one partition of a topic has got.
type partition struct {
	pipelines.TopicPartition
	name    string
	sent    uint64 // its events up to this one are on Kafka
	place   place
	checked bool   // the end of its log was compared with what is stored
	short   bool   // the publisher found that it had lost events
	tried   uint64 // stuck: the last event that it was offered
	size    int    // stuck: bytes of the events that it was offered
	trying  bool
	pause   time.Duration
	due     time.Time // of the next try
}

// publishing takes the outbox to Kafka. Each partition has its own progress, so
// that one that refuses or is stuck holds no other back: the partitions at the
// front go through the outbox together; one that does not take its events in
// time leaves them and is tried alone; when it takes them it catches up, with
// others that do, and is at the front again. All of it is one goroutine's own;
// a try has one that touches nothing.
type publishing struct {
	*Engine
	offsets  offsets
	topics   map[string][]*partition
	all      []*partition
	at       uint64         // how far the front has got
	waiting  map[string]int // by topic: events that the front has passed and that are not on Kafka
	results  chan result
	tries    sync.WaitGroup
	holds    *semaphore.Weighted // bytes of the events that are being tried
	room     [2][]byte           // where the events of front and behind stand until they are published
	groups   []*group
	troubles map[string]*trouble // by topic
	losses   float64             // that are not marked yet
	uneven   bool                // not all are at the front, or the metrics do not say so yet
}

// A group is what one partition is sent at once.
type group struct {
	part     *partition
	events   []pipelines.OutboxEvent
	received []int64
	last     uint64
	size     int
	base     int64
	err      error
}

// publish sends the outbox until the processing has ended and nothing is left,
// or Kafka does not take it during the drain.
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
	done := processed
	p := &publishing{Engine: e, results: make(chan result), holds: semaphore.NewWeighted(triesBytes)}
	defer func() {
		cancel()
		go func() { p.tries.Wait(); close(p.results) }()
		for range p.results { // what they sent is found at the next start
		}
	}()
	if err := p.begin(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	trouble := trouble{log: e.cfg.Log}
	ended := false
	for ctx.Err() == nil {
		worked, err := p.round(ctx)
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
		if worked {
			continue
		}
		if _, _, last, published := e.Progress(); ended && last == published {
			return nil
		}
		select {
		case <-e.outbox:
		case r := <-p.results:
			if err := p.heard(ctx, r); err != nil && ctx.Err() == nil {
				return err
			}
		case <-p.nextTry():
		case <-done:
			ended, done = true, nil
		case <-ctx.Done():
		}
	}
	return nil
}

// round sends the next events, the partitions side by side, and says whether
// there were any.
func (p *publishing) round(ctx context.Context) (bool, error) {
	if err := p.hear(ctx); err != nil {
		return false, err
	}
	p.startTries(ctx)
	p.groups = p.groups[:0]
	_, _, durable, _ := p.Progress()
	ahead, err := p.gather(front, p.at, durable)
	if err != nil {
		return false, err
	}
	rear, has := p.rear()
	caught := rear
	if has {
		if caught, err = p.gather(behind, rear, ahead); err != nil {
			return false, err
		}
	} else {
		p.room[behind] = nil
	}
	if ahead == p.at && caught == rear {
		return false, nil
	}
	p.send(ctx)
	if ctx.Err() == nil {
		p.failpoint("between-produce-and-mark")
	}
	for _, g := range p.groups {
		if g.err != nil {
			p.refused(ctx, g)
		}
	}
	p.at = ahead
	p.move(caught)
	for _, g := range p.groups {
		if g.err == nil && g.part.place == behind {
			p.waiting[g.part.Topic] -= len(g.events)
		}
	}
	p.rejoin()
	return true, p.mark()
}

// rear is how far all that catch up have got.
func (p *publishing) rear() (at uint64, has bool) {
	for _, part := range p.all {
		if part.place == behind && (!has || part.sent < at) {
			at, has = part.sent, true
		}
	}
	return at, has
}

// move notes how far front and behind have got. What a partition has beyond
// that stays.
func (p *publishing) move(caught uint64) {
	for _, part := range p.all {
		switch part.place {
		case front:
			part.sent = max(part.sent, p.at)
		case behind:
			part.sent = max(part.sent, caught)
		}
	}
}

// rejoin brings those who have caught up to the front.
func (p *publishing) rejoin() {
	for _, part := range p.all {
		if part.place == behind && part.sent >= p.at {
			part.place, part.pause = front, 0
		}
	}
}

// gather groups the next events of the partitions in a place, up to an event,
// and says how far it came.
func (p *publishing) gather(of place, after, upTo uint64) (last uint64, err error) {
	if p.room[of] == nil && after < upTo {
		p.room[of] = make([]byte, 0, batchBytes)
	}
	groups := map[*partition]*group{}
	last = after
	seen, count, size := 0, 0, 0
	err = p.events(after, p.room[of], func(n uint64, ev *storedEvent, bytes int) (bool, error) {
		if n > upTo {
			return false, nil
		}
		last = n
		seen++
		part := p.partition(ev, n)
		switch {
		case n <= part.sent:
		case part.place == of:
			g := groups[part]
			if g == nil {
				g = &group{part: part}
				groups[part] = g
				p.groups = append(p.groups, g)
			}
			g.add(n, ev, bytes)
			count++
			size += bytes
		case of == front:
			p.waiting[part.Topic]++
		}
		return count < batchEvents && size < batchBytes && seen < batchSpan, nil
	})
	return last, err
}

func (g *group) add(n uint64, ev *storedEvent, size int) {
	g.events = append(g.events, ev.OutboxEvent)
	g.received = append(g.received, ev.received)
	g.last = n
	g.size += size
}

// partition is where an event goes. A topic that the cluster does not have is
// one partition that is stuck.
func (p *publishing) partition(ev *storedEvent, n uint64) *partition {
	list := p.topics[ev.topic]
	if len(list) == 0 {
		p.add(ev.topic, -1, n-1).place = stuck
		list = p.topics[ev.topic]
	}
	return list[partitionOf(ev.Key, len(list))]
}

// has says whether an event is the partition's, of so many in its topic.
func (part *partition) has(ev *storedEvent, partitions int) bool {
	return ev.topic == part.Topic && partitionOf(ev.Key, partitions) == int(max(part.Partition, 0))
}

func (p *publishing) add(topic string, number int32, sent uint64) *partition {
	part := &partition{TopicPartition: pipelines.TopicPartition{Topic: topic, Partition: number}, name: partitionName(topic, number), sent: sent}
	p.topics[topic] = append(p.topics[topic], part)
	p.all = append(p.all, part)
	return part
}

func partitionName(topic string, partition int32) string {
	return fmt.Sprintf("%s/%d", topic, partition)
}

// send sends the groups, until a partition has kept the others waiting for as
// long as they have patience.
func (p *publishing) send(ctx context.Context) {
	if len(p.groups) == 0 {
		return
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Patience)
	defer cancel()
	var all sync.WaitGroup
	for _, g := range p.groups[1:] {
		all.Go(func() { p.sendOne(ctx, g) })
	}
	p.sendOne(ctx, p.groups[0])
	all.Wait()
	p.metrics.publish.Observe(time.Since(start).Seconds())
	for _, g := range p.groups {
		if g.err == nil {
			p.landed(g)
		}
	}
}

func (p *publishing) sendOne(ctx context.Context, g *group) {
	g.base, g.err = p.publisher.Publish(ctx, g.part.Topic, g.part.Partition, g.events)
}

// landed notes that a group is on Kafka.
func (p *publishing) landed(g *group) {
	p.offsets.Ends[g.part.name] = g.base + int64(len(g.events))
	p.metrics.published.WithLabelValues(g.part.Topic).Add(float64(len(g.events)))
	now := time.Now()
	for _, at := range g.received {
		if at != 0 {
			p.metrics.whole.Observe(now.Sub(time.Unix(0, at)).Seconds())
		}
	}
}

// refused takes a partition that did not take its events away from the others.
func (p *publishing) refused(ctx context.Context, g *group) {
	if g.part.place == front {
		p.waiting[g.part.Topic] += len(g.events)
	}
	g.part.place, g.part.tried, g.part.size = stuck, g.last, g.size
	p.failed(ctx, g.part, g.err)
}

// failed notes why a partition is stuck, and when it is tried again.
func (p *publishing) failed(ctx context.Context, part *partition, err error) {
	if ctx.Err() != nil { // the drain is over
		return
	}
	p.metrics.publishErrors.Inc()
	var lost *pipelines.LogLost
	if errors.As(err, &lost) {
		part.checked, part.short = false, true
	}
	p.trouble(part.Topic).say(err)
	part.pause = nextPause(part.pause)
	if errors.Is(err, context.DeadlineExceeded) { // it was waited for long enough
		part.pause = 0
	}
	part.due = time.Now().Add(part.pause)
}

func (p *publishing) trouble(topic string) *trouble {
	t := p.troubles[topic]
	if t == nil {
		t = &trouble{log: p.cfg.Log.With("topic", topic)}
		p.troubles[topic] = t
	}
	return t
}

// mark makes the progress durable: up to the first event that is not on Kafka,
// and what the partitions have beyond it.
func (p *publishing) mark() error {
	o := &p.offsets
	low := p.at
	for _, part := range p.all {
		low = min(low, part.sent)
	}
	o.Sent = nil
	for _, part := range p.all {
		if part.sent > low {
			if o.Sent == nil {
				o.Sent = map[string]uint64{}
			}
			o.Sent[part.name] = part.sent
		}
	}
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("write offsets: %w", err)
	}
	b := p.store.NewBatch()
	if err := errors.Join(b.Number("published", low), b.Meta("offsets", data)); err != nil {
		return err
	}
	if err := b.Commit(); err != nil {
		return err
	}
	waiting, stuck := p.tell()
	p.mu.Lock()
	p.published, p.passed, p.left, p.ahead, p.stuck = low, p.at, waiting, o.Sent, stuck
	p.mu.Unlock()
	p.metrics.logLosses.Add(p.losses)
	p.losses = 0
	return nil
}

// tell says which topics are stuck, and how many events wait for them.
func (p *publishing) tell() (waiting int, topics []string) {
	uneven := false
	for _, part := range p.all {
		uneven = uneven || part.place != front
	}
	if !uneven && !p.uneven {
		return 0, nil
	}
	p.uneven = uneven
	for topic, list := range p.topics {
		is := 0.0
		stuck := slices.ContainsFunc(list, func(part *partition) bool { return part.place == stuck })
		if t := p.troubles[topic]; t != nil && !stuck {
			t.over()
		}
		if stuck {
			is, topics = 1, append(topics, topic)
		}
		p.metrics.stuck.WithLabelValues(topic).Set(is)
		p.metrics.waiting.WithLabelValues(topic).Set(float64(p.waiting[topic]))
		waiting += p.waiting[topic]
	}
	slices.Sort(topics)
	return waiting, topics
}
