package faulttest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/faulttest"
)

// The checker is worth something only if it says so when Liaison is wrong. Each
// test here plants one well-known fault around the engine, and the checker must
// name the invariant that it breaks. What it says is in the test's log.

// says wants a violation of each of these invariants, as the README tells of
// what was planted.
func (w *world) says(planted string, invariants ...string) {
	w.t.Helper()
	list, counts := w.judge()
	w.told(planted, list, invariants...)
	w.t.Logf("lost %d, doubled %d, out of order %d", counts.Lost, counts.Doubled, counts.Disordered)
}

func (w *world) told(planted string, list []faulttest.Violation, invariants ...string) {
	w.t.Helper()
	for _, name := range invariants {
		i := slices.IndexFunc(list, func(v faulttest.Violation) bool { return v.Invariant == name })
		require.GreaterOrEqual(w.t, i, 0, "the checker does not see it: %+v", list)
		w.t.Logf("%s", list[i])
	}
	w.documents(planted, invariants, list)
}

// planting is the load of the planted faults.
func planting(t *testing.T, test func(w *world)) {
	each(t, faulttest.Scale{Senders: 3, Messages: 40}, test)
}

// A lyingDisk says of the journal's files that they are synced.
type lyingDisk struct{ vfs.FS }

type lyingFile struct{ vfs.File }

func (lyingFile) Sync() error     { return nil }
func (lyingFile) SyncData() error { return nil }

// Create implements vfs.FS.
func (d lyingDisk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	if err == nil && strings.HasSuffix(name, ".log") {
		return lyingFile{f}, nil
	}
	return f, err
}

// away takes the brokers away until mend.
func (w *world) away() (mend func()) { return brokersFaults()["away"](w) }

// powerCut takes a clone of what a memory disk has synced, behind the last
// thing that the subject lets out.
func (w *world) powerCut(disk *vfs.MemFS) *vfs.MemFS {
	w.subject.dead.Store(true)
	return disk.CrashClone(vfs.CrashCloneCfg{})
}

func TestPlantedAnswerBeforeSync(t *testing.T) {
	planting(t, func(w *world) {
		disk := w.plan.FS.(*vfs.MemFS)
		w.plan.FS = lyingDisk{disk}
		mend := w.away() // what was taken is not yet on Kafka when the power goes
		w.start()
		w.drive(nil)
		left := w.powerCut(disk)
		mend()
		w.revive(left)
		w.says("answered before the fsync", faulttest.NoLoss, faulttest.StateIsTrue)
	})
}

// redisOnly believes its keys, which it sets before the journal has the message.
type redisOnly struct {
	pipelines.Intake
	seen sync.Map
}

func (r *redisOnly) Accept(ctx context.Context, m *pipelines.Message) (pipelines.Receipt, error) {
	if _, known := r.seen.LoadOrStore(string(m.Raw), true); known {
		return pipelines.Receipt{Position: 1, Duplicate: true}, nil
	}
	return r.Intake.Accept(ctx, m)
}

func TestPlantedRedisOnly(t *testing.T) {
	planting(t, func(w *world) {
		var refused atomic.Int64
		w.plan.Intake = func(in pipelines.Intake) pipelines.Intake {
			return &redisOnly{Intake: accepting(func(ctx context.Context, m *pipelines.Message) (pipelines.Receipt, error) {
				if refused.Add(1)%10 == 0 { // the disk is full for a moment
					return pipelines.Receipt{}, pipelines.ErrFull
				}
				return in.Accept(ctx, m)
			})}
		}
		w.start()
		w.drive(nil)
		w.says("Redis alone decides what is a duplicate", faulttest.NoLoss, faulttest.StateIsTrue)
	})
}

// accepting is an intake that is one function.
type accepting func(context.Context, *pipelines.Message) (pipelines.Receipt, error)

func (f accepting) Accept(ctx context.Context, m *pipelines.Message) (pipelines.Receipt, error) {
	return f(ctx, m)
}

// mangled puts other bytes than were sent before the engine.
func (w *world) mangled(change func(raw []byte) []byte) {
	w.plan.Intake = func(in pipelines.Intake) pipelines.Intake {
		return accepting(func(ctx context.Context, m *pipelines.Message) (pipelines.Receipt, error) {
			m.Raw = change(m.Raw)
			return in.Accept(ctx, m)
		})
	}
}

func TestPlantedLastArrivalWins(t *testing.T) {
	planting(t, func(w *world) {
		at := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
		var mu sync.Mutex
		w.mangled(func(raw []byte) []byte { // the order of a message is when it came
			mu.Lock()
			defer mu.Unlock()
			at = at.Add(time.Second)
			fields := bytes.SplitN(raw, []byte{'|'}, 8)
			fields[6] = []byte(at.Format("20060102150405") + "+0000")
			return bytes.Join(fields, []byte{'|'})
		})
		w.start()
		for _, sent := range w.feed.Senders {
			w.random.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
		}
		w.drive(nil)
		w.says("the last to arrive wins", faulttest.StateIsTrue)
	})
}

func TestPlantedTransactionTypeIgnored(t *testing.T) {
	planting(t, func(w *world) {
		w.mangled(func(raw []byte) []byte { return bytes.Replace(raw, []byte("||CD|"), []byte("||CG|"), 1) })
		w.start()
		w.drive(nil)
		w.says("FT1-6 is not read", faulttest.StateIsTrue)
	})
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) {}

// outboxSpace is what the keys of the outbox begin with.
const outboxSpace = 'b'

func TestPlantedCheckpointBeforeOutbox(t *testing.T) {
	planting(t, func(w *world) {
		disk := w.plan.FS.(*vfs.MemFS)
		mend := w.away()
		s := w.start()
		half := w.feed.Count() / 2
		var left *vfs.MemFS
		driven := make(chan error, 1)
		stopped := make(chan struct{})
		go func() {
			driven <- w.driving(at(half, func() {
				for { // the processing has caught up
					if tail, checkpoint, _, _ := s.engine.Progress(); tail == checkpoint {
						break
					}
				}
				left = w.powerCut(disk)
				close(stopped)
			}))
		}()
		<-stopped
		// State and checkpoint are on disk, the last events are not: what a write
		// in two steps leaves.
		db, err := pebble.Open("data/store", &pebble.Options{FS: left, Logger: silent{}, FormatMajorVersion: pebble.FormatNewest})
		require.NoError(w.t, err)
		_, _, events, _ := s.engine.Progress()
		from := binary.BigEndian.AppendUint64([]byte{outboxSpace}, events-uint64(half/4))
		require.NoError(w.t, db.DeleteRange(from, []byte{outboxSpace + 1}, pebble.Sync))
		require.NoError(w.t, db.Close())
		mend()
		w.revive(left)
		require.NoError(w.t, <-driven)
		w.says("the checkpoint before the outbox", faulttest.NoLoss)
	})
}

func TestPlantedPublishedBeforeCommitted(t *testing.T) {
	planting(t, func(w *world) {
		disk := w.plan.FS.(*vfs.MemFS)
		early := make(chan *vfs.MemFS, 1)
		var sent, taken atomic.Bool
		w.plan.Failpoint = func(name string) {
			if name == "before-commit" && sent.Load() && taken.CompareAndSwap(false, true) { // the journal has it, the records do not
				early <- disk.CrashClone(vfs.CrashCloneCfg{})
			}
		}
		mend := w.away() // so that it is before anything is published
		w.start()
		w.drive(at(20, func() { sent.Store(true) }))
		left := <-early
		mend()
		w.settle() // published, and then the commit is lost, and the tables are others
		w.powerCut(disk)
		mapper, err := tables.Load(fhir.NewSchema(), tables.Overlay{Name: "site.yaml", Data: []byte("add PID to Patient: |\n  PID-8 -> maritalStatus.text\n")})
		require.NoError(w.t, err)
		w.plan.Failpoint, w.plan.Mapper = nil, mapper
		w.revive(left)
		w.says("published before committed, and the tables change", faulttest.OneEffect)
	})
}

// A stream that a consumer would see from a broken publisher: doubled, out of
// order, changed, invented, and with a name in a key.
func TestPlantedInTheStream(t *testing.T) {
	planting(t, func(w *world) {
		w.start()
		w.drive(nil)
		w.settle()
		good := w.sink()
		for name, c := range map[string]struct {
			mangle func(list []faulttest.Delivery) []faulttest.Delivery
			want   string
		}{
			"lost": {func(l []faulttest.Delivery) []faulttest.Delivery { return l[:len(l)-5] }, faulttest.NoLoss},
			"gap": {func(l []faulttest.Delivery) []faulttest.Delivery { // every record that changed has a second version
				return slices.DeleteFunc(l, func(d faulttest.Delivery) bool { return bytes.Contains(d.Value, []byte(`"version":1,`)) })
			}, faulttest.Order},
			"swapped": {func(l []faulttest.Delivery) []faulttest.Delivery {
				for i, j := 0, len(l)-1; i < j; i, j = i+1, j-1 {
					l[i], l[j] = l[j], l[i]
				}
				return l
			}, faulttest.Order},
			"two texts": {func(l []faulttest.Delivery) []faulttest.Delivery {
				d := l[0]
				d.Value = bytes.Replace(bytes.Clone(d.Value), []byte("1970"), []byte("1971"), 1)
				return append(l, d)
			}, faulttest.OneEffect},
			"two effects": {func(l []faulttest.Delivery) []faulttest.Delivery {
				d := l[0]
				old := d.EventID
				d.EventID = "00000000-0000-5000-8000-000000000000"
				d.Value = bytes.ReplaceAll(bytes.Clone(d.Value), []byte(old), []byte(d.EventID))
				return append(l, d)
			}, faulttest.OneEffect},
			"invented": {func(l []faulttest.Delivery) []faulttest.Delivery {
				l[0].Value = bytes.ReplaceAll(bytes.Clone(l[0].Value), []byte(`"control_id":"S`), []byte(`"control_id":"X`))
				return l
			}, faulttest.NoInvention},
			"a key that tells": {func(l []faulttest.Delivery) []faulttest.Delivery {
				for i := range l {
					l[i].Key = l[i].Value
				}
				return l
			}, faulttest.Silence},
		} {
			list, _ := faulttest.Check(w.feed, w.ledger, c.mangle(append([]faulttest.Delivery{}, good...)), nil)
			w.told("in the stream: "+name, list, c.want)
		}
		list, _ := faulttest.Check(w.feed, w.ledger, good, []faulttest.Held{{Control: "nobody", Reason: "syntax"}})
		w.told("in quarantine: what nobody sent", list, faulttest.NoInvention)
	})
}
