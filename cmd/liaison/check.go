package main

import (
	"fmt"
	"strings"

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
			lines, _, err := app.Pipelines(cfg)
			if err != nil {
				return fmt.Errorf("tables: %w", err)
			}
			for i := range cfg.Sources {
				s := &cfg.Sources[i]
				if s.MLLP != nil {
					_, err = cfg.Server(s.MLLP.TLS)
				} else if s.FHIR != nil {
					_, err = cfg.Server(s.FHIR.TLS)
				}
				if err != nil {
					return fmt.Errorf("source %s: %w", s.Name, err)
				}
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is good: %d sources\n", file, len(lines))
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "liaison.yaml")
	return c
}
