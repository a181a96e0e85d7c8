package tables

import (
	"slices"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
)

// What became of a leaf of the message.
const (
	leafUnread uint8 = iota
	leafFound
	leafStructural
)

// A run is the mapping of one message.
type run struct {
	mapper   *Mapper
	msg      *hl7v2.Message
	header   hl7v2.Header
	ctx      *Context
	arena    *fhir.Arena
	entries  []*entry
	byID     map[resourceKey]*entry
	refs     map[*fhir.Node]*entry // what a Reference refers to
	labels   map[labelKey]*fhir.Node
	values   []string      // of fields by which labels are told apart
	leaves   []uint8       // by byte offset
	used     []hl7v2.Value // what the conversion under way has read
	parts    []hl7v2.Value // components of the values under way, a stack
	didSet   bool          // whether the last rule put anything
	later    []deferred
	groups   []*instance // by segment
	anchors  []int32     // by segment, where rules ask what it stands behind
	counts   []count
	variants []variants
	warned   map[noteAt]bool // by warnOnce
	listings map[*fhir.Node]*listing
	report   *Report
	bad      *Unmappable // why the message cannot be mapped
	whole    string      // the message's text
	escape   byte
	keys     []records.Key
	main     []*entry // by segment: the resource that its leftovers go to
	results  []Entry

	scope      uint32 // of parts
	trace      *trace // nil in service
	recordings []*recording
	marked     []uint8 // of the leaves, what the recording under way has marked

	scratch   []byte
	frames    []*frame // to use again
	made      []*entry // every entry so far, in use or to use again
	taken     int      // how many of them are in use
	instances []*instance
	begun     int // how many of them are in use
	items     []records.Item
	related   []*fhir.Node
}

// begin takes a run, with the memory of an earlier one where there is one.
func (m *Mapper) begin(msg *hl7v2.Message, header hl7v2.Header, ctx *Context) *run {
	r, _ := m.runs.Get().(*run)
	r.mapper, r.msg, r.header, r.ctx, r.report = m, msg, header, ctx, &Report{}
	r.escape, r.bad, r.whole = msg.Delimiters().Escape, nil, ""
	r.leaves = append(r.leaves[:0], make([]uint8, len(msg.Text())+1)...)
	if cap(r.marked) < len(r.leaves) {
		r.marked = make([]uint8, len(r.leaves)+len(r.leaves)/4)
	}
	r.marked = r.marked[:len(r.leaves)]
	r.main = append(r.main[:0], make([]*entry, msg.Len())...)
	r.entries, r.used, r.parts, r.anchors, r.counts = r.entries[:0], r.used[:0], r.parts[:0], r.anchors[:0], r.counts[:0]
	r.variants = r.variants[:0]
	r.values = r.values[:0]
	r.byID, r.refs, r.labels, r.listings = emptied(r.byID), emptied(r.refs), emptied(r.labels), emptied(r.listings)
	r.warned = emptied(r.warned)
	r.later, r.groups, r.results, r.recordings = r.later[:0], r.groups[:0], r.results[:0], r.recordings[:0]
	r.taken, r.begun = 0, 0
	r.scope = r.scopeNumber()
	return r
}

// release gives the run's memory back: nothing that it made may be in use.
func (r *run) release() {
	r.arena.Reset()
	r.msg, r.ctx, r.report, r.trace = nil, nil, nil, nil
	r.mapper.runs.Put(r)
}

// An entry is one resource in the making.
type entry struct {
	typ     string
	id      string
	ref     string
	key     records.Key
	keys    []records.Key
	node    *fhir.Node
	record  bool
	line    bool // a line of the message's table makes it
	deletes []string
	filled  []string // elements that defaults.yaml gave a record
	done    []done
	segment hl7v2.Segment // of a record: the segment that made it first, and its group
	group   *instance

	frozen *part // not nil: node is shared; what made it, to make it anew
	rule   *crule
	at     frame
	value  hl7v2.Value
}

// emptied gives a map to use again; one that a large message has made large
// would cost every later one the time to clear it.
func emptied[K comparable, V any](m map[K]V) map[K]V {
	if m == nil || len(m) > 1024 {
		return map[K]V{}
	}
	clear(m)
	return m
}

type resourceKey struct{ typ, id string }

type labelKey struct {
	parent              *fhir.Node
	label, segment, rep int32
}

// numbered gives each value that tells list entries apart a number.
func (r *run) numbered(value string) int32 {
	at := slices.Index(r.values, value)
	if at < 0 {
		at, r.values = len(r.values), append(r.values, value)
	}
	return int32(at)
}

// labelled finds the list entry of a label.
func (r *run) labelled(k labelKey) *fhir.Node { return r.labels[k] }

// A frame is where a section runs: a segment or a value, onto a node.
type frame struct {
	run         *run
	segment     hl7v2.Segment
	group       *instance
	value       hl7v2.Value   // in a data type's section
	parts       []hl7v2.Value // its components
	fieldNumber int           // while a field's repetitions are walked: the field and the repetition
	fieldRep    int
	rep         int
	self        *entry
	base        *fhir.Node
	vocabulary  *codeTable
}

// text gives a value's text; one that cannot be decoded fails the message.
// What needs no decoding is a part of one copy of the message.
func (r *run) text(v hl7v2.Value) string {
	raw := v.Raw()
	if plain(raw, r.escape) {
		if !v.Valued() {
			return ""
		}
		s := strings.TrimSpace(r.string(v))
		r.trace.read(s)
		return s
	}
	s, err := v.Text()
	if err != nil {
		r.undecodable(v)
		return ""
	}
	s = strings.TrimSpace(s)
	r.trace.read(s)
	return s
}

// shareable is up to which size the values of a message share one copy of it:
// whoever remembers one value keeps all of it in memory.
const shareable = 8 << 10

// string is a value's bytes, of the one copy of the message, or of a large
// message its own.
func (r *run) string(v hl7v2.Value) string {
	if len(r.msg.Text()) > shareable {
		return string(v.Raw())
	}
	if r.whole == "" {
		r.whole = string(r.msg.Text())
	}
	return r.whole[v.Offset() : v.Offset()+len(v.Raw())]
}

// plain says that nothing has to be unescaped or decoded.
func plain(raw []byte, escape byte) bool {
	for _, c := range raw {
		if c >= 0x80 || c == escape {
			return false
		}
	}
	return true
}

func (r *run) undecodable(v hl7v2.Value) {
	if r.bad == nil {
		at := v.Place()
		if end := v.Offset() + len(v.Raw()); at.Subcomponent == 1 && (end == len(r.msg.Text()) || r.msg.Text()[end] != r.msg.Delimiters().Subcomponent) {
			at.Subcomponent = 0 // the only one: the component
		}
		r.bad = &Unmappable{Place: at, Code: "undecodable", Reason: "bytes that the message's character set (MSH-18, else the source's default_charset) does not have"}
	}
}

func (r *run) warn(code string, p hl7v2.Place, text string) {
	r.report.Warnings = append(r.report.Warnings, Note{Code: code, Place: p.String(), Text: text})
}

func (r *run) defaulted(code string, p hl7v2.Place, text string) {
	r.report.Defaulted = append(r.report.Defaulted, Note{Code: code, Place: p.String(), Text: text})
}

// mark says that a value, with all below it, reached the output.
func (r *run) mark(v hl7v2.Value, as uint8) {
	from, to := v.Offset(), v.Offset()+len(v.Raw())
	stamp(r.leaves[from:to], as)
	if len(r.recordings) > 0 {
		stamp(r.marked[from:to], as)
	}
}

func stamp(leaves []uint8, as uint8) {
	for i, leaf := range leaves {
		if leaf == leafUnread {
			leaves[i] = as
		}
	}
}

// leave marks the leaves of a value as those of the same text were elsewhere.
func (r *run) leave(v hl7v2.Value, marks []uint8) {
	from, to := v.Offset(), v.Offset()+len(marks)
	merge(r.leaves[from:to], marks)
	if len(r.recordings) > 0 {
		merge(r.marked[from:to], marks)
	}
}

func merge(leaves, marks []uint8) {
	for i, m := range marks {
		if m != leafUnread && leaves[i] == leafUnread {
			leaves[i] = m
		}
	}
}

// resource finds or makes the resource of a type and id.
func (r *run) resource(typ, id string, key records.Key) *entry {
	if e := r.byID[resourceKey{typ, id}]; e != nil {
		return r.thaw(e)
	}
	e := r.entry(typ, id, key)
	r.begin(e)
	return e
}

// entry adds an empty entry.
func (r *run) entry(typ, id string, key records.Key) *entry {
	if r.taken == len(r.made) {
		r.made = append(r.made, &entry{})
	}
	e := r.made[r.taken]
	r.taken++
	*e = entry{typ: typ, id: id, key: key, keys: e.keys[:0], deletes: e.deletes[:0], filled: e.filled[:0], done: e.done[:0]}
	r.entries = append(r.entries, e)
	r.byID[resourceKey{typ, id}] = e
	return e
}

// begin gives an entry a node with its type and id.
func (r *run) begin(e *entry) {
	e.node = r.arena.Node(fhir.Object, "")
	e.node.Add("resourceType", r.arena.Node(fhir.String, e.typ))
	e.node.Add("id", r.arena.Node(fhir.String, e.id))
}

func (r *run) refer(at *fhir.Node, to *entry) {
	if at.Get("reference") != nil {
		return
	}
	r.didSet = true
	at.Add("reference", r.arena.Node(fhir.String, to.reference()))
	r.refs[at] = to
}

// reference is the text that refers to the entry.
func (e *entry) reference() string {
	if e.ref == "" {
		e.ref = e.typ + "/" + e.id
	}
	return e.ref
}

func (r *run) referred(at *fhir.Node) *entry { return r.refs[at] }

// deferred are the references of a make line: they are put when every segment
// has been read, so that a name means the resource made last in its group.
type deferred struct {
	frame frame
	line  *makeRule
	made  *entry
}

// ordinal names a segment by its place among those of its name.
func (f *frame) ordinal() string {
	return f.segment.Name() + strconv.Itoa(f.segment.Occurrence())
}

// otherChoice says whether another alternative of the same choice is set.
func (st *cstep) otherChoice(node *fhir.Node) bool {
	if !st.chooses {
		return false
	}
	for _, k := range node.Kids { // few beside a choice that may have fifty alternatives
		if strings.HasPrefix(k.Name, st.choice) && slices.Contains(st.others, k.Name) && full(k) {
			return true
		}
	}
	return false
}
