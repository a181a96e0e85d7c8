package records

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A Folder folds changes into records. What it remembers between calls are
// states that it has decoded, each good only for the very bytes it came from;
// nothing depends on whether it does. One goroutine uses it at a time.
type Folder struct {
	chunk      int
	limit      int
	young, old map[string]*state
	scratch    []byte
}

const mostStates = 1024 // of a generation

// remembered gives the state of these bytes where it is known.
func (f *Folder) remembered(key, data []byte) *state {
	s := f.young[string(key)]
	if s == nil {
		s = f.old[string(key)]
	}
	if s == nil || len(s.stored) != len(data) || len(data) == 0 || &s.stored[0] != &data[0] {
		return nil
	}
	return s
}

// decoded gives the state of these bytes, from memory when they are the same.
func (f *Folder) decoded(key, data []byte) (*state, error) {
	s := f.remembered(key, data)
	if s == nil {
		return decodeState(data)
	}
	delete(f.young, string(key)) // it is going to change
	delete(f.old, string(key))
	return s, nil
}

func (f *Folder) keep(key string, s *state) {
	if len(f.young) >= mostStates || f.young == nil {
		f.old, f.young = f.young, map[string]*state{}
	}
	f.young[key] = s
}

// NewFolder makes a Folder whose merges re-key chunk records a step (0: 256),
// and whose records are at most limit bytes (0: any): attachments of a larger
// one are references.
func NewFolder(chunk, limit int) *Folder {
	if chunk <= 0 {
		chunk = 256
	}
	return &Folder{chunk: chunk, limit: limit}
}

// fold is one call: an overlay of its own writes over the View.
type fold struct {
	*Folder
	view    View
	c       *Change
	out     *Effects
	written map[string][]byte
	nodes   map[string]*resource // the message's resources by "Type/id"
	states  map[string]*state    // as last written or found unchanged
}

func (f *Folder) fold(v View, c *Change) *fold {
	return &fold{
		Folder: f, view: v, c: c, out: &Effects{}, written: map[string][]byte{}, nodes: make(map[string]*resource, len(c.Items)+len(c.Related)),
		states: map[string]*state{},
	}
}

// A resource is one of the message: its JSON and its references are made once.
type resource struct {
	node       *fhir.Node
	json       []byte
	references []string
	walked     bool
}

func (f *fold) text(r *resource) []byte {
	if r.json == nil {
		r.json = f.json(r.node)
	}
	return r.json
}

// json writes a value into memory of its size.
func (f *fold) json(n *fhir.Node) []byte {
	if n.Frozen() {
		return n.JSON()
	}
	f.scratch = n.AppendJSON(f.scratch[:0])
	return bytes.Clone(f.scratch)
}

func (r *resource) refers() []string {
	if !r.walked {
		r.references, r.walked = r.node.AppendReferences(nil), true
	}
	return r.references
}

func (f *fold) get(key []byte) ([]byte, error) {
	if v, ok := f.written[string(key)]; ok {
		return v, nil
	}
	v, err := f.view.Get(key)
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	return v, nil
}

func (f *fold) put(key, value []byte) {
	f.written[string(key)] = value
	f.out.Writes = append(f.out.Writes, KV{Key: key, Value: value})
}

// Fold applies a change to the state behind the view. It is pure: the same
// state and change give the same effects.
func (f *Folder) Fold(v View, c *Change) (*Effects, error) {
	run := f.fold(v, c)
	if err := run.change(); err != nil {
		return nil, err
	}
	for key, s := range run.states {
		f.keep(key, s)
	}
	return run.out, nil
}

func (f *fold) change() error {
	c := f.c
	if err := f.onlyNew(); err != nil {
		return err
	}
	if err := f.rekey(); err != nil {
		return err
	}
	for _, n := range c.Related {
		f.nodes[n.ResourceType()+"/"+n.ID()] = &resource{node: n}
	}
	for i := range c.Items {
		if n := c.Items[i].Resource; n != nil {
			f.nodes[n.ResourceType()+"/"+n.ID()] = &resource{node: n}
		}
	}
	if err := f.hold(); err != nil {
		return err
	}
	for i := range c.Items {
		if err := f.item(&c.Items[i]); err != nil {
			return err
		}
	}
	for i := range c.Edges {
		if err := f.edge(&c.Edges[i]); err != nil {
			return err
		}
	}
	return nil
}

// onlyNew leaves out what was to be created only where nothing is held.
func (f *fold) onlyNew() error {
	for _, ref := range f.c.OnlyNew {
		held, err := f.get(resourceKey(ref))
		if err != nil {
			return err
		}
		if held == nil {
			continue
		}
		is := func(n *fhir.Node) bool { return n != nil && n.ResourceType()+"/"+n.ID() == ref }
		f.c.Items = slices.DeleteFunc(f.c.Items, func(it Item) bool { return is(it.Resource) })
		f.c.Related = slices.DeleteFunc(f.c.Related, is)
	}
	return nil
}

// resolve follows merge edges to the surviving key.
func (f *fold) resolve(kind Kind, key string) (string, error) {
	for range 64 {
		next, err := f.get(mergeKey(kind, key))
		if err != nil || next == nil {
			return key, err
		}
		key = string(next)
	}
	return key, nil
}

// rekey puts a message that speaks of a retired patient under the survivor.
func (f *fold) rekey() error {
	moved := map[string]string{}
	for i := range f.c.Items {
		it := &f.c.Items[i]
		if it.Kind != Patient {
			continue
		}
		key, err := f.resolve(Patient, it.Key.String())
		if err != nil || key == it.Key.String() {
			if err != nil {
				return err
			}
			continue
		}
		survivor, err := f.load(Patient, key)
		if err != nil {
			return err
		}
		if survivor == nil {
			continue
		}
		from, to := "Patient/"+it.Resource.ID(), "Patient/"+survivor.resource.ID()
		moved[from] = to
		it.Resource = it.Resource.Clone()
		it.Resource.Set("id", fhir.NewString(survivor.resource.ID()))
		keepIdentifiers(it.Resource, survivor.resource)
		it.Key, it.Raw = survivor.key, nil
		if f.c.Subject != nil {
			f.c.Subject.Key = survivor.key
		}
	}
	if len(moved) == 0 {
		return nil
	}
	for i := range f.c.Items {
		if it := &f.c.Items[i]; it.Kind != Patient {
			it.Resource = it.Resource.Clone()
			redirect(it.Resource, moved)
			it.Raw = nil
		}
	}
	for i, n := range f.c.Related {
		n = n.Clone()
		redirect(n, moved)
		f.c.Related[i] = n
	}
	return nil
}

// keepIdentifiers puts the identifiers of the record that the message lacks
// behind its own.
func keepIdentifiers(into, from *fhir.Node) {
	for _, id := range from.Get("identifier").Items() {
		known := false
		for _, mine := range into.Get("identifier").Items() {
			known = known || mine.Str("system") == id.Str("system") && mine.Str("value") == id.Str("value")
		}
		if !known {
			into.Append("identifier", id.Clone())
		}
	}
	if link := from.Get("link"); link != nil && into.Get("link") == nil {
		into.Set("link", link.Clone())
	}
}

// redirect changes references.
func redirect(n *fhir.Node, moved map[string]string) {
	if n.Kind == fhir.String && n.Name == "reference" {
		if to, ok := moved[n.Text]; ok {
			n.Text = to
		}
	}
	for _, k := range n.Kids {
		redirect(k, moved)
	}
}

// hold keeps the message's other resources for GET and for later records.
func (f *fold) hold() error {
	holder, _ := f.view.(Holder)
	for _, n := range f.c.Related {
		if !Held(n.ResourceType()) {
			continue
		}
		ref := n.ResourceType() + "/" + n.ID()
		key, next := resourceKey(ref), f.text(f.nodes[ref])
		if holder != nil && KindOf(n.ResourceType()) == "" {
			if !holder.Holds(key, next) {
				f.put(key, next)
			}
			continue
		}
		old, err := f.get(key)
		if err != nil {
			return err
		}
		if record := len(old) > 0 && old[0] == 0; !record && string(old) != string(next) {
			f.put(key, next)
		}
	}
	return nil
}

// Held says which types of resources are kept for reading beyond their message.
func Held(resourceType string) bool {
	return resourceType != "MessageHeader" && resourceType != "Provenance" && resourceType != "Bundle"
}

// load reads a record by its key or by another identifier of its.
func (f *fold) load(kind Kind, key string) (*state, error) {
	name := recordKey(kind, key)
	data, err := f.get(name)
	if alias := aliasOf(data); alias != "" && err == nil {
		name = recordKey(kind, alias)
		data, err = f.get(name)
	}
	if err != nil || data == nil {
		return nil, err
	}
	delete(f.states, string(name))
	return f.decoded(name, data)
}

// find resolves an item to the record it speaks of: by merge edges, then by any
// of its identifiers.
func (f *fold) find(it *Item) (*state, error) {
	keys := append([]Key{it.Key}, it.Alternate...)
	for _, k := range keys {
		name, err := f.resolve(it.Kind, k.String())
		if err != nil {
			return nil, err
		}
		s, err := f.load(it.Kind, name)
		if s != nil || err != nil {
			return s, err
		}
	}
	return nil, nil
}

// item folds one item.
func (f *fold) item(it *Item) error {
	s, err := f.find(it)
	if err != nil {
		return err
	}
	born := s == nil
	if born {
		s = &state{kind: it.Kind, key: it.Key}
		s.subject = it.Key.String()
		if it.Kind != Patient && f.c.Subject != nil {
			s.subject = f.c.Subject.Key.String()
		}
		s.born = s.subject
	} else if it.Kind != Patient && f.c.Subject != nil && s.subject != f.c.Subject.Key.String() && !s.late(f.c.Stamp) {
		if err := f.moveSubject(s, f.c.Subject.Key.String()); err != nil {
			return err
		}
	}
	if err := f.alias(it, s); err != nil {
		return err
	}
	before, late := s.resource, s.late(f.c.Stamp)
	oldState, oldEncoded := s.state, []byte(nil)
	if !born {
		oldEncoded = s.stored
	}
	prepare(it, s, born)
	s.merge(it, f.c.Stamp, before)
	s.transit(it, f.c.Stamp, born)
	s.seen(f.c.Stamp)
	changed := fhir.Diff(before, s.resource)
	if !born && !late && len(changed) == 0 && s.state == oldState {
		name := recordKey(s.kind, s.key.String())
		if now := s.encode(f.json(s.resource)); string(now) != string(oldEncoded) {
			f.put(name, now)
			s.stored = now
		}
		f.states[string(name)] = s
		return nil
	}
	v := version{it: it, born: born, late: late, before: before, previous: oldState, changed: changed}
	return f.publish(s, &v)
}

// alias lets every identifier and id of an item lead to its record.
func (f *fold) alias(it *Item, s *state) error {
	key := s.key.String()
	for i := -1; i < len(it.Alternate); i++ {
		k := it.Key
		if i >= 0 {
			k = it.Alternate[i]
		}
		other := k.String()
		if other == key {
			continue
		}
		name := recordKey(it.Kind, other)
		have, err := f.get(name)
		if err != nil {
			return err
		}
		if have == nil || aliasOf(have) != "" && aliasOf(have) != key {
			f.put(name, aliasTo(key))
		}
	}
	return f.aliasID(it, s)
}

// aliasID lets the id that a message gives a resource lead to its record too,
// where the record has another.
func (f *fold) aliasID(it *Item, s *state) error {
	if it.Resource == nil || s.resource == nil || it.Resource.ID() == s.resource.ID() {
		return nil
	}
	name := resourceKey(it.Resource.ResourceType() + "/" + it.Resource.ID())
	have, err := f.get(name)
	if err != nil || have != nil {
		return err
	}
	f.put(name, append([]byte{0}, recordKey(s.kind, s.key.String())...))
	return nil
}

func (f *fold) moveSubject(s *state, to string) error {
	name := recordKey(s.kind, s.key.String())
	f.put(append(subjectKey(s.subject), name...), nil)
	f.put(append(subjectKey(to), name...), []byte{1})
	s.subject = to
	return nil
}

// merge takes the message's elements over the record's, element group by
// element group, each only from a message that is not older than the one of
// the same sender that set it before. So every order of one sender's messages
// ends in one resource.
func (s *state) merge(it *Item, st Stamp, before *fhir.Node) {
	if it.Resource == nil {
		return
	}
	if before == nil {
		s.resource = it.Resource.Clone()
		s.resource.Name = ""
		for _, g := range groups(s.resource) {
			s.newer(st, g.path)
		}
		for _, path := range it.Deletes {
			s.newer(st, path)
		}
		s.raw = it.Raw
		return
	}
	next := before.Shallow() // what stays is shared with the version before
	touched := false
	for _, g := range groups(it.Resource) {
		if s.newer(st, g.path) && !fhir.Equal(at(next, g.path), g.node) {
			put(next, g.path, g.node.Clone())
			touched = true
		}
	}
	deletes := it.Deletes
	if it.Action == Snapshot {
		for _, g := range groups(before) {
			if at(it.Resource, g.path) == nil {
				deletes = append(deletes, g.path)
			}
		}
	}
	for _, path := range deletes {
		if s.newer(st, path) && at(next, path) != nil {
			put(next, path, nil)
			touched = true
		}
	}
	if !touched {
		return
	}
	next.Prune()
	s.raw, s.resource = it.Raw, next
}

type element struct {
	path string
	node *fhir.Node
}

// groups are the parts of a resource that a message sets as one: its elements,
// and the parts of the elements that several messages fill bit by bit.
func groups(n *fhir.Node) []element {
	out := make([]element, 0, len(n.Kids))
	for _, k := range n.Kids {
		switch k.Name {
		case "resourceType", "id", "meta":
		case "period", "hospitalization", "servicePeriod":
			for _, sub := range k.Kids {
				out = append(out, element{path: k.Name + "." + sub.Name, node: sub})
			}
		default:
			out = append(out, element{path: k.Name, node: k})
		}
	}
	return out
}

func at(n *fhir.Node, path string) *fhir.Node {
	first, rest, nested := strings.Cut(path, ".")
	n = n.Get(first)
	if nested {
		return n.Get(rest)
	}
	return n
}

func put(n *fhir.Node, path string, v *fhir.Node) {
	first, rest, nested := strings.Cut(path, ".")
	if !nested {
		n.Set(first, v)
		return
	}
	child := n.Get(first)
	switch {
	case child != nil:
		child = child.Shallow()
	case v == nil:
		return
	default:
		child = fhir.NewObject()
	}
	child.Set(rest, v)
	n.Set(first, child)
}

// transit sets the state: the one that the newest message of a sender asked
// for, by its trigger or by the resource's status.
func (s *state) transit(it *Item, st Stamp, born bool) {
	asked := it.State
	if asked == "" {
		asked = statusOf(it.Kind, it.Resource)
		if it.Kind == Encounter && !born {
			return // an update speaks of no state
		}
		if it.Kind == Encounter || it.Kind == Patient {
			if s.state == "" { // a default until a trigger says otherwise
				s.state = asked
			}
			return
		}
	}
	if asked == "" || refused(s, it, asked) || !s.newer(st, "@state") {
		return
	}
	if asked != s.state {
		s.previous = s.state
	}
	s.state = asked
}

// refused keeps a no-show that comes after an arrival from undoing it
// (scheduling: conflict, the arrival is kept).
func refused(s *state, it *Item, asked string) bool {
	if it.Kind == Appointment && asked == "noshow" {
		switch s.state {
		case "arrived", "checked-in", "fulfilled":
			return true
		}
	}
	return false
}
