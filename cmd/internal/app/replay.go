package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/pipelines/store"
)

// A Replayed says how a second run over the journal compares with the first.
type Replayed struct {
	Entries, Events, Same int
	First                 int // number of the first event that differs, from 1
	ID                    string
}

// errTrimmed: retention has taken the journal's beginning away.
var errTrimmed = errors.New("the journal no longer has its first entries, so the records cannot be made again from it")

// Replay makes every event again from the journal of a stopped engine, in a
// store of its own that is thrown away, and compares the bytes.
func Replay(ctx context.Context, cfg *config.Config) (*Replayed, error) {
	old, err := store.Open(cfg.Data, store.Options{})
	if err != nil {
		return nil, fmt.Errorf("open the data (is the engine running?): %w", err)
	}
	defer func() { _ = old.Close() }()
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
	out := &Replayed{}
	checkpoint, err := old.Number("checkpoint")
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	err = old.Entries(0, func(pos uint64, entry []byte) (bool, error) {
		if pos > checkpoint {
			return false, nil
		}
		out.Entries++
		at, err := again.Append(bytes.Clone(entry))
		if err == nil && at != pos {
			err = errTrimmed
		}
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if err := rerun(ctx, cfg, old, again, dir); err != nil {
		return nil, err
	}
	return out, compare(old, again, out)
}

func rerun(ctx context.Context, cfg *config.Config, old, again *store.Store, dir string) error {
	key, err := engine.SiteKey(cfg.Data, old)
	if err != nil {
		return err
	}
	lines, _, err := Pipelines(cfg)
	if err != nil {
		return err
	}
	e, err := engine.New(engine.Config{Dir: dir, Window: cfg.Redis.Window, RecordBytes: recordLimit(cfg), Key: key}, again, nil, nowhere{}, lines)
	if err != nil {
		return err
	}
	stopped, stop := context.WithCancel(ctx)
	stop() // the engine drains, and that is all of it
	return e.Run(stopped)
}

func compare(old, again *store.Store, out *Replayed) error {
	made := map[uint64][]byte{}
	err := again.Outbox(0, func(n uint64, event []byte) (bool, error) {
		made[n] = bytes.Clone(event)
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	err = old.Outbox(0, func(n uint64, event []byte) (bool, error) {
		out.Events++
		if bytes.Equal(event, made[n]) {
			out.Same++
		} else if out.First == 0 {
			out.First = int(n)
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	return nil
}

// nowhere is a Publisher that keeps nothing.
type nowhere struct{}

func (nowhere) Publish(context.Context, string, int32, []pipelines.OutboxEvent) (int64, error) {
	return 0, nil
}
func (nowhere) Partitions(context.Context, string) (int32, error) { return 1, nil }

func (nowhere) LogEnds(context.Context) (string, map[pipelines.TopicPartition]int64, error) {
	return "nowhere", nil, nil
}

func (nowhere) ReadFrom(context.Context, string, int32, int64, func(int64, pipelines.OutboxEvent) error) error {
	return nil
}
func (nowhere) Close() error { return nil }
