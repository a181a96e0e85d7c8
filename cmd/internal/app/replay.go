package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/pipelines/store"
)

// A Replayed says how a second run over the journal compares with the first.
type Replayed struct {
	Entries, Events, Same int
	First                 int // number of the first event that differs, from 1
	ID                    string
	// Settings is how many configurations were in force over the journal's time;
	// Other says that the last one is not the one that was given.
	Settings int
	Other    bool
}

// errTrimmed: retention has taken the journal's beginning away.
var errTrimmed = errors.New("the journal no longer has its first entries, so the records cannot be made again from it")

// Replay makes every event again from the journal in data of a stopped engine,
// in a store of its own that is thrown away, and compares the bytes. Each part
// of the journal is run with the configuration that was in force; with cfg, all
// of it with that one.
func Replay(ctx context.Context, data string, cfg *config.Config) (*Replayed, error) {
	return replaying(ctx, data, cfg, compare)
}

// replaying runs the journal again and compares.
func replaying(ctx context.Context, data string, cfg *config.Config, compare func(old, again *store.Store, out *Replayed) error) (*Replayed, error) {
	if _, err := os.Stat(filepath.Join(data, "store")); err != nil { // opening would make one
		return nil, fmt.Errorf("no data of Liaison: %w", err)
	}
	old, err := store.Open(data, store.Options{})
	if err != nil {
		return nil, fmt.Errorf("open the data (is the engine running?): %w", err)
	}
	defer func() { _ = old.Close() }()
	if old.First() > 1 {
		return nil, errTrimmed
	}
	dir, err := os.MkdirTemp("", "liaison-replay-")
	if err != nil {
		return nil, fmt.Errorf("scratch directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	again, err := store.Open(dir, store.Options{})
	if err != nil {
		return nil, fmt.Errorf("scratch store: %w", err)
	}
	defer func() { _ = again.Close() }()
	key, err := engine.SiteKey(data, old)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	run := &replay{old: old, again: again, dir: dir, key: key, out: &Replayed{}}
	if run.end, err = old.Number("checkpoint"); err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	if err := run.all(ctx, cfg); err != nil {
		return nil, err
	}
	return run.out, compare(old, again, run.out)
}

// A replay is one run over a journal.
type replay struct {
	old, again *store.Store
	dir        string
	key        []byte
	end        uint64 // the last entry that has its outcome
	out        *Replayed
}

// all runs the parts of the journal one after the other.
func (r *replay) all(ctx context.Context, cfg *config.Config) error {
	inForce, err := engine.SettingsIn(r.old)
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	r.out.Settings = len(inForce)
	if cfg != nil || len(inForce) == 0 {
		if cfg == nil {
			cfg = config.Default()
		}
		given, err := settingsOf(cfg)
		if err != nil {
			return err
		}
		r.out.Other = len(inForce) > 0 && !bytes.Equal(given, inForce[len(inForce)-1].Settings)
		l, err := configured(cfg)
		if err != nil {
			return err
		}
		return r.part(ctx, l, 1, r.end)
	}
	from := uint64(1)
	for i := range inForce {
		to := r.end
		if i+1 < len(inForce) {
			to = min(to, inForce[i+1].From-1)
		}
		if to < from { // replaced before anything was processed with it
			continue
		}
		l, err := settled(inForce[i].Settings)
		if err != nil {
			return err
		}
		if err := r.part(ctx, l, from, to); err != nil {
			return err
		}
		from = to + 1
	}
	return nil
}

// part runs the entries from one position to another.
func (r *replay) part(ctx context.Context, l *line, from, to uint64) error {
	err := r.old.Entries(from, func(pos uint64, entry []byte) (bool, error) {
		if pos > to {
			return false, nil
		}
		r.out.Entries++
		at, err := r.again.Append(bytes.Clone(entry))
		if err == nil && at != pos {
			err = errTrimmed
		}
		return true, err
	})
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	e, err := engine.New(engine.Config{
		Dir: r.dir, Window: l.cfg.Redis.Window, RecordBytes: recordLimit(l.cfg), Key: r.key, Finish: -1,
	}, r.again, nil, nowhere{}, l.pipelines)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	stopped, stop := context.WithCancel(ctx)
	stop() // the engine drains, and that is all of it
	if err := e.Run(stopped); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if _, reached, _, _ := e.Progress(); reached < to {
		return fmt.Errorf("only %d of %d entries were run", reached, to)
	}
	return nil
}

// Differences makes the events of the journal's entries from one position to
// another again, as Replay, and tells each that is not as it was published: what
// today's tables make of a message that was mapped by others. Nothing is
// published, and the data stays as it is.
func Differences(ctx context.Context, data string, cfg *config.Config, from, to uint64, tell func(*Difference) error) (*Replayed, error) {
	return replaying(ctx, data, cfg, func(old, again *store.Store, out *Replayed) error {
		return differences(old, again, from, to, out, tell)
	})
}

func compare(old, again *store.Store, out *Replayed) error {
	err := old.Outbox(0, func(n uint64, event []byte) (bool, error) {
		out.Events++
		made, err := again.Event(n)
		switch {
		case err != nil:
			return false, err
		case bytes.Equal(event, made):
			out.Same++
		case out.First == 0:
			out.First = int(n)
			out.ID, err = engine.EventID(event)
		}
		return true, err
	})
	if err != nil {
		return fmt.Errorf("compare events: %w", err)
	}
	return nil
}

// nowhere is a Publisher that keeps nothing.
type nowhere struct{}

func (nowhere) Publish(context.Context, string, int32, []pipelines.OutboxEvent) (int64, error) {
	return 0, nil
}

func (nowhere) Topics(context.Context) (string, map[string]int32, error) {
	partitions := map[string]int32{}
	for _, topic := range records.Topics() {
		partitions[topic] = 1
	}
	return "nowhere", partitions, nil
}
func (nowhere) LogEnd(context.Context, string, int32) (int64, error) { return 0, nil }

func (nowhere) ReadFrom(context.Context, string, int32, int64, func(int64, pipelines.OutboxEvent) error) error {
	return nil
}
func (nowhere) Close() error { return nil }
