package tables

import (
	"slices"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
)

// apply runs a section's rules onto the frame's node.
func (s *section) apply(f *frame) {
	there := needs{^uint64(0), 0}
	if s.own != "" && f.segment.Is(s.own) {
		there[0] = f.segment.Filled() | 1
	}
	for i := range min(len(f.parts), 63) {
		if len(f.parts[i].Raw()) > 0 {
			there[1] |= 2 << i
		}
	}
	for i := range s.needs { // most rules ask for what is not there
		if !s.needs[i].missing(&there) {
			s.rules[i].apply(f)
		}
	}
	for i := range s.warnings {
		if w := &s.warnings[i]; !w.needs.missing(&there) && w.cond(f) {
			s.warn(f, w)
		}
	}
	for i := range s.structural {
		if v := &s.structural[i]; !v.needs.missing(&there) {
			if got := f.resolve(v.ref); got.Valued() {
				f.run.mark(got, leafStructural)
			}
		}
	}
}

// apply runs one rule: once, or for each repetition of a repeating field.
func (c *crule) apply(f *frame) {
	if c.isDefault && c.present(f) {
		return
	}
	if !c.isRef {
		if c.cond == nil || c.cond(f) {
			c.place(f, hl7v2.Value{}, 0)
		}
		if c.nullable {
			if v := f.resolve(c.ref); v.State() == hl7v2.Null {
				c.clear(f, v)
			}
		}
		return
	}
	v := f.resolve(c.ref)
	state := v.State()
	if state == hl7v2.Absent || state == hl7v2.Empty || !c.perRepetition && c.cond != nil && !c.cond(f) {
		return
	}
	if state == hl7v2.Null {
		c.clear(f, v)
		return
	}
	if c.ref.component > 0 || c.ref.segment == "" {
		c.place(f, v, f.rep)
		return
	}
	n := 1
	if c.list {
		n = v.Repetitions()
	}
	outerField, outerRep, outer := f.fieldNumber, f.fieldRep, f.rep
	for i := 1; i <= n; i++ {
		rep := v.Repetition(i)
		if !rep.Valued() {
			continue
		}
		f.fieldNumber, f.fieldRep, f.rep = c.ref.field, i, i
		if !c.perRepetition || c.cond(f) {
			c.place(f, rep, i)
		}
	}
	f.fieldNumber, f.fieldRep, f.rep = outerField, outerRep, outer
}

// present says whether the element of a default rule has anything in it.
func (c *crule) present(f *frame) bool {
	node := f.base
	for i := range c.steps {
		st := &c.steps[i]
		if i > 0 && st.url != "" { // an extension that says why the element is absent
			return true
		}
		if full(node.Get(strings.TrimPrefix(st.name, "_"))) || st.otherChoice(node) {
			if i == len(c.steps)-1 || strings.HasPrefix(st.name, "_") {
				return true
			}
		} else if next := node.Get(st.name); !full(next) {
			return false
		}
		if st.list {
			if st.label == 0 || f.run.labelled(st.entry(f, node, 0)) == nil { // other entries are there
				return true
			}
		}
		node = st.descend(f, node, 0)
	}
	return true
}

// full says whether there is a leaf in a node.
func full(n *fhir.Node) bool {
	if n == nil {
		return false
	}
	if n.Kind != fhir.Object && n.Kind != fhir.Array {
		return true
	}
	return slices.ContainsFunc(n.Kids, full)
}

// place walks to the target and sets it from v, or from the rule's expression.
func (c *crule) place(f *frame, v hl7v2.Value, rep int) {
	node, self := f.base, f.self
	var withBase, parent *fhir.Node
	last := len(c.steps) - 1
	f.run.didSet = false
	for i := range c.steps {
		st := &c.steps[i]
		node.Own()
		if st.otherChoice(node) {
			return
		}
		if i == last && st.resource == "" {
			if c.bound != "" && !f.run.inRange(parent, c.bound, v) {
				return
			}
			entry := c.set(f, self, node, st, v, rep)
			if i == c.withAt || withBase == nil {
				withBase = entry
			}
			break
		}
		next := st.descend(f, node, rep)
		if i == c.withAt {
			withBase = next
		}
		if st.resource == "" {
			parent, node = node, next
			continue
		}
		to := c.nested(f, self, next, st, i == last, v, rep)
		if to == nil {
			return
		}
		node, self = to.node, to
		if i == last && withBase == nil {
			withBase = next
		}
	}
	if last < 0 && c.sub != nil { // `this`: the section runs on the node itself
		c.into(f, self, node, v)
		withBase = node
	}
	if c.isDefault && f.run.didSet {
		f.run.defaulted("default", hl7v2.Place{Segment: self.typ}, c.where.text)
	}
	if len(c.with) > 0 && (c.sub != nil || f.run.didSet) && full(withBase) {
		for i := range c.with {
			c.with[i].constant(f, withBase, self)
		}
	}
}

// descend gives the object at a step, making it when needed.
func (st *cstep) descend(f *frame, node *fhir.Node, rep int) *fhir.Node {
	r := f.run
	node.Own()
	if !st.list {
		if got := node.Get(st.name); got != nil {
			return got
		}
		next := r.arena.Node(fhir.Object, "")
		next.Order = st.order
		node.Add(st.name, next)
		return next
	}
	key := st.entry(f, node, rep)
	if got := r.labelled(key); got != nil {
		return got
	}
	next := r.arena.Node(fhir.Object, "")
	if st.url != "" {
		next.Add("url", r.arena.Node(fhir.String, st.url))
	}
	r.appendTo(node, st, next)
	r.labels[key] = next
	return next
}

// entry names the list entry of a step's label.
func (st *cstep) entry(f *frame, node *fhir.Node, rep int) labelKey {
	key := labelKey{parent: node, label: st.label, segment: int32(f.segment.Index()) + 1, rep: int32(max(rep, 1))}
	if !st.repeats {
		key.rep = 1
	}
	if st.shared {
		key.segment, key.rep = 0, 0
	}
	if st.by.segment != "" {
		key.rep = f.run.numbered(f.run.text(f.resolve(st.by)))
	}
	return key
}

func (r *run) appendTo(node *fhir.Node, st *cstep, item *fhir.Node) {
	item.From = st.from
	r.push(node, st.name, st.order, item)
}

// push adds an entry to a list.
func (r *run) push(node *fhir.Node, name string, order uint16, item *fhir.Node) {
	list := node.Get(name)
	if list == nil {
		list = r.arena.Node(fhir.Array, "")
		list.Order = order
		node.Add(name, list)
	}
	r.didSet = true
	item.Name, item.Order = "", 0
	list.Kids = append(list.Kids, item)
}

// nested makes or finds the resource that a Reference step points to.
func (c *crule) nested(f *frame, self *entry, at *fhir.Node, st *cstep, last bool, v hl7v2.Value, rep int) *entry {
	r := f.run
	if last && c.named != "" {
		to := f.group.lookup(c.named)
		if to == nil {
			return nil
		}
		r.refer(at, to)
		return to
	}
	if to := r.referred(at); to != nil && to.typ != st.resource {
		return nil // another rule made it a reference to another type: the value stays unread
	}
	if !last || c.sub == nil {
		if to := r.referred(at); to != nil {
			r.spoil()
			return r.thaw(to)
		}
		id := fhir.ID(st.resource, self.typ, self.id, st.name, f.ordinal(), st.labelName, strconv.Itoa(max(rep, 1)))
		to := r.resource(st.resource, id, records.Key{})
		r.refer(at, to)
		return to
	}
	if to := r.referred(at); to != nil {
		r.spoil()
		r.once(c, f, r.thaw(to), v)
		return to
	}
	to := r.part(c, f, self, v)
	if to.says() {
		r.refer(at, to)
	}
	return to
}

// once runs a nested section onto a resource. The same text into the same
// resource adds nothing (an authority stands in every identifier): then only
// what the first run read is read here too.
func (r *run) once(c *crule, f *frame, to *entry, v hl7v2.Value) {
	raw := v.Raw()
	for _, d := range to.done {
		if d.sub == c.sub && string(d.raw) == string(raw) {
			r.leave(v, r.leaves[d.at:d.at+len(raw)])
			return
		}
	}
	to.done = append(to.done, done{sub: c.sub, raw: raw, at: v.Offset()})
	c.into(f, to, to.node, v)
}

// done is one nested section that has run.
type done struct {
	sub *section
	raw []byte
	at  int
}

// into runs the rule's data type section on a node.
func (c *crule) into(f *frame, self *entry, node *fhir.Node, v hl7v2.Value) {
	inner := f.run.frame()
	*inner = frame{
		run: f.run, segment: f.segment, group: f.group, value: v, self: self, base: node,
		fieldNumber: f.fieldNumber, fieldRep: f.fieldRep, vocabulary: c.table,
	}
	if inner.vocabulary == nil {
		inner.vocabulary = f.vocabulary
	}
	depth := inner.split()
	c.sub.apply(inner)
	f.run.parts = f.run.parts[:depth]
	f.run.free(inner)
}

func (r *run) frame() *frame {
	if n := len(r.frames); n > 0 {
		f := r.frames[n-1]
		r.frames = r.frames[:n-1]
		return f
	}
	return &frame{}
}

func (r *run) free(f *frame) { r.frames = append(r.frames, f) }

// split finds the components of the frame's value; it gives the depth of the
// stack to go back to.
func (f *frame) split() int {
	r := f.run
	depth := len(r.parts)
	r.parts = f.value.AppendComponents(r.parts)
	f.parts = r.parts[depth:len(r.parts):len(r.parts)]
	return depth
}

// set puts the value at the last step and gives the node that `with` works on.
func (c *crule) set(f *frame, self *entry, node *fhir.Node, st *cstep, v hl7v2.Value, rep int) *fhir.Node {
	r := f.run
	r.used = r.used[:0]
	if st.primitive {
		made := c.primitive(f, st, v)
		if made == nil {
			return nil
		}
		return r.setPrimitive(node, st, made)
	}
	if c.named != "" {
		to := f.group.lookup(c.named)
		if to == nil {
			return nil
		}
		at := r.slot(f, node, st, rep)
		r.refer(at, to)
		return at
	}
	if c.sub != nil {
		at := r.slot(f, node, st, rep)
		c.into(f, self, at, v)
		return at
	}
	made := c.complex(f, st, v)
	if made == nil {
		return nil
	}
	if st.list && st.label == 0 {
		for _, have := range node.Get(st.name).Items() {
			if fhir.Equal(have, made) {
				r.markUsed()
				return have
			}
		}
		r.appendTo(node, st, made)
		r.markUsed()
		return made
	}
	if made.Frozen() && r.fill(f, node, st, rep, made) {
		r.markUsed()
		return made
	}
	at := r.slot(f, node, st, rep)
	if len(at.Kids) > 0 && (len(at.Kids) > 1 || st.url == "") {
		if fhir.Equal(at, made) {
			r.markUsed()
		}
		return at
	}
	r.didSet = true
	made.Own()
	for _, k := range made.Kids {
		at.Set(k.Name, k)
	}
	r.markUsed()
	return at
}

// fill puts a made value itself where nothing is yet.
func (r *run) fill(f *frame, node *fhir.Node, st *cstep, rep int, made *fhir.Node) bool {
	switch {
	case st.url != "":
		return false
	case !st.list:
		if node.Get(st.name) != nil {
			return false
		}
		made.Order = st.order
		node.Add(st.name, made)
		r.didSet = true
		return true
	}
	key := st.entry(f, node, rep)
	if r.labelled(key) != nil {
		return false
	}
	r.appendTo(node, st, made)
	r.labels[key] = made
	return true
}

// slot is the node for a complex value: a new list entry when the step has no
// label, else the one that the label names.
func (r *run) slot(f *frame, node *fhir.Node, st *cstep, rep int) *fhir.Node {
	if st.list && st.label == 0 {
		next := r.arena.Node(fhir.Object, "")
		r.appendTo(node, st, next)
		return next
	}
	return st.descend(f, node, rep)
}

func (r *run) setPrimitive(node *fhir.Node, st *cstep, made *fhir.Node) *fhir.Node {
	r.trace.make(made.Text)
	if st.list {
		if st.excludes != "" && node.Get(st.excludes) != nil {
			return node
		}
		for _, have := range node.Get(st.name).Items() {
			if have.Text == made.Text {
				r.markUsed()
				return node
			}
		}
		r.appendTo(node, st, made)
		r.markUsed()
		return node
	}
	have := node.Get(st.name)
	if have == nil && !r.inOrder(node, st, made) {
		return node
	}
	if have == nil {
		made.Order = st.order
		node.Add(st.name, made)
		r.didSet = true
		r.markUsed()
	} else if have.Text == made.Text {
		r.markUsed()
	}
	return node
}

// markUsed marks the values that the last conversion was made of.
func (r *run) markUsed() {
	for _, u := range r.used {
		r.mark(u, leafFound)
	}
	r.used = r.used[:0]
}
