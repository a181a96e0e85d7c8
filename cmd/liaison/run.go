package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/cmd/internal/app"
)

func runCommand() *cobra.Command {
	var file, data string
	c := &cobra.Command{
		Use: "run", Short: "Serve: take feeds in, publish records", Args: cobra.NoArgs,
		Long: "Without a configuration: MLLP on 127.0.0.1:2575, FHIR on 127.0.0.1:8080/fhir, operations on 127.0.0.1:8081, the Kafka\nprotocol on 127.0.0.1:9092, data in ./liaison-data.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file, data)
			if err != nil {
				return err
			}
			log := logger(c.ErrOrStderr(), cfg.LogLevel)
			a, err := app.New(c.Context(), cfg, log, nil)
			if err != nil {
				return fmt.Errorf("start: %w", err)
			}
			for name, address := range a.Addresses() {
				log.Info("listening", "what", name, "address", address)
			}
			return a.Run(c.Context())
		},
	}
	c.Flags().StringVar(&file, "config", "", "liaison.yaml")
	c.Flags().StringVar(&data, "data", "", "data directory (default ./liaison-data)")
	return c
}
