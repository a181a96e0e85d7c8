package connectortest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines"
)

// A PublisherHarness says how one kind of publisher is tested.
type PublisherHarness struct {
	// Open gives a publisher and an empty topic of at least three partitions
	// that nobody else writes to: another topic at each call, or another broker.
	// again opens a second publisher on the same cluster and topic, as after a
	// restart of the process. The suite closes what they give.
	Open func(t *testing.T) (p pipelines.Publisher, topic string, again func(t *testing.T) pipelines.Publisher)
	// TooLarge is a size, in bytes, that one event's value cannot have; the
	// suite makes it of bytes that no compression shortens. 0: not checked.
	TooLarge int
	// Unreachable gives a publisher, and the name of its topic, whose cluster
	// never answers; nil: not checked.
	Unreachable func(t *testing.T) (pipelines.Publisher, string)
}

// Publisher checks a publisher against pipelines.Publisher. Each check opens a
// topic of its own.
func Publisher(t *testing.T, h PublisherHarness) {
	t.Helper()
	checks := []struct {
		name string
		run  func(*testing.T, PublisherHarness)
	}{
		{"order and offsets", publishesInOrder},
		{"events are carried unchanged", eventsUnchanged},
		{"the ends of the log", logEnds},
		{"reading from an offset", readsFrom},
		{"partitions at the same time", partitionsAtOnce},
		{"an event that is too large", tooLarge},
		{"a context that ends", publisherContext},
		{"the same cluster after a restart", publisherAgain},
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			leftovers(t)
			c.run(t, h)
		})
	}
}

type topic struct {
	pipelines.Publisher
	name  string
	again func(t *testing.T) pipelines.Publisher
}

func open(t *testing.T, h PublisherHarness) (context.Context, *topic) {
	t.Helper()
	p, name, again := h.Open(t)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	_, partitions, err := p.Topics(ctx)
	require.NoError(t, err)
	require.GreaterOrEqual(t, partitions[name], int32(3), "the suite needs three partitions")
	return ctx, &topic{p, name, again}
}

// Events makes n events whose ids, keys and values follow from from.
func Events(from, n int) []pipelines.OutboxEvent {
	out := make([]pipelines.OutboxEvent, n)
	for i := range out {
		id := fmt.Sprintf("00000000-0000-5000-8000-%012d", from+i)
		out[i] = pipelines.OutboxEvent{
			ID: id, Key: fmt.Appendf(nil, "key-%d", (from+i)%7),
			Headers: []pipelines.Header{{Name: "ce_specversion", Value: "1.0"}, {Name: "ce_id", Value: id}},
			Value:   fmt.Appendf(nil, `{"spec":"liaison.record/1","version":%d}`, from+i),
		}
	}
	return out
}

// read gives the n events of a partition from an offset on, and checks that
// each stands where it should.
func (p *topic) read(ctx context.Context, t *testing.T, partition int32, from int64) []pipelines.OutboxEvent {
	t.Helper()
	var out []pipelines.OutboxEvent
	next := from
	require.NoError(t, p.ReadFrom(ctx, p.name, partition, from, func(offset int64, e pipelines.OutboxEvent) error {
		require.Equal(t, next, offset)
		next++
		out = append(out, e)
		return nil
	}))
	return out
}

func (p *topic) end(ctx context.Context, t *testing.T, partition int32) int64 {
	t.Helper()
	end, err := p.LogEnd(ctx, p.name, partition)
	require.NoError(t, err)
	return end
}

func publishesInOrder(t *testing.T, h PublisherHarness) {
	ctx, p := open(t, h)
	at := 0
	for _, n := range []int{1, 100, 1, 7, 1000} {
		base, err := p.Publish(ctx, p.name, 1, Events(at, n))
		require.NoError(t, err)
		require.Equal(t, int64(at), base, "the offset of the first event")
		at += n
	}
	require.Equal(t, Events(0, at), p.read(ctx, t, 1, 0))
	require.Empty(t, p.read(ctx, t, 0, 0), "another partition has events")
	require.Empty(t, p.read(ctx, t, 2, 0), "another partition has events")
}

func eventsUnchanged(t *testing.T, h PublisherHarness) {
	ctx, p := open(t, h)
	list := Events(0, 3)
	list[0].Key = []byte{0, 1, 0xff}
	list[0].Value = []byte("{\"text\":\"Stra\u00dfe\\u0000 \xff\"}\n")
	list[1].Headers = append(list[1].Headers, pipelines.Header{Name: "twice", Value: "a"}, pipelines.Header{Name: "twice", Value: "b"}, pipelines.Header{Name: "empty"})
	list[2].Value = noise(200_000)
	_, err := p.Publish(ctx, p.name, 0, list)
	require.NoError(t, err)
	require.Equal(t, list, p.read(ctx, t, 0, 0))
}

func logEnds(t *testing.T, h PublisherHarness) {
	ctx, p := open(t, h)
	cluster, _, err := p.Topics(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, cluster, "a cluster has an id")
	require.Zero(t, p.end(ctx, t, 2), "the end of an empty partition")
	_, err = p.Publish(ctx, p.name, 2, Events(0, 12))
	require.NoError(t, err)
	require.Equal(t, int64(12), p.end(ctx, t, 2))
	require.Zero(t, p.end(ctx, t, 1))
	same, _, err := p.Topics(ctx)
	require.NoError(t, err)
	require.Equal(t, cluster, same)
}

func readsFrom(t *testing.T, h PublisherHarness) {
	ctx, p := open(t, h)
	_, err := p.Publish(ctx, p.name, 0, Events(0, 500))
	require.NoError(t, err)
	require.Equal(t, Events(123, 377), p.read(ctx, t, 0, 123))
	require.Empty(t, p.read(ctx, t, 0, 500), "nothing stands at the end of the log")
	stop, calls := errors.New("enough"), 0
	err = p.ReadFrom(ctx, p.name, 0, 7, func(offset int64, _ pipelines.OutboxEvent) error {
		if calls++; offset == 9 {
			return stop
		}
		return nil
	})
	require.ErrorIs(t, err, stop, "the function's error is the caller's")
	require.Equal(t, 3, calls)
}

func partitionsAtOnce(t *testing.T, h PublisherHarness) {
	ctx, p := open(t, h)
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for partition := range errs {
		wg.Go(func() {
			for i := range 20 {
				base, err := p.Publish(ctx, p.name, int32(partition), Events(partition*1000+i*5, 5))
				if err == nil && base != int64(i*5) {
					err = fmt.Errorf("partition %d: offset %d, not %d", partition, base, i*5)
				}
				if err != nil {
					errs[partition] = err
					return
				}
			}
		})
	}
	wg.Wait()
	for partition, err := range errs {
		require.NoError(t, err)
		require.Equal(t, Events(partition*1000, 100), p.read(ctx, t, int32(partition), 0))
	}
}

func tooLarge(t *testing.T, h PublisherHarness) {
	if h.TooLarge == 0 {
		return
	}
	ctx, p := open(t, h)
	_, err := p.Publish(ctx, p.name, 0, Events(0, 2))
	require.NoError(t, err)
	list := Events(2, 1)
	list[0].Value = noise(h.TooLarge)
	_, err = p.Publish(ctx, p.name, 0, list)
	require.Error(t, err)
	require.NoError(t, ctx.Err(), "what can never pass must not be repeated until the context ends")
	require.Equal(t, int64(2), p.end(ctx, t, 0))
	base, err := p.Publish(ctx, p.name, 0, Events(2, 2))
	require.NoError(t, err, "the partition works on")
	require.Equal(t, int64(2), base)
	require.Equal(t, Events(0, 4), p.read(ctx, t, 0, 0))
}

func publisherContext(t *testing.T, h PublisherHarness) {
	ctx, p := open(t, h)
	_, err := p.Publish(ctx, p.name, 0, Events(0, 2))
	require.NoError(t, err)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = p.Publish(ended, p.name, 1, Events(0, 2))
	require.ErrorIs(t, err, context.Canceled)
	_, err = p.LogEnd(ended, p.name, 0)
	require.ErrorIs(t, err, context.Canceled)
	err = p.ReadFrom(ended, p.name, 0, 0, func(int64, pipelines.OutboxEvent) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
	_, err = p.Publish(ctx, p.name, 1, Events(0, 2))
	require.NoError(t, err, "a later call is not touched by it")
	if h.Unreachable == nil {
		return
	}
	away, name := h.Unreachable(t)
	defer func() { require.NoError(t, away.Close()) }()
	short, cancel := context.WithTimeout(context.Background(), 5*moment)
	defer cancel()
	start := time.Now()
	_, err = away.Publish(short, name, 0, Events(0, 1))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), patience/2)
}

func publisherAgain(t *testing.T, h PublisherHarness) {
	ctx, p := open(t, h)
	_, err := p.Publish(ctx, p.name, 0, Events(0, 10))
	require.NoError(t, err)
	cluster, _, err := p.Topics(ctx)
	require.NoError(t, err)
	next := &topic{Publisher: p.again(t), name: p.name}
	defer func() { require.NoError(t, next.Close()) }()
	same, _, err := next.Topics(ctx)
	require.NoError(t, err)
	require.Equal(t, cluster, same)
	require.Equal(t, int64(10), next.end(ctx, t, 0))
	base, err := next.Publish(ctx, next.name, 0, Events(10, 10))
	require.NoError(t, err)
	require.Equal(t, int64(10), base)
	require.Equal(t, Events(0, 20), next.read(ctx, t, 0, 0))
}

// noise is n bytes that no compression shortens, the same ones each time.
func noise(n int) []byte {
	out := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range out {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		out[i] = byte(x)
	}
	return out
}
