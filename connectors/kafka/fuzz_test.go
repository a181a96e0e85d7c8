package kafka

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"

	"github.com/liaison-health/liaison/pipelines"
)

// FuzzBatch: whatever a broker gives back as a batch is records or an error. Sums
// and sizes are made right, so that more than the check of them is looked at. So
// is the number of records, which kafka-go believes and makes room for: a broker
// that lies about it is not held off.
func FuzzBatch(f *testing.F) {
	for kind := Snappy; kind <= Zstd; kind++ {
		c, err := newCodec(kind)
		if err != nil {
			f.Fatal(err)
		}
		b := newBatch(c)
		events := []pipelines.OutboxEvent{{Key: []byte("k"), Value: []byte(`{"a":1}`), Headers: []pipelines.Header{{Name: headerID, Value: "1"}}}, {}}
		if err := b.fill(events, time.Unix(1, 0)); err != nil {
			f.Fatal(err)
		}
		b.stamp(1, 0, 0)
		f.Add(bytes.Clone(b.wire))
		c.close()
	}
	f.Fuzz(func(t *testing.T, given []byte) {
		wire := bytes.Clone(given)
		if len(wire) < wireHeader {
			return
		}
		binary.BigEndian.PutUint32(wire, uint32(len(wire)-4))
		binary.BigEndian.PutUint32(wire[atLength:], uint32(len(wire)-atEpoch))
		binary.BigEndian.PutUint32(wire[atCount:], min(binary.BigEndian.Uint32(wire[atCount:]), uint32(len(wire))))
		binary.BigEndian.PutUint32(wire[atCRC:], crc32.Checksum(wire[atAttributes:], crc32.MakeTable(crc32.Castagnoli)))
		for n, err := range records(wire) {
			if err != nil {
				return
			}
			if n > 1<<20 {
				t.Fatal("records without an end")
			}
		}
	})
}

// records reads a batch as fetch does and counts what it brings.
func records(wire []byte) func(yield func(int, error) bool) {
	return func(yield func(int, error) bool) {
		var set protocol.RecordSet
		if _, err := set.ReadFrom(bufio.NewReader(bytes.NewReader(wire))); err != nil || set.Records == nil {
			return
		}
		if closer, ok := set.Records.(io.Closer); ok {
			defer closer.Close() //nolint:errcheck // memory only
		}
		for n := 0; ; n++ {
			record, err := set.Records.ReadRecord()
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil {
				_, err = convert(record)
			}
			if !yield(n, err) {
				return
			}
		}
	}
}
