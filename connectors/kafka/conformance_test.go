package kafka_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/connectors/connectortest"
	"github.com/liaison-health/liaison/connectors/kafka"
	"github.com/liaison-health/liaison/pipelines"
)

// conform runs the publishers' suite against the brokers at an address.
func conform(t *testing.T, address func(t *testing.T) string, prefix string) {
	t.Helper()
	var n atomic.Int64
	open := func(t *testing.T, brokers, topic string) pipelines.Publisher {
		p, err := kafka.NewPublisher(kafka.Config{Brokers: []string{brokers}, Topics: []kafka.Topic{{Name: topic, Partitions: 3, MaxMessageBytes: 1 << 20}}})
		require.NoError(t, err)
		return p
	}
	connectortest.Publisher(t, connectortest.PublisherHarness{
		Open: func(t *testing.T) (pipelines.Publisher, string, func(t *testing.T) pipelines.Publisher) {
			brokers, topic := address(t), fmt.Sprintf("%s-%d", prefix, n.Add(1))
			return open(t, brokers, topic), topic, func(t *testing.T) pipelines.Publisher { return open(t, brokers, topic) }
		},
		TooLarge: 2 << 20,
		Unreachable: func(t *testing.T) (pipelines.Publisher, string) {
			return open(t, "127.0.0.1:1", "nowhere"), "nowhere"
		},
	})
}

func TestConformance(t *testing.T) {
	conform(t, func(t *testing.T) string { return broker(t, "") }, "embedded")
}
