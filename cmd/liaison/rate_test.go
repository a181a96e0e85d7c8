package main

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/app"
)

// A source that is faster than its rate waits for its answers, and another
// source does not wait for it.
func TestRate(t *testing.T) {
	cfg := embeddedConfig(t)
	for i := range cfg.Sources {
		if cfg.Sources[i].Name == "adt" {
			cfg.Sources[i].Rate = 5
		}
	}
	a, stop := servingWith(t, cfg, slog.New(slog.DiscardHandler), &app.Seams{})
	defer stop()
	began := time.Now()
	sendAll(t, a.Addresses()["source:adt"], update("C1", "1", "A"), update("C2", "1", "B"), update("C3", "1", "C"), update("C4", "1", "D"))
	require.GreaterOrEqual(t, time.Since(began), 600*time.Millisecond)
}
