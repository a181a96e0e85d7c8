package files

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

const progressSuffix = ".jsonl"

// keyOf names a file without its name, which may say who a patient is.
func keyOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:8])
}

// A header says whose progress it is.
type header struct {
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// A result is the fate of one message of a file.
type result struct {
	Index     int      `json:"index"`
	ControlID string   `json:"control_id,omitempty"`
	Position  uint64   `json:"position,omitempty"`
	Duplicate bool     `json:"duplicate,omitempty"`
	Outcome   string   `json:"outcome,omitempty"`
	Error     *problem `json:"error,omitempty"`
}

// A problem is why something was not taken, as an acknowledgement would say it
// (HL7 tables 0008 and 0357). It never holds a value of a message.
type problem struct {
	Code      string `json:"code"`
	Condition string `json:"condition,omitempty"`
	Place     string `json:"place,omitempty"`
	Reason    string `json:"reason"`
}

// progress is the results so far, one JSON line each behind a header, on disk:
// a file of a million messages costs no memory. It is not synced; see the
// package's comment for what its loss means.
type progress struct {
	header
	f     *os.File
	lines int
}

// openProgress goes on with what an earlier run has left for the same bytes, or
// begins.
func openProgress(path string, h header) (*progress, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open progress: %w", err)
	}
	p := &progress{header: h, f: f}
	end, err := p.resume()
	if err == nil && end == 0 {
		end, err = p.begin()
	}
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open progress: %w", err)
	}
	return p, nil
}

// resume counts the whole lines that belong to the file, and cuts off one that
// a crash has left half written.
func (p *progress) resume() (int64, error) {
	r := bufio.NewReader(p.f)
	line, err := r.ReadBytes('\n')
	var h header
	if err != nil || json.Unmarshal(line, &h) != nil || h != p.header {
		return 0, nil //nolint:nilerr // of another file, or damaged: begin anew
	}
	end := int64(len(line))
	for {
		line, err := r.ReadBytes('\n')
		var got result
		if err != nil || json.Unmarshal(line, &got) != nil || got.Index != p.lines {
			break
		}
		p.lines++
		end += int64(len(line))
	}
	if err := p.f.Truncate(end); err != nil {
		return 0, fmt.Errorf("cut progress: %w", err)
	}
	return end, nil
}

func (p *progress) begin() (int64, error) {
	line, err := json.Marshal(p.header)
	if err != nil {
		return 0, fmt.Errorf("write progress: %w", err)
	}
	line = append(line, '\n')
	if err := p.f.Truncate(0); err != nil {
		return 0, fmt.Errorf("write progress: %w", err)
	}
	if _, err := p.f.WriteAt(line, 0); err != nil {
		return 0, fmt.Errorf("write progress: %w", err)
	}
	return int64(len(line)), nil
}

// add writes the fate of the next message.
func (p *progress) add(r *result) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	if _, err := p.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	p.lines++
	return nil
}

// each reads the results back.
func (p *progress) each(fn func(*result) error) error {
	if _, err := p.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read progress: %w", err)
	}
	r := bufio.NewReader(p.f)
	for first := true; ; first = false {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read progress: %w", err)
		}
		if first {
			continue
		}
		var got result
		if err := json.Unmarshal(bytes.TrimSpace(line), &got); err != nil {
			return fmt.Errorf("read progress: %w", err)
		}
		if err := fn(&got); err != nil {
			return err
		}
	}
}

func (p *progress) close() { _ = p.f.Close() }

func (p *progress) remove() { _ = os.Remove(p.f.Name()) }
