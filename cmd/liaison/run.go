package main

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/cmd/internal/app"
)

func runCommand() *cobra.Command {
	var file, data string
	c := &cobra.Command{
		Use: "run", Short: "Serve: take feeds in, publish records", Args: cobra.NoArgs,
		Long: "Without a configuration: MLLP on 127.0.0.1:2575, FHIR on 127.0.0.1:8080/fhir, operations on 127.0.0.1:8081, the Kafka\nprotocol on 127.0.0.1:9092, data in ./liaison-data. Times without an offset need a time_zone, which a\nconfiguration gives: without one only their day is taken over.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file, data)
			if err != nil {
				return err
			}
			log := logger(c.ErrOrStderr(), cfg.LogLevel)
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(25) // compiling the tables leaves little behind so
			}
			a, err := app.New(c.Context(), cfg, log, nil)
			if err != nil {
				return fmt.Errorf("start: %w", err)
			}
			tune()
			debug.FreeOSMemory()
			dropFilePages()
			addresses := a.Addresses()
			for _, name := range slices.Sorted(maps.Keys(addresses)) {
				log.Info("listening", "what", name, "address", addresses[name])
			}
			for _, advice := range cfg.Advice() {
				log.Warn(advice)
			}
			for _, outdated := range cfg.Outdated(time.Now()) {
				log.Error(outdated.Error())
			}
			return a.Run(c.Context())
		},
	}
	c.Flags().StringVar(&file, "config", "", "liaison.yaml")
	c.Flags().StringVar(&data, "data", "", "data directory (default ./liaison-data)")
	return c
}

// tune sets the Go runtime up for serving, unless the environment does. Mapping
// keeps every processor busy under load, and then Go looks for network events
// only every 10 ms; with processors to spare a sender's message is seen at once
// and the kernel shares the time. Memory is taken up to a soft limit before the
// garbage is collected more eagerly.
func tune() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(3 * runtime.NumCPU())
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(280 << 20)
	}
}
