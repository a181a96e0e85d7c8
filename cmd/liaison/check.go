package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/cmd/internal/app"
)

func checkCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "check --config FILE", Short: "Check a configuration, its overlays and its certificates without serving", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{fmt.Errorf("--config is needed")}
			}
			cfg, err := loadConfig(file, "")
			if err != nil {
				for _, line := range strings.Split(strings.TrimPrefix(err.Error(), "configuration: "), "\n") {
					fmt.Fprintln(c.ErrOrStderr(), line)
				}
				return errReported
			}
			if outdated := cfg.Outdated(time.Now()); len(outdated) > 0 {
				for _, err := range outdated {
					fmt.Fprintln(c.ErrOrStderr(), err)
				}
				return errReported
			}
			lines, _, err := app.Pipelines(cfg)
			if err != nil {
				return fmt.Errorf("tables: %w", err)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is good: %d %s\n", file, len(lines), plural(len(lines), "source"))
			for _, advice := range cfg.Advice() {
				fmt.Fprintln(c.OutOrStdout(), "but", advice)
			}
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "liaison.yaml")
	return c
}

func plural(n int, what string) string {
	if n == 1 {
		return what
	}
	return what + "s"
}
