package store

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A volume is what the files lie on. It may take nothing for a while: it was
// made read-only, by hand or by the kernel, or is full. What Pebble cannot give
// up without ending the process then waits, and goes on by itself; who appends is
// refused meanwhile.
type volume struct {
	trouble  *trouble
	stopping chan struct{} // closed: no longer waited for
	mu       sync.Mutex
	opened   bool
	waiting  int           // writes that wait
	hungry   bool          // the last table found no room, a moment ago
	fed      *time.Timer   // until it is no longer said of it
	refuses  chan struct{} // closed while either is so
	told     time.Time
	spoken   bool // it was said that nothing is taken
}

func newVolume(t *trouble) *volume {
	return &volume{trouble: t, stopping: make(chan struct{}), refuses: make(chan struct{})}
}

const (
	again       = 20 * time.Millisecond // how long a write waits before it is tried again
	hungerLasts = time.Second           // how long a table that found no room counts: Pebble tries again at once
	saidOnce    = time.Second           // how seldom it is said that nothing is taken
)

// open lets writes wait: a store that cannot even be opened says so at once.
func (v *volume) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.opened = true
}

func (v *volume) isOpen() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.opened
}

// stop lets the writes that wait fail, which ends the process.
func (v *volume) stop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.stopping:
	default:
		close(v.stopping)
	}
}

// refusing gives a channel that is closed while the volume takes nothing.
func (v *volume) refusing() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.refuses
}

func (v *volume) refusesNow() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.waiting > 0 || v.hungry
}

// isPassing says whether a write that failed may succeed later.
func isPassing(err error) bool {
	return isFull(err) || errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// until writes, again and again while the volume takes nothing. A table that
// finds no room is given up instead: what it had got is free again, and Pebble
// writes it later.
func (v *volume) until(name string, write func() error) error {
	name = path.Base(name)
	err := write()
	if err == nil || !isPassing(err) || !v.isOpen() {
		return err
	}
	if isFull(err) && isTable(name) {
		v.change(func() { v.hunger(true) }, name, err)
		v.pause()
		return err
	}
	v.change(func() { v.waiting++ }, name, err)
	defer v.change(func() { v.waiting-- }, name, nil)
	for isPassing(err) && v.pause() {
		if err = write(); isPassing(err) {
			v.change(func() {}, name, err)
		}
	}
	return err
}

func isTable(name string) bool { return strings.HasSuffix(name, ".sst") }

// hunger notes whether the last table found room. What nothing tries again is
// forgotten.
func (v *volume) hunger(now bool) {
	v.hungry = now
	if v.fed != nil {
		v.fed.Stop()
		v.fed = nil
	}
	if now {
		v.fed = time.AfterFunc(hungerLasts, func() { v.change(func() { v.hunger(false) }, "", nil) })
	}
}

// wrote says that a file is written as a whole.
func (v *volume) wrote(name string) {
	if isTable(name) {
		v.change(func() { v.hunger(false) }, name, nil)
	}
}

// pause is false where it is not to be tried again.
func (v *volume) pause() bool {
	select {
	case <-time.After(again):
		return true
	case <-v.stopping:
		return false
	}
}

// change notes that something waits, or does no longer, and says so.
func (v *volume) change(note func(), name string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.waiting > 0 || v.hungry
	note()
	switch now := v.waiting > 0 || v.hungry; {
	case now:
		if !before {
			close(v.refuses)
		}
		if !v.spoken && err != nil && time.Since(v.told) >= saidOnce {
			v.told, v.spoken = time.Now(), true
			v.trouble.say("nothing is taken until " + name + " can be written: " + plain("%v", err))
		}
	case before:
		v.refuses = make(chan struct{})
		if v.spoken {
			v.spoken = false
			v.trouble.say("the volume is written again")
		}
	}
}
