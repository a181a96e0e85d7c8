// Package kafka carries Liaison's events to Apache Kafka and reads them back.
//
// A Publisher sends outbox events over one idempotent lane a partition: one
// record batch in flight, acks=all, producer id and sequence numbers of our
// own, so that a request whose answer was lost is repeated and stored once. A
// Consumer reads the topics for `liaison tail` and for tests. The package
// speaks to a real cluster and to the embedded broker alike: with kafka-go,
// except for what is read back, which franz-go checks before it makes room for
// it. errors.go says which errors are repeated and which end a call, lane.go
// what is done when an outcome is unknown.
package kafka
