package files

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/liaison-health/liaison/pipelines"
)

// outcomePatience is how long a file waits for one message's outcome.
const outcomePatience = 30 * time.Second

// longestName is how much of a file's name is kept, in bytes, so that the
// report's name fits beside it.
const longestName = 200

const reportSuffix = ".report.json"

// A summary is the head of a report. The results follow it in the same object.
type summary struct {
	File       string    `json:"file"`
	SHA256     string    `json:"sha256"`
	Bytes      int64     `json:"bytes"`
	Source     string    `json:"source"`
	Format     string    `json:"format"`
	Began      time.Time `json:"began"`
	Ended      time.Time `json:"ended"`
	Messages   int       `json:"messages"`
	Accepted   int       `json:"accepted"` // duplicates count
	Duplicates int       `json:"duplicates"`
	Refused    int       `json:"refused"`
	// Quarantined counts messages that are accepted and wait for an operator.
	Quarantined int       `json:"quarantined,omitempty"`
	Problems    []problem `json:"problems,omitempty"` // of the file as a whole
}

// finish writes the report and moves the file, in this order: a file in done/
// or failed/ has its report.
func (s *Source) finish(ctx context.Context, info fs.FileInfo, found survey, isFHIR bool, p *progress, began time.Time) error {
	sum := summary{
		File: info.Name(), SHA256: found.sum, Bytes: info.Size(), Source: s.cfg.Name, Format: "hl7v2", Began: began.UTC(),
		Messages: found.messages, Problems: found.problems,
	}
	if isFHIR {
		sum.Format = "fhir"
	}
	part := filepath.Join(s.cfg.Directory, progressDir, keyOf(info.Name())+".report")
	bad := len(found.problems) > 0
	if err := writeSynced(part, func(w *bufio.Writer) error {
		err := s.results(ctx, w, p, &sum)
		bad = bad || sum.Refused+sum.Quarantined > 0
		return err
	}); err != nil {
		return err
	}
	into := filepath.Join(s.cfg.Directory, doneDir)
	if bad {
		into = filepath.Join(s.cfg.Directory, failedDir)
	}
	target, err := destination(into, info.Name())
	if err != nil {
		return err
	}
	if err := os.Rename(part, target+reportSuffix); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := s.move(info, target); err != nil {
		_ = os.Remove(target + reportSuffix)
		return err
	}
	p.remove()
	for _, dir := range []string{into, s.cfg.Directory} {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// move moves the file that was read, never another that its sender has put
// under the name since: errChanged then, and that one is taken later.
func (s *Source) move(read fs.FileInfo, target string) error {
	path := filepath.Join(s.cfg.Directory, read.Name())
	if now, err := os.Lstat(path); err != nil || !unchanged(read, now) {
		return errChanged
	}
	if err := os.Rename(path, target); err != nil {
		return fmt.Errorf("move: %w", err)
	}
	now, err := os.Lstat(target)
	if err == nil && unchanged(read, now) {
		return nil
	}
	// Replaced between the two calls. A link never takes the place of a third.
	for n := 1; n < 100; n++ {
		back := path
		if n > 1 {
			back = filepath.Join(s.cfg.Directory, strconv.Itoa(n)+"-"+read.Name())
		}
		if err = os.Link(target, back); err == nil {
			err = os.Remove(target)
			break
		}
	}
	if err != nil {
		return fmt.Errorf("move back a file that was not read: %w", err)
	}
	return errChanged
}

// results writes the report: the results one by one, then the summary.
func (s *Source) results(ctx context.Context, w *bufio.Writer, p *progress, sum *summary) error {
	if _, err := w.WriteString("{\"results\":["); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	separator := "\n"
	err := p.each(func(r *result) error {
		if r.Error != nil {
			sum.Refused++
		} else {
			sum.Accepted++
			if r.Duplicate {
				sum.Duplicates++
			}
			if s.cfg.Processed {
				s.outcome(ctx, r)
			}
			if r.Error != nil {
				sum.Quarantined++
			}
		}
		if ctx.Err() != nil {
			return errStopped
		}
		line, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		_, _ = w.WriteString(separator) // a bufio.Writer keeps its error for later
		separator = ",\n"
		if _, err := w.Write(line); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	sum.Ended = s.cfg.Clock().UTC()
	head, err := json.Marshal(sum)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	_, _ = w.WriteString("],\n")
	if _, err := w.Write(append(head[1:], '\n')); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// outcome waits for what became of a message. One that is in quarantine is in
// the journal all the same; the file goes to failed/ so that somebody looks.
func (s *Source) outcome(ctx context.Context, r *result) {
	ctx, cancel := context.WithTimeout(ctx, outcomePatience)
	defer cancel()
	r.Outcome = pipelines.Pending
	position := r.Position
	for range 8 { // a duplicate is followed to the message that it repeats
		o, err := s.cfg.Outcomes.Wait(ctx, position)
		if err != nil {
			return
		}
		r.Outcome = o.Status
		if o.Status == pipelines.Quarantined {
			r.Error = &problem{Code: "AE", Condition: pipelines.Reason(o.Reason).Condition(), Place: o.Place, Reason: o.Reason}
		}
		if o.Status != pipelines.Duplicate || o.Of == 0 || o.Of == position {
			return
		}
		position = o.Of
	}
}

// destination is where a file goes: under its name, or with a number added
// when that or its report's is taken.
func destination(dir, name string) (string, error) {
	extension := filepath.Ext(name)
	stem := strings.TrimSuffix(name, extension)
	if len(name) > longestName {
		if len(extension) > 20 {
			stem, extension = name, ""
		}
		stem = stem[:longestName-len(extension)-17]
		for !utf8.ValidString(stem) && stem != "" && utf8.ValidString(name) {
			stem = stem[:len(stem)-1]
		}
		stem += "-" + keyOf(name)
	}
	for n := 1; ; n++ {
		candidate := filepath.Join(dir, stem+extension)
		if n > 1 {
			candidate = filepath.Join(dir, stem+"-"+strconv.Itoa(n)+extension)
		}
		free, err := bothFree(candidate, candidate+reportSuffix)
		if err != nil {
			return "", fmt.Errorf("move: %w", err)
		}
		if free {
			return candidate, nil
		}
	}
}

// bothFree says whether nothing has either name.
func bothFree(paths ...string) (bool, error) {
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			return false, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, err //nolint:wrapcheck // by the caller
		}
	}
	return true, nil
}

// writeSynced writes a file and brings it to disk.
func writeSynced(path string, write func(*bufio.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	w := bufio.NewWriterSize(f, 64<<10)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// syncDir makes renames within a directory durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
