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
// up without ending the process then waits, and goes on by itself.
type volume struct {
	trouble  *trouble
	stopping chan struct{} // no longer waited for
	mu       sync.Mutex
	opened   bool
	waiting  int           // writes that wait
	refuses  chan struct{} // closed while any waits
}

func newVolume(t *trouble) *volume {
	return &volume{trouble: t, stopping: make(chan struct{}), refuses: make(chan struct{})}
}

// again is how long a write waits before it is tried again.
const again = 20 * time.Millisecond

// open lets writes wait: a store that cannot even be opened says so at once.
func (v *volume) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.opened = true
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
	return v.waiting > 0
}

// passes says whether a write that failed is waited for. Where only the room is
// wanting a table is given up instead: what it had got is free again, and Pebble
// writes it later.
func (v *volume) passes(name string, err error) bool {
	switch {
	case err == nil:
		return false
	case isFull(err):
		return !strings.HasSuffix(name, ".sst")
	}
	return errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// until writes, again and again while the volume takes nothing.
func (v *volume) until(name string, write func() error) error {
	name = path.Base(name)
	err := write()
	if !v.passes(name, err) || !v.begin(name, err) {
		return err
	}
	defer v.end()
	for v.passes(name, err) {
		select {
		case <-time.After(again):
		case <-v.stopping:
			return err
		}
		err = write()
	}
	return err
}

func (v *volume) begin(name string, err error) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.opened {
		return false
	}
	if v.waiting++; v.waiting == 1 {
		close(v.refuses)
		v.trouble.tell("nothing is taken until " + name + " can be written: " + plain("%v", err))
	}
	return true
}

func (v *volume) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.waiting--; v.waiting == 0 {
		v.refuses = make(chan struct{})
	}
}
