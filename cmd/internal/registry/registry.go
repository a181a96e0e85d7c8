// Package registry is the one visible list of the connectors that a
// configuration can name: to add one, add it here and to package config.
package registry

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/connectors/fhirrest"
	"github.com/liaison-health/liaison/connectors/files"
	"github.com/liaison-health/liaison/connectors/mllp"
	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
)

// A Source is a pipelines.Source that listens or watches somewhere.
type Source interface {
	pipelines.Source
	Addr() string // where, for the operator
	Close() error // gives back what opening took when Run is never called
}

// Deps are what sources need beyond their configuration.
type Deps struct {
	Room        *pipelines.Room        // of large messages, all sources together
	Descriptors *pipelines.Descriptors // of connections, all sources together
	Outcomes    pipelines.Outcomes
	Answered    func(source, code string)
	Log         *slog.Logger
	Check       func(*fhir.Node) []fhir.Issue                                              // the gate; nil: none
	Read        func(ctx context.Context, resourceType, id string) ([]byte, uint64, error) // what is held
	Search      func(ctx context.Context, resourceType string, c fhir.Condition) ([]string, error)
	Brought     func(ctx context.Context, position uint64, ref string) (uint64, error)
	Sequences   mllp.Sequences
	Types       []string // resource types of R4
}

// Open opens the connector that a source's configuration names.
func Open(ctx context.Context, c *config.Config, s *config.Source, d Deps) (Source, error) {
	switch {
	case s.MLLP != nil:
		return openMLLP(ctx, c, s, d)
	case s.FHIR != nil:
		return openFHIR(ctx, c, s, d)
	case s.Files != nil:
		return files.Open(files.Config{
			Name: s.Name, Directory: c.Path(s.Files.Directory), Interval: s.Files.Interval, MaxEntries: s.Files.MaxEntries, Processed: s.Ack == "processed", Outcomes: d.Outcomes,
			Check: d.Check, Answered: d.Answered, Log: d.Log,
		})
	default:
		return nil, fmt.Errorf("source %s: no connector is configured", s.Name)
	}
}

func openMLLP(ctx context.Context, c *config.Config, s *config.Source, d Deps) (Source, error) {
	t, err := c.Server(s.MLLP.TLS)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	m := s.MLLP
	var sequences mllp.Sequences
	if m.SequenceNumbers {
		sequences = d.Sequences
	}
	return mllp.Listen(ctx, mllp.Config{
		Name: s.Name, Listen: m.Listen, TLS: t, MaxFrame: int(m.MaxFrame), Connections: m.Connections, FrameTimeout: m.FrameTimeout,
		IdleTimeout: m.IdleTimeout, Processed: s.Ack == "processed", Charset: s.DefaultCharset, Sequences: sequences, Room: d.Room, Descriptors: d.Descriptors, Outcomes: d.Outcomes, Answered: d.Answered, Log: d.Log,
	})
}

func openFHIR(ctx context.Context, c *config.Config, s *config.Source, d Deps) (Source, error) {
	f := s.FHIR
	t, err := c.Server(f.TLS)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	tokens, err := c.Secret(f.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	return fhirrest.Listen(ctx, fhirrest.Config{
		Name: s.Name, Listen: f.Listen, TLS: t, Base: f.Base, Tokens: strings.Fields(tokens), MaxBody: int64(f.MaxBody), MaxEntries: f.MaxEntries, Connections: f.Connections,
		Processed: s.Ack == "processed", Check: d.Check, Read: d.Read, Search: d.Search, Brought: d.Brought, Types: d.Types, Held: records.Held, Room: d.Room, Descriptors: d.Descriptors, Outcomes: d.Outcomes, Answered: d.Answered, Log: d.Log,
		Identify: func(r fhirrest.Request, body []byte) ([]string, error) {
			return records.Identify(records.FHIRRequest{
				Method: r.Method, Type: r.Type, ID: r.ID, IfNoneExist: r.IfNoneExist, Exists: r.Exists, Found: r.Found, Base: r.Base, Body: body, Origin: records.Origin{Source: s.Name},
			})
		},
	})
}
