package kafka_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/liaison-health/liaison/connectors/kafka"
	"github.com/liaison-health/liaison/pipelines"
)

// certificate makes a server's certificate and the pool that knows it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// Over TLS, with each SASL mechanism: who has the password publishes and reads;
// another password, another authority and a connection without TLS do not.
func TestTLSAndSASL(t *testing.T) {
	served, known := certificate(t)
	_, unknown := certificate(t)
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			cluster, err := kfake.NewCluster(
				kfake.NumBrokers(1), kfake.TLS(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{served}}),
				kfake.EnableSASL(), kfake.Superuser(mechanism, "liaison", "right"),
			)
			require.NoError(t, err)
			defer cluster.Close()
			config := func(pool *x509.CertPool, password string) kafka.Config {
				c := kafka.Config{
					Brokers: cluster.ListenAddrs(), Topics: []kafka.Topic{{Name: "liaison.flow", Partitions: 1}},
					SASL: &kafka.SASL{Mechanism: mechanism, User: "liaison", Password: func() (string, error) { return password, nil }},
				}
				if pool != nil {
					c.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
				}
				return c
			}
			publish := func(ctx context.Context, c kafka.Config) error {
				p, err := kafka.NewPublisher(c)
				require.NoError(t, err)
				defer func() { require.NoError(t, p.Close()) }()
				_, err = p.Publish(ctx, "liaison.flow", 0, events(0, 3))
				return err
			}
			require.NoError(t, publish(t.Context(), config(known, "right")))
			for name, c := range map[string]kafka.Config{
				"another password": config(known, "wrong"), "another authority": config(unknown, "right"), "without TLS": config(nil, "right"),
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				require.Error(t, publish(ctx, c), name)
				cancel()
			}
			consumer, err := kafka.NewConsumer(config(known, "right"))
			require.NoError(t, err)
			defer consumer.Close()
			n := 0
			require.NoError(t, consumer.Read(t.Context(), true, 0, func(*kafka.Record) error {
				if n++; n == 3 {
					return kafka.ErrStop
				}
				return nil
			}))
		})
	}
}

// Another client library reads what we publish: keys, headers and bytes.
func TestAnyClientReads(t *testing.T) {
	address := broker(t, t.TempDir())
	p := publisher(t, address)
	want := events(0, 20)
	_, err := p.Publish(t.Context(), "liaison.flow", 1, want)
	require.NoError(t, err)
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics("liaison.flow"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	defer client.Close()
	var got []pipelines.OutboxEvent
	for len(got) < len(want) {
		fetches := client.PollFetches(t.Context())
		require.Empty(t, fetches.Errors())
		fetches.EachRecord(func(r *kgo.Record) {
			require.Equal(t, int32(1), r.Partition)
			require.Equal(t, int64(len(got)), r.Offset)
			e := pipelines.OutboxEvent{Key: r.Key, Value: r.Value}
			for _, h := range r.Headers {
				e.Headers = append(e.Headers, pipelines.Header{Name: h.Key, Value: string(h.Value)})
				if h.Key == "ce_id" {
					e.ID = string(h.Value)
				}
			}
			got = append(got, e)
		})
	}
	require.Equal(t, want, got)
}
