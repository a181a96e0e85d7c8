package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// How long a command runs before it says how far it is, and how often then.
const (
	progressAfter = 2 * time.Second
	progressEvery = 500 * time.Millisecond
)

// A progress tells who waits at a terminal how far a long command is, in one
// line that is written over and taken away at the end. Anywhere but on a
// terminal it says nothing.
type progress struct {
	to    io.Writer // nil: nowhere
	what  string
	began time.Time
	now   func() time.Time

	mu   sync.Mutex
	last time.Time
	n    int
}

// newProgress begins: what is counted, such as "messages mapped". to is where
// errors go, out where the command's output does: one that scrolls by on the
// same terminal tells enough.
func newProgress(to, out io.Writer, what string) *progress {
	p := &progress{what: what, began: time.Now(), now: time.Now}
	if onTerminal(to) && !onTerminal(out) {
		p.to = to
	}
	return p
}

func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// step counts one more.
func (p *progress) step() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	now := p.now()
	if p.to == nil || now.Sub(p.began) < progressAfter || now.Sub(p.last) < progressEvery {
		return
	}
	p.last = now
	fmt.Fprintf(p.to, "\r%d %s in %s, %.0f a second\x1b[K", p.n, p.what, now.Sub(p.began).Round(time.Second), float64(p.n)/now.Sub(p.began).Seconds())
}

// end takes the line away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.last.IsZero() {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}
