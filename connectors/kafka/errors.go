package kafka

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/liaison-health/liaison/pipelines"
)

// TooLarge says that one event is larger than its topic takes, even alone in
// a batch and compressed. Repeating it changes nothing: its content has to
// shrink (attachments by reference) or the topic's limit to grow.
type TooLarge struct {
	Topic   string
	EventID string
	// Size of the batch in bytes, Limit of the topic; a limit of 0 means that
	// the broker refused without naming one.
	Size, Limit int
}

func (e *TooLarge) Error() string {
	return fmt.Sprintf("kafka: event %s takes %d bytes, topic %s allows %d: raise max.message.bytes or lower the attachment limit",
		e.EventID, e.Size, e.Topic, e.Limit)
}

// Refused says that the brokers will not take the request however often it is
// repeated: no permission, an unknown topic in our configuration, a wrong
// password, a protocol that they do not speak.
type Refused struct {
	// Topic and Partition are empty and -1 where the request was for none.
	Topic     string
	Partition int32
	// Doing is what was asked for, Err what the broker (or TLS, SASL) said.
	Doing string
	Err   error
}

func (e *Refused) Error() string {
	where := "the cluster"
	if e.Topic != "" {
		where = fmt.Sprintf("%s[%d]", e.Topic, e.Partition)
	}
	return fmt.Sprintf("kafka: %s refused %s: %v", where, e.Doing, e.Err)
}

func (e *Refused) Unwrap() error { return e.Err }

// TailLost says that a partition ends before what its brokers had
// acknowledged: Expected is the offset that the next record should have got,
// End where the log ends now. Nothing was appended; everything from End on has
// to be published again, in order.
type TailLost struct {
	Topic         string
	Partition     int32
	Expected, End int64
}

func (e *TailLost) Error() string {
	return fmt.Sprintf("kafka: %s[%d] ends at offset %d, but %d had been acknowledged: the brokers lost the difference, it has to be published again",
		e.Topic, e.Partition, e.End, e.Expected)
}

// Unwrap tells the engine which partition it is.
func (e *TailLost) Unwrap() error {
	return &pipelines.LogLost{TopicPartition: pipelines.TopicPartition{Topic: e.Topic, Partition: e.Partition}}
}

// GaveUp says that the caller's context ended while a request was being
// repeated. Whether the last one took effect may be unknown; the lane finds
// out before it sends anything else.
type GaveUp struct {
	Attempts int
	// Cause is why the context ended, Last what the last attempt met.
	Cause, Last error
}

func (e *GaveUp) Error() string {
	return fmt.Sprintf("kafka: gave up after %d attempts (%v): %v", e.Attempts, e.Cause, e.Last)
}

func (e *GaveUp) Unwrap() []error { return []error{e.Cause, e.Last} }

// errClosed is what a call meets after Close.
var errClosed = errors.New("kafka: the publisher is closed")

// fatalCodes are the answers that no repetition changes. All others, those we
// do not know among them, are repeated: an order kept late is better than an
// event given up.
func fatalCodes() []kafkago.Error {
	return []kafkago.Error{
		kafkago.InvalidTopic, kafkago.InvalidRequiredAcks, kafkago.TopicAuthorizationFailed, kafkago.ClusterAuthorizationFailed,
		kafkago.GroupAuthorizationFailed, kafkago.TransactionalIDAuthorizationFailed, kafkago.InvalidTimestamp,
		kafkago.UnsupportedSASLMechanism, kafkago.IllegalSASLState, kafkago.SASLAuthenticationFailed, kafkago.UnsupportedVersion,
		kafkago.InvalidRequest, kafkago.UnsupportedForMessageFormat, kafkago.PolicyViolation, kafkago.UnsupportedCompressionType,
		kafkago.InvalidRecord, kafkago.InvalidReplicationFactor, kafkago.InvalidPartitionNumber, kafkago.InvalidConfiguration,
		kafkago.SecurityDisabled, kafkago.OffsetOutOfRange, kafkago.MessageSizeTooLarge, kafkago.RecordListTooLarge,
	}
}

// sequenceCodes are the answers after which sequence numbers no longer say
// what stands in the log, so that the lane has to look. Unknown (-1) is among
// them: a broker may say it after it has counted a batch but not stored it,
// and would then take a repetition for a duplicate.
func sequenceCodes() []kafkago.Error {
	return []kafkago.Error{
		kafkago.OutOfOrderSequenceNumber, kafkago.DuplicateSequenceNumber, kafkago.UnknownProducerId,
		kafkago.InvalidProducerEpoch, kafkago.InvalidProducerIDMapping, kafkago.ProducerFenced, kafkago.Unknown,
	}
}

// retriable says whether a repetition may succeed. Anything that is not an
// answer of a broker is the network, hence retriable: io.EOF, a reset, a
// timeout, a host that is not there yet.
func retriable(err error) bool {
	var own interface{ permanent() }
	if errors.As(err, &own) || errors.Is(err, errClosed) {
		return false
	}
	var unknownAuthority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	if errors.As(err, &unknownAuthority) || errors.As(err, &hostname) {
		return false
	}
	var code kafkago.Error
	if errors.As(err, &code) {
		return !slices.Contains(fatalCodes(), code) && !slices.Contains(sequenceCodes(), code)
	}
	return true
}

// stale says whether the error may come from what we believe about the
// cluster: then it is asked again who leads what.
func stale(err error) bool {
	var code kafkago.Error
	if !errors.As(err, &code) {
		return true
	}
	switch code {
	case kafkago.UnknownTopicOrPartition, kafkago.LeaderNotAvailable, kafkago.NotLeaderForPartition, kafkago.BrokerNotAvailable,
		kafkago.ReplicaNotAvailable, kafkago.NotController, kafkago.FencedLeaderEpoch, kafkago.KafkaStorageError, kafkago.NetworkException:
		return true
	default:
		return false
	}
}

func (*TooLarge) permanent() {}
func (*Refused) permanent()  {}
func (*TailLost) permanent() {}
func (*GaveUp) permanent()   {}

// hasCode says whether the error is, or wraps, one of the codes.
func hasCode(err error, codes ...kafkago.Error) bool {
	var code kafkago.Error
	return errors.As(err, &code) && slices.Contains(codes, code)
}
