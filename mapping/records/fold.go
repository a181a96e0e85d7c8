package records

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A Folder folds changes into records. What it remembers between calls are
// states that it has decoded, each good only for the very bytes it came from;
// nothing depends on whether it does. One goroutine uses it at a time.
type Folder struct {
	chunk      int
	limit      int
	young, old map[string]*state
	texts      []byte   // the JSON of the fold under way
	state      []byte   // of a record, to encode in
	free       [][]byte // payloads that were given back
	own        Change   // a copy of the change under way, and its items
	items      []Item
	spare      spare
}

// A spare is memory of the fold before, empty, to use again.
type spare struct {
	written   map[string][]byte
	nodes     map[string]*resource
	states    map[string]*state
	changes   map[string]*pending
	resources []resource
	related   []*resource
	writes    []KV
	context   context
	seen      map[string]bool
	queue     []string
}

const mostSpare = 1024 // of one thing: a message that had more leaves none of it

func emptied[V any](m map[string]V) map[string]V {
	if m == nil || len(m) > mostSpare {
		return map[string]V{}
	}
	clear(m)
	return m
}

func cleared[V any](list []V) []V {
	if cap(list) > mostSpare {
		return nil
	}
	clear(list[:cap(list)])
	return list[:0]
}

const mostFree = 64 // payloads that are kept to write into again

// Reuse gives the payloads and the list of writes of effects back: they are
// written into again.
func (f *Folder) Reuse(e *Effects) {
	for i := range e.Events {
		if p := &e.Events[i].Payload; len(f.free) < mostFree && cap(*p) <= longestState {
			f.free = append(f.free, (*p)[:0])
			*p = nil
		}
	}
	f.spare.writes, e.Writes = cleared(e.Writes), nil
}

// buffer gives room for a payload of about this size.
func (f *Folder) buffer(size int) []byte {
	if n := len(f.free); n > 0 {
		last := f.free[n-1]
		f.free = f.free[:n-1]
		if cap(last) >= size {
			return last
		}
	}
	return make([]byte, 0, max(size, 16<<10))
}

const (
	mostStates   = 1024     // of a generation
	longestState = 64 << 10 // bytes of a state that is remembered
	longestTexts = 1 << 20  // bytes that are kept to write the next fold's JSON into
)

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
	if len(s.stored) > longestState {
		return
	}
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
	nodes   map[string]*resource   // the message's resources by "Type/id"
	related []*resource            // those of them that are no records, and are held
	states  map[string]*state      // as last written or found unchanged
	pending []*pending             // what the message makes of records, in its order
	changes map[string]*pending    // the same by the record's key under the View
	moves   []move                 // whose records go to another patient
	retired bool                   // the message names a patient who was merged
	credits []*Item                // what the message takes back
	claimed map[string]bool        // the charges that lines of the message speak of
	ordered map[string]bool        // whether a number is reported by the service that was ordered
	same    map[string][][2]string // what else accounts and patients are called
	unlike  bool                   // what the item's number leads to is another thing
	heirs   bool                   // and others inherited it
	strange bool                   // or another patient's
	routes  map[string]string      // references of the message that mean a record of another id
	asked   int                    // how many writes there were when a scan asked for them last
	inOrder []string               // their keys, where it asked again
}

func (f *Folder) fold(v View, c *Change) *fold {
	m := &f.spare
	m.written, m.nodes, m.states, m.changes = emptied(m.written), emptied(m.nodes), emptied(m.states), emptied(m.changes)
	m.resources, m.related = cleared(m.resources), cleared(m.related)
	run := &fold{
		Folder: f, view: v, c: c, out: &Effects{Writes: m.writes}, written: m.written, nodes: m.nodes, states: m.states, changes: m.changes,
	}
	m.writes = nil
	if f.texts = f.texts[:0]; cap(f.texts) > longestTexts {
		f.texts = nil
	}
	return run
}

// A resource is one of the message: its JSON and its references are made once.
type resource struct {
	node       *fhir.Node
	json       []byte
	references []string
	walked     bool
	ref        string
	related    bool // no record of its own
	news       bool // an observation that is another than was held
	mark       mark
	reached    *pending // the last record that was found to carry it
	carrier    *pending // the first
	record     *pending // whose resource it is
}

func (f *fold) text(r *resource) []byte {
	if r.json == nil {
		r.json = f.json(r.node)
	}
	return r.json
}

// json writes a value; the text is good until the next fold.
func (f *fold) json(n *fhir.Node) []byte {
	if n.Frozen() {
		return n.JSON()
	}
	at := len(f.texts)
	f.texts = n.AppendJSON(f.texts) // when it moves, what has been written stays where it is
	return f.texts[at:len(f.texts):len(f.texts)]
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

// listed reads a list that is kept under a key; nil where there is none.
func listed[T any](f *fold, key []byte) (out []T, err error) {
	data, err := f.get(key)
	if err != nil || data == nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("read a list of the state: %w", err)
	}
	return out, nil
}

func (f *fold) put(key, value []byte) {
	f.written[string(key)] = value
	f.out.Writes = append(f.out.Writes, KV{Key: key, Value: value})
}

// Fold applies a change to the state behind the view. It is pure: the same
// state and change give the same effects.
func (f *Folder) Fold(v View, c *Change) (*Effects, error) {
	f.own, f.items = *c, append(f.items[:0], c.Items...)
	f.own.Items, f.own.Edges = f.items, slices.Clip(c.Edges)
	run := f.fold(v, &f.own)
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
	if err := f.renumber(); err != nil {
		return err
	}
	if err := f.postings(); err != nil {
		return err
	}
	f.resources()
	none := len(c.Items) == 0 && len(c.Edges) == 0 && len(f.related) > 0
	for i := range c.Items {
		if err := f.items(&c.Items[i]); err != nil {
			return err
		}
	}
	f.rerouted()
	if err := f.hold(); err != nil {
		return err
	}
	if err := f.retell(); err != nil {
		return err
	}
	if none && len(f.pending) == 0 {
		f.out.Flags = append(f.out.Flags, "no-record")
	}
	if err := f.awaited(); err != nil {
		return err
	}
	for i := range c.Edges {
		if err := f.edge(&c.Edges[i]); err != nil {
			return err
		}
	}
	if err := f.consequences(); err != nil {
		return err
	}
	if len(f.moves) > 0 {
		if err := f.move(&continuation{Moves: f.moves}); err != nil {
			return err
		}
	}
	return f.flush()
}

// resources notes what the message brings, records and others.
func (f *fold) resources() {
	c := f.c
	f.spare.resources = slices.Grow(f.spare.resources, len(c.Related)+len(c.Items))
	all := f.spare.resources[:len(c.Related)+len(c.Items)]
	f.related = f.spare.related
	for i, n := range c.Related {
		typ, r := n.ResourceType(), &all[i]
		*r = resource{node: n, ref: typ + "/" + n.ID(), related: Held(typ)}
		if f.nodes[r.ref] = r; r.related {
			f.related = append(f.related, r)
		}
	}
	for i := range c.Items {
		if n := c.Items[i].Resource; n != nil {
			r := &all[len(c.Related)+i]
			*r = resource{node: n, ref: n.ResourceType() + "/" + n.ID()}
			f.nodes[r.ref] = r
		}
	}
	f.spare.related = f.related[:0]
}

// consequences are what the message's records mean for others.
func (f *fold) consequences() error {
	if err := f.retieSurvivors(); err != nil {
		return err
	}
	if err := f.reversals(); err != nil {
		return err
	}
	if err := f.discontinue(); err != nil {
		return err
	}
	if err := f.arrivals(); err != nil {
		return err
	}
	if err := f.unnumbered(); err != nil {
		return err
	}
	if err := f.overlaps(); err != nil {
		return err
	}
	return f.adopts()
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
		f.c.Related = slices.DeleteFunc(slices.Clone(f.c.Related), is)
	}
	return nil
}

// redirect changes references, and says whether it found any.
func redirect(n *fhir.Node, moved map[string]string) bool {
	found := false
	if n.Kind == fhir.String && n.Name == "reference" {
		if to, ok := moved[n.Text]; ok {
			n.Text, found = to, true
		}
	}
	for _, k := range n.Kids {
		found = redirect(k, moved) || found
	}
	return found
}

// Held says which types of resources are kept for reading beyond their message.
func Held(resourceType string) bool {
	return resourceType != "MessageHeader" && resourceType != "Provenance" && resourceType != "Bundle"
}

// look finds a record by its key or by another identifier of its: the name
// that it stands under, and either what the message makes of it or its bytes;
// neither where there is none.
func (f *fold) look(kind Kind, key string) (name []byte, changed *state, data []byte, err error) {
	name = recordKey(kind, key)
	data, err = f.get(name)
	if alias := aliasOf(data); alias != "" && err == nil {
		name = recordKey(kind, alias)
		data, err = f.get(name)
	}
	if p := f.changes[string(name)]; p != nil && err == nil {
		changed = p.s
	}
	return name, changed, data, err
}

// load reads a record that is going to change.
func (f *fold) load(kind Kind, key string) (*state, error) {
	name, changed, data, err := f.look(kind, key)
	if err != nil || changed != nil || data == nil {
		return changed, err
	}
	delete(f.states, string(name))
	return f.decoded(name, data)
}

// find resolves an item to the record it speaks of: by the id under which a
// client puts it, by its key, else by any of its other identifiers.
func (f *fold) find(it *Item) (*state, error) {
	f.unlike, f.heirs, f.strange = false, false, false
	if it.byID {
		data, err := f.get(resourceKey(it.Resource.ResourceType() + "/" + it.Resource.ID()))
		if err != nil {
			return nil, err
		}
		if key, ok := bytes.CutPrefix(data, append([]byte{0}, recordKey(it.Kind, "")...)); ok {
			return f.load(it.Kind, string(key))
		}
	}
	return f.byKeys(it)
}

// items folds one item, of each record that it speaks of.
func (f *fold) items(it *Item) error {
	if err := f.fulfils(it); err != nil {
		return err
	}
	keys, err := f.meant(it)
	if err != nil {
		return err
	}
	if keys == nil {
		return f.item(it)
	}
	for _, key := range keys {
		one := *it
		one.Key, one.Alternate = keyFrom(key), nil
		if err := f.item(&one); err != nil {
			return err
		}
	}
	return nil
}

// item folds one item.
func (f *fold) item(it *Item) error {
	s, err := f.find(it)
	if err != nil {
		return err
	}
	born := s == nil
	if born {
		if err := f.free(it); err != nil {
			return err
		}
		s = &state{kind: it.Kind, key: it.Key}
	} else if it.Kind == Order || it.Kind == MedicationOrder {
		f.reroute(it, s.resource)
	}
	other, err := f.belong(it, s, born)
	if err != nil {
		return err
	}
	if err := f.number(it, s, born); err != nil {
		return err
	}
	v := version{it: it, born: born, late: s.late(f.c.Stamp), before: s.shown(), previous: s.label(), warnings: it.warnings}
	f.unknown(it, s, &v)
	if other && len(f.c.Edges) == 0 { // a number that two patients have, or what was filed under the wrong one
		v.warnings = append(v.warnings, "patient-changed")
	}
	codes := prepare(it)
	if err := f.apart(it, s); err != nil {
		return err
	}
	v.told = asks(it) && !v.late && s.news(f.c.Stamp)
	if it.Action == Delta || it.Action == Removal {
		v.warnings = append(v.warnings, s.delta(it, f.c.Stamp, codes)...)
		v.told = v.told || len(v.warnings) > 0
	} else {
		s.whole(it, f.c.Stamp)
	}
	held := s.resource
	found, at := takeResults(it)
	s.merge(it, f.c.Stamp, s.resource)
	if found != nil {
		if err := f.putResults(s, found, at); err != nil {
			return err
		}
	} else if s.findings != nil && held.Get(results) != s.resource.Get(results) { // a FHIR client's
		s.findings = nil
	}
	s.recall(it, f.c.Stamp, held)
	stated := false
	if s.kind == Encounter {
		v.told = s.visit(it, f.c.Stamp)
	} else if s.kind == Account && it.Event != "" {
		s.transit(it, f.c.Stamp)
		v.told = s.happens(it.Event, f.c.Stamp)
	} else if stated = !f.discontinued(it, s, v.before) && !f.spared(it, v.before); stated {
		if conflict := s.transit(it, f.c.Stamp); conflict != "" {
			v.warnings, v.told = append(v.warnings, conflict), true
		}
	}
	s.tells(it, f.c.Stamp, stated)
	if it.Kind != Patient {
		if err := f.settle(s, held, false); err != nil {
			return err
		}
	}
	s.seen(f.c.Stamp)
	f.pend(s, v)
	return nil
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
