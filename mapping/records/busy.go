package records

import (
	"slices"
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// longestBooking is how far back an overlapping booking can have begun.
const longestBooking = 24 * time.Hour

// mostBusy is how many bookings around a time are looked at for each resource.
const mostBusy = 256

func busyKey(kind Kind, actor string) []byte {
	return []byte("b/" + string(kind) + "/" + actor + "\x00")
}

// A busy is the time that an appointment or a blocked slot takes of a resource.
type busy struct {
	kind       Kind
	actor      string
	start, end time.Time
}

// key orders the times of a resource by their start.
func (b *busy) key(name []byte) []byte {
	return append(append(busyKey(b.kind, b.actor), b.start.UTC().Format(time.RFC3339)...), append([]byte{0}, name...)...)
}

// taken gives the times that a record takes of its resources; actors are those
// of a slot's schedule.
func taken(kind Kind, n *fhir.Node, actors []string) []busy {
	if n == nil {
		return nil
	}
	start, err := instant(n.Str("start"))
	if err != nil {
		return nil
	}
	end, err := instant(n.Str("end"))
	if err != nil || !end.After(start) {
		return nil
	}
	var out []busy
	switch kind {
	case Slot:
		if status := n.Str("status"); status == "busy-unavailable" || status == "busy" {
			for _, actor := range actors {
				out = append(out, busy{kind, actor, start, end})
			}
		}
	case Appointment:
		if status := n.Str("status"); status != "booked" && status != "pending" {
			return nil
		}
		for _, p := range n.Get("participant").Items() {
			if actor := p.Str("actor.reference"); actor != "" && ofParts("participant", p) && p.Str("status") != "declined" {
				out = append(out, busy{kind, actor, start, end})
			}
		}
	default:
	}
	return out
}

// scheduled gives who a slot's schedule is of: from the message, else what is
// held.
func (f *fold) scheduled(n *fhir.Node) ([]string, error) {
	ref := n.Str("schedule.reference")
	if ref == "" {
		return nil, nil
	}
	r := f.nodes[ref]
	if r == nil {
		held, err := f.held(ref)
		if err != nil || held == nil {
			return nil, err
		}
		r = held
	}
	schedule := r.node
	if schedule == nil {
		var err error
		if schedule, err = fhir.ParseJSON(r.json); err != nil {
			return nil, nil //nolint:nilerr // what is held is ours; without it nothing overlaps
		}
	}
	var out []string
	for _, actor := range schedule.Get("actor").Items() {
		if to := actor.Str("reference"); to != "" {
			out = append(out, to)
		}
	}
	return out, nil
}

// overlaps notes the times that the message's appointments and slots take, and
// says where a blocked slot and a booking of the same resource overlap: the
// booking is told, and has to be made anew (HL7 v2.5.1 §10.4.12).
func (f *fold) overlaps() error {
	for i := 0; i < len(f.pending); i++ { // conflicts pend more
		p := f.pending[i]
		if p.s.kind != Slot && p.s.kind != Appointment {
			continue
		}
		shown := p.s.shown()
		var actors []string
		if p.s.kind == Slot {
			var err error
			if actors, err = f.scheduled(shown); err != nil {
				return err
			}
		}
		now := taken(p.s.kind, shown, actors)
		stays := map[string]bool{}
		for k := range now {
			stays[string(now[k].key(p.name))] = true
		}
		for _, old := range taken(p.s.kind, p.v.before, actors) {
			if key := old.key(p.name); !stays[string(key)] {
				f.put(key, nil)
			}
		}
		for k := range now {
			if err := f.take(p, &now[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

// take notes a time, and tells of its conflicts: of a blocked one once.
func (f *fold) take(p *pending, b *busy) error {
	key, end := b.key(p.name), b.end.UTC().Format(time.RFC3339)
	had, err := f.get(key)
	if err != nil {
		return err
	}
	if string(had) == end && b.kind == Slot {
		return nil
	}
	if err := f.overlap(p, b); err != nil {
		return err
	}
	if string(had) != end {
		f.put(key, []byte(end))
	}
	return nil
}

// overlap looks for the other side of a conflict: of a slot an appointment, of
// an appointment a slot.
func (f *fold) overlap(p *pending, b *busy) error {
	other := Slot
	if b.kind == Slot {
		other = Appointment
	}
	prefix := busyKey(other, b.actor)
	from := append(busyKey(other, b.actor), b.start.Add(-longestBooking).UTC().Format(time.RFC3339)...)
	until := b.end.UTC().Format(time.RFC3339)
	names, err := f.scan(prefix, from, mostBusy)
	if err != nil {
		return err
	}
	for _, key := range names {
		start, name, ok := strings.Cut(string(key[len(prefix):]), "\x00")
		if !ok || start >= until {
			break
		}
		end, err := f.get(key)
		if err != nil {
			return err
		}
		if string(end) <= b.start.UTC().Format(time.RFC3339) {
			continue
		}
		if b.kind == Appointment {
			p.v.warnOf("slot-blocked")
			continue
		}
		p.v.warnOf("slot-overlaps-booked")
		_, id, _ := strings.Cut(strings.TrimPrefix(name, "r/"), "/")
		if err := f.conflict(id); err != nil {
			return err
		}
	}
	return nil
}

// warnOf adds a warning once.
func (v *version) warnOf(code string) {
	if !slices.Contains(v.warnings, code) {
		v.warnings = append(v.warnings, code)
	}
}

// conflict tells a booking that its resource is blocked.
func (f *fold) conflict(key string) error {
	s, err := f.load(Appointment, key)
	if err != nil || s == nil {
		return err
	}
	if p := f.changes[string(recordKey(Appointment, key))]; p != nil {
		p.v.warnOf("slot-blocked")
		return nil
	}
	v := version{it: &Item{Kind: Appointment, Key: s.key, Event: "conflict"}, before: s.shown(), previous: s.label(), told: true, warnings: []string{"slot-blocked"}}
	f.pend(s, v)
	return nil
}
