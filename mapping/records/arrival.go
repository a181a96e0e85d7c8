package records

import (
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// An Implied is what a trigger asks of a record that the message only implies:
// a registration of the appointment of that visit (HL7 v2.5.1 §3.3.4, §3.3.10).
type Implied struct {
	Kind         Kind
	State, Event string
}

// nearVisit is how far from its appointment's time a visit still is that visit.
const nearVisit = 24 * time.Hour

// mostOfVisit is how many appointments of a visit are looked at.
const mostOfVisit = 1024

func visitKey(name string) []byte { return []byte("v/" + name + "\x00") }

// visits lets the numbers of the message's appointments, and the visits that
// they are named with, lead to them; it gives these names of each.
func (f *fold) visits() map[*pending][]string {
	out := map[*pending][]string{}
	lead := func(p *pending, name string, put bool) {
		if out[p] = append(out[p], name); put {
			f.put(append(visitKey(name), p.name...), []byte{1})
		}
	}
	for _, p := range f.pending {
		if p.s.kind != Appointment {
			continue
		}
		for _, id := range p.s.resource.Get("identifier").Items() {
			if value := id.Str("value"); value != "" && id.Str("type.coding[0].code") != "PGN" {
				lead(p, p.s.owner+"|"+value, p.v.born)
			}
		}
	}
	for _, n := range f.c.Related {
		if n.ResourceType() != "Encounter" {
			continue
		}
		for _, a := range n.Get("appointment").Items() {
			for _, p := range f.pending {
				if p.s.kind == Appointment && a.Str("reference") == "Appointment/"+p.s.resource.ID() {
					lead(p, "Encounter/"+n.ID(), true)
				}
			}
		}
	}
	return out
}

// arrivals tells the appointments of the message's visits what it implies of
// them, and appointments of which the message is the first or a late one to tell
// what was implied of them before.
func (f *fold) arrivals() error {
	scheduled := f.visits()
	if err := f.recallArrivals(scheduled); err != nil {
		return err
	}
	for _, implied := range f.c.Implied {
		if implied.Kind != Appointment || implied.State == "" {
			continue
		}
		for _, p := range f.pending[:len(f.pending):len(f.pending)] {
			if p.s.kind != Encounter {
				continue
			}
			if found, err := f.arrival(p, implied); err != nil || found || p.v.late {
				if err != nil {
					return err
				}
				continue
			}
			s, err := f.appointmentOf(p)
			if err != nil {
				return err
			}
			if s == nil {
				continue
			}
			v := version{
				it:     &Item{Kind: Appointment, Key: s.key, State: implied.State, Event: implied.Event},
				before: s.shown(), previous: s.label(), transition: "inferred",
			}
			s.transit(v.it, f.c.Stamp)
			s.seen(f.c.Stamp)
			f.pend(s, v)
		}
	}
	return f.takenBack()
}

// visitNames are those that lead to the appointments of a visit.
func (s *state) visitNames() []string {
	names := []string{"Encounter/" + s.resource.ID()}
	for _, id := range s.resource.Get("identifier").Items() {
		if value := id.Str("value"); value != "" {
			names = append(names, s.owner+"|"+value)
		}
	}
	return names
}

// appointmentOf finds the appointment of a visit: of the same patient, still to
// be kept, near in time; of several the nearest.
func (f *fold) appointmentOf(visit *pending) (*state, error) {
	var best *state
	nearest := nearVisit + 1
	for _, name := range visit.s.visitNames() {
		prefix := visitKey(name)
		found, err := f.scan(prefix, nil, mostOfVisit)
		if err != nil {
			return nil, err
		}
		for _, at := range found {
			_, key, _ := strings.Cut(strings.TrimPrefix(string(at[len(prefix):]), "r/"), "/")
			s, err := f.load(Appointment, key)
			if err != nil {
				return nil, err
			}
			if s == nil || s == best {
				continue
			}
			f.unchanged(s)
			if away := f.away(s.shown()); s.owner == visit.s.owner && stands(s.shown()) && !s.heard(f.c.Stamp.Sender).knows() && !s.late(f.c.Stamp) && away < nearest {
				best, nearest = s, away
			}
		}
	}
	if best != nil {
		delete(f.states, string(recordKey(Appointment, best.key.String()))) // it is going to change
	}
	return best, nil
}

// away is how far an appointment's time is from the change's; of one without a
// time as far as counts.
func (f *fold) away(n *fhir.Node) time.Duration {
	at, err := instant(n.Str("start"))
	if err != nil {
		return nearVisit
	}
	now, err := instant(f.c.Occurred)
	if err != nil {
		now = f.c.Received
	}
	return now.Sub(at).Abs()
}
