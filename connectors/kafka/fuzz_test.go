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

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/liaison-health/liaison/pipelines"
)

// FuzzBatch: whatever a broker gives back as a batch is records or an error. Sums
// and sizes are made right, so that more than the check of them is looked at. So
// is the number of records, and batches whose records say that they have more
// headers, or longer ones, than bytes are passed over: kafka-go believes these
// numbers and makes room for them, so that a broker that lies is not held off.
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
		if boasts(wire) {
			return
		}
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

// boasts says whether a record of a batch has more headers than bytes, or longer
// ones, by its own word (KIP-98, record format 2).
func boasts(wire []byte) bool {
	data := wire[wireHeader:]
	if codec := compress.Compression(wire[atAttributes+1] & 7).Codec(); codec != nil {
		r := codec.NewReader(bytes.NewReader(data))
		data, _ = io.ReadAll(io.LimitReader(r, 16<<20)) // as far as it is whole
		_ = r.Close()
	}
	number := func() int64 { // as kafka-go reads one, with bits beyond the 64th
		var x uint64
		for i := range min(len(data), 11) {
			x |= uint64(data[i]&0x7f) << (7 * i)
			if data[i] < 0x80 {
				data = data[i+1:]
				return int64(x>>1) ^ -int64(x&1)
			}
		}
		data = nil
		return 0
	}
	skip := func(n int64) { data = data[min(max(n, 0), int64(len(data))):] }
	for len(data) > 0 {
		number() // length, which kafka-go does not look at
		skip(1)  // attributes
		number() // time
		number() // offset
		skip(number())
		skip(number())
		headers := number()
		if headers > int64(len(data)) {
			return true
		}
		for range 2 * max(headers, 0) { // their names and values
			n := number()
			if n > int64(len(data)) {
				return true
			}
			skip(n)
		}
	}
	return false
}
