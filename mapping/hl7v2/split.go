package hl7v2

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// MaxMessage is the size of one message that a Splitter takes when it is not
// told another.
const MaxMessage = 16 << 20

// A BatchCountError says that a trailer's count is not the number of messages
// or batches before it (BTS-1, FTS-1; HL7 v2.5.1 §2.10.3).
type BatchCountError struct {
	Trailer         string // BTS or FTS
	Declared, Found int
}

func (e *BatchCountError) Error() string {
	return fmt.Sprintf("%s-1 declares %d, found %d", e.Trailer, e.Declared, e.Found)
}

// ErrTooLong is the answer to a message above the size limit.
var ErrTooLong = errors.New("message longer than the limit")

// A Splitter reads the messages of a file or a frame: MLLP frames, FHS/BHS
// batches, or plain text, split at each line that begins with MSH.
type Splitter struct {
	r       *bufio.Reader
	max     int
	pending []byte // the header line of the next message
	count   int    // messages since BHS
	batches int    // batches since FHS
	done    bool
}

// NewSplitter reads from r; a message above max bytes is ErrTooLong (0: MaxMessage).
func NewSplitter(r io.Reader, max int) *Splitter {
	if max <= 0 {
		max = MaxMessage
	}
	return &Splitter{r: bufio.NewReaderSize(r, 64<<10), max: max}
}

// Next gives the bytes of the next message with its line ends as they are, or
// io.EOF. A *BatchCountError comes in the place of the trailer; reading may go on.
func (s *Splitter) Next() ([]byte, error) {
	message := s.pending
	s.pending = nil
	for !s.done {
		line, err := s.line()
		if errors.Is(err, io.EOF) {
			s.done = true
		} else if err != nil {
			return nil, err
		}
		line = trimFrame(line)
		if len(line) == 0 {
			continue
		}
		switch kind := lineKind(line); kind {
		case "MSH":
			s.count++
			if message != nil {
				s.pending = line
				return message, nil
			}
			message = line
		case "FHS", "BHS":
			if kind == "BHS" {
				s.batches++
				s.count = 0
			}
			if message != nil {
				return message, nil
			}
		case "BTS", "FTS":
			countErr := s.trailer(kind, line)
			if message != nil {
				if countErr != nil {
					return message, countErr
				}
				return message, nil
			}
			if countErr != nil {
				return nil, countErr
			}
		default:
			if message == nil { // text before the first MSH is no message
				if len(bytes.TrimSpace(line)) == 0 {
					continue
				}
				message = []byte{}
			}
			message = append(message, line...)
		}
		if len(message) > s.max {
			return nil, ErrTooLong
		}
	}
	if message != nil {
		return message, nil
	}
	return nil, io.EOF
}

// line reads up to and with the next CR, LF or CRLF.
func (s *Splitter) line() ([]byte, error) {
	var line []byte
	for {
		b, err := s.r.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return line, io.EOF
			}
			return line, fmt.Errorf("read message: %w", err)
		}
		line = append(line, b)
		if b == '\r' || b == '\n' {
			if next, err := s.r.Peek(1); b == '\r' && err == nil && next[0] == '\n' {
				_, _ = s.r.Discard(1)
				line = append(line, '\n')
			}
			return line, nil
		}
		if len(line) > s.max {
			return nil, ErrTooLong
		}
	}
}

// trimFrame takes MLLP's block characters off a line's ends (0x0B … 0x1C).
func trimFrame(line []byte) []byte {
	line = bytes.TrimLeft(line, "\x0b\x1c")
	if i := bytes.IndexByte(line, 0x1c); i >= 0 && len(bytes.Trim(line[i:], "\x1c\r\n\x0b")) == 0 {
		line = line[:i]
	}
	if len(bytes.TrimLeft(line, "\r\n")) == 0 {
		return nil
	}
	return line
}

func lineKind(line []byte) string {
	if len(line) < 4 || alphanumeric(line[3]) || line[3] <= ' ' {
		if len(line) >= 3 && (string(line[:3]) == "BTS" || string(line[:3]) == "FTS") {
			return string(line[:3])
		}
		return ""
	}
	switch kind := string(line[:3]); kind {
	case "MSH", "FHS", "BHS", "BTS", "FTS":
		return kind
	}
	return ""
}

func (s *Splitter) trailer(kind string, line []byte) error {
	found := s.count
	if kind == "FTS" {
		found = s.batches
		s.batches = 0
	}
	if kind == "BTS" {
		s.count = 0
	}
	line = bytes.TrimSpace(line)
	if len(line) < 5 {
		return nil
	}
	field := line[4:]
	if n := bytes.IndexByte(field, line[3]); n >= 0 {
		field = field[:n]
	}
	declared, err := strconv.Atoi(string(field))
	if err != nil || declared == found {
		return nil
	}
	return &BatchCountError{Trailer: kind, Declared: declared, Found: found}
}
