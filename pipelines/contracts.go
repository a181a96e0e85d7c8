// Package pipelines carries an accepted message from the journal to records on
// Kafka: its contracts with connectors, and the engine. A positive answer leaves
// only after Accept returned, and Accept returns only when the message is in
// the journal and on disk.
package pipelines

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Format says what a message is written in.
type Format uint8

// The formats.
const (
	HL7v2 Format = iota + 1
	FHIR
)

// A Message is what a source has received, byte for byte.
type Message struct {
	Source   string // the source's name in the configuration
	Format   Format
	Peer     string    // network address or file name, for the operator
	Received time.Time // set by the engine when zero: the only clock that reaches a record
	Raw      []byte
	Meta     []byte // FHIR: JSON of method, type, id, ifNoneExist; else empty
}

// An Intake takes messages. Accept returns once the message is in the journal
// and fsynced, or is known as a duplicate; it is safe for concurrent use, and
// blocks rather than drop. After it returns an error the message has no effect:
// ErrFull (try again), ErrClosed (the engine stops), *Refused (never as it is).
type Intake interface {
	Accept(ctx context.Context, m *Message) (Receipt, error)
}

// A Receipt says where the message stands in the journal; of a duplicate, where
// the first one stands.
type Receipt struct {
	Position  uint64
	Duplicate bool
}

// ErrFull: there is no room to keep the message; the sender may try again.
var ErrFull = errors.New("no room in the journal")

// ErrClosed: the engine takes no messages any more.
var ErrClosed = errors.New("the engine is stopping")

// Refused says why a message is not taken: what, where, and the answer's code.
type Refused struct {
	Code      string // AR or AE
	Condition string // HL7 table 0357
	Place     string
	Reason    string
}

func (e *Refused) Error() string { return fmt.Sprintf("%s: %s", e.Place, e.Reason) }

// Outcomes tells what became of an accepted message.
type Outcomes interface {
	// Wait returns when the message at a position has its outcome.
	Wait(ctx context.Context, position uint64) (Outcome, error)
}

// The outcomes of a message.
const (
	Pending     = "pending"
	Published   = "published"
	Unchanged   = "unchanged"
	Duplicate   = "duplicate"
	Quarantined = "quarantined"
)

// An Outcome is a message's fate.
type Outcome struct {
	Status string   `json:"outcome"`
	Reason string   `json:"reason,omitempty"` // a Reason, of what is in quarantine
	Place  string   `json:"place,omitempty"`
	Events []string `json:"events,omitempty"`
	Of     uint64   `json:"duplicate_of,omitempty"`
	Flags  []string `json:"flags,omitempty"`
	Last   uint64   `json:"last,omitempty"` // number of the last event: until Kafka has it, the message is pending to who asks
}

// A Source serves one transport. Run serves until ctx is done; then it takes no
// more, answers what it has read, and returns nil.
type Source interface {
	Name() string
	Run(ctx context.Context, in Intake) error
}

// A FilterEntry is one accepted message's identity.
type FilterEntry struct {
	Digest   [32]byte
	Position uint64
}

// An EarlyFilter knows recent identities without the disk. It may forget, fail,
// or lie: the index in the journal's order decides.
type EarlyFilter interface {
	Lookup(ctx context.Context, digest [32]byte) (position uint64, ok bool, err error)
	Remember(ctx context.Context, entries []FilterEntry) error
}

// A Header is one Kafka header.
type Header struct{ Name, Value string }

// An OutboxEvent is one Kafka record, as stored and published.
type OutboxEvent struct {
	ID      string
	Key     []byte
	Headers []Header
	Value   []byte
}

// A TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// LogLost is in the chain of a Publisher's error when a partition no longer
// holds what its brokers had acknowledged: what is kept of it is to be
// published again, in order.
type LogLost struct{ TopicPartition }

func (e *LogLost) Error() string {
	return fmt.Sprintf("%s[%d] has lost events that were acknowledged", e.Topic, e.Partition)
}

// ControlIDReuse is the flag of a message whose sender, facility and control
// id (MSH-3, MSH-4, MSH-10) stood on another message within the window. Both
// are processed.
const ControlIDReuse = "control-id-reuse"

// A Publisher writes to Kafka. Publish returns when every event stands on the
// partition in order, acknowledged by all in-sync replicas; it retries what may
// pass until ctx is done. After an error the same events are offered again
// first, with or without others behind them, so that it can tell what of them it
// had sent. An error with *LogLost in its chain says that the
// partition's tail is gone. One call a partition at a time. The events' bytes are
// good until Publish returns.
type Publisher interface {
	Publish(ctx context.Context, topic string, partition int32, events []OutboxEvent) (baseOffset int64, err error)
	// Topics gives the cluster's id and how many partitions each topic has.
	Topics(ctx context.Context) (clusterID string, partitions map[string]int32, err error)
	// LogEnd gives the offset that a partition's next event will get.
	LogEnd(ctx context.Context, topic string, partition int32) (int64, error)
	ReadFrom(ctx context.Context, topic string, partition int32, from int64, fn func(offset int64, event OutboxEvent) error) error
	Close() error
}
