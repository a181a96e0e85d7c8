package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// A client is the connections that publisher and consumer share in kind:
// kafka-go's Client over a Transport of our own, so that nothing is shared
// with another part of the process, and a fetcher for what is read back.
type client struct {
	cfg       Config
	transport *kafkago.Transport
	kafka     *kafkago.Client
	fetcher   *fetcher

	mu        sync.Mutex
	refreshed time.Time
}

func newClient(cfg Config) (*client, error) {
	transport := &kafkago.Transport{
		DialTimeout: cfg.DialTimeout,
		IdleTimeout: time.Minute,
		MetadataTTL: 5 * time.Second,
		ClientID:    cfg.ClientID,
		TLS:         cfg.TLS,
	}
	if cfg.SASL != nil {
		mechanism, err := newMechanism(*cfg.SASL)
		if err != nil {
			return nil, err
		}
		transport.SASL = mechanism
	}
	fetcher, err := newFetcher(cfg)
	if err != nil {
		return nil, err
	}
	return &client{
		cfg: cfg, transport: transport, fetcher: fetcher,
		kafka: &kafkago.Client{Addr: kafkago.TCP(cfg.Brokers...), Transport: transport},
	}, nil
}

func (c *client) close() {
	c.transport.CloseIdleConnections()
	c.fetcher.close()
}

// refresh makes the next request ask the brokers who leads which partition.
// kafka-go looks by itself only every few seconds and has no other way to be
// told; the pause keeps many lanes from asking at once.
func (c *client) refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.refreshed) > 100*time.Millisecond {
		c.refreshed = now
		c.transport.CloseIdleConnections()
		c.fetcher.forget()
	}
}

// request runs one attempt under the request timeout. The deadline is not
// optional: kafka-go reads a connection until its request's deadline, so a
// request without one holds a connection to a hanging broker for ever.
func (c *client) request(ctx context.Context, do func(context.Context) error) error {
	attempt, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	return do(attempt)
}

// retry runs do until it succeeds, fails for good, or ctx is done; told is
// called before each repetition.
func (c *client) retry(ctx context.Context, told func(attempt int, err error), do func(context.Context) error) error {
	pause := c.cfg.RetryMin
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("kafka: %w", context.Cause(ctx))
		}
		err := c.request(ctx, do)
		if err == nil || !retriable(err) {
			return err
		}
		if told != nil {
			told(attempt, err)
		}
		if stale(err) {
			c.refresh()
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return &GaveUp{Attempts: attempt, Cause: context.Cause(ctx), Last: err}
		case <-timer.C:
		}
		pause = min(2*pause, c.cfg.RetryMax)
	}
}

// newMechanism checks the mechanism's name and defers the password to each
// connection.
func newMechanism(s SASL) (sasl.Mechanism, error) {
	switch s.Mechanism {
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
	default:
		return nil, fmt.Errorf("kafka: SASL mechanism %q is unknown: use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
	}
	if s.User == "" || s.Password == nil {
		return nil, errors.New("kafka: SASL needs a user and a password")
	}
	return mechanism{s}, nil
}

// secret is the password as it is now.
func (s SASL) secret() (string, error) {
	p, err := s.Password()
	if err != nil {
		return "", fmt.Errorf("kafka: read the SASL password: %w", err)
	}
	return p, nil
}

type mechanism struct{ SASL }

// Name is the mechanism as the SASL handshake names it.
func (m mechanism) Name() string { return m.Mechanism }

// Start begins one authentication with the password as it is now.
func (m mechanism) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	password, err := m.secret()
	if err != nil {
		return nil, nil, err
	}
	if m.Mechanism == "PLAIN" {
		return plain.Mechanism{Username: m.User, Password: password}.Start(ctx)
	}
	algorithm := scram.SHA256
	if m.Mechanism == "SCRAM-SHA-512" {
		algorithm = scram.SHA512
	}
	inner, err := scram.Mechanism(algorithm, m.User, password)
	if err != nil {
		return nil, nil, fmt.Errorf("kafka: SASL %s: %w", m.Mechanism, err)
	}
	return inner.Start(ctx)
}
