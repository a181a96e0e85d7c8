package hl7v2

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// MaxMessage is the size of one message, in bytes, that a Splitter takes when
// it is not told another: 16 MiB.
const MaxMessage = 16 << 20

// ErrTooLong is the answer to a message above the size limit.
var ErrTooLong = errors.New("message longer than the limit")

// A SplitItem is one message of a file or frame.
type SplitItem struct {
	Raw   []byte     // the message with its line ends as they were; the caller's to keep
	Index int        // its position in the input, from 0
	Batch *BatchInfo // of the batch it stands in, or nil; one for all of its messages
}

// A Splitter reads the messages of a file or a frame, as a stream: MLLP frames,
// FHS/BHS batches, or plain text, split at each line that begins with MSH. What
// stands before the first of them comes as an item too, so that its reader says
// that it is no message.
type Splitter struct {
	r   *bufio.Reader
	max int

	line    []byte // the line in hand
	message []byte // the message in hand, nil between two
	blank   []byte // empty lines that belong to it only if it goes on
	skip    bool   // the message in hand is too long
	framed  bool   // within an MLLP frame
	index   int
	batch   batchState
	ready   []splitResult
	err     error // what ended the input
}

type splitResult struct {
	item SplitItem
	err  error
}

// NewSplitter reads from r, with the limit MaxMessage.
func NewSplitter(r io.Reader) *Splitter { return newSplitter(r, 64<<10) }

func newSplitter(r io.Reader, buffer int) *Splitter {
	return &Splitter{r: bufio.NewReaderSize(r, buffer), max: MaxMessage}
}

// Limit sets the size above which a message is ErrTooLong, in bytes.
func (s *Splitter) Limit(bytes int) *Splitter {
	s.max = bytes
	return s
}

// A CutError says that what had begun is not ended, where the input ends or the
// next frame begins: it was cut short, most likely.
type CutError struct {
	Missing string // BTS, FTS, or "" for a frame's end block
}

func (e *CutError) Error() string {
	if e.Missing == "" {
		return "a frame without its end block"
	}
	return "a batch without its trailer " + e.Missing
}

// Next gives the next message, or io.EOF after the last. A *BatchCountError
// stands in the place of the trailer that declared the count, ErrTooLong in the
// place of the message, a *CutError in the place of a message whose frame has
// no end or, behind the last message, of a batch's trailer; reading may go on
// after all of them. An error of the reader ends it, and a message cut off by it
// is not given.
func (s *Splitter) Next() (SplitItem, error) {
	for len(s.ready) == 0 {
		if s.err != nil {
			return SplitItem{}, s.err
		}
		s.step()
	}
	first := s.ready[0]
	s.ready = s.ready[1:]
	return first.item, first.err
}

// step takes one line.
func (s *Splitter) step() {
	frameEnds, err := s.readLine()
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
		return
	}
	s.take(s.line)
	if frameEnds {
		s.flush()
		s.framed = false
	}
	if err != nil {
		s.cut()
		for _, missing := range s.batch.open() {
			s.ready = append(s.ready, splitResult{err: &CutError{Missing: missing}})
		}
	}
	s.err = err
}

// cut ends the message in hand where its frame, if it stands in one, is not
// ended.
func (s *Splitter) cut() {
	if s.framed && s.message != nil {
		s.message, s.blank, s.skip, s.index = nil, s.blank[:0], false, s.index+1
		s.ready = append(s.ready, splitResult{err: &CutError{}})
	}
	s.flush()
}

func (s *Splitter) take(line []byte) {
	if n := len(line) - len(bytes.TrimLeft(line, "\x0b")); n > 0 {
		s.cut()
		line, s.framed = line[n:], true
	}
	if s.index == 0 && s.message == nil {
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	}
	if len(bytes.Trim(line, "\r\n\x00 \t")) == 0 {
		if s.message != nil && !s.skip {
			s.blank = append(s.blank, line...)
			s.bound(len(s.message) + len(s.blank))
		}
		return
	}
	switch kind := s.batch.kind(line, s.message != nil); kind {
	case "FHS", "BHS":
		s.flush()
		s.batch.begin(kind, line)
	case "BTS", "FTS":
		s.flush()
		if err := s.batch.end(kind, line); err != nil {
			s.ready = append(s.ready, splitResult{err: err})
		}
	case "MSH":
		s.flush()
		fallthrough
	default:
		if s.message == nil {
			s.message = make([]byte, 0, max(len(line), 512))
		}
		if s.bound(len(s.message) + len(s.blank) + len(line)); !s.skip {
			s.message = append(append(s.message, s.blank...), line...)
		}
		s.blank = s.blank[:0]
	}
}

// bound gives up the message in hand when it is above the limit.
func (s *Splitter) bound(size int) {
	if size > s.max {
		s.skip, s.message, s.blank = true, []byte{}, s.blank[:0]
	}
}

// flush ends the message in hand.
func (s *Splitter) flush() {
	if s.message == nil {
		return
	}
	item, err := SplitItem{Raw: s.message, Index: s.index, Batch: s.batch.info}, error(nil)
	if s.skip {
		item, err = SplitItem{Index: s.index, Batch: s.batch.info}, ErrTooLong
	}
	s.batch.count()
	s.ready = append(s.ready, splitResult{item, err})
	s.message, s.blank, s.skip, s.index = nil, s.blank[:0], false, s.index+1
}

// readLine reads up to and with the next CR, LF or CRLF. An MLLP end block (FS
// with CR, LF, a new start block or the input's end behind it) ends a line too
// and is not part of it. Of a line above the limit the rest is not kept.
func (s *Splitter) readLine() (frameEnds bool, err error) {
	s.line = s.line[:0]
	for {
		if _, err := s.r.Peek(1); errors.Is(err, io.EOF) {
			return false, io.EOF
		} else if err != nil {
			return false, fmt.Errorf("read message: %w", err)
		}
		chunk, _ := s.r.Peek(s.r.Buffered())
		n := bytes.IndexAny(chunk, "\r\n\x1c")
		if n < 0 {
			s.keep(len(chunk))
			continue
		}
		mark := chunk[n]
		if s.keep(n); mark != endBlock {
			s.keep(1)
			if next, _ := s.r.Peek(1); mark == '\r' && len(next) > 0 && next[0] == '\n' {
				s.keep(1)
			}
			return false, nil
		}
		_, _ = s.r.Discard(1)
		if s.follows("\r\n\x0b") {
			return true, nil
		}
		s.line = append(s.line, mark)
	}
}

// endBlock is MLLP's FS.
const endBlock = 0x1c

// follows says whether the next byte is one of these, or the input's end.
func (s *Splitter) follows(set string) bool {
	next, _ := s.r.Peek(1)
	return len(next) == 0 || strings.IndexByte(set, next[0]) >= 0
}

// keep moves n bytes, which the reader has buffered, to the line.
func (s *Splitter) keep(n int) {
	chunk, _ := s.r.Peek(n)
	if len(s.line) <= s.max {
		s.line = append(s.line, chunk...)
	}
	_, _ = s.r.Discard(n)
}
