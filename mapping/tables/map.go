// Package tables maps HL7 v2 messages to FHIR R4 by tables: YAML files that
// someone who knows HL7 reads without a manual (the language is explained in
// the README of the folder above), compiled when loaded and checked against the
// FHIR types, run as closures.
package tables

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
)

// A Context is what a message's source is configured with and what its journal
// entry says: all that reaches a record besides the message itself.
type Context struct {
	Source          string
	Location        *time.Location    // of times without an offset; nil: that of MSH-7, else none
	DefaultAssigner string            // of identifiers without an authority; "" takes MSH-4, else MSH-3
	Systems         map[string]string // namespace → URI
	Received        time.Time
	Journal         uint64
	SHA256          string
	Tolerance       time.Duration // how far MSH-7 may lie beyond Received; 0: 5 minutes
}

func (c *Context) defaultAssigner(h hl7v2.Header) string {
	for _, s := range []string{c.DefaultAssigner, h.SendingFacility, h.SendingApplication} {
		if s != "" {
			return s
		}
	}
	return c.Source
}

// Unmappable says why a message cannot become resources: it goes to quarantine.
type Unmappable struct {
	Place  hl7v2.Place
	Code   string // of the closed list of quarantine reasons
	Reason string
	Stack  []byte // where the program failed, when Code is panic
}

func (e *Unmappable) Error() string { return fmt.Sprintf("%s: %s", e.Place, e.Reason) }

// A Note is one warning or defaulted value: where and why, without the value.
type Note struct{ Code, Place, Text string }

// A Report accounts for every valued leaf of the message:
// Leaves = Found + Structural + Extension + len(Unmapped) - (those of Unmapped
// that stand in an extension).
type Report struct {
	Leaves, Found, Structural, Extension int
	Unmapped                             []Leaf
	Warnings, Defaulted                  []Note
}

// A Leaf is a value that no rule put where the guide or a table wants it.
type Leaf struct {
	Place  string
	Kept   bool // it stands in the v2-field extension of its resource
	Reason string
}

// An Entry is one resource of the result.
type Entry struct {
	Type, ID string
	Key      records.Key
	Resource *fhir.Node
}

// A Result is what a message says in FHIR. Its nodes live in an arena: Release
// gives it back.
type Result struct {
	Message, Structure string
	Entries            []Entry
	Change             *records.Change
	Report             Report
	ControlID, System  string // MSH-10 and who gave it: the Bundle's identifier
	Timestamp          string // MSH-7 as an instant, or ""
	run                *run
}

// AppendBundle appends the resources as a transaction Bundle.
func (r *Result) AppendBundle(dst []byte) []byte {
	dst = append(dst, `{"resourceType":"Bundle",`...)
	if r.ControlID != "" {
		dst = append(dst, `"identifier":{"system":`...)
		dst = fhir.AppendQuoted(dst, r.System)
		dst = append(dst, `,"value":`...)
		dst = fhir.AppendQuoted(dst, r.ControlID)
		dst = append(dst, `},`...)
	}
	dst = append(dst, `"type":"transaction",`...)
	if r.Timestamp != "" {
		dst = append(dst, `"timestamp":"`...)
		dst = append(dst, r.Timestamp...)
		dst = append(dst, `",`...)
	}
	list := make([]*fhir.Node, len(r.Entries))
	for i := range r.Entries {
		list[i] = r.Entries[i].Resource
	}
	return fhir.AppendEntries(dst, list)
}

// Release gives the result's memory back; none of its nodes may be in use.
func (m *Mapper) Release(r *Result) {
	if r != nil && r.run != nil {
		r.run.release()
		r.run = nil
	}
}

// Triggers lists the message types that the tables map, as "ADT^A01".
func (m *Mapper) Triggers() []string {
	out := make([]string, 0, len(m.messages))
	for name := range m.messages {
		out = append(out, name)
	}
	return out
}

// mostSegments is how many segments a message may have: one that is longer
// would hold up those behind it for seconds, and the memory of all.
const mostSegments = 50_000

// Map maps one message. The same message in the same context gives the same
// result. A message of an unknown type, or one whose mapping fails, is an
// *Unmappable.
func (m *Mapper) Map(msg *hl7v2.Message, ctx Context) (result *Result, err error) {
	return m.mapTraced(msg, ctx, nil)
}

// mapTraced maps a message, and notes in the trace, if there is one, what is
// read and made.
func (m *Mapper) mapTraced(msg *hl7v2.Message, ctx Context, t *trace) (result *Result, err error) {
	header := msg.Header()
	st, ok := m.messages[header.Type()]
	if !ok {
		if st, ok = m.structures[header.Structure]; !ok {
			return nil, &Unmappable{
				Place: hl7v2.Place{Segment: "MSH", Occurrence: 1, Field: 9}, Code: "unsupported-message", Reason: "no table maps this message type",
			}
		}
	}
	at := hl7v2.Place{Segment: "MSH", Occurrence: 1}
	if msg.Len() > mostSegments {
		return nil, &Unmappable{Place: at, Code: "too-many-segments", Reason: fmt.Sprintf("the message has more than %d segments", mostSegments)}
	}
	defer func() {
		if failure := recover(); failure != nil {
			result, err = nil, &Unmappable{Place: at, Code: "panic", Reason: "the mapping of this segment failed", Stack: debug.Stack()}
		}
	}()
	ctx.Tolerance = cmp.Or(ctx.Tolerance, 5*time.Minute)
	if ctx.Location == nil {
		ctx.Location = m.zone(header.DateTime)
	}
	r := m.begin(msg, header, &ctx)
	r.trace = t
	r.groups = r.arrange(st.root, msg, r.groups)
	r.groups[0].outermost().only = st.only
	r.anchors = st.anchors(msg, r.anchors)
	groups, main := r.groups, r.main
	for i := range msg.Len() {
		s := msg.Segment(i)
		at = hl7v2.Place{Segment: s.Name(), Occurrence: s.Occurrence()}
		for _, rule := range st.makes[at.Segment] {
			if groups[i].within(rule.groups) && r.follows(rule, i) {
				r.make(rule, s, groups[i], main)
			}
		}
	}
	if len(r.entries) == 0 {
		r.release()
		return nil, &Unmappable{Place: at, Code: "nothing-mapped", Reason: "no segment of this message became a resource"}
	}
	for i := range r.later {
		r.later[i].line.assign(&r.later[i].frame, r.later[i].made)
	}
	r.dropEmpty()
	r.defaults(groups[0])
	r.finish(main)
	bad := r.bad
	if bad == nil {
		bad = r.unordered()
	}
	if bad != nil {
		r.release()
		return nil, bad
	}
	result = &Result{Message: header.Type(), Structure: st.name, run: r, ControlID: header.ControlID}
	result.System = "urn:x-liaison:ns:" + escapeURN(header.SendingFacility+"-"+header.SendingApplication)
	if t, err := hl7v2.ParseTime(header.DateTime, ctx.Location); err == nil {
		result.Timestamp = t.Instant()
	}
	for _, e := range r.entries {
		r.results = append(r.results, Entry{Type: e.typ, ID: e.id, Key: e.key, Resource: e.node})
	}
	result.Entries = r.results
	result.Change = r.change(st, groups)
	result.Report = *r.report
	return result, nil
}

// zone is the zone that MSH-7 names: the sender's default for the times of the
// whole message (HL7 v2.5.1 §2.14.9.7). Each offset is one Location, by which the
// parts that are kept know it.
func (m *Mapper) zone(sent string) *time.Location {
	t, err := hl7v2.ParseTime(sent, nil)
	if err != nil || t.Zone != hl7v2.ZoneExplicit {
		return nil
	}
	_, offset := t.Time.Zone()
	zone, _ := m.zones.LoadOrStore(offset, time.FixedZone("", offset))
	return zone.(*time.Location)
}

// follows checks `after`.
func (r *run) follows(m *makeRule, i int) bool {
	if len(m.after) == 0 {
		return true
	}
	return r.anchors[i] >= 0 && slices.ContainsFunc(m.after, r.msg.Segment(int(r.anchors[i])).Is)
}

// make runs one line of a message table for one segment.
func (r *run) make(m *makeRule, s hl7v2.Segment, g *instance, main []*entry) {
	f := r.frame()
	defer r.free(f)
	*f = frame{run: r, segment: s, group: g}
	if m.cond != nil && !m.cond(f) || m.section.unless != nil && m.section.unless(f) {
		return
	}
	var e *entry
	if m.typ == "" {
		if e = g.lookup(m.name); e == nil {
			return
		}
	} else {
		keys := r.keys[:0]
		var key records.Key
		for i := range m.section.keys {
			var k records.Key
			if rule := &m.section.keys[i]; key.Zero() || !rule.fallback { // a fallback is no alias
				k = rule.eval(f)
			}
			if keys = append(keys, k); key.Zero() {
				key = k
			}
		}
		r.keys = keys
		id := ""
		if key.Zero() {
			place := s.Name() + strconv.Itoa(s.Occurrence())
			key = records.Key{Type: "message", Assigner: r.ctx.Source + "/" + r.header.SendingApplication, ID: r.header.ControlID + "/" + place}
			content := r.unnumbered()
			if m.record { // control ids begin anew: another message of the same is another thing
				if content = r.ctx.SHA256; content != "" {
					key.ID += "/" + content[:min(len(content), 16)]
				}
			}
			id = fhir.ID(m.typ, "message", r.ctx.Source, r.header.SendingApplication, r.header.SendingFacility, r.header.ControlID, place, content)
			if m.record {
				r.warn("keyed-by-message", hl7v2.Place{Segment: s.Name(), Occurrence: s.Occurrence()}, "no business key: keyed by message and position")
			}
		} else {
			id = fhir.ID(m.typ, key.Assigner, key.ID)
		}
		e = r.resource(m.typ, id, key)
		e.line = true
		if m.record && !e.record {
			e.record, e.segment, e.group = true, s, g
		}
		for i, k := range keys {
			if i == 0 && k.Zero() && m.record && key.Type != "message" && m.section.keys[0].cond == nil {
				r.warn("key-fallback", hl7v2.Place{Segment: s.Name(), Occurrence: s.Occurrence()}, "the first key of the table is not valued")
			}
			if !k.Zero() && k != key && !m.section.keys[i].fallback {
				e.keys = append(e.keys, k)
			}
		}
		g.name(m.name, e)
	}
	f.self, f.base = e, e.node
	m.section.apply(f)
	if len(m.assigns) > 0 {
		r.later = append(r.later, deferred{frame: *f, line: m, made: e})
	}
	if main[s.Index()] == nil || m.section.rest {
		main[s.Index()] = e
	}
}

// unnumbered tells messages without a control id apart by their content.
func (r *run) unnumbered() string {
	if r.header.ControlID != "" {
		return ""
	}
	return r.ctx.SHA256
}

// dropEmpty takes out the resources that say nothing: no rule found a place for
// what was sent of them, which stays unread.
func (r *run) dropEmpty() {
	empty := func(e *entry) bool { return !e.line && !e.says() }
	for slices.ContainsFunc(r.entries, empty) {
		gone := map[*entry]bool{} // all at once: what refers to nothing else is empty then, in the next round
		for _, e := range r.entries {
			gone[e] = empty(e)
		}
		for at, to := range r.refs {
			if gone[to] {
				at.Delete("reference")
			}
		}
		r.entries = slices.DeleteFunc(r.entries, func(e *entry) bool { return gone[e] })
	}
}

// says: there is more in the resource than its type and id.
func (e *entry) says() bool {
	const bare = 2
	return slices.ContainsFunc(e.node.Kids[min(bare, len(e.node.Kids)):], full)
}

// defaults runs the sections of defaults.yaml on every resource.
func (r *run) defaults(root *instance) {
	for i := 0; i < len(r.entries); i++ {
		e := r.entries[i]
		if e.frozen != nil {
			continue
		}
		if s := r.mapper.defaults[e.typ]; s != nil {
			f := r.frame()
			*f = frame{run: r, segment: r.msg.Segment(0), group: root, self: e, base: e.node}
			had := len(e.node.Kids)
			s.apply(f)
			r.free(f)
			for _, k := range e.node.Kids[min(had, len(e.node.Kids)):] {
				if e.record {
					e.filled = append(e.filled, k.Name)
				}
			}
		}
	}
}

// finish accounts for every leaf, keeps what no rule took in extensions, and
// puts the resources in order.
func (r *run) finish(main []*entry) {
	var header *entry
	for _, e := range r.entries {
		if e.typ == "MessageHeader" {
			header = e
			break
		}
	}
	for i := range r.msg.Len() {
		s := r.msg.Segment(i)
		to := main[i]
		if to == nil {
			to = header
		}
		first := 1
		if s.Is("MSH") {
			first = 3 // the delimiters themselves
		}
		for n := first; n <= s.Fields(); n++ {
			r.account(s.Field(n), to)
		}
	}
	for _, e := range r.entries {
		if e.frozen == nil {
			var lacking []string
			e.deletes, lacking = r.polish(e.node, e.deletes)
			for _, element := range lacking {
				r.report.Defaulted = append(r.report.Defaulted, Note{Code: "lacking", Place: e.typ, Text: element + " is required"})
			}
		}
	}
}

// polish takes out what is empty or double, puts the elements in order, and
// says what the resource's parts lack.
func (r *run) polish(n *fhir.Node, deletes []string) (left, lacking []string) {
	return distinct(n, deletes), r.mapper.schema.Complete(n)
}

// distinct leaves one of several equal entries in the lists that name a thing:
// two segments may name it in the same words. A field that says only what an
// earlier one says has no entry of its own any more, which it adds to deletes.
func distinct(n *fhir.Node, deletes []string) []string {
	for _, list := range n.Kids {
		if list.Kind != fhir.Array || len(list.Kids) < 2 {
			continue
		}
		switch list.Name {
		case "identifier", "name", "telecom", "address", "qualification", "type", "category", "link", "target", "generalPractitioner", "account", "serviceType", "reasonCode", "participant", "extension":
		default: // extensions of primitives stand place by place: a value said twice has one place
			if list.Name == "" || list.Name[0] != '_' || len(n.Get(list.Name[1:]).Items()) >= len(list.Kids) {
				continue
			}
		}
		kept := list.Kids[:0]
		for _, item := range list.Kids {
			i := slices.IndexFunc(kept, func(have *fhir.Node) bool { return fhir.Equal(have, item) })
			switch {
			case i < 0:
				kept = append(kept, item)
			case kept[i].From != item.From && list.Name != "identifier":
				deletes = append(deletes, list.Name+":"+item.From.String())
			}
		}
		list.Kids = kept
	}
	return deletes
}

// account looks at every leaf of a field: what stands between two delimiters
// and says something.
func (r *run) account(v hl7v2.Value, to *entry) {
	raw, base := v.Raw(), v.Offset()
	if len(raw) == 0 || len(raw) == 2 && raw[0] == '"' && raw[1] == '"' {
		return
	}
	d := r.msg.Delimiters()
	start := 0
	rep, comp, sub := 1, 1, 1
	for i := 0; i <= len(raw); i++ {
		last := i == len(raw)
		if !last && raw[i] != d.Component && raw[i] != d.Subcomponent && raw[i] != d.Repetition {
			continue
		}
		if said(raw[start:i]) {
			r.report.Leaves++
			switch r.leaves[base+start] {
			case leafFound:
				r.report.Found++
			case leafStructural:
				r.report.Structural++
			default:
				leaf := v.Repetition(rep).Component(comp)
				if sub > 1 || !last && raw[i] == d.Subcomponent {
					leaf = leaf.Subcomponent(sub)
				}
				r.unread(leaf, to)
			}
		}
		start = i + 1
		switch {
		case last:
		case raw[i] == d.Subcomponent:
			sub++
		case raw[i] == d.Component:
			comp, sub = comp+1, 1
		default:
			rep, comp, sub = rep+1, 1, 1
		}
	}
}

// said: neither empty, nor blank, nor null.
func said(raw []byte) bool {
	if len(raw) == 2 && raw[0] == '"' && raw[1] == '"' {
		return false
	}
	for _, c := range raw {
		if c != ' ' {
			return true
		}
	}
	return false
}

// unread reports a leaf that no rule took, and keeps it.
func (r *run) unread(v hl7v2.Value, to *entry) {
	place := v.Place().String()
	text, err := v.Text()
	if err != nil {
		r.undecodable(v)
	}
	if to == nil || err != nil {
		r.report.Unmapped = append(r.report.Unmapped, Leaf{Place: place, Reason: "no rule took it"})
		return
	}
	r.trace.read(text)
	r.report.Extension++
	r.report.Unmapped = append(r.report.Unmapped, Leaf{Place: place, Kept: true, Reason: "no rule took it; kept in the v2-field extension of " + to.typ})
	ext := r.arena.Node(fhir.Object, "").Set("url", r.arena.Node(fhir.String, FieldExtension))
	for _, part := range [...]struct{ url, text string }{{"place", place}, {"value", text}} {
		sub := r.arena.Node(fhir.Object, "")
		sub.Set("url", r.arena.Node(fhir.String, part.url))
		sub.Set("valueString", r.arena.Node(fhir.String, part.text))
		r.push(ext, "extension", 0, sub)
	}
	r.push(to.node, "extension", 0, ext)
	ext.From = fhir.OriginOf(v.Place().Segment, v.Place().Field)
}

// FieldExtension is the URL of the extension that keeps a v2 value for which
// no rule has a place: sub-extensions place ("PV1-41") and value.
const FieldExtension = "https://liaison.health/fhir/StructureDefinition/v2-field"
