package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/liaison-health/liaison/pipelines"
)

// A batch is one record batch (message format v2) as it goes over the wire,
// led by the four bytes of its size that kafka-go's raw produce expects. Its
// buffers are kept from one batch to the next.
type batch struct {
	table *crc32.Table
	codec *codec

	plain []byte // the records before compression
	wire  []byte // size, header, records
	count int
}

// Places of the header's fields in wire, four bytes further than the protocol
// guide has them because of the leading size.
const (
	atLength     = 4 + 8
	atEpoch      = 4 + 12
	atMagic      = 4 + 16
	atCRC        = 4 + 17
	atAttributes = 4 + 21
	atLastDelta  = 4 + 23
	atFirstTime  = 4 + 27
	atMaxTime    = 4 + 35
	atProducer   = 4 + 43
	atPEpoch     = 4 + 51
	atSequence   = 4 + 53
	atCount      = 4 + 57
	wireHeader   = 4 + batchHeaderBytes
)

func newBatch(c *codec) *batch {
	return &batch{table: crc32.MakeTable(crc32.Castagnoli), codec: c}
}

// fill encodes the events. The records carry the time of the broker's
// retention, not of the event: what happened when is in the event itself.
func (b *batch) fill(events []pipelines.OutboxEvent, now time.Time) error {
	b.plain = b.plain[:0]
	for i := range events {
		b.plain = appendRecord(b.plain, int64(i), &events[i])
	}
	if cap(b.wire) < wireHeader {
		b.wire = make([]byte, wireHeader, wireHeader+len(b.plain)/2)
	}
	wire, err := b.codec.append(b.wire[:wireHeader], b.plain)
	if err != nil {
		return err
	}
	b.wire, b.count = wire, len(events)

	order := binary.BigEndian
	clear(wire[:wireHeader])
	order.PutUint32(wire, uint32(len(wire)-4))
	order.PutUint32(wire[atLength:], uint32(len(wire)-atEpoch))
	order.PutUint32(wire[atEpoch:], 0xFFFFFFFF) // no leader epoch: the broker sets it
	wire[atMagic] = 2
	order.PutUint16(wire[atAttributes:], uint16(b.codec.kind.attribute()))
	order.PutUint32(wire[atLastDelta:], uint32(len(events)-1))
	order.PutUint64(wire[atFirstTime:], uint64(now.UnixMilli()))
	order.PutUint64(wire[atMaxTime:], uint64(now.UnixMilli()))
	order.PutUint32(wire[atCount:], uint32(len(events)))
	return nil
}

// stamp puts the producer's identity and the first record's sequence number
// into a filled batch.
func (b *batch) stamp(producer int64, epoch int16, sequence int32) {
	order := binary.BigEndian
	order.PutUint64(b.wire[atProducer:], uint64(producer))
	order.PutUint16(b.wire[atPEpoch:], uint16(epoch))
	order.PutUint32(b.wire[atSequence:], uint32(sequence))
	order.PutUint32(b.wire[atCRC:], crc32.Checksum(b.wire[atAttributes:], b.table))
}

// size is the batch's length as the broker counts it.
func (b *batch) size() int { return len(b.wire) - 4 }

// shrink lets go of buffers that one large event has blown up.
func (b *batch) shrink(limit int) {
	if cap(b.plain) > limit {
		b.plain = nil
	}
	if cap(b.wire) > limit {
		b.wire = nil
	}
}

// appendRecord adds one record: lengths and deltas are zigzag varints.
func appendRecord(dst []byte, delta int64, e *pipelines.OutboxEvent) []byte {
	size := 1 + 1 + varintLen(delta) + bytesLen(e.Key) + bytesLen(e.Value) + varintLen(int64(len(e.Headers)))
	for i := range e.Headers {
		h := &e.Headers[i]
		size += varintLen(int64(len(h.Name))) + len(h.Name) + varintLen(int64(len(h.Value))) + len(h.Value)
	}
	dst = binary.AppendVarint(dst, int64(size))
	dst = append(dst, 0, 0) // attributes, time delta
	dst = binary.AppendVarint(dst, delta)
	dst = appendBytes(dst, e.Key)
	dst = appendBytes(dst, e.Value)
	dst = binary.AppendVarint(dst, int64(len(e.Headers)))
	for i := range e.Headers {
		h := &e.Headers[i]
		dst = binary.AppendVarint(dst, int64(len(h.Name)))
		dst = append(dst, h.Name...)
		dst = binary.AppendVarint(dst, int64(len(h.Value)))
		dst = append(dst, h.Value...)
	}
	return dst
}

// appendBytes writes a length and the bytes; nil is null, length -1.
func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 1)
	}
	dst = binary.AppendVarint(dst, int64(len(b)))
	return append(dst, b...)
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

func varintLen(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	n := 1
	for u >= 0x80 {
		u >>= 7
		n++
	}
	return n
}

// eventSize is about what one event takes in a batch before compression.
func eventSize(e *pipelines.OutboxEvent) int {
	n := recordOverheadBytes + len(e.Key) + len(e.Value)
	for i := range e.Headers {
		n += len(e.Headers[i].Name) + len(e.Headers[i].Value) + 8
	}
	return n
}
