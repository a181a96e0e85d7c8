package faulttest

import (
	"slices"
	"sync"
	"time"
)

// A Sent is what the ledger holds of one message.
type Sent struct {
	*Message
	Tries    int
	Code     string // of the first positive answer; empty: none yet
	Answered []string
}

// A Ledger is written by the senders: what was sent and what was answered. It
// is safe for concurrent use.
type Ledger struct {
	mu     sync.Mutex
	phase  string
	sent   map[string]*Sent
	times  map[string][]time.Duration // by phase: from sending to the positive answer
	wrong  []string                   // answers that do not belong to what was sent
	waits  []func()                   // called once at the next positive answer
	repeat int
}

// NewLedger begins one.
func NewLedger() *Ledger {
	return &Ledger{phase: "before", sent: map[string]*Sent{}, times: map[string][]time.Duration{}}
}

// Phase says which part of a run it is from now on: before, during or after
// the fault.
func (l *Ledger) Phase(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase = name
}

// OnAnswer has a function called once at the next positive answer.
func (l *Ledger) OnAnswer(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits = append(l.waits, do)
}

// Send notes that a message is being sent.
func (l *Ledger) Send(m *Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sent[m.Control]
	if s == nil {
		s = &Sent{Message: m}
		l.sent[m.Control] = s
	}
	s.Tries++
}

// Answer notes an answer to the message: its code, and the control id that it
// names (MSA-2).
func (l *Ledger) Answer(m *Message, code, names string, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sent[m.Control]
	s.Answered = append(s.Answered, code)
	if names != m.Control {
		l.wrong = append(l.wrong, m.Control+" was answered for "+names)
	}
	if !Positive(code) {
		return
	}
	if s.Code == "" {
		s.Code = code
	} else {
		l.repeat++
	}
	l.times[l.phase] = append(l.times[l.phase], took)
	for _, do := range l.waits {
		do()
	}
	l.waits = nil
}

// Positive says whether a code of MSA-1 acknowledges.
func Positive(code string) bool { return code == "AA" || code == "CA" }

// Acked counts the messages that were answered positively.
func (l *Ledger) Acked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.sent {
		if s.Code != "" {
			n++
		}
	}
	return n
}

// Percentile gives the time below which so many of a hundred answers of a phase
// came; 0 where there were none.
func (l *Ledger) Percentile(phase string, percent int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	times := slices.Sorted(slices.Values(l.times[phase]))
	if len(times) == 0 {
		return 0
	}
	return times[min(len(times)-1, len(times)*percent/100)]
}

// Refused counts the negative answers.
func (l *Ledger) Refused() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.sent {
		for _, code := range s.Answered {
			if !Positive(code) {
				n++
			}
		}
	}
	return n
}
