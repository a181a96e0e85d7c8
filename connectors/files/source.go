package files

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/pipelines"
)

// The directories within the watched one.
const (
	doneDir     = "done"
	failedDir   = "failed"
	progressDir = ".progress"
)

// The longest pause between two tries of what may pass.
const longestPause = 30 * time.Second

// maxEntries is how many entries a Bundle may have: what it costs to check and
// to keep a resource is not bounded by the bytes of the Bundle. The messages of
// an HL7 v2 file are read one by one, and may be any number.
const maxEntries = 10_000

// Config says which directory is watched and how.
type Config struct {
	Name       string
	Directory  string
	Interval   time.Duration   // between two looks; a file is taken after two that see it unchanged; 0: 1 s
	Poke       <-chan struct{} // each value is a look at once, and ends a pause; may be nil
	MaxMessage int             // bytes of one message; 0: hl7v2.MaxMessage
	MaxEntries int             // of a FHIR Bundle; 0: 10,000
	Backoff    time.Duration   // the first pause before what may pass is tried again, doubled up to 30 s; 0: 200 ms
	Drain      time.Duration   // how long stopping may wait for the message that Accept has; 0: 10 s
	Processed  bool            // wait for outcomes too: a quarantined message makes its file a failed one
	Outcomes   pipelines.Outcomes
	Check      func(*fhir.Node) []fhir.Issue // the gate for FHIR files; nil: none
	Answered   func(source, code string)     // counts messages by what an acknowledgement would say; may be nil
	Log        *slog.Logger
	Looked     func()           // after each look, with everything in it done; may be nil
	Clock      func() time.Time // for reports; nil: time.Now
}

// A Source watches one directory.
type Source struct {
	cfg    Config
	last   map[string]stamp // what the last look saw
	logged map[string]stamp // which files could not be taken, and were logged
}

// A stamp tells whether a file has changed.
type stamp struct {
	size    int64
	changed time.Time
}

// Open makes the directories that are missing and checks that they can be
// used; Run watches.
func Open(cfg Config) (*Source, error) {
	cfg.Interval = cmp.Or(cfg.Interval, time.Second)
	cfg.MaxMessage = cmp.Or(cfg.MaxMessage, hl7v2.MaxMessage)
	cfg.MaxEntries = cmp.Or(cfg.MaxEntries, maxEntries)
	cfg.Backoff = cmp.Or(cfg.Backoff, 200*time.Millisecond)
	cfg.Drain = cmp.Or(cfg.Drain, 10*time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Answered == nil {
		cfg.Answered = func(string, string) {}
	}
	if cfg.Looked == nil {
		cfg.Looked = func() {}
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Processed && cfg.Outcomes == nil {
		return nil, fmt.Errorf("source %s: answering after the outcome needs outcomes", cfg.Name)
	}
	for _, sub := range []string{doneDir, failedDir, progressDir} {
		dir := filepath.Join(cfg.Directory, sub)
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("source %s: %w", cfg.Name, err)
		}
		info, err := os.Lstat(dir)
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", cfg.Name, err)
		}
		if !info.IsDir() { // a link would carry messages elsewhere
			return nil, fmt.Errorf("source %s: %s is not a directory", cfg.Name, dir)
		}
	}
	return &Source{cfg: cfg, last: map[string]stamp{}, logged: map[string]stamp{}}, nil
}

// Name implements pipelines.Source.
func (s *Source) Name() string { return s.cfg.Name }

// Addr is the directory, for the operator.
func (s *Source) Addr() string { return s.cfg.Directory }

// Close does nothing: a source that does not run holds nothing.
func (s *Source) Close() error { return nil }

// Run implements pipelines.Source. When ctx is done the message that Accept
// has is finished, and the file too if that was its last; of a longer file the
// rest is taken after the next start. A directory that cannot be read is logged
// and looked at again. Run is called once.
func (s *Source) Run(ctx context.Context, in pipelines.Intake) error {
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	unwatch := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(s.cfg.Drain)
		defer timer.Stop()
		select {
		case <-timer.C:
			abandon()
		case <-work.Done():
		}
	})
	defer unwatch()
	s.forget()
	tick := time.NewTicker(s.cfg.Interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		s.look(ctx, work, in)
		s.cfg.Looked()
		select {
		case <-tick.C:
		case <-s.cfg.Poke:
		case <-ctx.Done():
		}
	}
	return nil
}

// look takes every file that has not changed since the last look.
func (s *Source) look(ctx, work context.Context, in pipelines.Intake) {
	found, err := s.list()
	if err != nil {
		s.cfg.Log.Warn("directory not readable", "source", s.cfg.Name, "error", reasonOf(err))
		return
	}
	now := make(map[string]stamp, len(found))
	for _, info := range found {
		now[info.Name()] = stamp{info.Size(), info.ModTime()}
	}
	before := s.last
	s.last = now
	maps.DeleteFunc(s.logged, func(name string, _ stamp) bool { _, there := now[name]; return !there })
	for _, info := range found {
		if ctx.Err() != nil {
			return
		}
		if before[info.Name()] != now[info.Name()] || info.Size() == 0 {
			continue
		}
		err := s.take(ctx, work, in, info)
		if err == nil {
			delete(s.logged, info.Name())
		} else if ctx.Err() == nil && s.logged[info.Name()] != now[info.Name()] {
			s.logged[info.Name()] = now[info.Name()]
			s.cfg.Log.Warn("file not taken", "source", s.cfg.Name, "file", keyOf(info.Name()), "error", reasonOf(err))
		}
	}
}

// list gives the files that may be taken, the oldest first.
func (s *Source) list() ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(s.cfg.Directory)
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	var out []fs.FileInfo
	for _, e := range entries {
		name := e.Name()
		if !e.Type().IsRegular() || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".part") {
			continue
		}
		info, err := e.Info() // of the entry itself, never of a link's target
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	return out, nil
}

// forget removes the progress of files that are not there any more.
func (s *Source) forget() {
	found, err := s.list()
	if err != nil {
		return
	}
	keep := map[string]bool{}
	for _, info := range found {
		keep[keyOf(info.Name())] = true
	}
	dir := filepath.Join(s.cfg.Directory, progressDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if key, _, _ := strings.Cut(e.Name(), "."); !keep[key] {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// reasonOf is an error without the path in it: names that others give files
// may say who a patient is.
func reasonOf(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Op + ": " + path.Err.Error()
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Op + ": " + link.Err.Error()
	}
	return err.Error()
}
