package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/redact"
)

// A disk is the file system as the store uses it. What an fsync could not write
// may be lost although the next one succeeds, so the first that fails ends the
// process, whichever file it was of: it is noted before anybody who waits for
// it goes on.
type disk struct {
	vfs.FS
	trouble *trouble
	volume  *volume
}

// opened guards a file that is written, once the volume lets it be made.
func (d *disk) opened(name string, open func() (vfs.File, error)) (f vfs.File, err error) {
	err = d.volume.until(name, func() error {
		f, err = open()
		return err
	})
	if err != nil && strings.HasSuffix(name, ".log") && d.volume.isOpen() { // Pebble would panic
		d.trouble.end("make %s: %s", path.Base(name), plain("%v", err))
	}
	if err != nil {
		return nil, err
	}
	return &file{File: f, name: path.Base(name), trouble: d.trouble, volume: d.volume}, nil
}

// Create implements vfs.FS.
func (d *disk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return d.opened(name, func() (vfs.File, error) { return d.FS.Create(name, category) })
}

// OpenReadWrite implements vfs.FS.
func (d *disk) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.opened(name, func() (vfs.File, error) { return d.FS.OpenReadWrite(name, category, opts...) })
}

// OpenDir implements vfs.FS.
func (d *disk) OpenDir(name string) (vfs.File, error) {
	return d.opened(name, func() (vfs.File, error) { return d.FS.OpenDir(name) })
}

// ReuseForWrite implements vfs.FS.
func (d *disk) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return d.opened(name, func() (vfs.File, error) {
		f, err := d.FS.ReuseForWrite(old, name, category)
		if errors.Is(err, fs.ErrNotExist) { // an earlier try has given it its new name
			return d.FS.OpenReadWrite(name, category)
		}
		return f, err //nolint:wrapcheck // as the file system said it
	})
}

// Rename implements vfs.FS.
func (d *disk) Rename(old, name string) error {
	return d.volume.until(name, func() error { return d.FS.Rename(old, name) })
}

// Unwrap implements vfs.FS.
func (d *disk) Unwrap() vfs.FS { return d.FS }

// A file is one that is written, or a directory.
type file struct {
	vfs.File
	name    string
	trouble *trouble
	volume  *volume
}

func (f *file) synced(err error) error {
	if err != nil {
		f.trouble.end("fsync of %s: %v", f.name, err)
	}
	return err
}

// Sync implements vfs.File.
func (f *file) Sync() error { return f.whole(f.synced(f.File.Sync())) }

// SyncData implements vfs.File.
func (f *file) SyncData() error { return f.whole(f.synced(f.File.SyncData())) }

func (f *file) whole(err error) error {
	if err == nil {
		f.volume.wrote(f.name)
	}
	return err
}

// SyncTo implements vfs.File.
func (f *file) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.synced(err)
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	n := 0
	err := f.volume.until(f.name, func() error {
		more, err := f.File.Write(p[n:])
		n += more
		return err //nolint:wrapcheck // as the file system said it
	})
	if err != nil {
		f.trouble.wrote(f.name, err)
	}
	if err != nil && (strings.HasSuffix(f.name, ".blob") || strings.HasSuffix(f.name, ".log")) { // Pebble cannot give such a file up
		f.trouble.end("write of %s: %v", f.name, err)
	}
	return n, err
}

// A trouble is what the disk, or Pebble in the background, has met.
type trouble struct {
	failed atomic.Bool // nothing may be answered any more
	fatal  func(format string, args ...any)
	report func(text string)
	mu     sync.Mutex
	told   time.Time
	last   string // write that failed
}

// wrote notes a write that failed: what Pebble says of it is told without its
// values, so that the reason would be missing.
func (t *trouble) wrote(name string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = fmt.Sprintf(" (write of %s: %v)", name, err)
}

// why is the last write that failed, "" where none did.
func (t *trouble) why() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// end ends the process.
func (t *trouble) end(format string, args ...any) {
	t.failed.Store(true)
	if t.fatal != nil {
		t.fatal(format, args...)
	}
	fmt.Fprintf(os.Stderr, "liaison: the store cannot be written: "+format+"\n", args...)
	os.Exit(1)
}

// say reports something.
func (t *trouble) say(text string) {
	if t.report != nil {
		t.report(text)
	}
}

// tell reports what is tried again, now and then.
func (t *trouble) tell(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.told) < time.Minute {
		return
	}
	t.told = time.Now()
	t.say(text)
}

// background takes what failed while Pebble rewrote tables. What wants room
// finds it later; any other failure would only be repeated, until no append
// finds room in memory.
func (t *trouble) background(err error) {
	if isFull(err) {
		t.tell("the disk is full; tables are written again: " + plain("%v", err))
		return
	}
	t.end("%s", "tables: "+plain("%v", err)+t.why())
}

func (t *trouble) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: t.background,
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			t.end("%s", path.Base(i.Path)+" is damaged: "+plain("%v", i.Details))
		},
		DiskSlow: func(i pebble.DiskSlowInfo) { t.tell(plain("%v", i)) },
	}
}

// plain formats without keys and values: they may be a patient's.
func plain(format string, args ...any) string {
	return redact.Sprintf(format, args...).Redact().StripMarkers()
}

// Infof implements pebble.Logger.
func (t *trouble) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (t *trouble) Errorf(format string, args ...any) { t.tell(plain(format, args...)) }

// Fatalf implements pebble.Logger.
func (t *trouble) Fatalf(format string, args ...any) { t.end("%s", plain(format, args...)+t.why()) }
