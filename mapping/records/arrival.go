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
// they are named with, lead to them.
func (f *fold) visits() {
	for _, p := range f.pending {
		if p.s.kind != Appointment || !p.v.born {
			continue
		}
		for _, id := range p.s.resource.Get("identifier").Items() {
			if value := id.Str("value"); value != "" && id.Str("type.coding[0].code") != "PGN" {
				f.put(append(visitKey(p.s.owner+"|"+value), p.name...), []byte{1})
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
					f.put(append(visitKey("Encounter/"+n.ID()), p.name...), []byte{1})
				}
			}
		}
	}
}

// arrivals tells the appointments of the message's visits what it implies of
// them.
func (f *fold) arrivals() error {
	f.visits()
	for _, implied := range f.c.Implied {
		if implied.Kind != Appointment || implied.State == "" {
			continue
		}
		for _, p := range f.pending[:len(f.pending):len(f.pending)] {
			if p.s.kind != Encounter || p.v.late {
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
	return nil
}

// appointmentOf finds the appointment of a visit: of the same patient, still to
// be kept, near in time; of several the nearest.
func (f *fold) appointmentOf(visit *pending) (*state, error) {
	names := []string{"Encounter/" + visit.s.resource.ID()}
	for _, id := range visit.s.resource.Get("identifier").Items() {
		if value := id.Str("value"); value != "" {
			names = append(names, visit.s.owner+"|"+value)
		}
	}
	var best *state
	nearest := nearVisit + 1
	for _, name := range names {
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
			if away := f.away(s.shown()); s.owner == visit.s.owner && stands(s.shown()) && !s.late(f.c.Stamp) && away < nearest {
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
