package mllp_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/connectors/connectortest"
	"github.com/liaison-health/liaison/connectors/mllp"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/pipelines"
)

func TestConformance(t *testing.T) {
	connectortest.Source(t, connectortest.SourceHarness{Format: pipelines.HL7v2, Open: func(t *testing.T, outcomes pipelines.Outcomes) connectortest.Endpoint {
		s, err := mllp.Listen(t.Context(), mllp.Config{Name: "adt", Listen: "127.0.0.1:0", Outcomes: outcomes})
		require.NoError(t, err)
		return connectortest.Endpoint{Source: s, Connect: func(t *testing.T) connectortest.Send { return sender(t, s.Addr()) }}
	}})
}

func sender(t *testing.T, address string) connectortest.Send {
	var c *mllp.Client
	t.Cleanup(func() {
		if c != nil {
			_ = c.Close()
		}
	})
	return func(ctx context.Context, payload []byte) (bool, error) {
		if c == nil {
			var err error
			if c, err = mllp.Dial(ctx, address, nil, 0); err != nil {
				return false, err
			}
		}
		answer, err := c.Send(ctx, payload)
		if err != nil {
			_ = c.Close()
			c = nil
			var closed *net.OpError
			if errors.As(err, &closed) {
				return false, closed
			}
			return false, err
		}
		ack, err := hl7v2.ParseAck(answer)
		return ack.Code.Positive(), err
	}
}
