package hl7v2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// BatchInfo says which batch a message stands in (HL7 v2.5.1 §2.10.3).
type BatchInfo struct {
	File   []byte // the FHS segment as received, nil without one
	Header []byte // the BHS segment as received, nil without one
	Number int    // of the batch in its file, from 1
}

// A BatchCountError says that a trailer's count is not the number of messages
// or batches before it (BTS-1, FTS-1).
type BatchCountError struct {
	Trailer  string // BTS or FTS
	Declared int    // -1: not a number
	Found    int
}

func (e *BatchCountError) Error() string {
	if e.Declared < 0 {
		return fmt.Sprintf("%s-1 is no count, found %d", e.Trailer, e.Found)
	}
	return fmt.Sprintf("%s-1 declares %d, found %d", e.Trailer, e.Declared, e.Found)
}

// batchState follows headers and trailers.
type batchState struct {
	info      *BatchInfo
	file      []byte
	separator byte // of the last header
	messages  int  // since BHS
	batches   int  // since FHS
}

// kind is lineKind; behind a message a trailer is one only where a header is
// open, and with its separator. Else it is a line of the message's text.
func (b *batchState) kind(line []byte, behindMessage bool) string {
	kind := lineKind(line)
	switch {
	case kind != "BTS" && kind != "FTS", !behindMessage, b.info != nil && (len(bytes.TrimSpace(line)) == 3 || line[3] == b.separator):
		return kind
	}
	return ""
}

func (b *batchState) begin(kind string, line []byte) {
	line = bytes.Clone(bytes.TrimRight(line, "\r\n"))
	if kind == "FHS" {
		*b = batchState{file: line, info: &BatchInfo{File: line}, separator: line[3]}
		return
	}
	b.separator = line[3]
	b.batches++
	b.messages = 0
	b.info = &BatchInfo{File: b.file, Header: line, Number: b.batches}
}

// count counts a message; those that stand in a file without BHS are one batch.
func (b *batchState) count() {
	if b.info != nil && b.info.Number == 0 {
		b.batches++
		b.info.Number = b.batches
	}
	b.messages++
}

func (b *batchState) end(kind string, line []byte) error {
	found := b.messages
	if kind == "FTS" {
		found = b.batches
		*b = batchState{}
	} else {
		b.messages, b.info = 0, nil
		if b.file != nil {
			b.info = &BatchInfo{File: b.file}
		}
	}
	line = bytes.TrimSpace(line)
	if len(line) < 5 {
		return nil
	}
	field, _, _ := bytes.Cut(line[4:], line[3:4])
	field = bytes.TrimSpace(field)
	if len(field) == 0 {
		return nil
	}
	declared, ok := number(string(field))
	if !ok || len(field) > 9 {
		declared = -1
	}
	if declared == found {
		return nil
	}
	return &BatchCountError{Trailer: kind, Declared: declared, Found: found}
}

// open gives the trailers that are missing at the end.
func (b *batchState) open() []string {
	var missing []string
	if b.info != nil && b.info.Header != nil {
		missing = append(missing, "BTS")
	}
	if b.file != nil {
		missing = append(missing, "FTS")
	}
	return missing
}

// lineKind names the segments that a Splitter acts on, "" for any other line.
func lineKind(line []byte) string {
	if len(line) < 3 {
		return ""
	}
	var kind string
	switch string(line[:3]) {
	case "BTS":
		kind = "BTS"
	case "FTS":
		kind = "FTS"
	case "MSH":
		kind = "MSH"
	case "FHS":
		kind = "FHS"
	case "BHS":
		kind = "BHS"
	}
	switch {
	case len(line) > 3 && separator(line[3]):
		return kind
	case (kind == "BTS" || kind == "FTS") && len(bytes.TrimSpace(line)) == 3:
		return kind
	}
	return ""
}

// IsBatch says whether bytes begin with a batch header, FHS or BHS.
func IsBatch(raw []byte) bool {
	raw = raw[contentStart(raw):]
	kind := lineKind(raw)
	return kind == "FHS" || kind == "BHS"
}

// SplitAll gives every message of a frame or file in memory. The error joins
// what Splitter.Next answers in places of trailers and messages; the messages
// that could be read are given with it.
func SplitAll(raw []byte) ([]SplitItem, error) {
	var items []SplitItem
	var errs []error
	s := newSplitter(bytes.NewReader(raw), min(len(raw), 64<<10)).Limit(max(len(raw), 1))
	for {
		item, err := s.Next()
		switch {
		case errors.Is(err, io.EOF):
			return items, errors.Join(errs...)
		case err != nil:
			errs = append(errs, err)
		default:
			items = append(items, item)
		}
	}
}

// BuildBatchAck wraps the acknowledgements of a batch's messages, in their
// order, into one batch of acknowledgements (HL7 v2.5.1 §2.10.3): applications
// and facilities change places, BHS-12 refers to the batch's BHS-11, and an FHS
// around the batch is answered by one. An acknowledgement that is nil (none was
// asked for) is left out and not counted.
func BuildBatchAck(batch *BatchInfo, acks [][]byte, controlID string, now time.Time) []byte {
	if batch == nil {
		batch = new(BatchInfo)
	}
	inFile := batch.File != nil
	inBatch := batch.Header != nil || !inFile
	var out []byte
	if inFile {
		out = appendBatchHeader(out, "FHS", batch.File, controlID, now)
	}
	if inBatch {
		out = appendBatchHeader(out, "BHS", batch.Header, controlID, now)
	}
	separator, count := out[3], 0
	for _, ack := range acks {
		if ack != nil {
			count++
			out = append(out, ack...)
		}
	}
	if inBatch {
		out = appendTrailer(out, "BTS", separator, count)
	}
	if inFile {
		out = appendTrailer(out, "FTS", separator, 1)
	}
	return out
}

func appendTrailer(dst []byte, name string, sep byte, count int) []byte {
	return append(fmt.Appendf(append(append(dst, name...), sep), "%d", count), '\r')
}

// appendBatchHeader answers a batch header; nil or unreadable ones are answered
// with the default delimiters and no names.
func appendBatchHeader(dst []byte, name string, header []byte, controlID string, now time.Time) []byte {
	var m Message
	if m.Parse(header) != nil {
		m.d = DefaultDelimiters()
		header = []byte(name + `|^~\&`)
		m.raw, m.text = header, header
		m.index(0)
	}
	h := m.Segment(0)
	w := writer{dst: dst, d: m.d}
	w.begin(name).raw(h.Field(2).Raw())
	w.raw(h.Field(5).Raw()).raw(h.Field(6).Raw()).raw(h.Field(3).Raw()).raw(h.Field(4).Raw())
	w.raw(appendStamp(nil, now)).raw(nil).raw(nil).raw(nil).text(controlID).raw(h.Field(11).Raw())
	return w.end()
}

// ParseAcks reads one acknowledgement, or each of a batch of them.
func ParseAcks(raw []byte) ([]Ack, error) {
	items, err := SplitAll(raw)
	if errors.As(err, new(*BatchCountError)) {
		return nil, fmt.Errorf("read acknowledgements: %w", err)
	}
	if len(items) == 0 {
		return nil, ErrNotAck
	}
	acks := make([]Ack, 0, len(items))
	for _, item := range items {
		ack, err := ParseAck(item.Raw)
		if err != nil {
			return acks, err
		}
		acks = append(acks, ack)
	}
	return acks, nil
}
