//go:build integration

package kafka_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRealConformance runs the suite against an Apache Kafka.
func TestRealConformance(t *testing.T) {
	address := os.Getenv("LIAISON_KAFKA")
	require.NotEmpty(t, address, "LIAISON_KAFKA is host:port of a broker")
	conform(t, func(*testing.T) string { return address }, fmt.Sprintf("suite-%d", time.Now().UnixNano()))
}
