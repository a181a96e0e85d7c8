package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Compression names how record batches are compressed. Every client of Kafka
// 2.1 or later reads all of them.
type Compression uint8

// The compressions, with the effort they ask of the publishing side.
const (
	Snappy       Compression = iota // the default: least work, about a sixth of the size on records
	Uncompressed                    // for brokers on the same disk and tests
	Gzip                            // for consumers that know nothing else
	LZ4                             // like Snappy, a little smaller
	Zstd                            // smallest, about twice Snappy's work
)

// ParseCompression reads the name as Kafka's own configuration spells it.
func ParseCompression(name string) (Compression, error) {
	for c := Snappy; c <= Zstd; c++ {
		if c.String() == name {
			return c, nil
		}
	}
	return 0, fmt.Errorf("compression %q is unknown: use none, gzip, snappy, lz4 or zstd", name)
}

// String is the name that Kafka's configuration uses.
func (c Compression) String() string {
	switch c {
	case Snappy:
		return "snappy"
	case Uncompressed:
		return "none"
	case Gzip:
		return "gzip"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	default:
		return fmt.Sprintf("compression(%d)", uint8(c))
	}
}

func (c Compression) check() error {
	if c > Zstd {
		return fmt.Errorf("kafka: %s is unknown", c)
	}
	return nil
}

// attribute is the codec's number in the batch's attributes, bits 0 to 2.
func (c Compression) attribute() int16 {
	switch c {
	case Gzip:
		return 1
	case Snappy:
		return 2
	case LZ4:
		return 3
	case Zstd:
		return 4
	default:
		return 0
	}
}

// A codec compresses whole blocks; safe for concurrent use.
type codec struct {
	kind Compression
	zstd *zstd.Encoder
}

func newCodec(kind Compression) (*codec, error) {
	c := &codec{kind: kind}
	if kind != Zstd {
		return c, nil
	}
	var err error
	c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, fmt.Errorf("kafka: start zstd: %w", err)
	}
	return c, nil
}

// append adds src, compressed, to dst. The block must not overlap dst.
func (c *codec) append(dst, src []byte) ([]byte, error) {
	switch c.kind {
	case Uncompressed:
		return append(dst, src...), nil
	case Snappy:
		return appendSnappy(dst, src), nil
	case Zstd:
		return c.zstd.EncodeAll(src, dst), nil
	default:
		out := bytes.NewBuffer(dst)
		w := compress.Compression(c.kind.attribute()).Codec().NewWriter(out)
		if _, err := w.Write(src); err != nil {
			return nil, fmt.Errorf("kafka: compress with %s: %w", c.kind, err)
		}
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("kafka: compress with %s: %w", c.kind, err)
		}
		return out.Bytes(), nil
	}
}

// appendSnappy writes one raw snappy block behind dst, growing it at most once.
func appendSnappy(dst, src []byte) []byte {
	at, need := len(dst), s2.MaxEncodedLen(len(src))
	if cap(dst)-at < need {
		grown := make([]byte, at, at+need)
		copy(grown, dst)
		dst = grown
	}
	block := s2.EncodeSnappy(dst[at:at+need], src)
	return dst[:at+len(block)]
}

func (c *codec) close() {
	if c.zstd != nil {
		c.zstd.Close() //nolint:errcheck // nothing was being written
	}
}

// unpackedBytes is what one batch may hold uncompressed; a message of 8 MiB of
// the emptiest JSON stays below it.
const unpackedBytes = 256 << 20

// errBomb is what is wrong with a batch that would be larger.
var errBomb = fmt.Errorf("the batch would take more than %d bytes uncompressed", unpackedBytes)

// An unpacker gives back what a codec, ours or another producer's, compressed;
// safe for concurrent use.
type unpacker struct {
	zstd *zstd.Decoder
}

func newUnpacker() (*unpacker, error) {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(unpackedBytes))
	if err != nil {
		return nil, fmt.Errorf("kafka: start zstd: %w", err)
	}
	return &unpacker{decoder}, nil
}

// Decompress returns the records of a batch.
func (u *unpacker) Decompress(src []byte, kind kgo.CompressionCodecType) ([]byte, error) {
	switch kind {
	case kgo.CodecNone:
		return src, nil
	case kgo.CodecZstd:
		return u.zstd.DecodeAll(src, nil)
	case kgo.CodecSnappy:
		if blocks, ok := bytes.CutPrefix(src, []byte(xerial)); ok && len(blocks) >= xerialVersions {
			return unpackXerial(blocks[xerialVersions:])
		}
		return unpackSnappy(nil, src)
	case kgo.CodecGzip, kgo.CodecLz4:
	default:
		return nil, fmt.Errorf("compression %d is unknown", kind)
	}
	r := compress.Compression(kind).Codec().NewReader(bytes.NewReader(src))
	out, err := io.ReadAll(io.LimitReader(r, unpackedBytes+1))
	err = errors.Join(err, r.Close())
	if len(out) > unpackedBytes {
		err = errBomb
	}
	return out, err
}

// xerial leads the framing that Java's snappy library puts around its blocks:
// after it two versions of 4 bytes, then each block behind its length of 4.
const (
	xerial         = "\x82SNAPPY\x00"
	xerialVersions = 8
)

func unpackXerial(src []byte) ([]byte, error) {
	var out []byte
	for len(src) > 0 {
		if len(src) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(src)
		if src = src[4:]; uint64(n) > uint64(len(src)) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if out, err = unpackSnappy(out, src[:n]); err != nil {
			return nil, err
		}
		src = src[n:]
	}
	return out, nil
}

// unpackSnappy adds one block to dst.
func unpackSnappy(dst, src []byte) ([]byte, error) {
	n, err := s2.DecodedLen(src)
	if err != nil {
		return nil, err
	}
	if n > unpackedBytes-len(dst) {
		return nil, errBomb
	}
	if n > snappyExpands*len(src) {
		return nil, s2.ErrCorrupt
	}
	at := len(dst)
	dst = slices.Grow(dst, n)[:at+n]
	_, err = s2.Decode(dst[at:], src)
	return dst, err
}

// snappyExpands is more than the 64 bytes that a copy of 3 can stand for: what
// says that it holds more does not.
const snappyExpands = 24

func (u *unpacker) close() { u.zstd.Close() }
