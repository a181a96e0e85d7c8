package pipelines

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"
)

// LargeMessage is from how many bytes on a message takes room: what is smaller
// is bounded by the number of connections.
const LargeMessage = 1 << 20

// A Room bounds what all sources together hold of large messages that are
// being read or taken in. Who finds it full waits: the sender's connection is
// not read meanwhile. A nil Room has no bound.
type Room struct {
	size int64
	left *semaphore.Weighted
}

// NewRoom makes a Room of so many bytes.
func NewRoom(bytes int64) *Room {
	return &Room{size: bytes, left: semaphore.NewWeighted(bytes)}
}

// Take waits for room for the largest message that a source takes, or all the
// room there is when that is less, until ctx is done. Taking it at once, not as
// the message grows, is what keeps two senders from waiting for each other.
// release gives it back; calling it again does nothing.
func (r *Room) Take(ctx context.Context, largest int64) (release func(), err error) {
	if r == nil {
		return func() {}, nil
	}
	n := min(largest, r.size)
	if err := r.left.Acquire(ctx, n); err != nil {
		return nil, fmt.Errorf("wait for room: %w", err)
	}
	var once sync.Once
	return func() { once.Do(func() { r.left.Release(n) }) }, nil
}
