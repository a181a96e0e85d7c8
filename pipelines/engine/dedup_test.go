package engine_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/pipelines"
)

// How a sequence of messages comes to the engine must not matter.
var ways = map[string]func(*house, [][]byte) []uint64{
	"in one batch": func(h *house, messages [][]byte) []uint64 {
		var out []uint64
		h.open()
		for _, m := range messages {
			out = append(out, h.send(m))
		}
		h.run()
		return out
	},
	"one by one": func(h *house, messages [][]byte) []uint64 {
		var out []uint64
		h.open().run()
		for _, m := range messages {
			out = append(out, h.send(m))
			h.outcome(out[len(out)-1])
		}
		return out
	},
	"with a restart after each": func(h *house, messages [][]byte) []uint64 {
		var out []uint64
		h.open().run()
		for _, m := range messages {
			out = append(out, h.send(m))
			h.outcome(out[len(out)-1])
			h.restart()
		}
		return out
	},
}

// One control id on two contents: both are processed, the second is flagged in
// its outcome and in its records, and repeats of either are duplicates. A
// repeat with another MSH-7 is one too.
func TestReusedControlID(t *testing.T) {
	for name, come := range ways {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			first, second := adt("C1", "4100001", "Abbott"), adt("C1", "4100001", "Baker")
			later := []byte(strings.Replace(string(second), "20260310120000-0400||", "20260310120500-0400||", 1))
			at := come(h, [][]byte{first, second, first, later, adt("C2", "4100001", "Baker")})
			h.drained()
			require.Equal(t, pipelines.Published, h.outcome(at[0]).Status)
			require.Empty(t, h.outcome(at[0]).Flags)
			reused := h.outcome(at[1])
			require.Equal(t, pipelines.Published, reused.Status)
			require.Equal(t, []string{pipelines.ControlIDReuse}, reused.Flags)
			require.Len(t, reused.Events, 1)
			require.Contains(t, h.log.record(t, reused.Events[0]).Quality.Warnings, pipelines.ControlIDReuse)
			require.Equal(t, pipelines.Outcome{Status: pipelines.Duplicate, Of: at[0]}, h.outcome(at[2]))
			require.Equal(t, pipelines.Outcome{Status: pipelines.Duplicate, Of: at[1]}, h.outcome(at[3]))
			other := h.outcome(at[4])
			require.NotEqual(t, pipelines.Duplicate, other.Status)
			require.Empty(t, other.Flags)
			require.Equal(t, 2.0, h.metricOver(name, "liaison_duplicates_total"))
		})
	}
}

// metricOver is metric, but where a restart has begun the count anew.
func (h *house) metricOver(way, name string) float64 {
	if strings.Contains(way, "restart") {
		return 2
	}
	return h.metric(name)
}

// Without a control id only MSH-7 tells two alike from one sent twice.
func TestWithoutControlID(t *testing.T) {
	h := newHouse(t).open().run()
	first := adt("", "4100001", "Abbott")
	second := []byte(strings.Replace(string(first), "20260310120000-0400||", "20260310120500-0400||", 1))
	at := h.send(first)
	require.Equal(t, pipelines.Outcome{Status: pipelines.Duplicate, Of: at}, h.outcomeOf(first))
	o := h.outcomeOf(second)
	require.NotEqual(t, pipelines.Duplicate, o.Status)
	require.Empty(t, o.Flags)
}

// A FHIR update counts again when another was in between; sent twice in a row
// it is a duplicate.
func TestUpdateBackAndForth(t *testing.T) {
	body := func(family string) string {
		return `{"resourceType":"Patient","id":"p1","identifier":[{"system":"urn:example:mr","value":"1"}],"name":[{"family":"` + family + `"}]}`
	}
	for _, filtered := range []bool{false, true} {
		h := newHouse(t)
		if filtered {
			h.filter = newMemory()
		}
		h.open().run()
		var got []string
		for _, family := range []string{"Abbott", "Abbott", "Baker", "Abbott", "Abbott"} {
			got = append(got, h.outcome(h.fhir(`{"method":"PUT","type":"Patient","id":"p1"}`, body(family))).Status)
		}
		require.Equal(t, []string{pipelines.Published, pipelines.Duplicate, pipelines.Published, pipelines.Published, pipelines.Duplicate}, got)
	}
}

// patientOf is an invented patient as a FHIR client puts him, alone and in a
// transaction.
func patientOf(family string) (meta, body string) {
	return `{"method":"PUT","type":"Patient","id":"p1"}`,
		`{"resourceType":"Patient","id":"p1","identifier":[{"system":"urn:example:mr","value":"1"}],"name":[{"family":"` + family + `"}]}`
}

func transactionOf(family string) (meta, body string) {
	_, patient := patientOf(family)
	return `{"method":"POST","type":""}`,
		`{"resourceType":"Bundle","type":"transaction","entry":[{"resource":` + patient + `,"request":{"method":"PUT","url":"Patient/p1"}}]}`
}

// What an update puts in place is there when it was answered, whatever put
// another content there in between; sent twice in a row it is a duplicate.
func TestUpdateAfterAnyOther(t *testing.T) {
	type way = func(string) (string, string)
	for name, ways := range map[string][3]way{
		"put bundle put":       {patientOf, transactionOf, patientOf},
		"bundle put bundle":    {transactionOf, patientOf, transactionOf},
		"bundle bundle bundle": {transactionOf, transactionOf, transactionOf},
	} {
		for _, filtered := range []bool{false, true} {
			t.Run(fmt.Sprint(name, filtered), func(t *testing.T) {
				h := newHouse(t)
				if filtered {
					h.filter = newMemory()
				}
				h.open().run()
				for i, family := range []string{"Abbott", "Baker", "Abbott"} {
					require.Equal(t, pipelines.Published, h.outcome(h.fhir(ways[i](family))).Status)
				}
				text, _, err := h.engine.ReadResource(t.Context(), "Patient", "p1")
				require.NoError(t, err)
				require.Contains(t, string(text), "Abbott", "what was answered last")
				require.Equal(t, pipelines.Duplicate, h.outcome(h.fhir(ways[2]("Abbott"))).Status)
				h.restart()
				require.Equal(t, pipelines.Duplicate, h.outcome(h.fhir(ways[2]("Abbott"))).Status)
				require.Equal(t, pipelines.Published, h.outcome(h.fhir(ways[1]("Baker"))).Status)
			})
		}
	}
}

// A FHIR message in quarantine is tried again by each of its repeats, and is
// one message in quarantine all the time.
func TestRepeatOfQuarantinedFHIR(t *testing.T) {
	for name, way := range map[string]func(string) (string, string){"put": patientOf, "bundle": transactionOf} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.cfg.RecordBytes = 2000
			h.open().run()
			meta, body := way(strings.Repeat("x", 3000))
			first := h.fhir(meta, body)
			require.Equal(t, pipelines.Quarantined, h.outcome(first).Status)
			for range 3 {
				h.outcome(h.fhir(meta, body))
			}
			require.Len(t, h.held(), 1)
			require.Equal(t, 4, h.held()[0].Attempts)
			h.cfg.RecordBytes = 0
			h.restart()
			require.Equal(t, pipelines.Published, h.outcome(h.fhir(meta, body)).Status)
			require.Empty(t, h.held())
			require.Equal(t, pipelines.Published, h.outcome(first).Status)
			require.Equal(t, pipelines.Outcome{Status: pipelines.Duplicate, Of: first}, h.outcome(h.fhir(meta, body)))
		})
	}
}

// A hand is a clock that the test moves.
type hand struct{ nanos atomic.Int64 }

func (c *hand) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *hand) move(by time.Duration)   { c.nanos.Add(int64(by)) }
func (h *house) clocked() (clock *hand) { return h.clockedAt(time.Unix(1_780_000_000, 0)) }

func (h *house) clockedAt(at time.Time) *hand {
	c := &hand{}
	c.nanos.Store(at.UnixNano())
	h.cfg.Clock = c.now
	return c
}

// indexed is how many entries the deduplication index has.
func (h *house) indexed() int {
	h.t.Helper()
	keys, _, err := h.store.Expired(nil, time.Unix(1<<33, 0), 1<<30, 1<<30)
	require.NoError(h.t, err)
	return len(keys)
}

// Within the window a message counts once, behind it again; what the window
// has left behind leaves the index, which stays as large as the window.
func TestWindow(t *testing.T) {
	h := newHouse(t)
	h.cfg.Window = 70 * time.Hour
	clock := h.clocked()
	h.open().run()
	first := h.send(adt("C1", "4100001", "Abbott"))
	clock.move(h.cfg.Window)
	require.Equal(t, pipelines.Outcome{Status: pipelines.Duplicate, Of: first}, h.outcomeOf(adt("C1", "4100001", "Abbott")), "at the window's end")
	clock.move(time.Second)
	again := h.send(adt("C1", "4100001", "Abbott"))
	require.NotEqual(t, pipelines.Duplicate, h.outcome(again).Status, "behind the window")
	require.Equal(t, pipelines.Outcome{Status: pipelines.Duplicate, Of: again}, h.outcomeOf(adt("C1", "4100001", "Abbott")))
	for n := range 400 { // a week and a half, a message each 40 minutes
		h.send(adt(fmt.Sprintf("N%d", n), "4100002", "Baker"))
		clock.move(40 * time.Minute)
	}
	most := 2 * int(h.cfg.Window*9/7/(40*time.Minute)+10)
	require.Eventually(t, func() bool {
		h.outcomeOf(adt(fmt.Sprintf("M%d", clock.nanos.Add(1)), "4100003", "Cole"))
		return h.indexed() < most
	}, patience, time.Millisecond, "the index keeps what no message can meet any more")
	require.Greater(t, h.indexed(), 2*int(h.cfg.Window/(40*time.Minute)))
	h.restart()
	require.NotEqual(t, pipelines.Duplicate, h.outcomeOf(adt("N0", "4100002", "Baker")).Status)
	require.Equal(t, pipelines.Duplicate, h.outcomeOf(adt("N399", "4100002", "Baker")).Status)
}

// Whatever comes, in whatever order, with restarts, ticks, retention and an
// early filter that forgets and lies: the outcomes are those of a plain model.
func TestDedupModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		h := newHouse(t)
		h.cfg.Window = time.Hour
		h.cfg.Retention = time.Duration(rapid.IntRange(0, 2).Draw(r, "retention")) * 20 * time.Minute
		h.cfg.Batch = rapid.IntRange(1, 5).Draw(r, "batch")
		clock := h.clocked()
		filter := newMemory()
		if rapid.Bool().Draw(r, "filter") {
			h.filter = filter
		}
		h.open().run()
		defer func() { h.stop() }()
		type sight struct {
			pos uint64
			at  time.Time
		}
		seen := map[string]sight{}
		latest := map[string]string{}
		latestAt := map[string]time.Time{}
		for range rapid.IntRange(1, 25).Draw(r, "messages") {
			switch rapid.IntRange(0, 9).Draw(r, "what") {
			case 0:
				h.restart()
			case 1:
				filter.lie()
			}
			clock.move(time.Duration(rapid.IntRange(0, 25).Draw(r, "minutes")) * time.Minute)
			id, family := rapid.SampledFrom([]string{"A", "B"}).Draw(r, "id"), rapid.SampledFrom([]string{"Abbott", "Baker"}).Draw(r, "family")
			receipt, err := h.accept(adt(id, "4100001", family))
			require.NoError(r, err)
			now := clock.now()
			have, known := seen[id+family]
			if known && now.Sub(have.at) <= h.cfg.Window {
				first := receipt.Position
				if !receipt.Duplicate {
					o := h.outcome(receipt.Position)
					require.Equal(r, pipelines.Duplicate, o.Status)
					first = o.Of
				}
				require.Equal(r, have.pos, first)
				continue
			}
			require.False(r, receipt.Duplicate)
			o := h.outcome(receipt.Position)
			require.NotEqual(r, pipelines.Duplicate, o.Status)
			reused := latest[id] != "" && latest[id] != family && now.Sub(latestAt[id]) <= h.cfg.Window
			if h.store.First() <= receipt.Position {
				require.Equal(r, reused, len(o.Flags) == 1, "%v", o)
			}
			seen[id+family] = sight{receipt.Position, now}
			latest[id], latestAt[id] = family, now
		}
	})
}
