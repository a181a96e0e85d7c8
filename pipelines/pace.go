package pipelines

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A Pace bounds how many messages a second a source brings in: who is faster
// waits, and so does his sender, so that a feed gone wild leaves the disk to the
// others. A nil Pace has no bound.
type Pace struct {
	every, burst time.Duration
	mu           sync.Mutex
	next         time.Time
}

// NewPace makes a Pace of so many messages a second, a tenth of them at once;
// nil for none.
func NewPace(perSecond int) *Pace {
	if perSecond <= 0 {
		return nil
	}
	every := time.Second / time.Duration(perSecond)
	return &Pace{every: every, burst: every * time.Duration(perSecond/10)}
}

// Wait returns when the next message may come in, or with an error when ctx is
// done before. Waiters come in the order of their calls.
func (p *Pace) Wait(ctx context.Context) error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-p.burst); p.next.Before(earliest) {
		p.next = earliest
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(p.every)
	p.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the source's rate: %w", ctx.Err())
	}
}
