// Package embedded runs a broker that speaks the Kafka protocol within the
// process, with its log on disk, so that Liaison does its whole job with
// nothing installed and any Kafka client reads the records. It keeps every
// record in memory too and knows neither TLS nor users: it is for one machine,
// trials and tests, not for a cluster.
package embedded

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Config says where the broker listens and what it keeps.
type Config struct {
	Dir    string // its data; made when it is not there; empty: memory only
	Listen string // host:port on loopback; port 0: any
	// PartitionBytes is how much of each partition is kept; the oldest records
	// go first. 0: 8 MiB.
	PartitionBytes int64
	// Sync makes every batch durable before it is acknowledged. Without it a
	// power cut may take the last batches, which their publisher sends again.
	Sync bool
	// Trim is how often the limit is looked at. 0: 5 s.
	Trim time.Duration
}

// A Broker is one running broker.
type Broker struct {
	cluster *kfake.Cluster
	stop    chan struct{}
	done    chan struct{}
	once    sync.Once
}

// Start opens the port and loads what the directory holds.
func Start(cfg Config) (*Broker, error) {
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("embedded kafka: listen: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("embedded kafka: listen: port: %w", err)
	}
	if cfg.PartitionBytes <= 0 {
		cfg.PartitionBytes = 8 << 20
	}
	if cfg.Trim <= 0 {
		cfg.Trim = 5 * time.Second
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1), kfake.Ports(number),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, fmt.Errorf("listen: %w", err)
			}
			var lc net.ListenConfig
			return lc.Listen(context.Background(), network, net.JoinHostPort(host, port))
		}),
		kfake.BrokerConfigs(map[string]string{"log.retention.bytes": strconv.FormatInt(cfg.PartitionBytes, 10)}),
	}
	id := "memory"
	if cfg.Dir != "" {
		if id, err = clusterID(cfg.Dir); err != nil {
			return nil, err
		}
		opts = append(opts, kfake.DataDir(filepath.Join(cfg.Dir, "log")))
		if cfg.Sync {
			opts = append(opts, kfake.SyncWrites())
		}
	}
	cluster, err := kfake.NewCluster(append(opts, kfake.ClusterID(id))...)
	if err != nil {
		return nil, fmt.Errorf("embedded kafka on %s: %w", cfg.Listen, err)
	}
	b := &Broker{cluster: cluster, stop: make(chan struct{}), done: make(chan struct{})}
	go b.trim(cfg.Trim)
	return b, nil
}

// clusterID is made once and stays with the data: a consumer of offsets can
// tell an emptied broker from the one it knew.
func clusterID(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("embedded kafka: %w", err)
	}
	file := filepath.Join(dir, "cluster-id")
	if have, err := os.ReadFile(file); err == nil {
		return strings.TrimSpace(string(have)), nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("embedded kafka: %w", err)
	}
	raw := make([]byte, 16)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("embedded kafka: cluster id: %w", err)
	}
	id := base64.RawURLEncoding.EncodeToString(raw)
	if err := os.WriteFile(file, []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("embedded kafka: %w", err)
	}
	return id, nil
}

func (b *Broker) trim(every time.Duration) {
	defer close(b.done)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			b.cluster.ApplyRetention()
		case <-b.stop:
			return
		}
	}
}

// Addr is the broker's address.
func (b *Broker) Addr() string { return b.cluster.ListenAddrs()[0] }

// Close ends the broker; what it was sent is on disk.
func (b *Broker) Close() {
	b.once.Do(func() {
		close(b.stop)
		<-b.done
		b.cluster.Close()
	})
}
