package records

import (
	"bytes"
	"sort"
	"strconv"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A version is what one message made of one record.
type version struct {
	it         *Item
	born, late bool
	transition string
	event      string
	before     *fhir.Node
	previous   string
	changed    []fhir.Difference
	mergedFrom []Key
}

// publish writes the record's next version and its event.
func (f *fold) publish(s *state, v *version) error {
	s.version++
	s.journal = f.c.Origin.Journal
	if v.transition == "" {
		switch {
		case v.late:
			v.transition = "late"
		case v.born && inferred(v.it):
			v.transition = "inferred"
		default:
			v.transition = "normal"
		}
	}
	if v.event == "" {
		v.event = eventOf(s, v)
	}
	id := fhir.UUID(string(s.kind), s.key.String(), strconv.FormatUint(s.version, 10), f.c.Origin.SHA256)
	related, err := f.related(s)
	if err != nil {
		return err
	}
	text := f.json(s.resource)
	payload := f.payload(s, v, id, text, related)
	if f.limit > 0 && len(payload) > f.limit {
		if payload, err = f.shorten(s, v, id, related); err != nil {
			return err
		}
	}
	name := recordKey(s.kind, s.key.String())
	s.stored = s.encode(text)
	f.put(name, s.stored)
	f.states[string(name)] = s
	if s.version == 1 {
		f.put(append(subjectKey(s.subject), name...), []byte{1})
		f.put(resourceKey(s.resource.ResourceType()+"/"+s.resource.ID()), append([]byte{0}, name...))
	}
	f.out.Events = append(f.out.Events, Event{
		ID: id, Type: v.event, Kind: s.kind, Topic: s.kind.Topic(), Subject: s.born, Version: s.version,
		Payload: payload, Occurred: f.c.Occurred, RecordKey: s.key,
	})
	return nil
}

// related collects the resources that a consumer needs to act on this one:
// what it refers to, and what those refer to, from the message or from what is
// held.
func (f *fold) related(s *state) ([][]byte, error) {
	const most = 64
	seen := map[string]bool{s.resource.ResourceType() + "/" + s.resource.ID(): true}
	queue := s.resource.AppendReferences(nil)
	var out [][]byte
	for len(queue) > 0 && len(out) < most {
		ref := queue[0]
		queue = queue[1:]
		if seen[ref] {
			continue
		}
		seen[ref] = true
		if n := f.nodes[ref]; n != nil {
			out = append(out, f.text(n))
			queue = append(queue, n.refers()...)
			continue
		}
		held, err := f.held(ref)
		if err != nil {
			return nil, err
		}
		if held != nil {
			out = append(out, f.text(held))
			queue = append(queue, held.refers()...)
		}
	}
	return out, nil
}

// held reads a resource that no part of the message is, nil where there is
// none.
func (f *fold) held(ref string) (*resource, error) {
	data, err := f.get(resourceKey(ref))
	if err != nil || len(data) == 0 {
		return nil, err
	}
	if data[0] != 0 {
		return &resource{json: data, references: referencesIn(data), walked: true}, nil
	}
	name := data[1:]
	if data, err = f.get(name); err != nil || data == nil {
		return nil, err
	}
	s := f.states[string(name)]
	if s == nil {
		s = f.remembered(name, data)
	}
	if s == nil {
		if s, err = decodeState(data); err != nil {
			return nil, err
		}
	}
	return &resource{node: s.resource, json: s.raw}, nil
}

// referencesIn finds the references in JSON that we wrote.
func referencesIn(data []byte) []string {
	const name = `"reference":"`
	var out []string
	for {
		_, rest, found := bytes.Cut(data, []byte(name))
		if !found {
			return out
		}
		text, rest, _ := bytes.Cut(rest, []byte{'"'})
		if !bytes.Contains(text, []byte{'\\'}) {
			out = append(out, string(text))
		}
		data = rest
	}
}

// lookup reads a resource that is held. Of a record's it gives the position of
// the message that made it what it is; of another resource 0.
func lookup(get func([]byte) ([]byte, error), ref string) ([]byte, uint64, error) {
	data, err := get(resourceKey(ref))
	if err != nil || len(data) == 0 || data[0] != 0 {
		return data, 0, err
	}
	data, err = get(data[1:])
	if err != nil || data == nil {
		return nil, 0, err
	}
	s, err := decodeState(data)
	if err != nil {
		return nil, 0, err
	}
	if s.raw != nil {
		return s.raw, s.journal, nil
	}
	return s.resource.JSON(), s.journal, nil
}

// LookupResource gives a held resource, nil where there is none, and the
// journal's position of the message that made it what it is: 0 for a resource
// that is no record of its own.
func LookupResource(v View, resourceType, id string) ([]byte, uint64, error) {
	return lookup(v.Get, resourceType+"/"+id)
}

type writer struct {
	dst   []byte
	comma bool
}

func (w *writer) name(name string) {
	if w.comma {
		w.dst = append(w.dst, ',')
	}
	w.comma = true
	w.dst = append(w.dst, '"')
	w.dst = append(w.dst, name...)
	w.dst = append(w.dst, '"', ':')
}

func (w *writer) text(name, value string) {
	if value != "" {
		w.name(name)
		w.dst = fhir.AppendQuoted(w.dst, value)
	}
}

func (w *writer) number(name string, n uint64) {
	w.name(name)
	w.dst = strconv.AppendUint(w.dst, n, 10)
}

func (w *writer) node(name string, n *fhir.Node) {
	if n != nil {
		w.name(name)
		w.dst = n.AppendJSON(w.dst)
	}
}

func (w *writer) raw(name string, data []byte) {
	w.name(name)
	w.dst = append(w.dst, data...)
}

func (w *writer) object(name string, fill func()) {
	if name != "" {
		w.name(name)
	}
	w.dst = append(w.dst, '{')
	w.comma = false
	fill()
	w.dst = append(w.dst, '}')
	w.comma = true
}

func (w *writer) list(name string, n int, fill func(i int)) {
	if n == 0 {
		return
	}
	w.name(name)
	w.dst = append(w.dst, '[')
	for i := range n {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		fill(i)
	}
	w.dst = append(w.dst, ']')
	w.comma = true
}

func (w *writer) texts(name string, list []string) {
	w.list(name, len(list), func(i int) { w.dst = fhir.AppendQuoted(w.dst, list[i]) })
}

func (w *writer) key(name string, k *Key) {
	if k == nil || k.Zero() {
		return
	}
	w.object(name, func() {
		w.text("type", k.Type)
		w.text("assigner", k.Assigner)
		w.text("id", k.ID)
	})
}

// payload writes the record: spec liaison.record/1. text is its resource's JSON.
func (f *fold) payload(s *state, v *version, id string, text []byte, related [][]byte) []byte {
	c := f.c
	size := len(text) + 2048
	for _, r := range related {
		size += len(r) + 1
	}
	w := &writer{dst: make([]byte, 0, size)}
	w.object("", func() {
		w.text("spec", Spec)
		w.text("event_id", id)
		w.text("event_type", v.event)
		w.text("kind", string(s.kind))
		w.key("key", &s.key)
		w.number("version", s.version)
		w.text("previous_state", v.previous)
		w.text("state", s.state)
		w.text("transition", v.transition)
		w.text("occurred_at", c.Occurred)
		w.text("time_zone_source", c.ZoneSource)
		w.text("received_at", c.Received.UTC().Format(time.RFC3339Nano))
		w.object("source", func() {
			o := &c.Origin
			w.text("name", o.Source)
			w.text("application", o.Application)
			w.text("facility", o.Facility)
			w.text("control_id", o.ControlID)
			w.text("sequence", o.Sequence)
			w.text("message", o.Message)
			w.text("sha256", o.SHA256)
			w.number("journal", o.Journal)
		})
		f.subject(w, s, v)
		w.key("visit", c.Visit)
		w.key("account", c.Account)
		if s.raw != nil {
			w.raw("resource", s.raw)
		} else if s.resource != nil {
			w.raw("resource", text)
		}
		w.list("related", len(related), func(i int) { w.dst = append(w.dst, related[i]...) })
		if v.before != nil {
			w.list("changed", len(v.changed), func(i int) {
				d := v.changed[i]
				w.object("", func() {
					w.text("path", d.Path)
					w.node("old", d.Old)
					w.node("new", d.New)
				})
			})
		}
		w.texts("labels", labels(s.resource))
		if len(c.Warnings)+len(c.Unmapped)+len(c.Defaulted) > 0 {
			w.object("quality", func() {
				w.texts("warnings", c.Warnings)
				w.texts("unmapped", c.Unmapped)
				w.texts("defaulted", c.Defaulted)
			})
		}
		w.object("pipeline", func() {
			w.text("name", c.Pipeline)
			w.text("version", c.Version)
		})
	})
	return w.dst
}

func (f *fold) subject(w *writer, s *state, v *version) {
	ids := []*fhir.Node(nil)
	survivor := Key{}
	switch {
	case s.kind == Patient:
		ids, survivor = s.resource.Get("identifier").Items(), s.key
	case f.c.Subject != nil:
		ids, survivor = f.c.Subject.IDs, f.c.Subject.Key
	}
	if survivor.Zero() && len(ids) == 0 {
		return
	}
	w.object("subject", func() {
		w.list("ids", len(ids), func(i int) { w.dst = ids[i].AppendJSON(w.dst) })
		w.key("survivor", &survivor)
		w.list("merged_from", len(v.mergedFrom), func(i int) {
			k := v.mergedFrom[i]
			w.object("", func() {
				w.text("type", k.Type)
				w.text("assigner", k.Assigner)
				w.text("id", k.ID)
			})
		})
	})
}

// labels are the confidentiality codes of the resource (R4 meta.security).
func labels(n *fhir.Node) []string {
	var out []string
	for _, c := range n.At("meta.security").Items() {
		if code := c.Str("code"); code != "" {
			out = append(out, code)
		}
	}
	sort.Strings(out)
	return out
}
