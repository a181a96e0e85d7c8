package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/pipelines/store"
)

// A Corrected says which journal entries correct the records, none where
// nothing differs.
type Corrected struct {
	Records     int
	First, Last uint64
}

var errWaiting = errors.New("accepted messages wait for their outcome: run the engine until liaison_journal_pending is 0, and stop it")

// Correct makes the records again as Differences, and writes those that differ
// in the events of the journal's entries from one position to another into the
// journal as corrections: the engine publishes them when it runs, as versions
// with the transition correction. by and why stay in the journal. What the
// configuration has no records for stays as it is published.
func Correct(ctx context.Context, data string, cfg *config.Config, from, to uint64, by, why string, tell func(*Difference) error) (*Replayed, *Corrected, error) {
	done := &Corrected{}
	out, err := replaying(ctx, data, cfg, func(old, again *store.Store, out *Replayed) error {
		if checkpoint, err := old.Number("checkpoint"); err != nil || checkpoint < old.Tail() {
			return errors.Join(err, errWaiting)
		}
		if err := noneRefused(old, again); err != nil {
			return err
		}
		touched := map[string]bool{}
		err := differences(old, again, from, to, out, func(d *Difference) error {
			touched[d.Kind+"/"+d.key.String()] = true
			return tell(d)
		})
		if err != nil {
			return err
		}
		e, err := engine.New(engine.Config{Dir: data}, old, nil, nil, nil)
		if err != nil {
			return fmt.Errorf("open the data: %w", err)
		}
		wanted := func(kind records.Kind, key records.Key) bool { return touched[string(kind)+"/"+key.String()] }
		var parts []*records.Correction // made whole before any of it is written
		if err := records.Corrections(old, again, wanted, func(x *records.Correction) error { parts = append(parts, x); return nil }); err != nil {
			return fmt.Errorf("correct: %w", err)
		}
		for _, x := range parts {
			done.Records += len(x.States)
		}
		if done.Records == 0 {
			return nil
		}
		for _, x := range parts {
			if done.Last, err = e.Correct(x, by, why); err != nil {
				return fmt.Errorf("correct: %w", err)
			}
			if done.First == 0 {
				done.First = done.Last
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return out, done, nil
}

// noneRefused finds messages that are published and that this run has put in
// quarantine: a correction would take back what they said.
func noneRefused(old, again *store.Store) error {
	var first uint64
	n := 0
	for pos := uint64(1); pos <= old.Tail(); pos++ {
		was, has, err := old.Outcome(pos)
		if err != nil || !has {
			return errors.Join(err, errWaiting)
		}
		now, _, err := again.Outcome(pos)
		if err != nil {
			return fmt.Errorf("read outcome: %w", err)
		}
		if was.Status != pipelines.Quarantined && now.Status == pipelines.Quarantined {
			if n++; n == 1 {
				first = pos
			}
		}
	}
	if n > 0 {
		return fmt.Errorf("%d messages that were taken go to quarantine with this configuration, the first is %d: mend it, or their records would lose what they said", n, first)
	}
	return nil
}
