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
	return f.chooseAgain(names)
}

// chooseAgain lets the registrations of the message's sender that are newer than
// it, and may mean what is named, choose again in their order: what an earlier
// one has taken the later ones cannot mean.
func (f *fold) chooseAgain(names []string) error {
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
	if err := add(names, f.c.Stamp.Order); err != nil {
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
		Owner: p.s.owner, Names: p.s.visitNames(),
	}
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
	return found, f.chooseAgain(fact.Names)
}

// choose tells the appointment that a registration means of the patient's coming:
// the nearest in time of those that were still to be kept then, as its sender's
// messages have them; and no longer another that it meant before.
func (f *fold) choose(fact *arrivalFact) (bool, error) {
	var best *state
	var all []*state
	nearest := nearVisit + 1
	for _, name := range fact.Names {
		prefix := visitKey(name)
		found, err := f.scan(prefix, nil, mostOfVisit)
		if err != nil {
			return false, err
		}
		for _, at := range found {
			s, err := f.load(Appointment, string(at[len(prefix)+len(recordKey(Appointment, "")):]))
			if err != nil {
				return false, err
			}
			if s == nil || slices.Contains(all, s) {
				continue
			}
			from := s.heard(fact.Sender)
			if s.owner != fact.Owner || !from.knows() {
				f.unchanged(s)
				continue
			}
			all = append(all, s)
			away := nearVisit
			if start, known := from.startBefore(fact.Order); known {
				away = fact.Happened.Sub(start).Abs()
			}
			if standing(from.unfolds(fact.Order)) && away < nearest {
				best, nearest = s, away
			}
		}
	}
	for _, s := range all {
		v := version{it: &Item{Kind: Appointment, Key: s.key}, before: s.shown(), previous: s.label()}
		changed := false
		if st := (Stamp{Sender: fact.Sender, Order: fact.Order}); s == best {
			v.it.State, v.it.Event, v.transition = fact.State, fact.Event, "inferred"
			changed = s.asks(arriving, fact.State, fact.Happened, st)
			s.seen(st)
		} else {
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
