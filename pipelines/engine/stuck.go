package engine

import (
	"context"
	"log/slog"
	"time"
)

// How stuck partitions are tried.
const (
	tryFor     = 10 * time.Second
	triesBytes = 16 << 20 // what the events of all tries under way hold
	mostPause  = 10 * time.Second
)

// A result is what came of a try: of comparing a log's end with what is
// stored, or of sending what the partition did not take before.
type result struct {
	part  *partition
	found *standing
	group *group
	err   error
}

// startTries starts those that are due.
func (p *publishing) startTries(ctx context.Context) {
	now := time.Time{}
	for _, part := range p.all {
		if part.place != stuck || part.trying {
			continue
		}
		if now.IsZero() {
			now = time.Now()
		}
		if part.due.After(now) {
			continue
		}
		part.trying = true
		at := *part
		have, known := p.offsets.Ends[part.name]
		partitions := len(p.topics[part.Topic])
		cluster := p.offsets.Cluster
		p.tries.Go(func() {
			r := result{part: part}
			if at.checked {
				r.group, r.err = p.again(ctx, &at, partitions)
			} else {
				ctx, cancel := context.WithTimeout(ctx, tryFor)
				defer cancel()
				r.found, r.err = p.compare(ctx, &at, partitions, cluster, have, known)
			}
			p.results <- r
		})
	}
}

// nextTry fires when the next try is due.
func (p *publishing) nextTry() <-chan time.Time {
	next := time.Time{}
	for _, part := range p.all {
		if part.place == stuck && !part.trying && (next.IsZero() || part.due.Before(next)) {
			next = part.due
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(time.Until(next))
}

// again sends a partition what it was offered before: the same events, so that
// the publisher knows again what it had sent of them.
func (p *publishing) again(ctx context.Context, part *partition, partitions int) (*group, error) {
	size := min(int64(part.size), triesBytes)
	if err := p.holds.Acquire(ctx, size); err != nil {
		return nil, err //nolint:wrapcheck // the context's own
	}
	defer p.holds.Release(size)
	g := &group{part: part}
	err := p.events(part.sent, make([]byte, 0, part.size), func(n uint64, ev *storedEvent, size int) (bool, error) {
		if n > part.tried {
			return false, nil
		}
		if part.has(ev, partitions) {
			g.add(n, ev, size)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	p.sendOne(ctx, g)
	return g, g.err
}

// hear takes in what the tries have brought by now.
func (p *publishing) hear(ctx context.Context) error {
	for {
		select {
		case r := <-p.results:
			if err := p.heard(ctx, r); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// heard takes in what came of a try.
func (p *publishing) heard(ctx context.Context, r result) error {
	part := r.part
	part.trying = false
	if r.err != nil {
		p.failed(ctx, part, r.err)
		return nil
	}
	switch {
	case r.found != nil && (r.found.new || r.found.cluster != p.offsets.Cluster):
		return p.beginAgain(ctx)
	case r.found != nil:
		for _, n := range r.found.on {
			if n <= p.at {
				p.waiting[part.Topic]--
			}
		}
		p.waiting[part.Topic] += r.found.lost
		p.take(part, r.found)
	default:
		p.failpoint("between-produce-and-mark")
		p.landed(r.group)
		p.waiting[part.Topic] -= len(r.group.events)
		part.sent, part.pause = part.tried, 0
	}
	part.place, part.tried, part.size = behind, 0, 0
	p.rejoin()
	return p.mark()
}

// beginAgain starts anew, without the tries that are under way.
func (p *publishing) beginAgain(ctx context.Context) error {
	for {
		trying := false
		for _, part := range p.all {
			trying = trying || part.trying
		}
		if !trying {
			return p.begin(ctx)
		}
		r := <-p.results
		r.part.trying = false
	}
}

// A trouble paces tries and what is said of them: each kind of failure is
// logged once, and again when it has lasted.
type trouble struct {
	log   *slog.Logger
	pause time.Duration
	text  string
	said  time.Time
}

// wait says what failed, and how long to wait after it.
func (t *trouble) wait(err error) time.Duration {
	t.say(err)
	t.pause = nextPause(t.pause)
	return t.pause
}

func (t *trouble) say(err error) {
	if text := err.Error(); text != t.text || time.Since(t.said) > time.Minute {
		t.text, t.said = text, time.Now()
		t.log.Error("kafka does not take events; they wait on disk", "error", err)
	}
}

// nextPause is 200 ms at first, then twice as much up to 10 s.
func nextPause(last time.Duration) time.Duration {
	return min(max(2*last, 200*time.Millisecond), mostPause)
}

// over ends the trouble.
func (t *trouble) over() {
	if t.text != "" {
		t.log.Info("kafka takes events again")
	}
	t.pause, t.text = 0, ""
}
