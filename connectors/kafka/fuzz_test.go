package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/liaison-health/liaison/pipelines"
)

// FuzzBatch: whatever a broker gives back as a batch is records in order or an
// error. Its length and sum are made right, so that more than the check of them
// is looked at.
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
	unpack, err := newUnpacker()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(unpack.close)
	reader := &fetcher{unpack: unpack}
	f.Fuzz(func(t *testing.T, given []byte) {
		wire := bytes.Clone(given)
		if len(wire) < wireHeader {
			return
		}
		binary.BigEndian.PutUint32(wire[atLength:], uint32(len(wire)-atEpoch))
		binary.BigEndian.PutUint32(wire[atCRC:], crc32.Checksum(wire[atAttributes:], crc32.MakeTable(crc32.Castagnoli)))
		at, last := &position{topic: "liaison.flow"}, int64(-1)
		answer := &kmsg.FetchResponseTopicPartition{RecordBatches: wire[4:], HighWatermark: 1}
		err := reader.take(at, answer, func(r *Record) error {
			if r.Offset <= last {
				t.Fatalf("offset %d after %d", r.Offset, last)
			}
			last = r.Offset
			return nil
		})
		var corrupt *Corrupt
		if err != nil && !errors.As(err, &corrupt) {
			t.Fatal(err)
		}
		if err == nil && at.offset <= last || at.offset < 0 {
			t.Fatalf("at %d behind %d", at.offset, last)
		}
	})
}
