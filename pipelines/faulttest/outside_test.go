package faulttest_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines/faulttest"
)

// usual is the load of the tests that break something beside the process.
func usual() faulttest.Scale {
	return scale(faulttest.Scale{Senders: 4, Messages: 30, Merges: true, Poison: 17}, share(200, 60, faulttest.Scale{Merges: true, Poison: 100}))
}

// A volumesFault has the volume take nothing, and gives back what mends it.
type volumesFault func(w *world) (strike, mend func())

// volumesFaults are a volume that fills, as the engine sees in time; one that is
// full or read-only from one write to the next.
func volumesFaults() map[string]volumesFault {
	failing := func(err error, kinds ...errorfs.OpKind) volumesFault {
		return func(w *world) (strike, mend func()) {
			var failing atomic.Bool
			w.plan.FS = errorfs.Wrap(cmp.Or[vfs.FS](w.plan.FS, vfs.Default), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if failing.Load() && slices.Contains(kinds, op.Kind) {
					return err
				}
				return nil
			}))
			return func() { failing.Store(true) }, func() { failing.Store(false) }
		}
	}
	return map[string]volumesFault{
		"watermark": func(w *world) (strike, mend func()) {
			var free atomic.Uint64
			free.Store(1 << 30)
			w.plan.Free = func(string) (uint64, error) { return free.Load(), nil }
			return func() {
				free.Store(0)
				for w.subject.metric("liaison_disk_free_bytes") != 0 && w.t.Context().Err() == nil { // it has seen it
					runtime.Gosched()
				}
			}, func() { free.Store(1 << 30) }
		},
		"no room": failing(syscall.ENOSPC, errorfs.OpCreate, errorfs.OpFileWrite),
		"read-only": failing(syscall.EROFS, errorfs.OpCreate, errorfs.OpLink, errorfs.OpRemove, errorfs.OpRename,
			errorfs.OpReuseForWrite, errorfs.OpMkdirAll, errorfs.OpFilePreallocate, errorfs.OpFileWrite),
	}
}

// 2. No room, or read-only: nothing is answered positively, everything stays
// with its sender, and when the volume takes something it goes on by itself.
func TestDiskFull(t *testing.T) {
	for name, fault := range volumesFaults() {
		t.Run(name, func(t *testing.T) {
			each(t, usual(), func(w *world) {
				w.measured()
				strike, mend := fault(w)
				w.start()
				n := w.feed.Count()
				fill := at(n/3, func() {
					w.ledger.Phase("during")
					w.fault()
					strike()
				})
				driven := make(chan error, 1)
				go func() { driven <- w.driving(fill) }()
				refused := func(n int) {
					w.t.Helper()
					require.Eventually(w.t, func() bool { return w.ledger.Refused() >= n*len(w.feed.Senders) }, patience(), time.Millisecond, "not enough was refused")
				}
				refused(4) // what was being taken is answered
				acked := w.ledger.Acked()
				refused(8)
				require.Equal(w.t, acked, w.ledger.Acked(), "answered without room")
				began := time.Now()
				w.ledger.OnAnswer(func() { w.recovered(began) })
				w.ledger.Phase("after")
				mend()
				require.NoError(w.t, <-driven)
				w.figure(faulttest.Figure{Name: "from the volume's first room to the first positive answer", Value: w.recovery.Seconds(), Unit: " s", AtMost: 5})
				w.holds()
			})
		})
	}
}

// A brokersFault breaks the brokers and gives back what mends them.
type brokersFault func(w *world) (mend func())

var errAway = errors.New("no broker")

func brokersFaults() map[string]brokersFault {
	refuse := func(err *kerr.Error) brokersFault {
		return func(w *world) func() {
			return w.brokers.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: -1}).Remove
		}
	}
	return map[string]brokersFault{
		"away": func(w *world) func() {
			var back atomic.Bool
			w.brokers.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
				if back.Load() {
					w.brokers.DropControl()
					return nil, nil, false
				}
				w.brokers.KeepControl()
				return nil, errAway, true
			})
			return func() { back.Store(true) }
		},
		"not enough replicas":        refuse(kerr.NotEnoughReplicas),
		"not enough replicas, after": refuse(kerr.NotEnoughReplicasAfterAppend),
		"time-outs":                  refuse(kerr.RequestTimedOut),
		"other leaders": func(w *world) func() {
			var moved atomic.Bool
			w.brokers.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				if moved.CompareAndSwap(false, true) {
					go w.brokers.ShufflePartitionLeaders()
				} else {
					moved.Store(false)
				}
				w.brokers.KeepControl()
				return nil, nil, false
			})
			return func() {}
		},
	}
}

// 3. Brokers away, without enough replicas, slow, and with leaders that change:
// the intake goes on, the backlog is on disk, and afterwards all of it is
// published in order.
func TestBrokers(t *testing.T) {
	for name, fault := range brokersFaults() {
		t.Run(name, func(t *testing.T) {
			each(t, usual(), func(w *world) {
				end := func() {}
				if name == "away" && *long { // measured in a process of its own, whose pauses are not the checker's
					w.onDisk()
					p, err := w.spawn(orders{Tuned: true})
					require.NoError(w.t, err)
					end = func() {
						require.NoError(w.t, p.input.Close())
						require.NoError(w.t, w.gone(p), p.errs.String())
						w.start()
					}
				} else {
					w.measured()
					w.start()
				}
				require.NoError(w.t, w.driveFrom(0, 0.25, nil))
				mend := fault(w)
				w.fault()
				w.ledger.Phase("during")
				require.NoError(w.t, w.driveFrom(0.25, 0.75, nil)) // while the brokers are broken
				if w.subject != nil && (name == "away" || name == "not enough replicas") {
					require.Eventually(w.t, func() bool {
						tail, checkpoint, event, published := w.subject.engine.Progress()
						return tail == checkpoint && event > published
					}, patience(), time.Millisecond, "what was taken becomes events that wait on disk")
				}
				w.ledger.Phase("after")
				mend()
				require.NoError(w.t, w.driveFrom(0.75, 1, nil))
				if name == "away" {
					w.figure(faulttest.Figure{Name: "p99 of answers while Kafka is away, to before", Value: w.slower(), AtMost: 2})
				}
				end()
				w.holds()
			})
		})
	}
}

// A slowProxy stands before a server and, while it is slow, lets nothing of its
// answers through.
type slowProxy struct {
	net.Listener
	to      string
	mu      sync.Mutex
	passing chan struct{} // closed while answers pass
}

func newSlowProxy(w *world, to string) *slowProxy {
	l, err := (&net.ListenConfig{}).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	p := &slowProxy{Listener: l, to: to, passing: make(chan struct{})}
	close(p.passing)
	w.t.Cleanup(func() { p.pass(true); _ = l.Close() })
	go p.serve()
	return p
}

// pass lets answers through from now on, or no more.
func (p *slowProxy) pass(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.passing:
		if !on {
			p.passing = make(chan struct{})
		}
	default:
		if on {
			close(p.passing)
		}
	}
}

func (p *slowProxy) serve() {
	for {
		client, err := p.Accept()
		if err != nil {
			return
		}
		server, err := dial(context.Background(), p.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
		go func() {
			defer func() { _ = client.Close() }()
			room := make([]byte, 64<<10)
			for {
				n, err := server.Read(room)
				p.mu.Lock()
				passing := p.passing
				p.mu.Unlock()
				<-passing
				if _, failed := client.Write(room[:n]); err != nil || failed != nil {
					return
				}
			}
		}()
	}
}

// 4. Redis gone, flushed, slow, failing, and with values that others wrote:
// nothing is lost, nothing counts twice.
func TestRedis(t *testing.T) {
	poison := func(w *world) {
		for i, key := range w.redis.Keys() {
			value, err := w.redis.Get(key)
			if err != nil || len(value) < 8 {
				continue
			}
			switch w.redis.Del(key); i % 3 {
			case 0:
				_, _ = w.redis.Lpush(key, value)
			case 1:
				_ = w.redis.Set(key, "\x00\x00\x00\x00\x00\x00\x00\x01"+value[8:])
			default:
				_ = w.redis.Set(key, value[:7])
			}
		}
	}
	faults := map[string][2]func(w *world){
		"gone":     {func(w *world) { w.redis.Close() }, func(w *world) { _ = w.redis.Restart() }},
		"flushed":  {func(w *world) { w.redis.FlushAll() }, func(w *world) { w.redis.FlushAll() }},
		"failing":  {func(w *world) { w.redis.SetError("LOADING") }, func(w *world) { w.redis.SetError("") }},
		"poisoned": {poison, poison},
		"slow":     {func(w *world) { w.slow.pass(false) }, func(w *world) { w.slow.pass(true) }},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			each(t, scale(faulttest.Scale{Senders: 4, Messages: 15}, share(200, 30, faulttest.Scale{Merges: true, Poison: 100})), func(w *world) {
				w.measured()
				if name == "slow" {
					w.slow = newSlowProxy(w, w.plan.Redis)
					w.plan.Redis = w.slow.Addr().String()
				}
				w.start()
				n := w.feed.Count()
				breaks := at(n/4, func() { fault[0](w); w.fault(); w.ledger.Phase("during") })
				mends := at(n*3/4, func() { fault[1](w); w.ledger.Phase("after") })
				w.drive(func() { breaks(); mends() })
				if name == "gone" || name == "slow" {
					w.figure(faulttest.Figure{Name: "throughput while Redis is " + name + ", to before", Value: w.ledger.Rate("during") / w.ledger.Rate("before"), AtLeast: 0.5})
				}
				w.drive(nil) // all of it again: nothing more comes of it
				w.holds()
			})
		})
	}
}

// 5. A consumer that hangs, one that is slow and one that goes away and comes
// back hold nobody up, and each gets everything in order when it goes on.
func TestConsumers(t *testing.T) {
	each(t, usual(), func(w *world) {
		w.measured()
		w.start()
		ctx, cancel := context.WithTimeout(w.t.Context(), patience())
		defer cancel()
		client := func() *kgo.Client {
			c, err := kgo.NewClient(kgo.SeedBrokers(w.brokers.ListenAddrs()...), kgo.ConsumeTopics(records.Topics()...),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(20*time.Millisecond), kgo.MetadataMinAge(10*time.Millisecond))
			require.NoError(w.t, err)
			return c
		}
		hanging, slow := client(), client()
		defer hanging.Close()
		defer slow.Close()
		var got atomic.Int64
		var reading sync.WaitGroup
		reading.Go(func() { // one record at a time
			for ctx.Err() == nil {
				if f := slow.PollRecords(ctx, 1); f.NumRecords() > 0 {
					got.Add(int64(f.NumRecords()))
				}
			}
		})
		w.fault()
		w.drive(nil)
		w.holds()
		want := int64(len(w.sink()))
		require.Eventually(w.t, func() bool { return got.Load() == want }, patience(), time.Millisecond, "the slow one catches up")
		cancel()
		reading.Wait()
		late := map[string]int64{}
		ctx, cancel = context.WithTimeout(w.t.Context(), patience())
		defer cancel()
		for n := int64(0); n < want; {
			f := hanging.PollFetches(ctx)
			require.NoError(w.t, ctx.Err())
			f.EachRecord(func(r *kgo.Record) {
				place := fmt.Sprintf("%s[%d]", r.Topic, r.Partition)
				require.Equal(w.t, late[place], r.Offset)
				late[place]++
				n++
			})
		}
	})
}

// 7. Every message several times, at once on two connections, after a restart
// and in between: one effect each, and the same answer each time.
func TestDuplicates(t *testing.T) {
	each(t, scale(faulttest.Scale{Senders: 4, Messages: 20, Merges: true}, share(100, 4, faulttest.Scale{Merges: true})), func(w *world) {
		w.measured()
		w.start()
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Duration(howMany(1, 60))*time.Minute)
		defer cancel()
		storm := func() {
			var work sync.WaitGroup
			for n, sent := range w.feed.Senders {
				work.Go(func() {
					random := rand.New(rand.NewPCG(w.seed, uint64(n)))
					lines := [2]*line{{w: w}, {w: w}}
					defer lines[0].close()
					defer lines[1].close()
					for _, m := range sent {
						copies := 1 + random.IntN(howMany(4, 50))
						var both sync.WaitGroup
						for _, l := range lines {
							both.Go(func() {
								for range copies {
									l.deliver(ctx, m)
								}
							})
						}
						both.Wait()
					}
				})
			}
			work.Wait()
		}
		w.drive(nil)
		w.ledger.Phase("during")
		storm()
		w.ledger.Phase("after")
		w.figure(faulttest.Figure{Name: "throughput in a storm of duplicates, to before", Value: w.ledger.Rate("during") / w.ledger.Rate("before"), AtLeast: 0.7})
		w.restart()
		w.redis.FlushAll()
		w.fault()
		storm()
		require.NoError(w.t, ctx.Err())
		w.holds()
	})
}

// 8. A clock that jumps by hours in both directions: event ids and states are
// the same as with a clock that stands.
func TestClock(t *testing.T) {
	each(t, scale(faulttest.Scale{Senders: 3, Messages: 20, Merges: true}, share(50, 30, faulttest.Scale{Merges: true})), func(w *world) {
		noon := time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC) // an hour is missing in Europe
		w.measured()
		w.plan.Clock = func() time.Time { return noon }
		w.start()
		w.drive(nil)
		w.holds()
		skewed := newWorld(w.t, w.seed, scale(faulttest.Scale{Senders: 3, Messages: 20, Merges: true}, share(50, 30, faulttest.Scale{Merges: true})))
		var mu sync.Mutex
		skewed.plan.Clock = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return noon.Add(time.Duration(skewed.random.IntN(4*3600)-2*3600) * time.Second)
		}
		skewed.measured()
		skewed.fault()
		skewed.start()
		skewed.drive(nil)
		skewed.drive(nil)
		skewed.holds()
		ids := func(w *world) (out []string) {
			for _, d := range w.sink() {
				out = append(out, d.EventID)
			}
			slices.Sort(out)
			return slices.Compact(out)
		}
		require.Equal(w.t, ids(w), ids(skewed))
	})
}

// 9. One message in three cannot be mapped: each is held once with its reason,
// and the others become their records.
func TestPoison(t *testing.T) {
	each(t, scale(faulttest.Scale{Senders: 4, Messages: 30, Poison: 3}, share(200, 60, faulttest.Scale{Poison: 3})), func(w *world) {
		w.measured()
		w.start()
		w.drive(nil)
		w.restart()
		w.drive(nil) // a repeat of one in quarantine is another try of it, no second one
		w.fault()
		w.holds()
	})
}

// 10. Each sender's messages in a random order within a window of twenty: the
// records end where the sender's own order leads.
func TestOutOfOrder(t *testing.T) {
	each(t, scale(faulttest.Scale{Senders: 4, Messages: 40}, share(200, 60, faulttest.Scale{})), func(w *world) {
		w.measured()
		w.start()
		for _, sent := range w.feed.Senders {
			for from := 0; from < len(sent); from += 20 {
				window := sent[from:min(from+20, len(sent))]
				w.random.Shuffle(len(window), func(i, j int) { window[i], window[j] = window[j], window[i] })
			}
		}
		w.fault()
		w.drive(nil)
		w.holds()
	})
}
