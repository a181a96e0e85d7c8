package engine_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/engine"
)

func (h *house) held() []*engine.Held {
	h.t.Helper()
	var out []*engine.Held
	require.NoError(h.t, h.engine.Quarantined(func(held *engine.Held) error { out = append(out, held); return nil }))
	return out
}

// What cannot go on is held with reason and place, once, and what is around
// it goes on: tried as it is it is held again, edited it makes its records,
// dropped it is gone.
func TestRetryEditDrop(t *testing.T) {
	h := newHouse(t).open().run()
	first, second := h.send(poison("C1", "4100001")), h.send(poison("C2", "4100002"))
	good := h.send(adt("C3", "4100003", "Cole"))
	require.Equal(t, pipelines.Outcome{Status: pipelines.Quarantined, Reason: "undecodable", Place: "PID-5.1"}, h.outcome(first))
	require.Equal(t, pipelines.Published, h.outcome(good).Status)
	list := h.held()
	require.Len(t, list, 2)
	require.Equal(t, first, list[0].Position)
	require.Equal(t, pipelines.Undecodable, list[0].Reason)
	require.Nil(t, list[0].Raw, "a list carries no bytes")
	shown, err := h.engine.ShowQuarantined(first)
	require.NoError(t, err)
	require.Equal(t, poison("C1", "4100001"), shown.Raw)

	again, err := h.engine.Retry(first, nil, "somebody")
	require.NoError(t, err)
	require.Equal(t, pipelines.Quarantined, h.outcome(again).Status)
	require.Equal(t, 2, h.held()[0].Attempts)

	worse, err := h.engine.Retry(first, adt("C1", "4100001", "M\xfcller-Wolf"), "somebody")
	require.NoError(t, err)
	require.Equal(t, pipelines.Quarantined, h.outcome(worse).Status)
	shown, err = h.engine.ShowQuarantined(first)
	require.NoError(t, err)
	require.Equal(t, adt("C1", "4100001", "M\xfcller-Wolf"), shown.Raw, "the edit is kept to go on from")

	edited, err := h.engine.Retry(first, adt("C1", "4100001", "Mueller"), "somebody")
	require.NoError(t, err)
	o := h.outcome(edited)
	require.Equal(t, pipelines.Published, o.Status)
	require.Equal(t, o, h.outcome(first), "the message has the outcome of its retry")
	require.Equal(t, pipelines.Outcome{Status: pipelines.Duplicate, Of: edited}, h.outcomeOf(adt("C1", "4100001", "Mueller")), "the sender mends it too")
	require.Equal(t, pipelines.Duplicate, h.outcomeOf(poison("C1", "4100001")).Status, "the message itself, sent again")

	_, err = h.engine.Drop(second, "somebody", "sent again by the sender")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(h.held()) == 0 }, patience, 1e6)
	require.Equal(t, "dropped", h.outcome(second).Reason)
	_, err = h.engine.Retry(second, nil, "somebody")
	require.Error(t, err, "nothing is left to try")
	_, err = h.engine.Drop(first, "somebody", "twice")
	require.Error(t, err)
}

// A repeat of a message in quarantine is another try of it, however it comes:
// once the tables are mended it goes on, and then counts once.
func TestRepeatOfQuarantined(t *testing.T) {
	for _, way := range []string{"in one batch", "one by one", "with a restart after each"} {
		t.Run(way, func(t *testing.T) {
			h := newHouse(t)
			var broken atomic.Bool
			broken.Store(true)
			h.gate = func(*tables.Result) (string, string) {
				if broken.Load() {
					return "Patient.name", "not as we want it"
				}
				return "", ""
			}
			message := adt("C1", "4100001", "Abbott")
			at := ways[way](h, [][]byte{message, message})
			first := h.outcome(at[0])
			require.Equal(t, pipelines.Outcome{Status: pipelines.Quarantined, Reason: "invalid-fhir", Place: "Patient.name"}, first)
			require.Equal(t, pipelines.Outcome{Status: pipelines.Duplicate, Of: at[0]}, h.outcome(at[1]))
			require.Len(t, h.held(), 1)
			require.Equal(t, 2, h.held()[0].Attempts)
			broken.Store(false)
			tried := h.send(message)
			require.Equal(t, pipelines.Published, h.outcome(tried).Status)
			require.Equal(t, h.outcome(tried), h.outcome(at[0]))
			require.Empty(t, h.held())
			require.Equal(t, pipelines.Duplicate, h.outcomeOf(message).Status)
		})
	}
}

// A fault of the program is kept to the message that meets it, wherever it
// strikes, and the message is held.
func TestPanicIsKeptToItsMessage(t *testing.T) {
	for _, where := range []string{"prepare", "fold"} {
		t.Run(where, func(t *testing.T) {
			h := newHouse(t)
			var said bytes.Buffer
			h.cfg.Log = slog.New(slog.NewTextHandler(&said, nil))
			var calls atomic.Int64
			h.cfg.Failpoint = func(name string) {
				if name == where && calls.Add(1) == 3 {
					panic("Abbott-Secret")
				}
			}
			h.cfg.Workers = 1
			h.open()
			var at []uint64
			for n := range 6 {
				at = append(at, h.send(adt(fmt.Sprintf("C%d", n), fmt.Sprint(4100000+n), "Abbott")))
			}
			h.run().drained()
			for n, pos := range at {
				if n == 2 {
					require.Equal(t, pipelines.Outcome{Status: pipelines.Quarantined, Reason: "panic"}, h.outcome(pos))
				} else {
					require.Equal(t, pipelines.Published, h.outcome(pos).Status)
				}
			}
			require.NotContains(t, h.held()[0].Text, "Secret")
			again, err := h.engine.Retry(at[2], nil, "somebody")
			require.NoError(t, err)
			require.Equal(t, pipelines.Published, h.outcome(again).Status)
			h.stop()
			require.Contains(t, said.String(), "quarantine_test.go", "the log says where")
			require.NotContains(t, said.String(), "Secret")
		})
	}
	t.Run("gate", func(t *testing.T) {
		h := newHouse(t)
		h.gate = func(r *tables.Result) (string, string) {
			if strings.Contains(string(r.AppendBundle(nil)), "Baker") {
				panic("a fault")
			}
			return "", ""
		}
		h.open().run()
		bad, good := h.send(adt("C1", "4100001", "Baker")), h.send(adt("C2", "4100002", "Cole"))
		require.Equal(t, "panic", h.outcome(bad).Reason)
		require.Equal(t, pipelines.Published, h.outcome(good).Status)
	})
}

// One message in five cannot go on. Each of them is held once, with a reason
// of the list, and all the others are published in their order.
func TestPoisonDoesNotStopTheRest(t *testing.T) {
	h := newHouse(t).open().run()
	bad := [][]byte{
		poison("P", "4100001"),
		[]byte("MSH|^~\\&|ADT1|ALDER|||20260310120000||QQQ^Q99|P|P|2.5.1\rPID|1||1\r"),
		[]byte("MSH|^~\\&|ADT1|ALDER|||20260310120000||QQQ^Q98|P|P|2.5.1\r" + strings.Repeat("ZZZ|1|x\r", 5000)),
	}
	held := map[uint64]bool{}
	var good []uint64
	for n := range 100 {
		if n%5 == 4 {
			message := []byte(strings.Replace(string(bad[n/5%len(bad)]), "|P|P|", fmt.Sprintf("|P%d|P|", n), 1))
			held[h.send(message)] = true
			continue
		}
		good = append(good, h.send(adt(fmt.Sprintf("C%d", n), "4100009", fmt.Sprintf("Name%d", n))))
	}
	h.drained()
	var versions []uint64
	for _, pos := range good {
		o := h.outcome(pos)
		require.Equal(t, pipelines.Published, o.Status)
		versions = append(versions, h.log.record(t, o.Events[0]).Version)
	}
	require.True(t, slices.IsSorted(versions))
	for pos := range held {
		require.Equal(t, pipelines.Quarantined, h.outcome(pos).Status)
	}
	for _, one := range h.held() {
		require.True(t, held[one.Position])
		require.Contains(t, pipelines.Reasons(), one.Reason)
		require.Equal(t, 1, one.Attempts)
	}
	require.Len(t, h.held(), len(held))
	require.EqualValues(t, len(held), h.metric("liaison_quarantined_total"))
}

// A journal entry that is not as it was written, and a merge that cannot go on,
// stop nothing: both are held, and listed among the others.
func TestDamage(t *testing.T) {
	h := newHouse(t).open()
	first := h.send(adt("C1", "4100001", "Abbott"))
	damaged, err := h.store.Append([]byte("{\"t\":\"message\",\"h\":\"00\"}\nMSH|Quetzal"))
	require.NoError(t, err)
	none, err := h.store.Append([]byte("no header"))
	require.NoError(t, err)
	last := h.send(adt("C2", "4100002", "Baker"))
	h.run().drained()
	require.Equal(t, "journal-damaged", h.outcome(damaged).Reason)
	require.Equal(t, "journal-damaged", h.outcome(none).Reason)
	require.Equal(t, pipelines.Published, h.outcome(first).Status)
	require.Equal(t, pipelines.Published, h.outcome(last).Status)
	listed := map[uint64]string{}
	require.NoError(t, h.engine.Journal(0, func(f *engine.Fate) error { listed[f.Sequence] = f.Message; return nil }))
	require.Equal(t, "damaged", listed[damaged])
	require.Equal(t, "ADT^A08", listed[last])
	h.stop()

	h.open()
	b := h.store.NewBatch()
	require.NoError(t, b.Meta("continuation", []byte("nothing that a merge wrote")))
	require.NoError(t, b.Commit())
	h.run()
	require.Equal(t, pipelines.Published, h.outcomeOf(adt("C3", "4100003", "Cole")).Status)
	require.Equal(t, "failed", h.outcome(last).Reason)
	require.Len(t, h.held(), 3)
	h.restart()
	require.Len(t, h.held(), 3, "once")
}

// The documented list of reasons is the list.
func TestReasonsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	for reason, cure := range pipelines.Reasons() {
		require.Contains(t, string(text), "`"+string(reason)+"`")
		require.Contains(t, string(text), cure)
	}
	require.Equal(t, len(pipelines.Reasons()), strings.Count(string(text), "\n| `")-strings.Count(string(text), "\n| `liaison_")-strings.Count(string(text), "\n| `t:"))
}

// What was accepted of a source that the configuration no longer has when its
// turn comes is held, and goes on once the source is there again.
func TestUnknownSource(t *testing.T) {
	h := newHouse(t).open()
	at := h.send(adt("C1", "4100001", "Cole"))
	h.stop()
	h.gone = true
	h.open().run()
	require.Equal(t, pipelines.Outcome{Status: pipelines.Quarantined, Reason: string(pipelines.UnknownSource)}, h.outcome(at))
	_, err := h.accept(adt("C2", "4100001", "Cole"))
	require.Error(t, err, "of a source that is not there nothing is taken")
	h.gone = false
	h.restart()
	again, err := h.engine.Retry(at, nil, "somebody")
	require.NoError(t, err)
	require.Equal(t, pipelines.Published, h.outcome(again).Status)
	require.Empty(t, h.held())
}

// A retry keeps the order of its sender: what is newer stands, and the late one
// says what it still contributed. What the tables make of a message is shown
// before it is tried, without an effect.
func TestRetryIsLate(t *testing.T) {
	h := newHouse(t).open().run()
	at := func(hour string, raw []byte) []byte {
		return []byte(strings.Replace(string(raw), "||20260310120000-0400||", "||202603101"+hour+"0000-0400||", 1))
	}
	old := h.send(at("1", poison("C1", "4100001")))
	newer := h.outcome(h.send(at("2", adt("C2", "4100001", "Newer"))))
	require.Equal(t, pipelines.Published, newer.Status)
	held, err := h.engine.ShowQuarantined(old)
	require.NoError(t, err)
	understood := h.engine.Understand(held)
	require.Equal(t, pipelines.Undecodable, understood.Reason)
	require.Equal(t, []string{"MSH", "EVN", "PID", "PV1"}, understood.Segments)
	require.Empty(t, understood.Resources)
	held.Raw = at("1", adt("C1", "4100001", "Older"))
	understood = h.engine.Understand(held)
	require.Empty(t, understood.Reason, "edited so it would go on")
	require.Contains(t, understood.Resources, "Patient")
	require.Equal(t, pipelines.Quarantined, h.outcome(old).Status, "looking has no effect")

	again, err := h.engine.Retry(old, held.Raw, "somebody")
	require.NoError(t, err)
	o := h.outcome(again)
	require.Equal(t, pipelines.Published, o.Status)
	h.drained()
	for _, id := range o.Events {
		r := h.log.record(t, id)
		if r.Kind == "patient" {
			require.Equal(t, "late", r.Transition)
			require.Contains(t, string(r.Resource), "Newer")
			require.NotContains(t, string(r.Resource), "Older")
		}
	}
	fate, _, err := h.engine.Show(again)
	require.NoError(t, err)
	require.Equal(t, []string{"PID-5"}, fate.Changed)
	require.Equal(t, "somebody", fate.By)
}
