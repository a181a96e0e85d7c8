package records

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// findings are what a report lists, in groups: the observations of one code and
// sub-identifier, by which the OBX of one OBR are told apart (HL7 v2.5.1 §7.4.2.4).
// A message says what it says of its groups and nothing of the others: one with a
// corrected value leaves the rest of the report, and one with fewer lines of a text
// has the whole text. A sender's groups stand in the order in which its messages
// first told them.
type findings struct {
	groups []uint64 // of each entry of the list
	told   []finding
}

// A finding is that a sender has told a group: the order of the newest message that
// did, and of the oldest.
type finding struct {
	group             uint64
	sender, last, old string
}

// results is the list of a DiagnosticReport.
const results = "result"

// takeResults takes the list of what a message found out of its report, nil where there
// is none; at is where it stood.
func takeResults(it *Item) (list *fhir.Node, at int) {
	if it.Kind != Result || it.Trigger == "" || it.Resource == nil {
		return nil, 0
	}
	at = slices.IndexFunc(it.Resource.Kids, func(k *fhir.Node) bool { return k.Name == results })
	if at < 0 || it.Resource.Kids[at].Kind != fhir.Array {
		return nil, 0
	}
	list = it.Resource.Kids[at]
	it.Resource = it.Resource.Shallow()
	it.Resource.Delete(results)
	return list, at
}

// putResults puts what a message found into the report's list.
func (f *fold) putResults(s *state, list *fhir.Node, at int) error {
	st := f.c.Stamp
	if !s.may(st, results) { // a newer message of the sender had the whole
		return nil
	}
	have := s.resource.Get(results).Items()
	groups, err := f.grouped(s, have)
	if err != nil {
		return err
	}
	mine := make([]uint64, len(list.Kids))
	for i, item := range list.Kids {
		if mine[i], err = f.group(item.Str("reference")); err != nil {
			return err
		}
	}
	late := s.late(st)
	known, taken := s.findings.tell(st, mine)
	merged := merger{have: have, groups: groups, list: list.Kids, mine: mine, taken: taken}
	merged.restate(st, s.findings.told, known)
	switch {
	case !slices.ContainsFunc(mine, func(g uint64) bool { return taken[g] }):
		merged.out, merged.outGroups = merged.have, merged.groups
	case late || together(mine):
		merged.merge()
	case merged.covers():
		merged.whole()
	default:
		merged.block()
	}
	if late && together(merged.outGroups) {
		merged.arrange(st, s.findings.told, known)
	}
	s.findings.groups = merged.outGroups
	s.findings.prune()
	if slices.EqualFunc(have, merged.out, fhir.Equal) {
		return nil
	}
	next := fhir.NewArray(merged.out...)
	s.resource, s.raw = s.resource.Shallow(), nil
	if have != nil {
		s.resource.Set(results, next)
		return nil
	}
	next.Name = results
	s.resource.Kids = slices.Insert(s.resource.Kids, min(at, len(s.resource.Kids)), next)
	return nil
}

// grouped gives the groups of a report's list, also where no message has told of
// them: a FHIR client's.
func (f *fold) grouped(s *state, have []*fhir.Node) ([]uint64, error) {
	if s.findings == nil {
		s.findings = &findings{}
	}
	if len(s.findings.groups) == len(have) {
		return s.findings.groups, nil
	}
	groups := make([]uint64, len(have))
	for i, item := range have {
		var err error
		if groups[i], err = f.group(item.Str("reference")); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// group tells which group an observation is of: by its code and sub-identifier, else
// one of its own.
func (f *fold) group(ref string) (uint64, error) {
	r := f.nodes[ref]
	if r == nil {
		var err error
		if r, err = f.held(ref); err != nil {
			return 0, err
		}
	}
	name, sub := ref, ""
	if r != nil {
		n := r.node
		if n == nil {
			var err error
			if n, err = fhir.ParseJSON(r.json); err != nil {
				return 0, fmt.Errorf("read resource: %w", err)
			}
		}
		code := n.Get("code")
		coding := code.At("coding[0]")
		switch text := code.Str("text"); {
		case coding.Str("code") != "":
			name = coding.Str("system") + "|" + coding.Str("code")
		case text != "":
			name = text
		}
		if id := extension(n, "observation-v2-subid"); id != nil && name != ref {
			sub = string(id.JSON())
		}
	}
	group := checksum([]byte(name)) &^ subMask
	if sub != "" {
		group |= checksum([]byte(sub))&subMask | 1
	}
	return group, nil
}

// subMask are the bits of a group that tell its sub-identifier, 0 where it has none.
const subMask = 1<<24 - 1

// tell notes a message's groups, and says which of them no newer message of its
// sender has told; known are the sender's among those told.
func (fs *findings) tell(st Stamp, mine []uint64) (known map[uint64]int, taken map[uint64]bool) {
	known, taken = make(map[uint64]int, len(fs.told)), make(map[uint64]bool, len(mine))
	for i := range fs.told {
		if fs.told[i].sender == st.Sender {
			known[fs.told[i].group] = i
		}
	}
	for _, g := range mine {
		if _, again := taken[g]; again {
			continue
		}
		i, ok := known[g]
		if !ok {
			known[g], taken[g] = len(fs.told), true
			fs.told = append(fs.told, finding{group: g, sender: st.Sender, last: st.Order, old: st.Order})
			continue
		}
		t := &fs.told[i]
		if taken[g] = t.last <= st.Order; taken[g] {
			t.last = st.Order
		}
		t.old = min(t.old, st.Order)
	}
	return known, taken
}

// A merger makes one list of a report's and a message's.
type merger struct {
	have, list, out         []*fhir.Node
	groups, mine, outGroups []uint64
	taken                   map[uint64]bool // the groups that the message tells
}

// restate lets a message tell a code with sub-identifiers that was told without
// (a culture's growth, and then its isolates), or the other way: what an older message
// told of it goes, and what is older than the other does not come.
func (m *merger) restate(st Stamp, told []finding, known map[uint64]int) {
	with, without := func(g uint64) bool { return g&subMask != 0 }, func(g uint64) bool { return g&subMask == 0 }
	older := func(g uint64) bool { i, ok := known[g]; return ok && told[i].last < st.Order }
	newer := func(g uint64) bool { i, ok := known[g]; return ok && told[i].last > st.Order }
	for _, way := range [...]struct{ of, instead func(uint64) bool }{{with, without}, {without, with}} {
		said, stood := codes(m.mine, way.of), codes(m.groups, way.instead)
		for g := range codes(m.mine, way.instead) {
			delete(said, g)
		}
		both := codes(m.groups, way.of)
		var have []*fhir.Node
		var groups []uint64
		for i, g := range m.groups {
			code := g &^ subMask
			if said[code] && stood[code] && !both[code] && way.instead(g) && older(g) {
				continue
			}
			have, groups = append(have, m.have[i]), append(groups, g)
		}
		for g := range m.taken {
			if code := g &^ subMask; said[code] && !both[code] && slices.ContainsFunc(groups, func(o uint64) bool { return o&^subMask == code && way.instead(o) && newer(o) }) {
				m.taken[g] = false
			}
		}
		m.have, m.groups = have, groups
	}
}

// codes are those of the groups that are so.
func codes(groups []uint64, so func(uint64) bool) map[uint64]bool {
	out := map[uint64]bool{}
	for _, g := range groups {
		if so(g) {
			out[g&^subMask] = true
		}
	}
	return out
}

// together says whether each group stands in one piece: else its entries are about
// what they stand behind, as remarks are.
func together(groups []uint64) bool {
	seen := map[uint64]bool{}
	for i, g := range groups {
		if i > 0 && groups[i-1] == g {
			continue
		}
		if seen[g] {
			return false
		}
		seen[g] = true
	}
	return true
}

// covers says whether the message tells all that the report has.
func (m *merger) covers() bool {
	return !slices.ContainsFunc(m.groups, func(g uint64) bool { return !m.taken[g] })
}

// whole takes the message's list as it stands.
func (m *merger) whole() {
	for i, n := range m.list {
		if m.taken[m.mine[i]] {
			m.out, m.outGroups = append(m.out, entry(n)), append(m.outGroups, m.mine[i])
		}
	}
}

// block puts what the message tells, as it stands there, in the place of the first of
// it, and keeps the others.
func (m *merger) block() {
	told := merger{list: m.list, mine: m.mine, taken: m.taken}
	told.whole()
	moved := map[string]bool{}
	for _, n := range told.out {
		moved[n.Str("reference")] = true
	}
	at := -1
	for i, g := range m.groups {
		switch {
		case m.taken[g] && at < 0:
			at = len(m.out)
		case m.taken[g], moved[m.have[i].Str("reference")]:
		default:
			m.out, m.outGroups = append(m.out, m.have[i]), append(m.outGroups, g)
		}
	}
	if at < 0 {
		at = len(m.out)
	}
	m.out, m.outGroups = slices.Insert(m.out, at, told.out...), slices.Insert(m.outGroups, at, told.outGroups...)
}

// merge puts a group that the message tells where it stood before, else at the end.
func (m *merger) merge() {
	fresh, before := map[uint64][]*fhir.Node{}, map[uint64][]*fhir.Node{}
	moved := map[string]bool{}
	for i, g := range m.mine {
		if m.taken[g] {
			fresh[g] = append(fresh[g], m.list[i])
			moved[m.list[i].Str("reference")] = true
		}
	}
	for i, g := range m.groups {
		if m.taken[g] {
			before[g] = append(before[g], m.have[i])
		}
	}
	same := map[uint64]bool{}
	for g, list := range fresh {
		same[g] = slices.EqualFunc(list, before[g], fhir.Equal)
	}
	add := func(n *fhir.Node, g uint64) {
		m.out, m.outGroups = append(m.out, n), append(m.outGroups, g)
	}
	for i, g := range m.groups {
		switch {
		case !m.taken[g] && moved[m.have[i].Str("reference")]: // it is of another group now
		case !m.taken[g], same[g]:
			add(m.have[i], g)
		case m.have[i] == before[g][0]:
			for _, n := range fresh[g] {
				add(entry(n), g)
			}
		}
	}
	for i, g := range m.mine {
		if m.taken[g] && before[g] == nil {
			add(entry(m.list[i]), g)
		}
	}
}

// entry copies an entry of a message's list; what it is about is told by its group.
func entry(n *fhir.Node) *fhir.Node {
	n = n.Clone()
	n.From, n.Name = 0, ""
	return n
}

// arrange puts what a late message told, and those before and behind it, in the order
// of the messages that told each group first.
func (m *merger) arrange(st Stamp, told []finding, known map[uint64]int) {
	place := make(map[string]int, len(m.list)) // in the message
	first := make(map[uint64]int, len(m.list))
	for i, item := range m.list {
		place[item.Str("reference")] = i
		if _, again := first[m.mine[i]]; !again {
			first[m.mine[i]] = i
		}
	}
	type key struct {
		old string
		at  int
	}
	keys := make([]key, len(m.out))
	for i, g := range m.outGroups {
		t, ok := known[g]
		if !ok { // of another sender: their messages are not compared
			return
		}
		keys[i].old = told[t].old
		if keys[i].old != st.Order {
			continue
		}
		if at, named := place[m.out[i].Str("reference")]; named && m.taken[g] {
			keys[i].at = at
		} else {
			keys[i].at = first[g]
		}
	}
	order := make([]int, len(m.out))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(keys[a].old, keys[b].old), cmp.Compare(keys[a].at, keys[b].at))
	})
	out, groups := make([]*fhir.Node, len(order)), make([]uint64, len(order))
	for i, from := range order {
		out[i], groups[i] = m.out[from], m.outGroups[from]
	}
	m.out, m.outGroups = out, groups
}

// prune forgets the groups of which no entry is left.
func (fs *findings) prune() {
	begin := fs.begin()
	fs.told = slices.DeleteFunc(fs.told, func(t finding) bool { _, there := begin[t.group]; return !there })
}

// begin gives the entry with which each group begins.
func (fs *findings) begin() map[uint64]int {
	begin := make(map[uint64]int, len(fs.groups))
	for i, g := range slices.Backward(fs.groups) {
		begin[g] = i
	}
	return begin
}

// text writes the groups of the entries and, a line each, what a sender's messages
// told: sender, newest and oldest message, the entries with which the groups begin.
func (fs *findings) text() string {
	if fs == nil || len(fs.groups) == 0 {
		return ""
	}
	raw := make([]byte, 0, 8*len(fs.groups))
	for _, g := range fs.groups {
		raw = binary.BigEndian.AppendUint64(raw, g)
	}
	begin := fs.begin()
	slices.SortFunc(fs.told, func(a, b finding) int {
		return cmp.Or(strings.Compare(a.sender, b.sender), strings.Compare(a.last, b.last), strings.Compare(a.old, b.old), cmp.Compare(begin[a.group], begin[b.group]))
	})
	out := base64.RawStdEncoding.AppendEncode(nil, raw)
	for i := 0; i < len(fs.told); {
		t := &fs.told[i]
		raw = raw[:0]
		for ; i < len(fs.told) && fs.told[i].sender == t.sender && fs.told[i].last == t.last && fs.told[i].old == t.old; i++ {
			raw = binary.AppendUvarint(raw, uint64(begin[fs.told[i].group]))
		}
		out = append(out, '\n')
		for _, part := range [...]string{t.sender, t.last, t.old} {
			if strings.ContainsAny(part, "\t\n") {
				part = strings.NewReplacer("\t", " ", "\n", " ").Replace(part)
			}
			out = append(append(out, part...), '\t')
		}
		out = base64.RawStdEncoding.AppendEncode(out, raw)
	}
	return string(out)
}

// readFindings reads what text wrote.
func readFindings(text string) (*findings, error) {
	if text == "" {
		return nil, nil
	}
	entries, lines, _ := strings.Cut(text, "\n")
	raw, err := base64.RawStdEncoding.DecodeString(entries)
	if err != nil {
		return nil, fmt.Errorf("read findings: %w", err)
	}
	fs := &findings{}
	for ; len(raw) >= 8; raw = raw[8:] {
		fs.groups = append(fs.groups, binary.BigEndian.Uint64(raw))
	}
	for line := range strings.SplitSeq(lines, "\n") {
		part := strings.Split(line, "\t")
		if len(part) != 4 {
			continue
		}
		if raw, err = base64.RawStdEncoding.DecodeString(part[3]); err != nil {
			return nil, fmt.Errorf("read findings: %w", err)
		}
		for len(raw) > 0 {
			at, n := binary.Uvarint(raw)
			if n <= 0 || at >= uint64(len(fs.groups)) {
				return nil, errors.New("read findings: no such entry")
			}
			raw = raw[n:]
			fs.told = append(fs.told, finding{group: fs.groups[at], sender: part[0], last: part[1], old: part[2]})
		}
	}
	return fs, nil
}
