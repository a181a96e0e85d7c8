package pipelines

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
)

// LargeMessage is from how many bytes on a message takes room: what is smaller
// is bounded by the number of connections. It takes room in steps of as many.
const LargeMessage = 1 << 20

// A Room bounds what all sources together hold of large messages that are
// being read or taken in. Who finds it full waits: the sender's connection is
// not read meanwhile. A message takes what was read of it, so that a slow sender
// of little keeps no others out; yet it grows only where enough is left for all
// that have begun to end one after the other (the banker's algorithm), so that
// no two wait for each other. A nil Room has no bound.
type Room struct {
	size int64

	mu      sync.Mutex
	free    int64
	shares  []*Share // that hold something
	waiting []*waiter
}

// A Share is the room of one message. A nil Share has no bound.
type Share struct {
	room          *Room
	held, largest int64
}

type waiter struct {
	share *Share
	to    int64
	ready chan struct{} // closed when it has its room
}

// NewRoom makes a Room of so many bytes.
func NewRoom(bytes int64) *Room { return &Room{size: bytes, free: bytes} }

// Enter gives the share of a message that may become so large; it holds nothing
// yet. What is larger than the room takes all of it.
func (r *Room) Enter(largest int64) *Share {
	if r == nil {
		return nil
	}
	return &Share{room: r, largest: min(largest, r.size)}
}

// Grow waits for room for so many bytes of the message, until ctx is done. waited
// is false when there was room at once.
func (s *Share) Grow(ctx context.Context, to int64) (waited bool, err error) {
	if s == nil {
		return false, nil
	}
	r := s.room
	to = min((to+LargeMessage-1)/LargeMessage*LargeMessage, s.largest)
	r.mu.Lock()
	if to <= s.held || (s.held > 0 || len(r.waiting) == 0) && r.grant(s, to) {
		r.mu.Unlock()
		return false, nil
	}
	w := &waiter{share: s, to: to, ready: make(chan struct{})}
	r.waiting = append(r.waiting, w)
	r.mu.Unlock()
	select {
	case <-w.ready:
		return true, nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := slices.Index(r.waiting, w); at >= 0 {
		r.waiting = slices.Delete(r.waiting, at, at+1)
		r.serve() // who came behind it
	}
	return true, fmt.Errorf("wait for room: %w", ctx.Err())
}

// Leave gives the room back; calling it again does nothing.
func (s *Share) Leave() {
	if s == nil {
		return
	}
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.held > 0 {
		r.free += s.held
		s.held = 0
		r.shares = slices.DeleteFunc(r.shares, func(other *Share) bool { return other == s })
	}
	r.serve()
}

// serve gives room to who waits: to those who hold some, and to newcomers in
// their order.
func (r *Room) serve() {
	newcomers := true
	r.waiting = slices.DeleteFunc(r.waiting, func(w *waiter) bool {
		if w.share.held == 0 && !newcomers {
			return false
		}
		if r.grant(w.share, w.to) {
			close(w.ready)
			return true
		}
		newcomers = newcomers && w.share.held > 0
		return false
	})
}

// grant lets a share grow when all shares can end afterwards.
func (r *Room) grant(s *Share, to int64) bool {
	more := to - s.held
	if more > r.free {
		return false
	}
	if s.held == 0 {
		r.shares = append(r.shares, s)
	}
	s.held, r.free = to, r.free-more
	if r.safe() {
		return true
	}
	s.held, r.free = to-more, r.free+more
	if s.held == 0 {
		r.shares = slices.DeleteFunc(r.shares, func(other *Share) bool { return other == s })
	}
	return false
}

// safe says whether the shares can end one after the other, each as large as it
// may become.
func (r *Room) safe() bool {
	slices.SortStableFunc(r.shares, func(a, b *Share) int { return cmp.Compare(a.largest-a.held, b.largest-b.held) })
	free := r.free
	for _, s := range r.shares {
		if s.largest-s.held > free {
			return false
		}
		free += s.held
	}
	return true
}
