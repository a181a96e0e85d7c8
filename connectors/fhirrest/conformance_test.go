package fhirrest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/connectors/connectortest"
	"github.com/liaison-health/liaison/connectors/fhirrest"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
)

func TestConformance(t *testing.T) {
	connectortest.Source(t, connectortest.SourceHarness{Format: pipelines.FHIR, Open: func(t *testing.T, outcomes pipelines.Outcomes) connectortest.Endpoint {
		s, err := fhirrest.Listen(t.Context(), fhirrest.Config{
			Name: "adt", Listen: "127.0.0.1:0", MaxBody: 4 << 20, Outcomes: outcomes, Types: []string{"Patient", "Observation"},
			Identify: func(r fhirrest.Request, body []byte) ([]string, error) {
				return records.Identify(records.FHIRRequest{Method: r.Method, Type: r.Type, ID: r.ID, Body: body})
			},
		})
		require.NoError(t, err)
		base := "http://" + s.Addr() + "/fhir/"
		return connectortest.Endpoint{Source: s, Connect: func(t *testing.T) connectortest.Send { return poster(t, base) }}
	}})
}

// poster creates resources over connections of its own.
func poster(t *testing.T, base string) connectortest.Send {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	return func(ctx context.Context, payload []byte) (bool, error) {
		var resource struct {
			ResourceType string `json:"resourceType"`
		}
		if err := json.Unmarshal(payload, &resource); err != nil {
			return false, err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+resource.ResourceType, bytes.NewReader(payload))
		if err != nil {
			return false, err
		}
		r.Header.Set("Content-Type", "application/fhir+json")
		answer, err := client.Do(r)
		if err != nil {
			return false, err
		}
		defer func() { _ = answer.Body.Close() }()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return false, err
		}
		return answer.StatusCode/100 == 2, nil
	}
}
