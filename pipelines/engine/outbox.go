package engine

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/store"
)

// A stored event is what the outbox holds: topic and Kafka record.
type storedEvent struct {
	topic    string
	received int64 // Unix nanoseconds: when its message came; 0: not known
	pipelines.OutboxEvent
}

// encodeEvent fixes the bytes that go to Kafka: they are never made again. They
// are good until the next call.
func (e *Engine) encodeEvent(ev *records.Event, received time.Time) []byte {
	if e.mac == nil {
		e.mac = hmac.New(sha256.New, e.hmacKey)
	}
	e.mac.Reset()
	e.mac.Write([]byte(ev.Subject))
	key := hex.EncodeToString(e.mac.Sum(nil)[:16])
	dst := e.event[:0]
	text := func(s string) {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	nanos := int64(0)
	if !received.IsZero() {
		nanos = received.UnixNano()
	}
	dst = binary.AppendVarint(dst, nanos)
	text(ev.Topic)
	text(ev.ID)
	text(key)
	headers := [][2]string{
		{"ce_specversion", "1.0"},
		{"ce_id", ev.ID},
		{"ce_type", ev.Type},
		{"ce_source", "liaison"},
		{"ce_time", ev.Occurred},
		{"content-type", "application/json"},
	}
	if len(ev.Occurred) < len("2006-01-02T15:04:05Z") { // CloudEvents wants RFC 3339
		headers = append(headers[:4], headers[5:]...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(headers)))
	for _, h := range headers {
		text(h[0])
		text(h[1])
	}
	e.event = append(dst, ev.Payload...)
	return e.event
}

func decodeEvent(data []byte) (storedEvent, error) {
	var ev storedEvent
	bad := fmt.Errorf("outbox: an event is damaged")
	failed := false
	text := func() string {
		n, k := binary.Uvarint(data)
		if k <= 0 || uint64(len(data)-k) < n {
			failed = true
			return ""
		}
		s := string(data[k : k+int(n)])
		data = data[k+int(n):]
		return s
	}
	received, k := binary.Varint(data)
	if k <= 0 {
		return ev, bad
	}
	data, ev.received = data[k:], received
	ev.topic, ev.ID, ev.Key = text(), text(), []byte(text())
	n, k := binary.Uvarint(data)
	if k <= 0 || n > 64 {
		return ev, bad
	}
	data = data[k:]
	for range n {
		ev.Headers = append(ev.Headers, pipelines.Header{Name: text(), Value: text()})
	}
	ev.Value = data
	if failed {
		return ev, bad
	}
	return ev, nil
}

// EventID is the id of an event as the outbox holds it.
func EventID(stored []byte) (string, error) {
	data, err := store.DecodeEvent(nil, stored)
	if err != nil {
		return "", fmt.Errorf("read outbox: %w", err)
	}
	ev, err := decodeEvent(data)
	return ev.ID, err
}

// EventValue is the record of an event as the outbox holds it, and its id.
func EventValue(stored []byte) (id string, value []byte, err error) {
	data, err := store.DecodeEvent(nil, stored)
	if err != nil {
		return "", nil, fmt.Errorf("read outbox: %w", err)
	}
	ev, err := decodeEvent(data)
	return ev.ID, ev.Value, err
}

// partitionOf is where a key's events go, of so many partitions.
func partitionOf(key []byte, partitions int) int {
	h := fnv.New32a()
	h.Write(key)
	return int(h.Sum32() % uint32(partitions))
}

// events visits the outbox behind an event, decoded into room where it has
// some: the bytes are good as long as room is not used again.
func (e *Engine) events(after uint64, room []byte, visit func(n uint64, ev *storedEvent, size int) (bool, error)) error {
	return e.store.Outbox(after+1, func(n uint64, stored []byte) (bool, error) {
		data, err := store.DecodeEvent(room, stored)
		if err != nil {
			return false, err
		}
		if len(data) <= cap(room) { // it stands there
			room = room[len(data):len(data)]
		}
		ev, err := decodeEvent(data)
		if err != nil {
			return false, err
		}
		return visit(n, &ev, len(data))
	})
}
