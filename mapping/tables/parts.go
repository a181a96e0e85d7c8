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
	typ, id, ref string
	key          records.Key
	node         *fhir.Node
	value        hl7v2.Value // where it stood, without its message
	marks        []uint8     // what became of the value's leaves in it, not in those that it refers to
	inner        []innerPart // the resources that it refers to, in order
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
	mostScopes = 1024
	longestRaw = 1024 // bytes of a value whose part is kept
	longestTag = 256  // bytes of a coded value that is kept
)

// parts is the store of parts: two generations, the older one given up when the
// younger one is full.
type parts struct {
	mu         sync.RWMutex
	young, old map[partKey]*part
	coded      [2]map[codedKey]*codedValue
	scopes     map[scope]uint32
	systems    []map[string]string // kept, so that no other map takes its address
	next       uint32
}

func (p *parts) get(k partKey) *part {
	p.mu.RLock()
	found, ok := p.young[k]
	if !ok {
		found = p.old[k]
	}
	p.mu.RUnlock()
	if !ok && found != nil {
		p.put(k, found)
	}
	return found
}

func (p *parts) put(k partKey, made *part) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.young) >= mostParts || p.young == nil {
		p.old, p.young = p.young, make(map[partKey]*part, 64)
	}
	k.raw = strings.Clone(k.raw)
	p.young[k] = made
}

func (p *parts) getCoded(k codedKey) *codedValue {
	p.mu.RLock()
	found, ok := p.coded[0][k]
	if !ok {
		found = p.coded[1][k]
	}
	p.mu.RUnlock()
	if !ok && found != nil {
		p.putCoded(k, found)
	}
	return found
}

func (p *parts) putCoded(k codedKey, made *codedValue) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.coded[0]) >= mostParts || p.coded[0] == nil {
		p.coded[0], p.coded[1] = make(map[codedKey]*codedValue, 64), p.coded[0]
	}
	k.raw = strings.Clone(k.raw)
	p.coded[0][k] = made
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
		p.young, p.old, p.coded = nil, nil, [2]map[codedKey]*codedValue{}
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
	spoilt bool // more went into it than the value
}

// apart runs what marks leaves of a value, and gives those marks; they are not
// those of what is recorded around it.
func (r *run) apart(v hl7v2.Value, run func()) (marks []uint8) {
	marked := r.marked[v.Offset() : v.Offset()+len(v.Raw())]
	around := slices.Clone(marked)
	clear(marked)
	run()
	marks = slices.Clone(marked)
	copy(marked, around)
	return marks
}

// part finds or makes the resource of a value, with all that it refers to. What
// is recorded of the one around it is that it refers to it: what this one reads,
// and refers to, is its own.
func (r *run) part(c *crule, f *frame, self *entry, v hl7v2.Value) (to *entry) {
	n := len(r.recordings)
	if n == 0 {
		return r.findPart(c, f, self, v)
	}
	top := r.recordings[n-1]
	top.inner = append(top.inner, innerPart{rule: c, value: v})
	r.recordings = append(r.recordings, &recording{})
	r.apart(v, func() { to = r.findPart(c, f, self, v) })
	r.recordings = r.recordings[:n]
	return to
}

func (r *run) findPart(c *crule, f *frame, self *entry, v hl7v2.Value) *entry {
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
	count := len(r.entries)
	to := r.resource(st.resource, id, key)
	if !pure || key.Zero() || len(r.entries) == count {
		r.once(c, f, to, v)
		return to
	}
	rec := &recording{}
	r.recordings = append(r.recordings, rec)
	warnings, defaulted, warned := len(r.report.Warnings), len(r.report.Defaulted), len(r.warned)
	marks := r.apart(v, func() { r.once(c, f, to, v) })
	r.recordings = r.recordings[:len(r.recordings)-1]
	if warned > 0 || rec.spoilt || r.lacks(to) || r.bad != nil || len(to.deletes) > 0 || len(to.done) != 1 || len(r.report.Warnings) != warnings || len(r.report.Defaulted) != defaulted {
		return to
	}
	made := &part{typ: to.typ, id: id, ref: to.typ + "/" + id, node: to.node.Clone(), value: v.Detached(), inner: rec.inner}
	made.key = records.Key{Type: strings.Clone(key.Type), Assigner: strings.Clone(key.Assigner), ID: strings.Clone(key.ID)}
	for i := range made.inner {
		made.inner[i].value = made.inner[i].value.Detached()
	}
	made.marks = marks
	detach(made.node)
	if _, lacking := r.polish(made.node, nil); len(lacking) > 0 {
		return to
	}
	made.node.Freeze()
	r.mapper.parts.put(k, made)
	return to
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
	if e != nil { // the same text: what became of it, became of this
		at := e.value.Offset()
		r.leave(v, r.leaves[at:at+len(p.marks)])
		return e
	}
	r.leave(v, p.marks)
	e = r.entry(p.typ, p.id, p.key)
	e.ref, e.node, e.frozen, e.rule, e.value = p.ref, p.node, p, c, v
	e.at = frame{
		run: r, segment: f.segment, group: f.group, value: f.value, vocabulary: f.vocabulary, fieldNumber: f.fieldNumber, fieldRep: f.fieldRep,
	}
	saved := r.recordings
	r.recordings = nil // these are parts of p, not of what is in the making
	for i := range p.inner {
		in := &p.inner[i]
		inner := r.frame()
		*inner = frame{run: r, segment: f.segment, group: f.group, value: v, self: e, vocabulary: c.table}
		if inner.vocabulary == nil {
			inner.vocabulary = f.vocabulary
		}
		r.part(in.rule, inner, e, in.value.Moved(p.value, v))
		r.free(inner)
	}
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
}

func (l *loader) pure(s *section, under map[*section]bool) bool {
	if under[s] {
		return true
	}
	under[s] = true
	if s.rest || s.unless != nil || len(s.warnings) > 0 || !l.pureDefaults(l.m.defaults[s.target]) {
		return false
	}
	for _, k := range s.keys {
		if k.impure || (k.cx || k.kind == "ei") && k.ref.segment != "" {
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
		if st.by.segment != "" || st.resource != "" && (i < len(c.steps)-1 || c.sub == nil) {
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
