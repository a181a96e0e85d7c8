package engine_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/engine"
)

// admit is an admission: events of two topics.
func admit(control, patient, visit string) []byte {
	return fmt.Appendf(nil, "MSH|^~\\&|ADT1|ALDER|||20260310120000-0400||ADT^A01^ADT_A01|%s|P|2.5.1\rEVN|A01|20260310120000-0400\r"+
		"PID|1||%s^^^ALDER^MR||Abbott^Anna%s\rPV1|1|I|W^1^A||||||||||||||||%s^^^ALDER^VN\r", control, patient, control, visit)
}

// admissions sends n of them, of a few patients.
func (h *house) admissions(from, n int) {
	h.t.Helper()
	for i := from; i < from+n; i++ {
		h.send(admit(fmt.Sprintf("A%d", i), fmt.Sprint(4100000+i%7), fmt.Sprintf("V%d", i)))
	}
}

// processed returns when everything accepted is in the outbox.
func (h *house) processed() {
	h.t.Helper()
	require.Eventually(h.t, func() bool { tail, done, _, _ := h.engine.Progress(); return tail == done }, patience, time.Millisecond)
}

// passed returns when all that is not published waits for a stuck partition.
func (h *house) passed() {
	h.t.Helper()
	h.processed()
	require.Eventually(h.t, func() bool { return h.metric("liaison_outbox_pending") == h.metric("liaison_topic_waiting") }, patience, time.Millisecond)
}

// outboxed are the ids of the events by partition, as another cluster gets them
// all.
func (h *house) outboxed() map[string][]string {
	h.t.Helper()
	h.passed()
	other := newHouse(h.t)
	other.fs = h.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
	other.log.cluster = "another"
	other.open().run().alarmed()
	other.drained()
	out := map[string][]string{}
	for tp, list := range other.log.parts {
		for _, ev := range list {
			out[tp.Topic+fmt.Sprint(tp.Partition)] = append(out[tp.Topic+fmt.Sprint(tp.Partition)], ev.ID)
		}
	}
	other.stop()
	return out
}

// has says whether every partition but one has what it is to have.
func (l *log) has(want map[string][]string, but pipelines.TopicPartition) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for topic := range want {
		if topic == but.Topic+fmt.Sprint(but.Partition) {
			continue
		}
		have := 0
		for tp, list := range l.parts {
			if tp.Topic+fmt.Sprint(tp.Partition) == topic {
				have = len(list)
			}
		}
		if have < len(want[topic]) {
			return false
		}
	}
	return true
}

var slow = pipelines.TopicPartition{Topic: "liaison.flow", Partition: 1}

// impatient is a house that does not wait for a partition that is stuck.
func impatient(t *testing.T) *house {
	h := newHouse(t)
	h.cfg.Patience = 20 * time.Millisecond
	return h
}

// Kafka that does not answer at the start is said to be away, and what comes waits.
func TestAwayAtTheStart(t *testing.T) {
	h := impatient(t)
	h.log.stop()
	h.open().run()
	h.admissions(0, 3)
	require.Eventually(t, func() bool { return len(h.engine.Stuck()) == len(records.Topics()) }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return h.metric("liaison_publish_errors_total") >= 2 }, patience, time.Millisecond, "it is asked again")
	require.InDelta(t, 1, h.metric("liaison_topic_stuck", "liaison.flow"), 0)
	h.log.start()
	h.drained()
	require.Empty(t, h.engine.Stuck())
	require.InDelta(t, 0, h.metric("liaison_topic_stuck"), 0)
}

// While one partition does not answer the others, of its topic too, get all
// that is theirs, however much comes. What it does not have stays, its messages
// are pending and no others, and the metrics name its topic. When it answers it
// gets its own, once and in order.
func TestStuckPartition(t *testing.T) {
	h := impatient(t)
	h.open().run()
	h.admissions(0, 10)
	h.drained()
	again := h.log.hang(slow)
	defer again()
	h.admissions(10, 150)
	want := h.outboxed()
	require.Eventually(t, func() bool { return h.log.has(want, slow) }, patience, time.Millisecond, "the others wait for one")
	waits := float64(len(want["liaison.flow1"]) - len(h.log.parts[slow]))
	require.Greater(t, waits, 10.0)
	require.Eventually(t, func() bool { return h.metric("liaison_topic_waiting", "liaison.flow") == waits }, patience, time.Millisecond)
	require.InDelta(t, waits, h.metric("liaison_outbox_pending"), 0)
	require.InDelta(t, waits, h.metric("liaison_topic_waiting"), 0)
	require.InDelta(t, 1, h.metric("liaison_topic_stuck", "liaison.flow"), 0)
	require.InDelta(t, 1, h.metric("liaison_topic_stuck"), 0, "no other topic is stuck")
	require.Equal(t, []string{"liaison.flow"}, h.engine.Stuck())
	there, pending := map[string]bool{}, 0
	for _, id := range h.log.all() {
		there[id] = true
	}
	require.NoError(t, h.engine.Journal(0, func(f *engine.Fate) error {
		all := true
		for _, id := range f.Events {
			all = all && there[id]
		}
		if f.Source != "" && !all {
			pending++
		}
		require.Equal(t, f.Source != "" && !all, f.Outcome == pipelines.Pending, "%s", f.ControlID)
		return nil
	}))
	require.InDelta(t, waits, pending, 0)
	again()
	h.drained()
	require.Equal(t, once(flat(want)), once(h.log.all()))
	require.Len(t, once(h.log.all()), len(h.log.all()), "nothing twice")
	h.log.inOrder(t)
	require.Zero(t, h.metric("liaison_outbox_pending"))
	require.Empty(t, h.engine.Stuck())
	require.Eventually(t, func() bool { return h.metric("liaison_topic_stuck")+h.metric("liaison_topic_waiting") == 0 }, patience, time.Millisecond)
}

// Retention stops before the first event that a stuck partition does not have,
// and goes on when it has it.
func TestRetentionBesideStuck(t *testing.T) {
	h := newHouse(t)
	h.cfg.Patience, h.cfg.RetentionSize = 20*time.Millisecond, 20_000
	h.open().run()
	again := h.log.hang(slow)
	defer again()
	h.admissions(0, 150)
	h.passed()
	require.Greater(t, h.metric("liaison_topic_waiting", "liaison.flow"), 10.0)
	require.Greater(t, h.store.JournalBytes(), int64(20_000))
	h.restart()
	require.Greater(t, h.store.JournalBytes(), int64(20_000))
	again()
	h.drained()
	require.Len(t, h.log.ids("liaison.flow"), 150)
	require.Len(t, once(h.log.all()), len(h.log.all()), "nothing twice")
	require.Eventually(t, func() bool { return h.store.JournalBytes() <= 20_000 }, patience, time.Millisecond)
}

func flat(parts map[string][]string) (out []string) {
	for _, list := range parts {
		out = append(out, list...)
	}
	return out
}

// A partition that stops answering again and again while much comes has its
// events once and in order.
func TestPartitionComesAndGoes(t *testing.T) {
	h := newHouse(t)
	h.cfg.Patience, h.cfg.Batch = 2*time.Millisecond, 5
	h.open().run()
	for n := range 12 {
		again := h.log.hang(slow)
		h.admissions(n*20, 15)
		h.processed()
		again()
		h.admissions(n*20+15, 5)
	}
	h.drained()
	require.Len(t, once(h.log.all()), len(h.log.all()), "nothing twice")
	h.log.inOrder(t)
	require.Zero(t, h.metric("liaison_outbox_pending"))
	require.Zero(t, h.metric("liaison_topic_waiting"))
}

// At a start the partition that does not tell where its log ends is waited
// for, and the others are not held.
func TestStuckAtStart(t *testing.T) {
	h := impatient(t)
	h.open().run()
	h.admissions(0, 20)
	h.drained()
	h.stop()
	again := h.log.hang(slow)
	defer again()
	h.open().run()
	h.admissions(20, 60)
	want := h.outboxed()
	require.Eventually(t, func() bool { return h.log.has(want, slow) }, patience, time.Millisecond, "the others wait for one")
	require.InDelta(t, 1, h.metric("liaison_topic_stuck", "liaison.flow"), 0)
	h.restart()
	again()
	h.drained()
	require.Len(t, once(h.log.all()), len(h.log.all()), "nothing twice")
	require.Equal(t, once(flat(want)), once(h.log.all()))
	h.log.inOrder(t)
}

// A partition that loses its tail while another is stuck gets its events
// again, and no other partition does.
func TestLostTailBesideStuck(t *testing.T) {
	h := impatient(t)
	h.open().run()
	again := h.log.hang(slow)
	defer again()
	h.admissions(0, 80)
	want := h.outboxed()
	require.Eventually(t, func() bool { return h.log.has(want, slow) }, patience, time.Millisecond)
	h.stop()
	short := pipelines.TopicPartition{Topic: "liaison.identity", Partition: 2}
	h.log.mu.Lock()
	require.Greater(t, len(h.log.parts[short]), 10)
	h.log.parts[short] = h.log.parts[short][:3]
	h.log.mu.Unlock()
	h.open().run().alarmed()
	require.Eventually(t, func() bool { return h.log.has(want, slow) }, patience, time.Millisecond)
	again()
	h.drained()
	require.Equal(t, once(flat(want)), once(h.log.all()))
	require.Len(t, h.log.all(), len(once(h.log.all()))+3, "only what is left of the short one is there twice")
	h.log.inOrder(t)
}

// The power goes while one partition is stuck, or while it catches up: at the
// next start each event is on its partition once, in order.
func TestPowerCutBesideStuck(t *testing.T) {
	for _, point := range []string{"produce", "between-produce-and-mark"} {
		for _, hit := range []int64{2, 5, 9} {
			for _, while := range []string{"stuck", "catching up"} {
				t.Run(fmt.Sprintf("%s %d %s", point, hit, while), func(t *testing.T) {
					h := newHouse(t)
					h.cfg.Patience, h.cfg.Batch = 5*time.Millisecond, 4
					disk := h.fs.(*vfs.MemFS)
					var armed atomic.Bool
					var hits atomic.Int64
					var cut *vfs.MemFS
					var cutLog *log
					reach := func(name string) {
						if name != point || !armed.Load() || hits.Add(1) != hit {
							return
						}
						cutLog, cut = h.log.copied(), disk.CrashClone(vfs.CrashCloneCfg{})
					}
					h.cfg.Failpoint = reach
					h.log.before = func() { reach("produce") }
					again := h.log.hang(slow)
					defer again()
					armed.Store(while == "stuck")
					h.open().run()
					h.admissions(0, 40)
					h.processed()
					armed.Store(true)
					again()
					for n := 0; hits.Load() < hit; n++ {
						h.admissions(1000+n, 1)
						h.processed()
					}
					h.drained()
					h.stop()
					require.NotNil(t, cut)
					h.fs, h.log, h.cfg.Failpoint = cut, cutLog, nil
					h.open().run().drained()
					require.Len(t, once(h.log.all()), len(h.log.all()), "nothing twice")
					require.Equal(t, once(flat(h.outboxed())), once(h.log.all()), "nothing lost")
					h.log.inOrder(t)
				})
			}
		}
	}
}

// A cluster that does not have a topic holds up that topic only, until it has it:
// while the engine runs or before it starts again.
func TestTopicIsMissing(t *testing.T) {
	for name, restart := range map[string]bool{"it comes": false, "it is there after a restart": true} {
		t.Run(name, func(t *testing.T) {
			h := impatient(t)
			h.log.missing = "liaison.flow"
			h.open().run()
			h.admissions(0, 30)
			require.Eventually(t, func() bool { return h.metric("liaison_topic_stuck", "liaison.flow") == 1 }, patience, time.Millisecond)
			h.passed()
			require.Len(t, h.log.ids("liaison.identity"), 30)
			if restart {
				h.stop()
			}
			h.log.mu.Lock()
			h.log.missing = ""
			h.log.mu.Unlock()
			if restart {
				h.open().run()
			}
			h.admissions(30, 10)
			h.drained()
			require.Len(t, h.log.ids("liaison.flow"), 40)
			require.Len(t, once(h.log.all()), len(h.log.all()), "nothing twice")
			h.log.inOrder(t)
			require.Empty(t, h.engine.Stuck())
		})
	}
}

var errMissing = errors.New("there is no such topic")
