package mllp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/liaison-health/liaison/pipelines"
)

// The bytes around a message.
const (
	startBlock = 0x0B
	endBlock   = 0x1C
	carriage   = 0x0D
)

// How much that is no frame a connection may send: so many blanks, line ends
// and zeros between two frames, and so much of anything else in all.
const (
	noiseLimit   = 64
	garbageLimit = 4096
	emptyFrame   = 3 // bytes of a frame without a message
)

// endPatience is how long the carriage return behind an end block may take:
// senders that leave it out wait for their answer.
const endPatience = 500 * time.Millisecond

// A FrameError is what is wrong with the bytes between two frames or with a
// frame itself. Bytes counts them; their content is never kept.
type FrameError struct {
	Reason string
	Bytes  int
}

func (e *FrameError) Error() string { return fmt.Sprintf("%s (%d bytes)", e.Reason, e.Bytes) }

// errTooLong: a frame above the limit.
var errTooLong = errors.New("the frame is longer than this source takes")

// A deadliner sets the time by which the next read must be done.
type deadliner func(time.Duration) error

// frames cuts a byte stream into messages.
type frames struct {
	r        *bufio.Reader
	max      int
	idle     time.Duration // to the next start block
	frame    time.Duration // from start block to end block
	deadline deadliner
	noticed  func(reason string, bytes int) // what was skipped
	garbage  int
	told     map[string]bool                          // what was skipped and said once
	partial  []byte                                   // of a frame that is too long
	room     func(bytes int) (waited bool, err error) // waits for room for so much of a large frame; nil: there is always
	leave    func()                                   // gives the room back that the last frame took
	began    time.Time                                // of the frame, less what it waited for room
}

func newFrames(r io.Reader, limit int, idle, frame time.Duration, deadline deadliner, noticed func(string, int)) *frames {
	return &frames{r: bufio.NewReaderSize(r, 64<<10), max: limit, idle: idle, frame: frame, deadline: deadline, noticed: noticed}
}

// grow takes room for what was read of a frame that has turned out large; the
// time of the frame does not run while it waits.
func (f *frames) grow(bytes int) error {
	from := time.Now()
	waited, err := f.room(bytes)
	if err != nil || !waited {
		return err
	}
	now := time.Now()
	f.began = f.began.Add(now.Sub(from))
	return f.deadline(max(0, f.frame-now.Sub(f.began)))
}

// done says that the last message is dealt with.
func (f *frames) done() {
	if f.leave != nil {
		f.leave()
	}
}

// next gives the bytes of the next message, the caller's to keep. io.EOF: the
// peer is done; a frame that it had begun is no message.
func (f *frames) next() ([]byte, error) {
	f.done()
	if err := f.start(); err != nil {
		return nil, err
	}
	if err := f.deadline(f.frame); err != nil {
		return nil, err
	}
	f.began = time.Now()
	var data []byte
	for {
		chunk, err := f.r.ReadSlice(endBlock)
		if at := bytes.LastIndexByte(chunk, startBlock); at >= 0 { // a message begun anew: the one before never ended
			if n := len(data) + at; n > 0 {
				f.noticed("a frame without an end before the next start", n)
			}
			data, chunk = data[:0], chunk[at+1:]
		}
		data = append(data, chunk...)
		if len(data) > f.max {
			f.partial = data[:min(len(data), 4096)]
			return nil, errTooLong
		}
		if len(data) > pipelines.LargeMessage && f.room != nil {
			if err := f.grow(len(data)); err != nil {
				return nil, err
			}
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			f.noticed("the connection ended within a frame", len(data))
			return nil, io.EOF
		case err != nil:
			return nil, fmt.Errorf("read frame: %w", err)
		}
		ended, err := f.ended()
		if err != nil {
			return nil, err
		}
		if ended {
			data = data[:len(data)-1]
			if len(data) > 0 {
				return data, nil
			}
			f.once("an empty frame", 0)
			if err := f.waste(emptyFrame); err != nil {
				return nil, err
			}
			if err := f.start(); err != nil {
				return nil, err
			}
			if err := f.deadline(f.frame); err != nil {
				return nil, err
			}
		}
	}
}

// start skips to the byte behind the next start block.
func (f *frames) start() error {
	if err := f.deadline(f.idle); err != nil {
		return err
	}
	noise, garbage := 0, 0
	defer func() {
		if garbage > 0 {
			f.noticed("bytes outside a frame", garbage)
		} else if noise > 0 {
			f.once("noise between frames", noise)
		}
	}()
	for {
		c, err := f.r.ReadByte()
		if err != nil {
			return err //nolint:wrapcheck // io.EOF and time-outs are the caller's to tell apart
		}
		switch c {
		case startBlock:
			return nil
		case 0, '\n', '\r', ' ', '\t', endBlock:
			if noise++; noise <= noiseLimit {
				continue
			}
		}
		garbage++
		if err := f.waste(1); err != nil {
			return err
		}
	}
}

// waste counts what is no message.
func (f *frames) waste(bytes int) error {
	if f.garbage += bytes; f.garbage > garbageLimit {
		return &FrameError{Reason: "too much outside of frames", Bytes: f.garbage}
	}
	return nil
}

// once says of a connection what it does with every frame once.
func (f *frames) once(what string, bytes int) {
	if f.told[what] {
		return
	}
	if f.told == nil {
		f.told = map[string]bool{}
	}
	f.told[what] = true
	f.noticed(what, bytes)
}

// ended says whether the end block just read ends the frame: before a carriage
// return, a new start, the connection's end, or silence. Else it was data.
func (f *frames) ended() (bool, error) {
	if f.r.Buffered() == 0 {
		if err := f.deadline(endPatience); err != nil {
			return false, err
		}
	}
	c, err := f.r.Peek(1)
	if err != nil {
		var timeout net.Error
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
			f.noticed("an end block without its carriage return", 1)
			return true, nil
		}
		return false, fmt.Errorf("read frame: %w", err)
	}
	switch c[0] {
	case carriage:
		if _, err := f.r.Discard(1); err != nil {
			return false, fmt.Errorf("read frame: %w", err)
		}
		return true, nil
	case startBlock:
		f.noticed("an end block without its carriage return", 1)
		return true, nil
	}
	if err := f.deadline(f.frame); err != nil {
		return false, err
	}
	return false, nil
}

// appendFrame wraps a message.
func appendFrame(dst, message []byte) []byte {
	dst = append(dst, startBlock)
	dst = append(dst, message...)
	return append(dst, endBlock, carriage)
}
