package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/cmd/internal/app"
)

func journalReplay(o *operator) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "replay --data DIR", Short: "Make all records again from the journal of a stopped engine and compare them with those published", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.data == "" {
				return usageError{fmt.Errorf("--data is needed: the journal of a stopped engine")}
			}
			cfg, err := loadConfig(file, o.data)
			if err != nil {
				return err
			}
			r, err := app.Replay(c.Context(), cfg)
			if err != nil {
				return fmt.Errorf("replay: %w", err)
			}
			fmt.Fprintf(c.OutOrStdout(), "%d entries, %d events: %d the same byte for byte, %d differ\n", r.Entries, r.Events, r.Same, r.Events-r.Same)
			if r.Same != r.Events {
				fmt.Fprintf(c.ErrOrStderr(), "liaison: the first that differs is event %d (%s)\n", r.First, r.ID)
				return errReported
			}
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "liaison.yaml, the one that the engine ran with")
	return c
}
