package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/cmd/internal/app"
	"github.com/liaison-health/liaison/cmd/internal/config"
)

func journalReplay(o *operator) *cobra.Command {
	var file string
	var from, to uint64
	var dry, values, publish bool
	var by, why string
	c := &cobra.Command{
		Use: "replay --data DIR", Short: "Make all records again from the journal of a stopped engine and compare them with those published", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.data == "" {
				return usageError{fmt.Errorf("--data is needed: the journal of a stopped engine")}
			}
			var cfg *config.Config
			if file != "" {
				var err error
				if cfg, err = loadConfig(file, o.data); err != nil {
					return err
				}
			}
			if publish {
				if dry || cfg == nil || why == "" {
					return usageError{fmt.Errorf("--publish goes with --config, the tables to correct by, and --why, and without --dry-run")}
				}
				return o.correct(c, cfg, from, to, values, by, why)
			}
			var r *app.Replayed
			var err error
			if dry || from > 0 || to > 0 {
				r, err = app.Differences(c.Context(), o.data, cfg, from, to, func(d *app.Difference) error { return printDifference(c, o.json, values, d) })
			} else {
				r, err = app.Replay(c.Context(), o.data, cfg)
			}
			if err != nil {
				return fmt.Errorf("replay: %w", err)
			}
			if o.json && (dry || from > 0 || to > 0) {
				if r.Same != r.Events {
					return errReported
				}
				return nil
			}
			if r.Other {
				fmt.Fprintln(c.OutOrStdout(), "with another configuration than the one in force")
			}
			fmt.Fprintf(c.OutOrStdout(), "%d entries, %d events: %d the same byte for byte, %d differ\n", r.Entries, r.Events, r.Same, r.Events-r.Same)
			if r.Same != r.Events {
				if r.First > 0 {
					fmt.Fprintf(c.ErrOrStderr(), "liaison: the first that differs is event %d (%s)\n", r.First, r.ID)
				}
				return errReported
			}
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "run all of it with this liaison.yaml; left out: with the configurations in force, as the journal has them")
	f := c.Flags()
	f.BoolVar(&dry, "dry-run", false, "tell each event that today's tables make otherwise, and in which places; nothing is published")
	f.Uint64Var(&from, "from", 0, "as --dry-run, of the events of journal entries from this one on; with --publish the records of these")
	f.Uint64Var(&to, "to", 0, "as --dry-run, of the events of journal entries up to this one; with --publish the records of these")
	f.BoolVar(&publish, "publish", false, "correct the records that differ: their next versions, published when the engine runs, with the transition correction")
	f.StringVar(&by, "by", "", "who corrects; it stays in the journal")
	f.StringVar(&why, "why", "", "the reason; no patient's data")
	f.BoolVar(&values, "values", false, "with the values that differ: patients' data")
	return c
}

// correct writes what differs into the journal as corrections.
func (o *operator) correct(c *cobra.Command, cfg *config.Config, from, to uint64, values bool, by, why string) error {
	_, done, err := app.Correct(c.Context(), o.data, cfg, from, to, by, why, func(d *app.Difference) error { return printDifference(c, o.json, values, d) })
	if err != nil {
		return fmt.Errorf("correct: %w", err)
	}
	line := "nothing to correct"
	if done.Records > 0 {
		line = fmt.Sprintf("%d records are corrected when the engine runs: journal entries %d to %d", done.Records, done.First, done.Last)
	}
	if o.json {
		text, err := json.Marshal(map[string]any{"records": done.Records, "first": done.First, "last": done.Last})
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		line = string(text)
	}
	if _, err := fmt.Fprintln(c.OutOrStdout(), line); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// printDifference prints one event that differs.
func printDifference(c *cobra.Command, asJSON, values bool, d *app.Difference) error {
	if !values {
		for i := range d.Paths {
			d.Paths[i].Published, d.Paths[i].Now = nil, nil
		}
	}
	if asJSON {
		if err := json.NewEncoder(c.OutOrStdout()).Encode(d); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%8d  %s  %s version %d: %s\n", d.Sequence, d.EventID, d.Kind, d.Version, d.What)
	for _, p := range d.Paths {
		b.WriteString("          " + p.Path)
		if values {
			fmt.Fprintf(&b, ": %s, now %s", p.Published, p.Now)
		}
		b.WriteByte('\n')
	}
	if _, err := fmt.Fprint(c.OutOrStdout(), b.String()); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
