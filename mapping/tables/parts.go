package tables

import (
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
)

// A part is the resource that a data type's section makes of a value: a
// practitioner of an XCN, a location of a PL. A feed names the same ones in
// every message, so they are made once and shared. A part never changes: who
// adds to it makes it anew for the message first (see run.thaw).
type part struct {
	outcome
	typ, id, ref string
	key          records.Key
}

// An outcome is what a pure section makes of a value.
type outcome struct {
	node  *fhir.Node  // frozen
	value hl7v2.Value // where it stood, without its message
	marks []uint8     // what became of the value's leaves
	inner []innerPart // the resources that it refers to, in order
}

type innerPart struct {
	rule  *crule
	value hl7v2.Value
}

// A partKey is everything that a pure section's outcome depends on.
type partKey struct {
	section    *section
	vocabulary *codeTable
	scope      uint32
	depth      uint8
	within     string // of an element's value: the type of its resource
	rule       *crule // of one with constants beside its value
	raw        string
}

// A scope is what the section's functions read beside the value.
type scope struct {
	source, assigner      string
	location              *time.Location
	systems               uintptr
	delimiters            hl7v2.Delimiters
	charset, version      string
	application, facility string
}

// A codedKey is everything that a coded value's Coding or CodeableConcept
// depends on.
type codedKey struct {
	table  *codeTable
	scope  uint32
	depth  uint8
	coding bool
	raw    string
}

// A codedValue is what a coded value became: feeds send the same codes all day.
type codedValue struct {
	node  *fhir.Node    // frozen
	value hl7v2.Value   // where it stood, without its message
	used  []hl7v2.Value // the leaves that went into it
}

const (
	mostParts  = 8192 // of a generation
	mostValues = 4096
	mostScopes = 1024
	longestRaw = 1024 // bytes of a value whose part is kept
	longestTag = 256  // bytes of a coded value that is kept
)

// parts is the store of parts, of elements' values, and of coded values.
type parts struct {
	resources generations[partKey, part]
	values    generations[partKey, outcome]
	coded     generations[codedKey, codedValue]
	mu        sync.RWMutex
	scopes    map[scope]uint32
	systems   []map[string]string // kept, so that no other map takes its address
	next      uint32
}

// generations are two, the older one given up when the younger one is full.
type generations[K comparable, V any] struct {
	mu         sync.RWMutex
	young, old map[K]*V
}

// get finds what was kept. What the older generation has is to be put again.
func (g *generations[K, V]) get(k K) (found *V, old bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if found = g.young[k]; found != nil {
		return found, false
	}
	return g.old[k], true
}

func (g *generations[K, V]) put(k K, made *V, most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.young) >= most || g.young == nil {
		g.old, g.young = g.young, make(map[K]*V, 64)
	}
	g.young[k] = made
}

func (g *generations[K, V]) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.young, g.old = nil, nil
}

// apart is the key without its message.
func (k partKey) apart() partKey {
	k.raw = strings.Clone(k.raw)
	return k
}

func (p *parts) get(k partKey) *part {
	found, old := p.resources.get(k)
	if found != nil && old {
		p.put(k, found)
	}
	return found
}

func (p *parts) put(k partKey, made *part) { p.resources.put(k.apart(), made, mostParts) }

func (p *parts) getValue(k partKey) *outcome {
	found, old := p.values.get(k)
	if found != nil && old {
		p.putValue(k, found)
	}
	return found
}

func (p *parts) putValue(k partKey, made *outcome) { p.values.put(k.apart(), made, mostValues) }

func (p *parts) getCoded(k codedKey) *codedValue {
	found, old := p.coded.get(k)
	if found != nil && old {
		p.putCoded(k, found)
	}
	return found
}

func (p *parts) putCoded(k codedKey, made *codedValue) {
	k.raw = strings.Clone(k.raw)
	p.coded.put(k, made, mostParts)
}

// scope numbers a scope.
func (p *parts) scope(s scope, systems map[string]string) uint32 {
	p.mu.RLock()
	n, ok := p.scopes[s]
	p.mu.RUnlock()
	if ok {
		return n
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.scopes) >= mostScopes || p.scopes == nil {
		p.scopes, p.systems = map[scope]uint32{}, nil
		p.resources.forget()
		p.values.forget()
		p.coded.forget()
	}
	p.next++
	p.scopes[s] = p.next
	p.systems = append(p.systems, systems)
	return p.next
}

func (r *run) scopeNumber() uint32 {
	return r.mapper.parts.scope(scope{
		source: r.ctx.Source, assigner: r.ctx.DefaultAssigner, location: r.ctx.Location, systems: reflect.ValueOf(r.ctx.Systems).Pointer(),
		delimiters: r.msg.Delimiters(), charset: r.msg.Charset(), version: r.header.Version,
		application: r.header.SendingApplication, facility: r.header.SendingFacility,
	}, r.ctx.Systems)
}

// coded makes the Coding or CodeableConcept of a value, or takes the one that
// the same value became before.
func (r *run) coded(coding bool, v hl7v2.Value, table *codeTable) *fhir.Node {
	k := codedKey{table: table, scope: r.scope, depth: uint8(v.Depth()), coding: coding}
	keep := len(v.Raw()) <= longestTag && r.trace == nil
	if keep {
		k.raw = r.string(v)
		if known := r.mapper.parts.getCoded(k); known != nil {
			for _, u := range known.used {
				r.used = append(r.used, u.Moved(known.value, v))
			}
			return r.arena.Shared(known.node)
		}
	}
	used, warnings, defaulted := len(r.used), len(r.report.Warnings), len(r.report.Defaulted)
	var made *fhir.Node
	if coding {
		made = r.codingOf(v, table)
	} else {
		made = r.concept(v, table)
	}
	if !keep || made == nil || r.bad != nil || used != 0 || len(r.report.Warnings) != warnings || len(r.report.Defaulted) != defaulted {
		return made
	}
	known := &codedValue{node: made.Clone(), value: v.Detached()}
	detach(known.node)
	known.node.Prune()
	known.node.Freeze()
	for _, u := range r.used {
		known.used = append(known.used, u.Detached())
	}
	r.mapper.parts.putCoded(k, known)
	return made
}

// detach gives a value's texts memory of their own, apart from their message.
func detach(n *fhir.Node) {
	if n.Frozen() { // it is apart already
		return
	}
	n.Text = strings.Clone(n.Text)
	for _, k := range n.Kids {
		detach(k)
	}
}

// A recording is a part in the making.
type recording struct {
	inner  []innerPart
	marks  []uint8
	spoilt bool // more went into it than the value
	bound  bool // a resource in it is named by the one that it stands in
}

// record runs what makes something of a value, and gives what it is to be known
// by; false: it reported something, or would have but for an earlier report of
// the same.
func (r *run) record(v hl7v2.Value, run func()) (rec *recording, silent bool) {
	leaves := r.leaves[v.Offset() : v.Offset()+len(v.Raw())]
	earlier := len(r.before) // others may have read the same value
	r.before = append(r.before, leaves...)
	clear(leaves)
	warnings, defaulted, warned := len(r.report.Warnings), len(r.report.Defaulted), len(r.warned)
	rec = &recording{}
	r.recordings = append(r.recordings, rec)
	run()
	r.recordings = r.recordings[:len(r.recordings)-1]
	rec.marks = slices.Clone(leaves)
	for i, leaf := range r.before[earlier:] {
		if leaf != leafUnread {
			leaves[i] = leaf
		}
	}
	r.before = r.before[:earlier]
	return rec, r.bad == nil && len(r.report.Warnings) == warnings && len(r.report.Defaulted) == defaulted && warned == 0
}

// part finds or makes the resource of a value, with all that it refers to.
func (r *run) part(c *crule, f *frame, self *entry, v hl7v2.Value) *entry {
	if n := len(r.recordings); n > 0 {
		top := r.recordings[n-1]
		top.inner = append(top.inner, innerPart{rule: c, value: v})
	}
	st := &c.steps[len(c.steps)-1]
	raw := v.Raw()
	pure := c.sub.pure && len(raw) <= longestRaw && len(raw) > 0 && r.trace == nil
	k := partKey{section: c.sub, vocabulary: c.table, scope: r.scope}
	if !v.IsLeaf() { // what has no separators reads alike at every depth
		k.depth = uint8(v.Depth())
	}
	if k.vocabulary == nil {
		k.vocabulary = f.vocabulary
	}
	if pure {
		k.raw = r.string(v)
		if p := r.mapper.parts.get(k); p != nil {
			if e := r.reuse(p, c, f, v); e != nil {
				return e
			}
		}
	}
	inner := r.frame()
	*inner = frame{run: r, segment: f.segment, group: f.group, value: v, self: self}
	depth := inner.split()
	key := c.sub.key(inner)
	r.parts = r.parts[:depth]
	r.free(inner)
	id := ""
	if key.Zero() {
		id = fhir.ID(st.resource, self.typ, self.id, st.name, st.labelName, string(raw))
	} else {
		id = fhir.ID(st.resource, key.Assigner, key.ID)
	}
	if key.Zero() {
		for _, rec := range r.recordings {
			rec.bound = true
		}
	}
	count := len(r.entries)
	to := r.resource(st.resource, id, key)
	if !pure || key.Zero() || len(r.entries) == count {
		r.once(c, f, to, v)
		return to
	}
	rec, silent := r.record(v, func() { r.once(c, f, to, v) })
	if !silent || rec.spoilt || r.lacks(to) || len(to.deletes) > 0 || len(to.done) != 1 {
		return to
	}
	made := &part{typ: to.typ, id: id, ref: to.typ + "/" + id, outcome: outcomeOf(rec, to.node, v)}
	made.key = records.Key{Type: strings.Clone(key.Type), Assigner: strings.Clone(key.Assigner), ID: strings.Clone(key.ID)}
	if _, lacking := r.polish(made.node, nil); len(lacking) > 0 {
		return to
	}
	made.node.Freeze()
	r.mapper.parts.put(k, made)
	return to
}

// outcome keeps what a section made of a value, apart from the message, and not
// frozen yet.
func outcomeOf(rec *recording, node *fhir.Node, v hl7v2.Value) outcome {
	o := outcome{node: node.Clone(), value: v.Detached(), inner: slices.Clone(rec.inner), marks: rec.marks}
	for i := range o.inner {
		o.inner[i].value = o.inner[i].value.Detached()
	}
	detach(o.node)
	return o
}

// element runs the rule's data type section on an element, or takes the value
// that the same text became before: names, addresses and numbers come again in
// every message of their patient.
func (c *crule) element(f *frame, self *entry, node *fhir.Node, st *cstep, v hl7v2.Value, rep int) *fhir.Node {
	r := f.run
	if !c.alone || len(v.Raw()) > longestTag || r.trace != nil || !r.vacant(f, node, st, rep) {
		at := r.slot(f, node, st, rep)
		c.fill(f, self, at, v)
		return at
	}
	k := partKey{section: c.sub, vocabulary: c.table, scope: r.scope, within: self.typ, raw: r.string(v)}
	if !v.IsLeaf() {
		k.depth = uint8(v.Depth())
	}
	if k.vocabulary == nil {
		k.vocabulary = f.vocabulary
	}
	if len(c.with) > 0 {
		k.rule = c
	}
	known := r.mapper.parts.getValue(k)
	if known != nil {
		at := r.arena.Shared(known.node)
		r.fill(f, node, st, rep, at)
		r.leave(v, known.marks)
		r.again(known, c, f, self, v)
		return at
	}
	at, labels := r.arena.Node(fhir.Object, ""), len(r.labels)
	rec, silent := r.record(v, func() { c.fill(f, self, at, v) })
	if n := len(r.recordings); n > 0 {
		r.recordings[n-1].inner = append(r.recordings[n-1].inner, rec.inner...)
	}
	if silent && !rec.spoilt && !rec.bound && len(at.Kids) > 0 &&
		(len(r.labels) == labels || st.list && st.label == 0) { // no other rule goes on with what is labelled in it
		made := outcomeOf(rec, at, v)
		if lacking := r.mapper.schema.CompleteValue(c.sub.target, made.node); len(lacking) == 0 && len(made.node.Kids) > 0 {
			made.node.Freeze()
			r.mapper.parts.putValue(k, &made)
			at = r.arena.Shared(made.node) // the same again in this message is equal to it
		}
	}
	r.fill(f, node, st, rep, at)
	return at
}

// fill runs the rule's section on an element, and adds the constants that stand
// beside it.
func (c *crule) fill(f *frame, self *entry, at *fhir.Node, v hl7v2.Value) {
	c.into(f, self, at, v)
	if c.alone && full(at) {
		for i := range c.with {
			c.with[i].constant(f, at, self)
		}
	}
}

// again makes or finds the resources that a value refers to.
func (r *run) again(o *outcome, c *crule, f *frame, self *entry, v hl7v2.Value) {
	for i := range o.inner {
		in := &o.inner[i]
		inner := r.frame()
		*inner = frame{run: r, segment: f.segment, group: f.group, value: v, self: self, vocabulary: c.table}
		if inner.vocabulary == nil {
			inner.vocabulary = f.vocabulary
		}
		r.part(in.rule, inner, self, in.value.Moved(o.value, v))
		r.free(inner)
	}
}

// lacks says whether defaults.yaml has something to give to a resource, if it
// stays as it is.
func (r *run) lacks(e *entry) bool {
	s := r.mapper.defaults[e.typ]
	if s == nil {
		return false
	}
	f := r.frame()
	defer r.free(f)
	*f = frame{run: r, segment: r.msg.Segment(0), self: e, base: e.node}
	return slices.ContainsFunc(s.rules, func(c crule) bool { return !c.present(f) && (c.cond == nil || c.cond(f)) })
}

// reuse puts a part into the message, unless the message has the resource in
// another form already.
func (r *run) reuse(p *part, c *crule, f *frame, v hl7v2.Value) *entry {
	e := r.byID[resourceKey{p.typ, p.id}]
	if e != nil && e.frozen != p {
		return nil
	}
	r.leave(v, p.marks)
	if e != nil {
		return e
	}
	e = r.entry(p.typ, p.id, p.key)
	e.ref, e.node, e.frozen, e.rule, e.value = p.ref, p.node, p, c, v
	e.at = frame{
		run: r, segment: f.segment, group: f.group, value: f.value, vocabulary: f.vocabulary, fieldNumber: f.fieldNumber, fieldRep: f.fieldRep,
	}
	saved := r.recordings
	r.recordings = nil // these are parts of p, not of what is in the making
	r.again(&p.outcome, c, f, e, v)
	r.recordings = saved
	return e
}

// thaw makes an entry that is a shared part anew, so that it can change.
func (r *run) thaw(e *entry) *entry {
	if e.frozen == nil {
		return e
	}
	e.frozen = nil
	r.begin(e)
	saved := r.recordings
	r.recordings = nil
	r.once(e.rule, &e.at, e, e.value)
	r.recordings = saved
	return e
}

// spoil says that a resource got more than its part.
func (r *run) spoil() {
	for _, rec := range r.recordings {
		rec.spoilt = true
	}
}

// purify finds the sections whose outcome depends on nothing but their value
// and the scope.
func (l *loader) purify() {
	for _, s := range l.m.sections {
		s.pure = l.pure(s, map[*section]bool{})
	}
	for _, s := range l.m.sections {
		for i := range s.rules {
			s.rules[i].alone = s.rules[i].isAlone()
		}
	}
}

// isAlone says whether nothing but a pure section goes into the element, and
// constants.
func (c *crule) isAlone() bool {
	last := len(c.steps) - 1
	if c.sub == nil || !c.sub.pure || c.isDefault || last < 0 || c.steps[last].resource != "" || c.steps[last].url != "" {
		return false
	}
	return len(c.with) == 0 || (c.withAt == last || c.withAt < 0) && !slices.ContainsFunc(c.with, func(w crule) bool {
		return w.isRef || w.named != "" || !pureExpr(&w.source) || slices.ContainsFunc(w.steps, func(st cstep) bool { return st.label != 0 || st.resource != "" })
	})
}

func (l *loader) pure(s *section, under map[*section]bool) bool {
	if under[s] {
		return true
	}
	under[s] = true
	if s.rest || len(s.warnings) > 0 || !l.pureDefaults(l.m.defaults[s.target]) {
		return false
	}
	for _, k := range s.keys {
		if (k.cx || k.kind == "ei") && k.ref.segment != "" {
			return false
		}
		for _, e := range k.parts {
			if !pureExpr(&e) {
				return false
			}
		}
	}
	for _, v := range s.structural {
		if v.ref.segment != "" {
			return false
		}
	}
	for i := range s.rules {
		if !l.pureRule(&s.rules[i], under) {
			return false
		}
	}
	return true
}

// pureDefaults says whether it depends on the resource alone what defaults.yaml
// gives it.
func (l *loader) pureDefaults(s *section) bool {
	return s == nil || !slices.ContainsFunc(s.rules, func(c crule) bool { return c.isRef || c.condImpure || !pureExpr(&c.source) })
}

func (l *loader) pureRule(c *crule, under map[*section]bool) bool {
	if c.named != "" || c.condImpure || c.isDefault || !pureExpr(&c.source) {
		return false
	}
	for i, st := range c.steps {
		if st.resource != "" && (i < len(c.steps)-1 || c.sub == nil) {
			return false
		}
	}
	for i := range c.with {
		if !l.pureRule(&c.with[i], under) {
			return false
		}
	}
	return c.sub == nil || l.pure(c.sub, under)
}

func pureExpr(e *expr) bool {
	for i := range e.terms {
		t := &e.terms[i]
		switch t.kind {
		case termRef:
			if t.ref.segment != "" {
				return false
			}
		case termNamed:
			return false
		case termCall:
			if t.text == "received" || t.text == "position" || t.text == "nth" || t.text == "again" || t.text == "variant" || t.text == "gathered" {
				return false
			}
			for k := range t.args {
				if !pureExpr(&t.args[k]) {
					return false
				}
			}
		case termText, termCoding:
		}
	}
	return true
}
