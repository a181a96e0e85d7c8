package mllp

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"
)

// messagesOf cuts a stream into messages, and says how it ended.
func messagesOf(r io.Reader, limit int) (out [][]byte, end error) {
	f := newFrames(r, limit, time.Second, time.Second, func(time.Duration) error { return nil }, func(string, int) {})
	for {
		m, err := f.next()
		if err != nil {
			return out, err
		}
		out = append(out, m)
	}
}

// FuzzFrames: any bytes, whole or one at a time, give the same messages, none of
// them longer than the limit or with a start block in it; and what is framed
// comes out as it went in.
func FuzzFrames(f *testing.F) {
	for _, seed := range []string{
		"", "\x0bMSH|\x1c\r", "\x0ba\x1c\x0bb\x1c\r", "x\x0b\x0ba\x1c\r\x1c\r\n\x0bb\x1cc\x1c\r", "\x0ba\x1c", "\x0b\x1c\r", "\x0b" + string(bytes.Repeat([]byte("x"), 300)),
	} {
		f.Add([]byte(seed))
	}
	const limit = 256
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, end := messagesOf(bytes.NewReader(stream), limit)
		pieces, endOfPieces := messagesOf(iotest.OneByteReader(bytes.NewReader(stream)), limit)
		if len(whole) != len(pieces) || errors.Is(end, io.EOF) != errors.Is(endOfPieces, io.EOF) {
			t.Fatalf("%d messages (%v) in one piece, %d (%v) byte by byte", len(whole), end, len(pieces), endOfPieces)
		}
		for i := range whole {
			if !bytes.Equal(whole[i], pieces[i]) {
				t.Fatalf("message %d differs", i)
			}
			if len(whole[i]) == 0 || len(whole[i]) > limit || bytes.IndexByte(whole[i], startBlock) >= 0 {
				t.Fatalf("message %d is none: %q", i, whole[i])
			}
			again, _ := messagesOf(bytes.NewReader(appendFrame(nil, whole[i])), limit)
			if len(again) != 1 || !bytes.Equal(again[0], whole[i]) {
				t.Fatalf("%q came out as %q", whole[i], again)
			}
		}
	})
}
