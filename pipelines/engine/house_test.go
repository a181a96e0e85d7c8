package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/engine"
)

// failing makes fsyncs fail once broken is set; ended hears the reason for
// which the process would end then.
func (h *house) failing() (broken *atomic.Bool, ended chan string) {
	broken, ended = &atomic.Bool{}, make(chan string, 64)
	h.fs = errorfs.Wrap(h.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo) {
			return errors.New("the disk is gone")
		}
		return nil
	}))
	h.fatal = func(format string, args ...any) { // as a process that ends: it does not return
		ended <- fmt.Sprintf(format, args...)
		select {}
	}
	return broken, ended
}

// ends waits for the reason.
func (h *house) ends(ended chan string) {
	h.t.Helper()
	select {
	case reason := <-ended:
		require.Contains(h.t, reason, "the disk is gone")
	case <-time.After(patience):
		require.Fail(h.t, "the process goes on after a failed fsync")
	}
}

// A failed fsync ends the process with its reason; nothing is answered after
// it, and the restart has all that was answered before.
func TestFailedSync(t *testing.T) {
	h := newHouse(t)
	disk := h.fs.(*vfs.MemFS)
	broken, ended := h.failing()
	h.open()
	for n := range 20 {
		h.send(adt(fmt.Sprintf("C%d", n), "4100001", fmt.Sprintf("Name%d", n)))
	}
	broken.Store(true)
	var answered atomic.Int64
	dying := h.engine
	for n := range 8 {
		go func() {
			m := &pipelines.Message{Source: "adt", Format: pipelines.HL7v2, Raw: adt(fmt.Sprintf("D%d", n), "4100001", "Late")}
			if _, err := dying.Accept(context.Background(), m); err == nil {
				answered.Add(1)
			}
		}()
	}
	h.ends(ended)
	require.Zero(t, answered.Load(), "answered after a failed fsync")
	h.fs, h.fatal = disk.CrashClone(vfs.CrashCloneCfg{}), newHouse(t).fatal
	h.open().run()
	h.drained()
	have := 0
	require.NoError(t, h.engine.Journal(0, func(f *engine.Fate) error {
		if strings.HasPrefix(f.ControlID, "C") {
			have++
		}
		return nil
	}))
	require.Equal(t, 20, have)
	require.Zero(t, answered.Load())
}

// The fsync of a processing batch fails, not the journal's: it ends the process
// as well, and meanwhile nothing is answered from what is on disk already, nor
// an outcome told.
func TestFailedSyncOfBatch(t *testing.T) {
	h := newHouse(t)
	filter := newMemory()
	h.filter = filter
	broken, ended := h.failing()
	var armed atomic.Bool
	h.cfg.Failpoint = func(name string) {
		if name == "before-commit" && armed.Load() {
			broken.Store(true)
		}
	}
	h.open()
	go func() { _ = h.engine.Run(context.Background()) }()
	first := adt("C0", "4100001", "Abbott")
	at := h.send(first)
	h.drained()
	require.Eventually(t, func() bool { r, err := h.accept(first); return err == nil && r.Duplicate }, patience, time.Millisecond)
	armed.Store(true)
	second := adt("C1", "4100001", "Baker")
	h.send(second) // its own fsync is good
	h.ends(ended)
	for _, raw := range [][]byte{first, second, adt("C2", "4100001", "Cole")} {
		_, err := h.accept(raw)
		require.ErrorIs(t, err, pipelines.ErrClosed, "answered after a failed fsync")
	}
	_, err := h.engine.Wait(t.Context(), at)
	require.ErrorIs(t, err, pipelines.ErrClosed)
}

// What the disk has not taken yet is not processed, listed or known, although
// Pebble shows it: sent again it waits for the same disk, and is answered only
// when a power cut cannot take it any more.
func TestNothingBeforeTheDisk(t *testing.T) {
	h := newHouse(t)
	h.filter = everything{}
	var standing atomic.Bool
	disk := make(chan struct{})
	h.fs = errorfs.Wrap(h.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if standing.Load() && op.Kind == errorfs.OpFileSyncData {
			<-disk
		}
		return nil
	}))
	var preparing atomic.Bool
	prepared, began := make(chan struct{}), make(chan struct{}, 64)
	h.cfg.Settings = nil // no ticks
	h.cfg.Failpoint = func(name string) {
		if name == "prepare" && preparing.Load() {
			began <- struct{}{}
			<-prepared
		}
	}
	h.open().run()
	h.send(adt("C0", "4100001", "Abbott"))
	h.drained()
	preparing.Store(true)
	h.send(adt("A1", "4100003", "Cole"))
	<-began
	last := h.send(adt("A2", "4100003", "Dorn")) // on disk, to be read
	standing.Store(true)
	answered := make(chan error, 2)
	send := func() { _, err := h.accept(adt("C1", "4100002", "Baker")); answered <- err }
	go send()
	early := func() bool { return len(answered) > 0 }
	require.Never(t, early, 100*time.Millisecond, time.Millisecond, "it is in Pebble, not on disk")
	preparing.Store(false)
	close(prepared)
	require.Never(t, early, 100*time.Millisecond, time.Millisecond, "the processing has read all that it takes")
	go send()
	require.Never(t, early, 100*time.Millisecond, time.Millisecond, "answered before the fsync")
	require.NoError(t, h.engine.Journal(0, func(f *engine.Fate) error { require.LessOrEqual(t, f.Sequence, last); return nil }))
	shown, _, err := h.engine.Show(last + 1)
	require.NoError(t, err)
	require.Nil(t, shown)
	require.GreaterOrEqual(t, h.metric("liaison_journal_pending"), 0.0)
	require.LessOrEqual(t, h.metric("liaison_journal_pending"), 2.0)
	close(disk)
	require.NoError(t, <-answered)
	require.NoError(t, <-answered)
	h.drained()
}

// Below the watermark nothing is taken; above it goes on by itself.
func TestFreeSpace(t *testing.T) {
	h := newHouse(t)
	var free atomic.Uint64
	free.Store(1 << 30)
	h.cfg.FreeSpace = 1 << 20
	h.cfg.Free = func(string) (uint64, error) { return free.Load(), nil }
	h.open().run()
	first := h.send(adt("C1", "4100001", "Abbott"))
	free.Store(1<<20 - 1)
	var err error
	n := 0
	refused := func() bool {
		n++
		_, err = h.accept(adt(fmt.Sprintf("F%d", n), "4100001", fmt.Sprintf("Name%d", n)))
		return err != nil
	}
	require.Eventually(t, refused, patience, time.Millisecond)
	require.ErrorIs(t, err, pipelines.ErrFull)
	require.Equal(t, pipelines.Published, h.outcome(first).Status, "what was taken goes on")
	free.Store(1 << 20)
	require.Eventually(t, func() bool {
		receipt, err := h.accept(adt(fmt.Sprintf("F%d", n), "4100001", fmt.Sprintf("Name%d", n)))
		return err == nil && !receipt.Duplicate
	}, patience, time.Millisecond, "what was refused is no duplicate when it comes again")
	h.drained()
}

// kept are the entries of the journal, and the events of the outbox.
func (h *house) kept() (messages []uint64, events int) {
	h.t.Helper()
	require.NoError(h.t, h.engine.Journal(0, func(f *engine.Fate) error {
		if f.Source != "" {
			messages = append(messages, f.Sequence)
		}
		return nil
	}))
	require.NoError(h.t, h.store.Outbox(0, func(uint64, []byte) (bool, error) { events++; return true, nil }))
	return messages, events
}

// What is older than is kept goes, outcomes and events with it; the window of
// deduplication is not shortened by that, nor what is in quarantine lost.
func TestRetentionByAge(t *testing.T) {
	h := newHouse(t)
	h.cfg.Retention, h.cfg.Window = time.Hour, 100*time.Hour
	clock := h.clocked()
	h.open().run()
	held := h.send(poison("P", "4100009"))
	old := h.send(adt("OLD", "4100001", "Abbott"))
	h.drained()
	clock.move(45 * time.Minute)
	young := h.send(adt("YOUNG", "4100002", "Baker"))
	h.drained()
	clock.move(30 * time.Minute)
	require.Eventually(t, func() bool { list, _ := h.kept(); return len(list) == 1 }, patience, time.Millisecond)
	list, events := h.kept()
	require.Equal(t, []uint64{young}, list)
	require.Equal(t, len(h.outcome(young).Events), events)
	require.Equal(t, pipelines.Outcome{Status: pipelines.Duplicate, Of: old}, h.outcomeOf(adt("OLD", "4100001", "Abbott")))
	require.Equal(t, "undecodable", h.outcome(held).Reason, "its outcome is known as long as it is held")
	require.Len(t, h.held(), 1)
	fate, raw, err := h.engine.Show(held)
	require.NoError(t, err)
	require.Equal(t, poison("P", "4100009"), raw, "and so are its bytes, to be mended")
	require.Equal(t, []any{held, pipelines.Quarantined, "undecodable", "P"}, []any{fate.Sequence, fate.Outcome, fate.Reason, fate.ControlID})
	gone, _, err := h.engine.Show(old)
	require.NoError(t, err)
	require.Nil(t, gone)
	retried, err := h.engine.Retry(held, adt("P", "4100009", "Mueller"), "somebody")
	require.NoError(t, err)
	require.Equal(t, pipelines.Published, h.outcome(retried).Status)
}

// The journal stays under its size; an event that is not on Kafka keeps its
// message and all behind it, however large.
func TestRetentionBySize(t *testing.T) {
	h := newHouse(t)
	h.cfg.RetentionSize, h.cfg.Batch = 20_000, 4
	h.open().run()
	h.feed(0, 200)
	h.drained()
	require.Eventually(t, func() bool { return h.store.JournalBytes() <= 20_000 }, patience, time.Millisecond)
	list, events := h.kept()
	require.Greater(t, len(list), 20, "and it keeps what has room")
	made := 0
	for _, pos := range list {
		made += len(h.outcome(pos).Events)
	}
	require.Equal(t, made, events, "events stay exactly as long as their messages")
	require.EqualValues(t, h.store.JournalBytes(), h.metric("liaison_journal_bytes"))
	h.log.stop()
	h.feed(200, 200)
	require.Eventually(t, func() bool { tail, done, _, _ := h.engine.Progress(); return tail == done }, patience, time.Millisecond)
	require.Greater(t, h.store.JournalBytes(), int64(60_000))
	_, unpublished := h.kept()
	require.GreaterOrEqual(t, unpublished, 200)
	h.restart()
	require.Greater(t, h.store.JournalBytes(), int64(60_000))
	h.log.start()
	h.drained()
	require.Eventually(t, func() bool { return h.store.JournalBytes() <= 20_000 }, patience, time.Millisecond)
	require.Len(t, once(h.log.all()), len(h.log.all()))
	h.log.inOrder(t)
}

// The configuration in force is in the journal when it changes, from where on
// it holds, and the clock is, while messages come; both are listed, and say
// nothing to the next start when they are the same.
func TestSettingsAndTicks(t *testing.T) {
	h := newHouse(t)
	h.cfg.Window = 64 * time.Minute // a tick each minute
	clock := h.clocked()
	h.cfg.Settings = []byte(`{"tables":"one"}`)
	h.open().run()
	h.outcomeOf(adt("C1", "4100001", "Abbott"))
	h.restart()
	h.restart()
	list := func(kind string) (out []engine.Fate) {
		require.NoError(t, h.engine.Journal(0, func(f *engine.Fate) error {
			if f.Message == kind {
				out = append(out, *f)
			}
			return nil
		}))
		return out
	}
	require.Len(t, list("settings"), 1)
	before := len(list("tick"))
	require.LessOrEqual(t, before, 1, "the clock of the first restart")
	h.stop()
	h.open()
	waiting := h.send(adt("C2", "4100001", "Baker")) // the old settings' last message has no outcome yet
	require.NoError(t, h.store.Close())
	h.cfg.Settings = []byte(`{"tables":"two"}`)
	h.open().run()
	h.outcome(waiting)
	settings := list("settings")
	require.Len(t, settings, 2)
	require.Equal(t, waiting, settings[1].About, "in force from the first message without an outcome on")
	_, raw, err := h.engine.Show(settings[1].Sequence)
	require.NoError(t, err)
	require.Equal(t, `{"tables":"two"}`, string(raw))
	for n := range 5 {
		clock.move(time.Minute)
		h.outcomeOf(adt(fmt.Sprintf("T%d", n), "4100001", fmt.Sprintf("Name%d", n)))
		require.Eventually(t, func() bool { return len(list("tick")) == before+n+1 }, patience, time.Millisecond)
	}
	h.stop() // silence: starts without a message behind the last tick add nothing
	for range 3 {
		clock.move(10 * time.Minute)
		h.open().run()
		h.stop()
	}
	h.open().run()
	require.Len(t, list("tick"), before+5)
	inForce, err := engine.SettingsIn(h.store)
	require.NoError(t, err)
	require.Len(t, inForce, 2)
}

// Many senders at once, a reader of the journal and of the metrics beside
// them: everything is answered once, and all of it has an outcome.
func TestManySenders(t *testing.T) {
	h := newHouse(t).open().run()
	var group sync.WaitGroup
	for sender := range 8 {
		group.Go(func() {
			for n := range 40 {
				if _, err := h.accept(adt(fmt.Sprintf("S%dN%d", sender, n), fmt.Sprint(4100000+n%3), fmt.Sprintf("Name%d", sender))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Go(func() {
		for range 20 {
			h.metric("liaison_journal_pending")
			_ = h.engine.Journal(0, func(*engine.Fate) error { return nil })
		}
	})
	group.Wait()
	h.drained()
	require.EqualValues(t, 320, h.metric("liaison_received_total"))
	h.log.inOrder(t)
}

// The sequence number that is expected of a sender outlives a power cut.
func TestSequenceNumberIsKept(t *testing.T) {
	h := newHouse(t).open()
	expected := func(sender string) int64 {
		n, err := h.engine.Expected(sender)
		require.NoError(t, err)
		return n
	}
	require.EqualValues(t, -1, expected("adt|A|B"))
	require.NoError(t, h.engine.Expect("adt|A|B", 7))
	require.NoError(t, h.engine.Expect("adt|A|C", 0))
	h.fs = h.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
	h.stop()
	h.open()
	require.Equal(t, []int64{7, 0, -1}, []int64{expected("adt|A|B"), expected("adt|A|C"), expected("adt|A|D")})
	require.NoError(t, h.engine.Expect("adt|A|B", -1))
	require.EqualValues(t, -1, expected("adt|A|B"))
	h.stop()
}
