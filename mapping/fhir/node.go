// Package fhir holds the FHIR R4 resources that Liaison produces and reads: a
// JSON tree that keeps field order, the literal text of numbers and everything
// a typed model would lose; the schema of R4 reflected from the samply model;
// deterministic ids; Bundles and OperationOutcomes.
package fhir

import (
	"strconv"
	"strings"
)

// Kind is the JSON type of a Node.
type Kind uint8

// The kinds of a Node.
const (
	Object Kind = iota
	Array
	String
	Number
	Bool
	Null
)

// A Node is one JSON value. Pointers to it stay valid while siblings are added.
type Node struct {
	Kind   Kind
	Sorted bool   // its fields, and all below, stand in FHIR's order: Tidy has nothing to do
	Order  uint16 // of an object's field: what Schema.Order gave for it, or 0
	From   Origin // of a list's entry: the field that it was made of, or 0
	Name   string // the field's name in its parent object
	Text   string // a string unescaped, a number or boolean as its literal
	Kids   []*Node
	fixed  *fixed // of a frozen value
}

// fixed is what is kept with a value that does not change any more.
type fixed struct {
	json       []byte
	references []string
}

// Freeze keeps a value's JSON and references with it: it and all below it must
// not change any more. A Clone can.
func (n *Node) Freeze() {
	json := n.AppendJSON(nil)
	n.fixed = &fixed{json: json, references: n.AppendReferences(nil)}
}

// Frozen says whether Freeze was called on it, or it shares what is frozen.
func (n *Node) Frozen() bool { return n.fixed != nil }

// Own makes a value that is frozen its own again, so that it can change.
func (n *Node) Own() {
	if n.fixed == nil {
		return
	}
	n.fixed = nil
	kids := make([]*Node, len(n.Kids))
	for i, k := range n.Kids {
		kids[i] = k.Clone()
	}
	n.Kids = kids
}

// AppendReferences appends the text of every Reference.reference in a value, in
// its order.
func (n *Node) AppendReferences(dst []string) []string {
	if n.fixed != nil {
		return append(dst, n.fixed.references...)
	}
	for _, k := range n.Kids {
		switch {
		case k.Kind > Array:
			if k.Kind == String && k.Name == "reference" {
				dst = append(dst, k.Text)
			}
		default:
			dst = k.AppendReferences(dst)
		}
	}
	return dst
}

// An Arena hands out nodes from slabs, so that a message's tree costs few
// allocations. A nil *Arena allocates one by one. Reset makes all its nodes
// free again: only then must no node of it be in use any more.
type Arena struct{ own, shared slabs }

type slabs struct {
	list [][]Node
	slab int
	used int
}

const slabNodes = 256

func (s *slabs) next() *Node {
	if s.slab == len(s.list) {
		s.list = append(s.list, make([]Node, slabNodes))
	}
	n := &s.list[s.slab][s.used]
	if s.used++; s.used == slabNodes {
		s.slab, s.used = s.slab+1, 0
	}
	return n
}

// reset takes back every node; very many give their memory back.
func (s *slabs) reset() {
	if len(s.list) > 64 {
		s.list = s.list[:64:64]
	}
	s.slab, s.used = 0, 0
}

// Node hands out one node.
func (a *Arena) Node(kind Kind, text string) *Node {
	if a == nil {
		return &Node{Kind: kind, Text: text}
	}
	n := a.own.next()
	n.Kind, n.Sorted, n.Order, n.From, n.Name, n.Text, n.Kids, n.fixed = kind, false, 0, 0, "", text, n.Kids[:0], nil
	return n
}

// Shared hands out a node that is one with a frozen one, whose parts it
// shares: it must not change before Own.
func (a *Arena) Shared(frozen *Node) *Node {
	n := a.shared.next()
	*n = Node{Kind: frozen.Kind, Text: frozen.Text, Kids: frozen.Kids, fixed: frozen.fixed}
	return n
}

// Reset takes back every node.
func (a *Arena) Reset() {
	a.own.reset()
	a.shared.reset()
}

// NewObject makes an empty object.
func NewObject() *Node { return &Node{} }

// NewArray makes an array of these values.
func NewArray(items ...*Node) *Node { return &Node{Kind: Array, Kids: items} }

// NewString makes a string value.
func NewString(s string) *Node { return &Node{Kind: String, Text: s} }

// NewNumber makes a number of its literal text.
func NewNumber(literal string) *Node { return &Node{Kind: Number, Text: literal} }

// NewBool makes a boolean.
func NewBool(b bool) *Node { return &Node{Kind: Bool, Text: strconv.FormatBool(b)} }

// NewResource makes a resource with its type.
func NewResource(resourceType string) *Node {
	return NewObject().Set("resourceType", NewString(resourceType))
}

// Get gives an object's field, or nil.
func (n *Node) Get(name string) *Node {
	if n == nil || n.Kind != Object {
		return nil
	}
	for _, k := range n.Kids {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// Set puts or replaces an object's field and gives the object. A nil value
// deletes it.
func (n *Node) Set(name string, v *Node) *Node {
	if v == nil {
		n.Delete(name)
		return n
	}
	v.Name = name
	n.Own()
	for i, k := range n.Kids {
		if k.Name == name {
			n.Kids[i] = v
			return n
		}
	}
	n.Kids, n.Sorted = append(n.Kids, v), false
	return n
}

// Add puts a field that the object does not have.
func (n *Node) Add(name string, v *Node) {
	v.Name = name
	n.Own()
	n.Kids, n.Sorted = append(n.Kids, v), false
}

// SetString is Set with a string; an empty one sets nothing.
func (n *Node) SetString(name, s string) *Node {
	if s != "" {
		n.Set(name, NewString(s))
	}
	return n
}

// Append adds a value to the array under name, making the array when needed.
func (n *Node) Append(name string, v *Node) *Node {
	n.Own()
	list := n.Get(name)
	if list == nil {
		list = NewArray()
		n.Set(name, list)
	}
	list.Own()
	v.Name = ""
	list.Kids = append(list.Kids, v)
	return n
}

// Delete removes an object's field.
func (n *Node) Delete(name string) {
	n.Own()
	for i, k := range n.Kids {
		if k.Name == name {
			n.Kids = append(n.Kids[:i], n.Kids[i+1:]...)
			return
		}
	}
}

// At follows a path such as "name[0].given[1]"; an array without an index
// means its first entry. It gives nil where there is nothing.
func (n *Node) At(path string) *Node {
	for path != "" && n != nil {
		var step string
		step, path, _ = strings.Cut(path, ".")
		name, index, hasIndex := strings.Cut(step, "[")
		if n.Kind == Array {
			n = n.item(0)
		}
		n = n.Get(name)
		if hasIndex {
			i, err := strconv.Atoi(strings.TrimSuffix(index, "]"))
			if err != nil {
				return nil
			}
			n = n.item(i)
		}
	}
	return n
}

func (n *Node) item(i int) *Node {
	if n == nil || n.Kind != Array || i < 0 || i >= len(n.Kids) {
		return nil
	}
	return n.Kids[i]
}

// Str gives the text of the primitive at a path, or "".
func (n *Node) Str(path string) string {
	at := n.At(path)
	if at != nil && at.Kind == Array {
		at = at.item(0)
	}
	if at == nil || at.Kind == Object || at.Kind == Null {
		return ""
	}
	return at.Text
}

// Items gives an array's entries, a lone value as one entry, nil as none.
func (n *Node) Items() []*Node {
	switch {
	case n == nil:
		return nil
	case n.Kind == Array:
		return n.Kids
	default:
		return []*Node{n}
	}
}

// ResourceType is the resource's type, or "".
func (n *Node) ResourceType() string { return n.Get("resourceType").text() }

// ID is the resource's logical id, or "".
func (n *Node) ID() string { return n.Get("id").text() }

// text is a string's text, or "".
func (n *Node) text() string {
	if n == nil || n.Kind != String {
		return ""
	}
	return n.Text
}

// Clone copies the tree out of any arena. Frozen parts without references,
// which stand in none, are shared.
func (n *Node) Clone() *Node {
	if n == nil {
		return nil
	}
	nodes, kids := n.size(true)
	c := copier{nodes: make([]Node, nodes), kids: make([]*Node, kids)}
	return c.copy(n, true)
}

// shares says that a copy need not go into the value.
func (n *Node) shares() bool { return n.fixed != nil && len(n.fixed.references) == 0 }

// Shallow copies a value but not what is below it.
func (n *Node) Shallow() *Node {
	return &Node{Kind: n.Kind, Order: n.Order, From: n.From, Name: n.Name, Text: n.Text, Kids: append([]*Node(nil), n.Kids...)}
}

// size counts the nodes of a tree, and the pointers to them.
func (n *Node) size(top bool) (nodes, kids int) {
	if !top && n.shares() {
		return 1, 0
	}
	nodes, kids = 1, len(n.Kids)
	for _, k := range n.Kids {
		if len(k.Kids) == 0 {
			nodes++
			continue
		}
		below, pointers := k.size(false)
		nodes, kids = nodes+below, kids+pointers
	}
	return nodes, kids
}

// A copier hands out the memory of one copy: two allocations a tree.
type copier struct {
	nodes []Node
	kids  []*Node
}

func (c *copier) copy(n *Node, top bool) *Node {
	to := &c.nodes[0]
	c.nodes = c.nodes[1:]
	to.Kind, to.Order, to.From, to.Name, to.Text = n.Kind, n.Order, n.From, n.Name, n.Text
	if !top && n.shares() {
		to.Kids, to.fixed = n.Kids, n.fixed
		return to
	}
	if count := len(n.Kids); count > 0 {
		to.Kids = c.kids[:count:count]
		c.kids = c.kids[count:]
		for i, k := range n.Kids {
			to.Kids[i] = c.copy(k, false)
		}
	}
	return to
}

// Equal compares two values; the order of an object's fields does not count.
func Equal(a, b *Node) bool {
	if a == b {
		return true
	}
	if a == nil || b == nil {
		return false
	}
	if a.fixed != nil && a.fixed == b.fixed {
		return true
	}
	if a.Kind != b.Kind || a.Text != b.Text || len(a.Kids) != len(b.Kids) {
		return false
	}
	for i, k := range a.Kids {
		other := b.Kids[i]
		if a.Kind == Object && other.Name != k.Name {
			other = b.Get(k.Name)
		}
		if !Equal(k, other) {
			return false
		}
	}
	return true
}

// Prune removes empty strings, objects and arrays, which FHIR does not have
// (R4 §2.1.28), and says whether anything is left.
func (n *Node) Prune() bool {
	if n.fixed != nil {
		return true
	}
	switch n.Kind {
	case Object, Array:
		kept := n.Kids[:0]
		for _, k := range n.Kids {
			if k.Prune() && !(n.Kind == Array && bareExtension(n, k)) {
				kept = append(kept, k)
			}
		}
		n.Kids = kept
		return len(kept) > 0
	case String:
		return n.Text != ""
	default:
		return true
	}
}

// bareExtension: an extension with neither value nor extensions (R4 ext-1).
func bareExtension(list, item *Node) bool {
	return (list.Name == "extension" || list.Name == "modifierExtension") && len(item.Kids) == 1 && item.Kids[0].Name == "url"
}

// Walk visits every node below and including n with its path; the path of
// array entries has their index.
func (n *Node) Walk(path string, visit func(path string, n *Node)) {
	visit(path, n)
	for i, k := range n.Kids {
		switch {
		case n.Kind == Array:
			k.Walk(path+"["+strconv.Itoa(i)+"]", visit)
		case path == "":
			k.Walk(k.Name, visit)
		default:
			k.Walk(path+"."+k.Name, visit)
		}
	}
}
