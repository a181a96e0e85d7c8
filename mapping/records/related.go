package records

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc64"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A mark is what a record last showed of a resource that is no record of its
// own: digests of its reference and of its content without the id.
type mark struct{ ref, content uint64 }

const (
	mostMarks = 4096 // beyond them only what the last message carried is remembered
	markBytes = 16
)

func checksum(data []byte) uint64 { return crc64.Checksum(data, crc64.MakeTable(crc64.ECMA)) }

// digest is the mark of a resource's JSON.
func digest(ref string, data []byte) mark {
	content := checksum(data)
	if i := bytes.Index(data, []byte(`"id":"`)); i >= 0 {
		if length := bytes.IndexByte(data[i+6:], '"'); length >= 0 {
			content = checksum(data[:i]) ^ checksum(data[i+6+length:])
		}
	}
	return mark{ref: checksum([]byte(ref)), content: content}
}

func (f *fold) mark(r *resource) mark {
	if r.mark == (mark{}) {
		r.mark = digest(r.ref, f.text(r))
	}
	return r.mark
}

func appendMarks(dst []byte, marks []mark) []byte {
	var room [64 * markBytes]byte
	raw := room[:0]
	for _, m := range marks {
		raw = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(raw, m.ref), m.content)
	}
	return base64.RawStdEncoding.AppendEncode(dst, raw)
}

func decodeMarks(text string) ([]mark, error) {
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	var out []mark
	for ; len(raw) >= markBytes; raw = raw[markBytes:] {
		out = append(out, mark{ref: binary.BigEndian.Uint64(raw), content: binary.BigEndian.Uint64(raw[8:])})
	}
	return out, nil
}

// attach finds the record that carries each of the message's other resources:
// the one that refers to it, in as many steps as it takes; else the one that it
// refers to itself (an allergy its patient, a procedure its visit), the more
// particular before the patient. What has to do with none is told with the record
// of what it refers to, else with the first patient.
func (f *fold) attach() {
	if len(f.related) == 0 || len(f.pending) == 0 {
		return
	}
	first := f.pending[0]
	for _, p := range f.pending {
		if p.s.kind == Patient && first.s.kind != Patient {
			first = p
		}
		n := p.s.resource
		p.reach(f, f.nodes[n.ResourceType()+"/"+n.ID()].refers())
		p.reach(f, p.shows)
	}
	for _, r := range f.related {
		if r.carrier != nil || !r.related || f.nodes[r.ref] != r || contextual(r.ref) {
			continue
		}
		if to := f.owner(r); to != nil {
			to.attached = append(to.attached, r.ref)
			to.reach(f, to.attached[len(to.attached)-1:])
		}
	}
	for _, r := range f.related {
		if r.carrier == nil && r.related && f.nodes[r.ref] == r && !strings.HasPrefix(r.ref, "Patient/") { // told with a version, but makes none
			to := first
			for _, ref := range r.refers() {
				if other := f.nodes[ref]; other != nil && other.carrier != nil {
					to = other.carrier
					break
				}
			}
			r.carrier = to
			to.attached = append(to.attached, r.ref)
		}
	}
}

// contextual says whether a reference names a patient, an account or a visit:
// where such a one is no record of the message, it only says what others are of.
func contextual(ref string) bool { return joins(ref) || strings.HasPrefix(ref, "Patient/") }

// reach notes what a record carries: these resources of the message and those
// that they refer to, but no other record.
func (p *pending) reach(f *fold, refs []string) {
	for _, ref := range refs {
		r := f.nodes[ref]
		if r == nil || !r.related || r.reached == p || contextual(ref) {
			continue
		}
		r.reached = p
		if r.carrier == nil {
			r.carrier = p
		}
		p.carries = append(p.carries, r)
		p.reach(f, r.refers())
	}
}

// owner gives the record that a resource refers to.
func (f *fold) owner(r *resource) *pending {
	var out *pending
	better := func(p *pending) {
		if p != nil && (out == nil || out.s.kind == Patient && p.s.kind != Patient) {
			out = p
		}
	}
	for _, ref := range r.refers() {
		if other := f.nodes[ref]; other != nil {
			better(other.record)
		}
	}
	return out
}

// learn notes what a record shows of the resources that it carries, and lists
// what differs from what it showed before.
func (f *fold) learn(p *pending) error {
	s := p.s
	kept := len(s.marks)
	for _, r := range p.carries {
		now := f.mark(r)
		i, known := slices.BinarySearchFunc(s.marks[:kept], now.ref, func(m mark, ref uint64) int { return cmp.Compare(m.ref, ref) })
		attached := slices.Contains(p.attached, r.ref)
		if known && s.marks[i] == now || !known && attached && slices.ContainsFunc(s.marks, func(m mark) bool { return m.content == now.content }) {
			continue // the same in a new place, as where an observation has no number of its own
		}
		var before mark
		if known {
			before, s.marks[i] = s.marks[i], now
		} else {
			s.marks = append(s.marks, now)
		}
		if p.v.before == nil || !known && !attached && len(p.v.changed) > 0 {
			continue // told by the reference to it
		}
		if err := f.differs(p, r, before); err != nil {
			return err
		}
	}
	if err := f.learnHeld(p); err != nil {
		return err
	}
	if len(s.marks) > mostMarks {
		s.marks = s.marks[:0]
		for _, r := range p.carries {
			s.marks = append(s.marks, f.mark(r))
		}
	}
	slices.SortFunc(s.marks, func(a, b mark) int { return cmp.Or(cmp.Compare(a.ref, b.ref), cmp.Compare(a.content, b.content)) })
	s.marks = slices.Compact(s.marks)
	return nil
}

// differs lists how a carried resource differs from what the record showed of
// it, where that is what is held; else the whole.
func (f *fold) differs(p *pending, r *resource, before mark) error {
	path := "related[" + r.ref + "]"
	if p.s.kind == Result && strings.HasPrefix(r.ref, "Observation/") {
		switch r.node.Str("status") {
		case "corrected", "amended", "entered-in-error":
			p.v.corrected = true
		}
	}
	old, err := f.view.Get(resourceKey(r.ref))
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if len(old) > 0 && old[0] != 0 && (digest(r.ref, old) == before || before == mark{} && r.news) {
		n, err := fhir.ParseJSON(old)
		if err != nil {
			return fmt.Errorf("read resource: %w", err)
		}
		for _, d := range fhir.Diff(n, r.node) {
			if d.Path = path + "." + d.Path; d.NewPath != "" {
				d.NewPath = path + "." + d.NewPath
			}
			p.v.changed = append(p.v.changed, d)
		}
		return nil
	}
	p.v.changed = append(p.v.changed, fhir.Difference{Path: path, New: r.node})
	return nil
}

// A heldStamp is the newest message that said something of a held resource.
func heldStampKey(ref string) []byte { return []byte("hf/" + ref) }
func newestKey(sender string) []byte { return []byte("t/" + sender) }
func (s Stamp) held() []byte         { return []byte(s.Sender + "\x00" + s.Order) }
func (s Stamp) before(held []byte) bool {
	sender, order, _ := strings.Cut(string(held), "\x00")
	return held != nil && (sender != s.Sender || s.Order < order)
}

// behind says whether a newer message of the sender has been folded, and notes
// this one where it is the newest. Only then what is held needs to be asked
// whether it is newer.
func (f *fold) behind() (bool, error) {
	key := newestKey(f.c.Stamp.Sender)
	newest, err := f.get(key)
	if err != nil || f.c.Stamp.Order < string(newest) {
		return err == nil, err
	}
	if f.c.Stamp.Order != string(newest) {
		f.put(key, []byte(f.c.Stamp.Order))
	}
	return false, nil
}

// hold keeps the message's other resources for GET and for later records. What
// a newer message of the sender said of one stays, and is what records show.
func (f *fold) hold() error {
	if len(f.related) == 0 {
		return nil
	}
	late, err := f.behind()
	if err != nil {
		return err
	}
	holder, _ := f.view.(Holder)
	stamp := f.c.Stamp.held()
	for _, r := range f.related {
		stamped := heldStampKey(r.ref)
		if late {
			held, err := f.get(stamped)
			if err != nil {
				return err
			}
			if f.c.Stamp.before(held) {
				delete(f.nodes, r.ref)
				continue
			}
		}
		f.put(stamped, stamp)
		key, next := stamped[1:], f.text(r) // f/ and the reference
		if f.c.Sought && observed(r.ref) {
			old, err := f.get(key)
			if err != nil {
				return err
			}
			r.news = string(old) != string(next)
		}
		if holder != nil && holder.Holds(key, next) {
			continue
		}
		if holder != nil && KindOf(r.node.ResourceType()) == "" {
			f.put(key, bytes.Clone(next))
			if f.sought(r.node.ResourceType()) {
				f.index(r.node, nil, Key{})
			}
			continue
		}
		old, err := f.get(key)
		if err != nil {
			return err
		}
		if record := len(old) > 0 && old[0] == 0; !record && string(old) != string(next) {
			f.put(key, bytes.Clone(next))
			if f.sought(r.node.ResourceType()) {
				f.index(r.node, nil, Key{})
			}
		} else if typ := r.node.ResourceType(); record && (typ == "Patient" || typ == "Account") {
			r.related = false // a message that only names one says less than its record
			delete(f.nodes, r.ref)
		}
	}
	return nil
}
