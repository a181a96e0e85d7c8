package engine_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/engine"
)

// feed sends n updates of a few patients.
func (h *house) feed(from, n int) {
	h.t.Helper()
	for i := from; i < from+n; i++ {
		h.send(adt(fmt.Sprintf("C%d", i), fmt.Sprint(4100000+i%7), fmt.Sprintf("Name%d", i)))
	}
}

// inOrder checks that each record's versions come 1, 2, 3 … on one partition,
// once what came twice is left out, and that one id has one text.
func (l *log) inOrder(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	texts, versions := map[string]string{}, map[string]uint64{}
	for _, list := range l.parts {
		for _, ev := range list {
			if have, ok := texts[ev.ID]; ok {
				require.Equal(t, have, string(ev.Value), "one id, one text")
				continue
			}
			texts[ev.ID] = string(ev.Value)
			r, err := records.Decode(ev.Value)
			require.NoError(t, err)
			key := string(r.Kind) + "/" + r.Key.String()
			versions[key]++
			require.Equal(t, versions[key], r.Version, "%s", key)
		}
	}
}

// alarmed returns when the engine has said that Kafka lost events.
func (h *house) alarmed() {
	h.t.Helper()
	require.Eventually(h.t, func() bool { return h.metric("liaison_log_losses_total") > 0 }, patience, time.Millisecond, "a loss goes unnoticed")
}

// While Kafka is away messages are taken and become events on disk; when it is
// back all are published in order. It survives restarts in between.
func TestKafkaAway(t *testing.T) {
	h := newHouse(t)
	h.log.stop()
	h.open().run()
	h.feed(0, 300)
	require.Eventually(t, func() bool { tail, done, _, _ := h.engine.Progress(); return tail == done }, patience, time.Millisecond)
	_, _, events, published := h.engine.Progress()
	require.GreaterOrEqual(t, events, uint64(300))
	require.Zero(t, published)
	require.EqualValues(t, events, h.metric("liaison_outbox_pending"))
	h.log.start()
	h.drained()
	require.Len(t, h.log.all(), int(events))
	h.log.inOrder(t)
	require.EqualValues(t, events, h.metric("liaison_published_total"))
	require.EqualValues(t, events, h.metric("liaison_end_to_end_seconds"))
}

// The power goes at a point of the way, with all that was not synced lost.
// What was acknowledged by then is there and ends on Kafka, and once the
// senders have repeated what was not, all is as if the power had stayed: the
// same events, each with one text, in order.
func TestPowerCutAtEachPoint(t *testing.T) {
	day := func(h *house, acked *sync.Map) {
		for n := range 60 {
			message := adt(fmt.Sprintf("C%d", n), fmt.Sprint(4100000+n%7), fmt.Sprintf("Name%d", n))
			if n%20 == 19 {
				message = poison(fmt.Sprintf("C%d", n), "4100000")
			}
			if _, err := h.accept(message); err == nil {
				acked.Store(fmt.Sprintf("C%d", n), true)
			}
		}
	}
	whole := newHouse(t).open().run()
	day(whole, &sync.Map{})
	whole.drained()
	want := once(whole.log.all())
	points := []string{"before-append", "after-append", "prepare", "fold", "before-commit", "after-commit", "produce", "between-produce-and-mark"}
	for _, point := range points {
		for _, hit := range []int64{1, 2, 5} {
			t.Run(fmt.Sprintf("%s %d", point, hit), func(t *testing.T) {
				h := newHouse(t)
				h.cfg.Batch = 7
				disk := h.fs.(*vfs.MemFS)
				acked := &sync.Map{}
				var hits atomic.Int64
				var cut *vfs.MemFS
				var cutLog *log
				var known []string
				reach := func(name string) {
					if name != point || hits.Add(1) != hit {
						return
					}
					acked.Range(func(id, _ any) bool { known = append(known, id.(string)); return true })
					cutLog, cut = h.log.copied(), disk.CrashClone(vfs.CrashCloneCfg{})
				}
				h.cfg.Failpoint = reach
				h.log.before = func() { reach("produce") }
				h.open().run()
				for hits.Load() < hit { // small batches may have been few
					day(h, acked)
					h.drained()
					if hits.Load() < hit {
						h.feed(int(1000*hits.Load()), 1)
						h.drained()
					}
				}
				h.stop()
				require.NotNil(t, cut)
				h.fs, h.log, h.cfg.Failpoint = cut, cutLog, nil
				h.open().run().drained()
				have := map[string]string{}
				require.NoError(t, h.engine.Journal(0, func(f *engine.Fate) error {
					have[f.ControlID] = f.Outcome
					for _, id := range f.Events {
						require.Contains(t, h.log.all(), id)
					}
					return nil
				}))
				for _, id := range known {
					require.Contains(t, have, id, "acknowledged before the power went")
					require.NotEqual(t, pipelines.Pending, have[id])
				}
				day(h, acked)
				h.drained()
				require.Subset(t, h.log.all(), want)
				h.log.inOrder(t)
			})
		}
	}
}

// Nothing of ours is on the topics at the first start, whatever others wrote
// there, and events of before are not looked for among them.
func TestFirstStartOnUsedTopics(t *testing.T) {
	h := newHouse(t)
	tp := pipelines.TopicPartition{Topic: "liaison.identity", Partition: 0}
	h.log.parts[tp] = []pipelines.OutboxEvent{{ID: "foreign", Value: []byte("{}")}}
	h.open().run()
	h.feed(0, 20)
	h.drained()
	require.Zero(t, h.metric("liaison_log_losses_total"))
	delete(h.log.parts, tp)
	h.restart().alarmed()
}

// A broker that lost the tail of one partition: an alarm, that partition's
// events are sent again, in order, and no other's.
func TestLostTail(t *testing.T) {
	for _, while := range []string{"stopped", "running"} {
		t.Run(while, func(t *testing.T) {
			h := newHouse(t).open().run()
			h.feed(0, 120)
			h.drained()
			whole := once(h.log.all())
			short := pipelines.TopicPartition{Topic: "liaison.identity", Partition: 1}
			others := map[pipelines.TopicPartition]int{}
			if while == "stopped" {
				h.stop()
			}
			h.log.mu.Lock()
			require.Greater(t, len(h.log.parts[short]), 20)
			h.log.parts[short] = h.log.parts[short][:9]
			for tp, list := range h.log.parts {
				others[tp] = len(list)
			}
			if while == "running" { // the publisher finds it out with the next batch
				h.log.refuse["liaison.identity"] = fmt.Errorf("publish: %w", &pipelines.LogLost{TopicPartition: short})
			}
			h.log.mu.Unlock()
			if while == "stopped" {
				h.open().run().alarmed()
			} else {
				h.send(adt("X1", "4100000", "Another"))
				h.alarmed()
				h.log.mu.Lock()
				delete(h.log.refuse, "liaison.identity")
				h.log.mu.Unlock()
			}
			h.drained()
			require.Subset(t, h.log.all(), whole)
			h.log.inOrder(t)
			h.log.mu.Lock()
			for tp, n := range others {
				if tp != short {
					require.LessOrEqual(t, len(h.log.parts[tp]), n+2, "%v lost nothing", tp)
				}
			}
			h.log.mu.Unlock()
			h.restart().send(adt("Y1", "4100000", "Once"))
			h.drained()
			require.Zero(t, h.metric("liaison_log_losses_total"), "once")
		})
	}
}

// Another cluster under the same address: an alarm, and it gets all that is
// kept.
func TestOtherCluster(t *testing.T) {
	h := newHouse(t).open().run()
	h.feed(0, 60)
	h.drained()
	whole := once(h.log.all())
	h.stop()
	h.log = newLog()
	h.log.cluster = "two"
	h.log.parts[pipelines.TopicPartition{Topic: "liaison.flow", Partition: 2}] = nil
	h.open().run().alarmed()
	h.drained()
	require.Equal(t, whole, once(h.log.all()))
	h.log.inOrder(t)
}

// While one topic refuses, what the others took is not sent to them again and
// again; afterwards all is there, in order.
func TestOneTopicRefuses(t *testing.T) {
	h := newHouse(t)
	h.log.refuse["liaison.flow"] = errRefused
	h.open().run()
	for n := range 40 {
		h.send(adt(fmt.Sprintf("C%d", n), fmt.Sprint(4100000+n%5), fmt.Sprintf("Name%d", n)))
		h.send([]byte(fmt.Sprintf("MSH|^~\\&|ADT1|ALDER|||20260310120000-0400||ADT^A01^ADT_A01|V%d|P|2.5.1\rEVN|A01|20260310120000-0400\r"+
			"PID|1||%d^^^ALDER^MR||Abbott^Anna\rPV1|1|I|W^%d^A||||||||||||||||V%d^^^ALDER^VN\r", n, 4100000+n%5, n, n)))
	}
	require.Eventually(t, func() bool { return h.metric("liaison_publish_errors_total") >= 3 }, patience, time.Millisecond)
	identity := h.log.ids("liaison.identity")
	require.Len(t, once(identity), len(identity), "sent once for all the tries")
	h.log.mu.Lock()
	delete(h.log.refuse, "liaison.flow")
	h.log.mu.Unlock()
	h.drained()
	require.Len(t, once(h.log.all()), len(h.log.all()))
	require.NotEmpty(t, h.log.ids("liaison.flow"))
	h.log.inOrder(t)
}
