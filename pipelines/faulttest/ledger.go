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
	mu      sync.Mutex
	phase   *phase
	phases  map[string]*phase
	sent    map[string]*Sent
	acked   int
	refused int
	wrong   []string // answers that do not belong to what was sent
	waits   []func() // called once at the next positive answer
	aside   func(*Message) bool
}

// A phase is a part of a run: before, during or after the fault.
type phase struct {
	times []time.Duration // from sending to the positive answer
	began time.Time       // of its current stretch
	spent time.Duration   // of earlier stretches
}

// NewLedger begins one.
func NewLedger() *Ledger {
	l := &Ledger{phases: map[string]*phase{}, sent: map[string]*Sent{}}
	l.Phase("before")
	return l
}

// Phase says which part of a run it is from now on: before, during or after
// the fault.
func (l *Ledger) Phase(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.phase != nil {
		l.phase.spent += now.Sub(l.phase.began)
	}
	if l.phases[name] == nil {
		l.phases[name] = &phase{}
	}
	l.phase = l.phases[name]
	l.phase.began = now
}

// OnAnswer has a function called once at the next positive answer.
func (l *Ledger) OnAnswer(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits = append(l.waits, do)
}

// Aside names messages whose times and number do not count in a phase's
// figures: those that make the fault.
func (l *Ledger) Aside(of func(*Message) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.aside = of
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
		l.refused++
		return
	}
	if s.Code == "" {
		s.Code = code
		l.acked++
	}
	if l.aside == nil || !l.aside(m) {
		l.phase.times = append(l.phase.times, took)
	}
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
	return l.acked
}

// Percentile gives the time below which so many of a hundred answers of a phase
// came; 0 where there were none.
func (l *Ledger) Percentile(name string, percent int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.phases[name]
	if p == nil || len(p.times) == 0 {
		return 0
	}
	times := slices.Sorted(slices.Values(p.times))
	return times[min(len(times)-1, len(times)*percent/100)]
}

// Rate gives the positive answers a second of a phase that is over, repeats
// too; 0 where it had none.
func (l *Ledger) Rate(name string) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.phases[name]
	if p == nil || p.spent <= 0 {
		return 0
	}
	return float64(len(p.times)) / p.spent.Seconds()
}

// Refused counts the negative answers.
func (l *Ledger) Refused() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}
