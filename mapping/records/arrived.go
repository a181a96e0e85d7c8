package records

import (
	"slices"
	"strings"
	"time"
)

// An arrivalFact is what a registration implied of the appointments of its visit,
// kept for those that its sender tells of later though they were sent before.
type arrivalFact struct {
	Sender, Order string
	Happened      time.Time
	State, Event  string
	Owner         string
	Names         []string
	Undone        bool `json:",omitempty"` // the registration was taken back
}

// mostFacts is how many are kept under a name, the newest.
const mostFacts = 16

func factKey(name string) []byte { return []byte("a/" + name) }

// schedulesKey is there once a sender has told of an appointment: of another's
// registrations nothing is kept.
func schedulesKey(sender string) []byte { return []byte("as/" + sender) }

// recallArrivals lets the appointments that the message tells of know what a
// newer registration of its sender implied of them.
func (f *fold) recallArrivals(scheduled map[*pending][]string) error {
	sender := schedulesKey(f.c.Stamp.Sender)
	if slices.ContainsFunc(f.pending, func(p *pending) bool { return p.s.kind == Appointment }) {
		if known, err := f.get(sender); err != nil {
			return err
		} else if known == nil {
			f.put(sender, []byte{1})
			return nil
		}
	}
	var names []string
	for _, p := range f.pending {
		names = append(names, scheduled[p]...)
	}
	return f.chooseAgain(names, f.c.Stamp.Order)
}

// chooseAgain lets the registrations of the message's sender that came after, and
// may mean what is named, choose again in their order: what an earlier one has
// taken the later ones cannot mean.
func (f *fold) chooseAgain(names []string, after string) error {
	var facts []arrivalFact
	seen := map[string]bool{}
	add := func(names []string, after string) error {
		for _, name := range names {
			more, err := f.facts(name)
			if err != nil {
				return err
			}
			for i := range more {
				if key := more[i].Order + "\x00" + more[i].Names[0]; more[i].Sender == f.c.Stamp.Sender && more[i].Order > after && !seen[key] {
					seen[key] = true
					facts = append(facts, more[i])
				}
			}
		}
		slices.SortStableFunc(facts, func(a, b arrivalFact) int { return strings.Compare(a.Order, b.Order) })
		return nil
	}
	if err := add(names, after); err != nil {
		return err
	}
	for len(facts) > 0 {
		fact := facts[0]
		facts = facts[1:]
		if _, err := f.choose(&fact); err != nil {
			return err
		}
		if err := add(fact.Names, fact.Order); err != nil {
			return err
		}
	}
	return nil
}

func (f *fold) facts(name string) ([]arrivalFact, error) {
	return listed[arrivalFact](f, factKey(name))
}

// arrival keeps what a registration implies, and tells the appointment of its
// sender that is meant, where there is one.
func (f *fold) arrival(p *pending, implied Implied) (bool, error) {
	schedules, err := f.get(schedulesKey(f.c.Stamp.Sender))
	if err != nil || schedules == nil {
		return false, err
	}
	fact := &arrivalFact{
		Sender: f.c.Stamp.Sender, Order: f.c.Stamp.Order, Happened: f.happened(f.c.Occurred).UTC(), State: implied.State, Event: implied.Event,
		Owner: p.s.owner, Names: p.s.visitNames(), Undone: p.s.undone(f.c.Stamp),
	}
	return f.chosen(fact)
}

// chosen keeps what a registration implies and lets it choose its appointment.
func (f *fold) chosen(fact *arrivalFact) (bool, error) {
	for _, name := range fact.Names {
		facts, err := f.facts(name)
		if err != nil {
			return false, err
		}
		facts = slices.DeleteFunc(facts, func(have arrivalFact) bool {
			return have.Sender == fact.Sender && have.Order == fact.Order && have.Names[0] == fact.Names[0]
		})
		if facts = append(facts, *fact); len(facts) > mostFacts {
			facts = facts[1:]
		}
		if err := f.putJSON(factKey(name), facts); err != nil {
			return false, err
		}
	}
	found, err := f.choose(fact)
	if err != nil {
		return false, err
	}
	return found, f.chooseAgain(fact.Names, fact.Order)
}

// takenBack tells the appointments of a visit which of its registrations count
// no more, or count again, now that a message takes one back or comes late.
func (f *fold) takenBack() error {
	for _, p := range f.pending[:len(f.pending):len(f.pending)] {
		if p.s.kind != Encounter || len(p.v.it.Cancels) == 0 && !p.v.late {
			continue
		}
		facts, err := f.facts(p.s.visitNames()[0])
		if err != nil {
			return err
		}
		for i := range facts {
			fact := &facts[i]
			undone := p.s.undone(Stamp{Sender: fact.Sender, Order: fact.Order})
			if fact.Sender != f.c.Stamp.Sender || undone == fact.Undone {
				continue
			}
			fact.Undone = undone
			if _, err := f.chosen(fact); err != nil {
				return err
			}
		}
		if err := f.unarrive(p); err != nil {
			return err
		}
	}
	return nil
}

// unarrive takes back what a registration said of the appointments of its visit
// that others tell of.
func (f *fold) unarrive(visit *pending) error {
	sender := f.c.Stamp.Sender
	return f.ofVisit(visit.s.visitNames(), func(s *state) {
		from := s.heard(sender)
		if s.owner != visit.s.owner || from == nil || from.knows() {
			f.unchanged(s)
			return
		}
		count := len(from.at)
		v := version{it: &Item{Kind: Appointment, Key: s.key, Event: arrivalCancelled}, before: s.shown(), previous: s.label(), transition: "inferred"}
		from.at = slices.DeleteFunc(from.at, func(at stamp) bool {
			return at.element == askedState+"arrived" && visit.s.undone(Stamp{Sender: sender, Order: at.order})
		})
		if len(from.at) == count {
			f.unchanged(s)
			return
		}
		if s.by == sender {
			s.fallBack(from)
		}
		f.pend(s, v)
	})
}

// arrivalCancelled is the event of an appointment that the patient did not come
// to after all.
const arrivalCancelled = "arrival-cancelled"

// fallBack gives an appointment the state that it has without what a sender took
// back: the sender's own, else one to be kept that another says.
func (s *state) fallBack(from *sender) {
	if decided := from.decides(); decided != "" {
		s.state = decided
		return
	}
	for i := range s.stamps {
		if decided := s.stamps[i].decides(); standing(decided) {
			s.state, s.by = decided, s.stamps[i].name
			return
		}
	}
}

// ofVisit visits each appointment that these names of a visit lead to, once.
func (f *fold) ofVisit(names []string, each func(*state)) error {
	seen := map[string]bool{}
	for _, name := range names {
		prefix := visitKey(name)
		found, err := f.scan(prefix, nil, mostOfVisit)
		if err != nil {
			return err
		}
		for _, at := range found {
			key := string(at[len(prefix)+len(recordKey(Appointment, "")):])
			if seen[key] {
				continue
			}
			seen[key] = true
			s, err := f.load(Appointment, key)
			if err != nil {
				return err
			}
			if s != nil {
				each(s)
			}
		}
	}
	return nil
}

// choose tells the appointment that a registration means of the patient's coming:
// the nearest in time of those that were still to be kept then, as its sender's
// messages have them; and no longer another that it meant before.
func (f *fold) choose(fact *arrivalFact) (bool, error) {
	var best *state
	var all []*state
	nearest := nearVisit + 1
	err := f.ofVisit(fact.Names, func(s *state) {
		from := s.heard(fact.Sender)
		if s.owner != fact.Owner || !from.knows() {
			f.unchanged(s)
			return
		}
		all = append(all, s)
		away := nearVisit
		if start, known := from.startBefore(fact.Order); known {
			away = fact.Happened.Sub(start).Abs()
		}
		if !fact.Undone && standing(from.unfolds(fact.Order)) && away < nearest {
			best, nearest = s, away
		}
	})
	if err != nil {
		return false, err
	}
	for _, s := range all {
		v := version{it: &Item{Kind: Appointment, Key: s.key}, before: s.shown(), previous: s.label()}
		changed := false
		if st := (Stamp{Sender: fact.Sender, Order: fact.Order}); s == best {
			v.it.State, v.it.Event, v.transition = fact.State, fact.Event, "inferred"
			changed = s.asks(arriving, fact.State, fact.Happened, st)
			s.seen(st)
		} else {
			v.it.Event, v.transition = arrivalCancelled, "inferred"
			changed = s.unasks(arriving, fact.State, fact.Happened, st)
		}
		if !changed {
			f.unchanged(s)
			continue
		}
		f.pend(s, v)
	}
	return best != nil, nil
}
