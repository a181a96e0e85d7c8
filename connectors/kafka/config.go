package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// A Config says how a Publisher reaches its cluster and what it expects of
// the topics there. Zero values take the defaults named at each field.
type Config struct {
	// Brokers are host:port addresses; one that answers is enough to find the
	// others. At least one is required.
	Brokers []string
	// ClientID is what the brokers see in their logs and quotas: "liaison".
	ClientID string
	// TLS, when not nil, encrypts every connection. A ServerName left empty is
	// filled in with the host of each broker.
	TLS *tls.Config
	// SASL, when not nil, authenticates every connection.
	SASL *SASL

	// Topics are created when the cluster does not have them and checked when
	// it does. A topic that is not listed here cannot be published to.
	Topics []Topic
	// Own says that nobody else has the cluster: settings in which a topic
	// differs are made as they are here.
	Own bool
	// Compression of the record batches: Snappy unless said otherwise.
	Compression Compression
	// BatchBytes is about how much is put into one batch before compression:
	// 1 MiB. A single larger event travels in a batch of its own.
	BatchBytes int

	// RequestTimeout is how long one request may take before it is repeated:
	// 10 s. DialTimeout is the same for opening a connection: 5 s.
	RequestTimeout, DialTimeout time.Duration
	// RetryMin and RetryMax bound the pause before a request is repeated,
	// which doubles from one to the other: 20 ms and 2 s.
	RetryMin, RetryMax time.Duration

	// Observer is told what goes on; none of its functions has to be set.
	Observer Observer
}

// A Topic is what Liaison asks of one topic.
type Topic struct {
	Name string
	// Partitions is the topic's partition count, 4 when zero. An existing
	// topic may have another count: the cluster's is used, since a record's
	// partition must not change.
	Partitions int32
	// Replication is the replication factor, 0 for the cluster's default.
	// MinInSync is min.insync.replicas, 0 for the cluster's default.
	Replication, MinInSync int
	// Retention and RetentionBytes (a partition) bound what the topic keeps;
	// zero leaves the cluster's default, a negative Retention keeps for ever.
	Retention      time.Duration
	RetentionBytes int64
	// MaxMessageBytes is the largest record batch that the topic takes, 8 MiB
	// when zero.
	MaxMessageBytes int
}

// SASL is how a connection authenticates.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism, User string
	// Password is asked for at each connection, so that it lives no longer in
	// memory than it must and may change while the program runs.
	Password func() (string, error)
}

// An Observer is told what a Publisher meets. The functions are called from
// the publishing goroutines, must be quick and safe for concurrent use.
type Observer struct {
	// Retry is called before a request is repeated: where, which attempt
	// failed (from 1) and how. An error here carries no event's content.
	Retry func(topic string, partition int32, attempt int, err error)
	// Published is called for each batch that the brokers have: how many
	// events, and the bytes before and after compression.
	Published func(topic string, partition int32, events, plain, sent int)
	// Resumed is called when a batch of unknown outcome was looked up in the
	// log: found says whether it stood there already.
	Resumed func(topic string, partition int32, found bool)
}

const (
	defaultPartitions   = 4
	defaultMaxMessage   = 8 << 20
	defaultBatchBytes   = 1 << 20
	defaultRequest      = 10 * time.Second
	defaultDial         = 5 * time.Second
	defaultRetryMin     = 20 * time.Millisecond
	defaultRetryMax     = 2 * time.Second
	defaultClientID     = "liaison"
	batchHeaderBytes    = 61 // magic 2, from baseOffset to the record count
	recordOverheadBytes = 32 // varints of one record, generously
)

// withDefaults returns the configuration with every zero value replaced, or
// the first thing that is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if len(c.Brokers) == 0 {
		return c, errors.New("kafka: no broker address given")
	}
	for i, b := range c.Brokers {
		if b == "" {
			return c, fmt.Errorf("kafka: broker address %d is empty", i+1)
		}
	}
	if c.ClientID == "" {
		c.ClientID = defaultClientID
	}
	if c.BatchBytes <= 0 {
		c.BatchBytes = defaultBatchBytes
	}
	setDuration(&c.RequestTimeout, defaultRequest)
	setDuration(&c.DialTimeout, defaultDial)
	setDuration(&c.RetryMin, defaultRetryMin)
	setDuration(&c.RetryMax, defaultRetryMax)
	topics := make([]Topic, len(c.Topics))
	for i, t := range c.Topics {
		if t.Name == "" {
			return c, fmt.Errorf("kafka: topic %d has no name", i+1)
		}
		if t.Partitions <= 0 {
			t.Partitions = defaultPartitions
		}
		if t.MaxMessageBytes <= 0 {
			t.MaxMessageBytes = defaultMaxMessage
		}
		topics[i] = t
	}
	c.Topics = topics
	return c, c.Compression.check()
}

func setDuration(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}
