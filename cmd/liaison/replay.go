package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/cmd/internal/app"
	"github.com/liaison-health/liaison/cmd/internal/config"
)

func journalReplay(o *operator) *cobra.Command {
	var file string
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
			r, err := app.Replay(c.Context(), o.data, cfg)
			if err != nil {
				return fmt.Errorf("replay: %w", err)
			}
			if r.Other {
				fmt.Fprintln(c.OutOrStdout(), "with another configuration than the one in force")
			}
			fmt.Fprintf(c.OutOrStdout(), "%d entries, %d events: %d the same byte for byte, %d differ\n", r.Entries, r.Events, r.Same, r.Events-r.Same)
			if r.Same != r.Events {
				fmt.Fprintf(c.ErrOrStderr(), "liaison: the first that differs is event %d (%s)\n", r.First, r.ID)
				return errReported
			}
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "run all of it with this liaison.yaml; left out: with the configurations in force, as the journal has them")
	return c
}
