package records

import (
	"bytes"
	"slices"
	"sort"
	"strconv"
	"strings"
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
	warnings   []string
	told       bool // a version even where nothing changed
	corrected  bool // a result among what it carries was put right
	merge      *RecordMerge
	visit      *Key
	account    *Key
}

// publish writes the record's next version and its event; shown is its
// resource.
func (f *fold) publish(p *pending, shown *resource) error {
	s, v := p.s, &p.v
	s.version++
	s.journal = f.c.Origin.Journal
	if v.transition == "" {
		switch {
		case v.late:
			v.transition = "late"
		case v.born && inferred(v.it):
			v.transition = "inferred"
		case corrects(s, v):
			v.transition = "correction"
		default:
			v.transition = "normal"
		}
	}
	if v.event == "" {
		v.event = string(s.kind) + "." + eventOf(s, v)
	}
	id := fhir.UUID(string(s.kind), s.key.String(), strconv.FormatUint(s.version, 10), f.c.Origin.SHA256)
	related, err := f.context(shown, p)
	if err != nil {
		return err
	}
	if v.visit, v.account, err = f.belongs(s, v, shown); err != nil {
		return err
	}
	payload, err := f.payload(s, v, id, f.text(shown), related)
	if err != nil {
		return err
	}
	if f.limit > 0 && len(payload) > f.limit {
		if payload, err = f.shorten(s, v, id, related); err != nil {
			return err
		}
	}
	name := recordKey(s.kind, s.key.String())
	f.encode(s, shown)
	f.put(name, s.stored)
	f.states[string(name)] = s
	if s.version == 1 {
		f.put(resourceKey(s.resource.ResourceType()+"/"+s.resource.ID()), append([]byte{0}, name...))
	}
	f.index(shown.node, v.before, s.key)
	f.out.Events = append(f.out.Events, Event{
		ID: id, Type: v.event, Kind: s.kind, Topic: s.kind.Topic(), Subject: s.born, Version: s.version,
		Payload: payload, Occurred: f.c.Occurred, RecordKey: s.key,
	})
	return nil
}

// A context is what a record carries besides its resource: the resources that a
// consumer needs to act, and the confidentiality codes of the patient and the
// visit among them.
type context struct {
	texts  [][]byte
	labels []string
}

// context collects what a resource refers to, what it no longer refers to (a
// resource that a reschedule releases), what of the message refers to it, and
// what those refer to, from the message or from what is held. It is good until
// the next call.
func (f *fold) context(of *resource, p *pending) (*context, error) {
	v := &p.v
	seen := emptied(f.spare.seen)
	seen[of.node.ResourceType()+"/"+of.node.ID()] = true
	queue := append(append(cleared(f.spare.queue), of.refers()...), p.attached...)
	if s := p.s; f.c.Sought && s.kind != Patient && s.subject != s.key.String() && patientOf(of.node) == "" { // named by an identifier
		if who, err := f.peek(Patient, s.subject); err != nil {
			return nil, err
		} else if who != nil {
			queue = append(queue, "Patient/"+who.resource.ID())
		}
	}
	for i := range v.changed {
		if d := &v.changed[i]; v.before != nil && d.Old != nil && d.New == nil {
			queue = d.Old.AppendReferences(queue)
		}
	}
	out := &f.spare.context
	out.texts, out.labels = cleared(out.texts), labels(cleared(out.labels), of.node)
	for i := 0; i < len(queue); i++ {
		ref := queue[i]
		if seen[ref] {
			continue
		}
		seen[ref] = true
		n := f.nodes[ref]
		if n == nil {
			var err error
			if n, err = f.held(ref); err != nil {
				return nil, err
			}
		}
		if n == nil {
			continue
		}
		out.texts = append(out.texts, f.text(n))
		queue = append(queue, n.refers()...)
		if strings.HasPrefix(ref, "Patient/") || strings.HasPrefix(ref, "Encounter/") {
			out.labels = n.labels(out.labels)
		}
	}
	f.spare.seen, f.spare.queue = seen, queue
	sort.Strings(out.labels)
	out.labels = slices.Compact(out.labels)
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
	if text := shownText(data); text != nil {
		return &resource{json: text, references: referencesIn(text), walked: true}, nil
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
	return s.carried(), nil
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
	return lookupRecord(get, data[1:])
}

// lookupRecord reads a record's resource.
func lookupRecord(get func([]byte) ([]byte, error), name []byte) ([]byte, uint64, error) {
	data, err := get(name)
	if err != nil || data == nil {
		return nil, 0, err
	}
	s, err := decodeState(data)
	if err != nil {
		return nil, 0, err
	}
	r := s.carried()
	if r.json == nil {
		r.json = r.node.JSON()
	}
	return r.json, s.journal, nil
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
func (f *fold) payload(s *state, v *version, id string, text []byte, related *context) ([]byte, error) {
	c := f.c
	size := len(text) + 2048
	for _, r := range related.texts {
		size += len(r) + 1
	}
	w := &writer{dst: f.buffer(size)}
	var failed error
	w.object("", func() {
		w.text("spec", Spec)
		w.text("event_id", id)
		w.text("event_type", v.event)
		w.text("kind", string(s.kind))
		w.key("key", &s.key)
		w.number("version", s.version)
		w.text("previous_state", v.previous)
		w.text("state", s.label())
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
		failed = f.subject(w, s)
		w.key("visit", v.visit)
		w.key("account", v.account)
		w.merge(v.merge)
		if s.ties != nil {
			w.key("reverses", s.ties.Reverses)
			w.key("reversed_by", s.ties.ReversedBy)
			credits := s.ties.credits()
			w.list("credits", len(credits), func(i int) { w.key("", &credits[i]) })
		}
		w.raw("resource", text)
		w.list("related", len(related.texts), func(i int) { w.dst = append(w.dst, related.texts[i]...) })
		if v.before != nil {
			w.list("changed", len(v.changed), func(i int) {
				d := v.changed[i]
				w.object("", func() {
					w.text("path", d.Path)
					w.text("new_path", d.NewPath)
					w.node("old", d.Old)
					w.node("new", d.New)
				})
			})
		}
		w.texts("labels", related.labels)
		w.text("consent", f.consent())
		warnings := append(c.Warnings[:len(c.Warnings):len(c.Warnings)], v.warnings...)
		if len(warnings)+len(c.Unmapped)+len(c.Defaulted) > 0 {
			w.object("quality", func() {
				w.texts("warnings", warnings)
				w.texts("unmapped", c.Unmapped)
				w.texts("defaulted", c.Defaulted)
			})
		}
		w.object("pipeline", func() {
			w.text("name", c.Pipeline)
			w.text("version", c.Version)
		})
	})
	if failed != nil {
		return nil, failed
	}
	return w.dst, nil
}

func (w *writer) merge(m *RecordMerge) {
	if m == nil {
		return
	}
	w.object("merge", func() {
		w.key("survivor", &m.Survivor)
		w.key("retired", &m.Retired)
		w.number("moved", uint64(m.Moved))
		w.list("records", len(m.Records), func(i int) {
			w.object("", func() {
				w.text("kind", string(m.Records[i].Kind))
				w.key("key", &m.Records[i].Key)
			})
		})
	})
}

// labels appends the confidentiality codes of a resource (R4 meta.security),
// and that the patient is to be treated with discretion (PV1-16).
func labels(out []string, n *fhir.Node) []string {
	for _, c := range n.At("meta.security").Items() {
		if code := c.Str("code"); code != "" {
			out = append(out, code)
		}
	}
	for _, courtesy := range n.At("hospitalization.specialCourtesy").Items() {
		for _, c := range courtesy.Get("coding").Items() {
			if code := c.Str("code"); code != "" {
				out = append(out, code)
			}
		}
	}
	return out
}

func (r *resource) labels(out []string) []string {
	if r.node != nil {
		return labels(out, r.node)
	}
	if !bytes.Contains(r.json, []byte(`"security":[`)) && !bytes.Contains(r.json, []byte(`"specialCourtesy":[`)) {
		return out
	}
	n, err := fhir.ParseJSON(r.json)
	if err != nil {
		return out
	}
	return labels(out, n)
}

// consent names the Consent that came with the message: its identifier, else
// its reference.
func (f *fold) consent() string {
	found := ""
	for ref, r := range f.nodes {
		if !strings.HasPrefix(ref, "Consent/") || r.node == nil || found != "" && ref > found {
			continue
		}
		found = ref
	}
	if found == "" {
		return ""
	}
	if id := f.nodes[found].node.Str("identifier[0].value"); id != "" {
		return id
	}
	return found
}
