//go:build integration

package main

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRealFeed runs the day on the embedded parts and on an Apache Kafka with a
// redis-server, and the records are the same but for what names the parts.
func TestRealFeed(t *testing.T) {
	brokers, redis := os.Getenv("LIAISON_KAFKA"), os.Getenv("LIAISON_REDIS")
	require.NotEmpty(t, brokers)
	require.NotEmpty(t, redis)
	embedded, _ := day(t, embeddedConfig(t))
	cfg := embeddedConfig(t)
	cfg.Kafka.Brokers = []string{brokers}
	cfg.Redis.Address = redis
	real, _ := day(t, cfg)
	require.Len(t, real, len(embedded))
	for id, text := range embedded {
		require.Contains(t, real, id)
		require.Equal(t, withoutReceipt(text), withoutReceipt(real[id]))
	}
}

// withoutReceipt leaves out when a record's message was received, and at which
// journal position: a resend that the early filter answers has none.
func withoutReceipt(text string) string {
	return regexp.MustCompile(`"(received_at|recorded|occurred_at|occurredDateTime)":"[^"]*"|"journal":[0-9]+`).ReplaceAllString(text, "")
}
