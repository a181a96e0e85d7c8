package tables

import (
	"fmt"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// A group is a part of a message structure: segments and nested groups, in the
// standard's order (HL7 v2.5.1 §2.16, abstract message syntax).
type group struct {
	name   string
	items  []item
	parent *group
}

type item struct {
	segment  string // or
	group    *group
	optional bool
	repeats  bool
}

// parseSyntax reads `MSH [{SFT}] PID [{INSURANCE: IN1 [IN2] }]`: [ ] optional,
// { } repeating, NAME: the name of the group that the brackets hold.
func parseSyntax(text string) (*group, error) {
	words := strings.Fields(strings.NewReplacer("[", " [ ", "]", " ] ", "{", " { ", "}", " } ", ":", " : ").Replace(text))
	if len(words) > mostWords {
		return nil, fmt.Errorf("syntax: at most %d segments and brackets", mostWords)
	}
	p := &syntaxParser{words: words}
	root := &group{}
	if err := p.items(root, ""); err != nil {
		return nil, err
	}
	if p.at < len(words) {
		return nil, fmt.Errorf("syntax: %q too much", words[p.at])
	}
	return root, nil
}

type syntaxParser struct {
	words []string
	at    int
}

func (p *syntaxParser) items(g *group, closing string) error {
	for p.at < len(p.words) {
		w := p.words[p.at]
		if w == closing {
			p.at++
			return nil
		}
		it, err := p.item(g)
		if err != nil {
			return err
		}
		g.items = append(g.items, it)
	}
	if closing != "" {
		return fmt.Errorf("syntax: %s is not closed", closing)
	}
	return nil
}

func (p *syntaxParser) item(parent *group) (item, error) {
	var it item
	var closing []string
	for p.at < len(p.words) && (p.words[p.at] == "[" || p.words[p.at] == "{") {
		if p.words[p.at] == "[" {
			it.optional = true
			closing = append(closing, "]")
		} else {
			it.repeats = true
			closing = append(closing, "}")
		}
		p.at++
	}
	if p.at >= len(p.words) {
		return it, fmt.Errorf("syntax: ends in a bracket")
	}
	name := p.words[p.at]
	p.at++
	if p.at < len(p.words) && p.words[p.at] == ":" {
		p.at++
		it.group = &group{name: name, parent: parent}
		if len(closing) == 0 {
			return it, fmt.Errorf("syntax: group %s stands in brackets", name)
		}
		if err := p.items(it.group, closing[len(closing)-1]); err != nil {
			return it, err
		}
		closing = closing[:len(closing)-1]
	} else {
		if len(name) != 3 {
			return it, fmt.Errorf("syntax: %q is no segment", name)
		}
		it.segment = name
	}
	for i := len(closing) - 1; i >= 0; i-- {
		if p.at >= len(p.words) || p.words[p.at] != closing[i] {
			return it, fmt.Errorf("syntax: expected %s behind %s", closing[i], name)
		}
		p.at++
	}
	return it, nil
}

// begins says whether a segment can be the first of a group.
func (g *group) begins(msg *hl7v2.Message, s hl7v2.Segment) bool {
	for _, it := range g.items {
		if it.group != nil && it.group.begins(msg, s) || it.group == nil && s.Is(it.segment) {
			return true
		}
		if !it.optional {
			return false
		}
	}
	return false
}

// An instance is a group as it occurs in one message.
type instance struct {
	def      *group
	parent   *instance
	position int   // index of the last item filled
	segments []int // of this instance itself, in order
	byName   map[string][]int
	named    []named     // the resources made here, the last of each name
	singles  []*instance // groups in it of which it can have only one
	all      []named     // of the outermost: every name in the message; at is nil where it has several
	below    []named     // the same of this one and the groups in it, for names that are asked for so
	only     []string    // of the outermost: those names
}

type named struct {
	name string
	at   *entry
	via  *instance // the group in this one that it stands in, nil where that is this one
}

// near visits this instance and the enclosing ones, each with the groups in it
// that cannot repeat (the PATIENT of an ORDER), until one is the right one.
func (g *instance) near(right func(*instance) bool) bool {
	for ; g != nil; g = g.parent {
		if right(g) || g.inside(right) {
			return true
		}
	}
	return false
}

func (g *instance) inside(right func(*instance) bool) bool {
	for _, c := range g.singles {
		if right(c) || c.inside(right) {
			return true
		}
	}
	return false
}

// lookup finds a named resource here or near: the one made last; else the only
// one of that name in the message.
func (g *instance) lookup(name string) (found *entry) {
	top := g
	g.near(func(g *instance) bool {
		if k := of(g.named, name); k >= 0 {
			found = g.named[k].at
		}
		return found != nil
	})
	if found != nil {
		return found
	}
	all := top.outermost().all
	if k := of(all, name); k >= 0 {
		return all[k].at
	}
	return nil
}

// name gives a resource a name here.
func (g *instance) name(name string, e *entry) {
	top := g.outermost()
	if k := of(g.named, name); k >= 0 {
		g.named[k].at = e
	} else {
		g.named = append(g.named, named{name: name, at: e})
	}
	if k := of(top.all, name); k < 0 {
		top.all = append(top.all, named{name: name, at: e})
	} else if top.all[k].at != e {
		top.all[k].at = nil
	}
	if slices.Contains(top.only, name) {
		g.contain(name, e)
	}
}

// single finds the only resource of a name in the nearest group that has any,
// with all groups in it; nil where that has several, or the resource is of another
// group like this one: another order's, say.
func (g *instance) single(name string) *entry {
	var from *instance
	for ; g != nil; from, g = g, g.parent {
		if k := of(g.below, name); k >= 0 {
			if via := g.below[k].via; via != nil && from != nil && via != from && via.def == from.def {
				return nil
			}
			return g.below[k].at
		}
	}
	return nil
}

// contain notes a resource for single.
func (g *instance) contain(name string, e *entry) {
	var via *instance
	for ; g != nil; via, g = g, g.parent {
		if k := of(g.below, name); k < 0 {
			g.below = append(g.below, named{name: name, at: e, via: via})
		} else if g.below[k].at != e {
			g.below[k].at = nil
		}
	}
}

// of finds a name, -1 where it is not.
func of(list []named, name string) int {
	return slices.IndexFunc(list, func(n named) bool { return n.name == name })
}

func (g *instance) outermost() *instance {
	for g.parent != nil {
		g = g.parent
	}
	return g
}

// find gives the segment of this name nearest to from: the last before it in
// its group, else any in it, else in the groups near.
func (g *instance) find(msg *hl7v2.Message, name string, from hl7v2.Segment) (hl7v2.Segment, bool) {
	best := -1
	g.near(func(g *instance) bool {
		if len(g.segments) > fewSegments {
			best = nearest(g.index(msg)[name], from.Index())
			return best >= 0
		}
		for _, i := range g.segments {
			if msg.Segment(i).Is(name) && (best < 0 || i < from.Index()) {
				best = i
			}
		}
		return best >= 0
	})
	if best < 0 {
		return hl7v2.Segment{}, false
	}
	return msg.Segment(best), true
}

// fewSegments is up to which number a group's segments are looked through.
const fewSegments = 32

// index gives the segments of this instance by name.
func (g *instance) index(msg *hl7v2.Message) map[string][]int {
	if g.byName == nil {
		g.byName = map[string][]int{}
		for _, i := range g.segments {
			name := msg.Segment(i).Name()
			g.byName[name] = append(g.byName[name], i)
		}
	}
	return g.byName
}

// nearest gives the last of a sorted list before from, else its first, else -1.
func nearest(list []int, from int) int {
	if len(list) == 0 {
		return -1
	}
	at, _ := slices.BinarySearch(list, from)
	return list[max(at-1, 0)]
}

// arrange puts every segment of a message into group instances. It follows the
// structure where the message does, and else takes the nearest open group that
// can hold the segment; what no group knows stays with the segment before it.
func (r *run) arrange(root *group, msg *hl7v2.Message, into []*instance) []*instance {
	at := r.instance(root, nil)
	for i := range msg.Len() {
		s := msg.Segment(i)
		next := r.stand(at, msg, s, true)
		if next == nil {
			next = r.stand(at, msg, s, false)
		}
		if next == nil {
			next = at
		} else {
			at = next
		}
		next.segments = append(next.segments, i)
		into = append(into, next)
	}
	return into
}

// instance starts one, with the memory of an earlier message's.
func (r *run) instance(def *group, parent *instance) *instance {
	if r.begun == len(r.instances) {
		r.instances = append(r.instances, &instance{})
	}
	g := r.instances[r.begun]
	r.begun++
	*g = instance{def: def, parent: parent, segments: g.segments[:0], named: g.named[:0], singles: g.singles[:0], all: g.all[:0], below: g.below[:0]}
	return g
}

// stand finds the instance for a segment from the innermost open group
// outwards; in order means at or behind what was filled last.
func (r *run) stand(at *instance, msg *hl7v2.Message, s hl7v2.Segment, ordered bool) *instance {
	for g := at; g != nil; g = g.parent {
		for k, it := range g.def.items {
			if ordered && (k < g.position || k == g.position && it.group == nil && !it.repeats && len(g.segments) > 0 && filled(g, msg, it.segment)) {
				continue
			}
			if it.group == nil && s.Is(it.segment) && (ordered || it.repeats || !filled(g, msg, it.segment) || g.parent == nil) {
				g.position = k
				return g
			}
			if ordered && it.group != nil && !it.repeats && k == g.position && g.opened(it.group) {
				continue
			}
			if it.group != nil && it.group.begins(msg, s) {
				g.position = k
				return r.open(g, it, msg, s)
			}
		}
	}
	return nil
}

// opened says whether a group stands in this one already.
func (g *instance) opened(def *group) bool {
	return slices.ContainsFunc(g.singles, func(c *instance) bool { return c.def == def })
}

func filled(g *instance, msg *hl7v2.Message, name string) bool {
	for _, i := range g.segments {
		if msg.Segment(i).Is(name) {
			return true
		}
	}
	return false
}

// open starts an instance of a group, down to the one that holds the segment.
func (r *run) open(parent *instance, as item, msg *hl7v2.Message, s hl7v2.Segment) *instance {
	g := r.instance(as.group, parent)
	if !as.repeats {
		parent.singles = append(parent.singles, g)
	}
	for k, it := range g.def.items {
		if it.group == nil && s.Is(it.segment) {
			g.position = k
			return g
		}
		if it.group != nil && it.group.begins(msg, s) {
			g.position = k
			return r.open(g, it, msg, s)
		}
	}
	return g
}

// within says whether the instance lies under these group names, the last
// being the innermost.
func (g *instance) within(path []string) bool {
	for i := len(path) - 1; i >= 0; i-- {
		for g != nil && g.def.name != path[i] {
			if i == len(path)-1 {
				return false
			}
			g = g.parent
		}
		if g == nil {
			return false
		}
		g = g.parent
	}
	return true
}
