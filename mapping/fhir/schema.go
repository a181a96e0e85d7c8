package fhir

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// A Schema is what R4 allows where: resources, data types and backbone
// elements with their elements in order, reflected from the samply model. It is
// made once and passed around; it is safe for concurrent use.
type Schema struct {
	types     map[string]*Type
	resources []string
	extension *Type
}

// A Type is a resource ("Patient"), a data type ("HumanName") or a backbone
// element ("PatientContact").
type Type struct {
	Name     string
	Resource bool
	Elements []Element // in FHIR's order
	byName   map[string]int
	wants    []want
}

// A want is an element that has to be there, or one of several.
type want struct {
	at    int      // what says why, where none is there
	among []string // one of these is enough
	with  string   // only where this one is there
	code  string   // what stands there instead: a code is required that has to be one of R4's
}

// An Element is one field of a Type.
type Element struct {
	Name     string   // the JSON name; a choice has one Element for each of its types
	Type     string   // a Type's name, or a primitive: string, boolean, integer, decimal, date, dateTime, instant, time, code, uri …
	List     bool     // an array
	Required bool     // 1..; of a choice: one of its alternatives has to be there
	Choice   string   // "value" for valueString
	Codes    []string // the codes of a required binding
	Order    int
	typ      *Type // of Type, nil for a primitive
}

// Primitive says whether the element holds a primitive value.
func (e *Element) Primitive() bool { return e.Type[0] >= 'a' && e.Type[0] <= 'z' }

// NewSchema reflects the model. It takes some milliseconds.
func NewSchema() *Schema {
	s := &Schema{types: map[string]*Type{}}
	for _, m := range models() {
		s.add(m).Resource = true
		s.resources = append(s.resources, m.Name())
	}
	s.cure()
	fixes := corrections()
	for _, t := range s.types {
		t.correct(fixes[t.Name])
		t.byName = make(map[string]int, len(t.Elements))
		for i := range t.Elements {
			t.Elements[i].Order = i
			t.Elements[i].typ = s.types[t.Elements[i].Type]
			t.byName[t.Elements[i].Name] = i
		}
		t.want()
	}
	s.extension = s.types["Extension"]
	return s
}

// Type finds a type by name.
func (s *Schema) Type(name string) (*Type, bool) {
	t, ok := s.types[name]
	return t, ok
}

// Resources lists the names of all resource types, sorted.
func (s *Schema) Resources() []string { return s.resources }

// Element finds an element by its JSON name.
func (t *Type) Element(name string) (*Element, bool) {
	i, ok := t.byName[name]
	if !ok {
		return nil, false
	}
	return &t.Elements[i], true
}

func (s *Schema) add(m reflect.Type) *Type {
	if t, ok := s.types[m.Name()]; ok {
		return t
	}
	t := &Type{Name: m.Name()}
	s.types[m.Name()] = t
	for i := range m.NumField() {
		f := m.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		e := Element{Name: name, Required: options != "omitempty"}
		ft := f.Type
		if ft == reflect.TypeFor[json.RawMessage]() {
			e.Type = "Resource"
			t.Elements = append(t.Elements, e)
			continue
		}
		if ft.Kind() == reflect.Slice {
			e.List, ft = true, ft.Elem()
		}
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		e.Type = s.elementType(&e, ft)
		t.Elements = append(t.Elements, e)
	}
	return t
}

func (s *Schema) elementType(e *Element, ft reflect.Type) string {
	switch {
	case ft == reflect.TypeFor[json.Number]():
		return "decimal"
	case ft == reflect.TypeFor[json.RawMessage]():
		return "Resource"
	case ft.Kind() == reflect.Struct:
		return s.add(ft).Name
	case ft.Kind() == reflect.Int:
		if coder, ok := reflect.Zero(ft).Interface().(interface{ Code() string }); ok {
			e.Codes = codesOf(ft, coder.Code())
			return "code"
		}
	}
	return kindOf(ft)
}

// codesOf lists a required binding: the enum's codes from 0 until it has no more.
func codesOf(ft reflect.Type, first string) []string {
	codes := []string{first}
	for i := int64(1); ; i++ {
		v := reflect.New(ft).Elem()
		v.SetInt(i)
		code := v.Interface().(interface{ Code() string }).Code()
		if code == "<unknown>" || code == "" {
			return codes
		}
		codes = append(codes, code)
	}
}

// cure adds what the model lacks and R4 has: `contained` on every resource.
func (s *Schema) cure() {
	for _, name := range s.resources {
		t := s.types[name]
		if name == "Bundle" || name == "Parameters" || name == "Binary" {
			continue
		}
		for i := range t.Elements {
			if t.Elements[i].Name == "extension" {
				t.Elements = append(t.Elements[:i], append([]Element{{Name: "contained", Type: "Resource", List: true}}, t.Elements[i:]...)...)
				break
			}
		}
	}
}

// Tidy takes what is empty out of a resource, as Prune does, and puts its
// fields into FHIR's order, all the way down. Fields that the schema does not
// know keep their place at the end. Frozen values are tidy.
func (s *Schema) Tidy(n *Node) { s.tidy(n, nil) }

// Complete is Tidy, and puts a data-absent-reason (R4 §2.2.0.1) where a part of
// the resource, as an entry of a list, lacks what R4 requires of it. It gives what
// was lacking: "AppointmentParticipant.status". What a resource itself lacks is
// its tables' business.
func (s *Schema) Complete(n *Node) (lacking []string) {
	s.tidy(n, &lacking)
	return lacking
}

func (s *Schema) tidy(n *Node, lacking *[]string) {
	if t, ok := s.types[n.ResourceType()]; ok {
		s.tidyObject(t, n, lacking)
	} else {
		n.Prune()
	}
}

// tidyObject says whether anything is left.
func (s *Schema) tidyObject(t *Type, n *Node, lacking *[]string) bool {
	if n.Sorted || n.fixed != nil {
		return len(n.Kids) > 0
	}
	kept := n.Kids[:0]
	cursor, last := 0, -1
	for _, k := range n.Kids { // elements mostly come in order: look from the last on
		order, at := -1, -1
		if k.Order != 0 {
			order = int(k.Order) - 1
			at = order / 2
		} else if k.Name != "resourceType" {
			order = 1 << 20
			if at = t.from(cursor, k.Name); at >= 0 {
				if order = 2 * at; k.Name[0] == '_' {
					order++
				}
			}
		}
		if at >= 0 {
			cursor = at
		}
		if !s.tidyField(t, at, order%2 == 1, k, lacking) {
			continue
		}
		kept = append(kept, k)
		if order >= last {
			last = order
			continue
		}
		t.insert(kept, order)
	}
	if lacking != nil && !t.Resource && len(kept) > 0 {
		if kept = t.complete(kept, lacking); t.Name == "Range" {
			kept = bounded(kept)
		}
	}
	n.Kids = kept
	align(kept)
	return len(kept) > 0
}

// insert puts the last field where its order is: stable insertion.
func (t *Type) insert(fields []*Node, order int) {
	j := len(fields) - 1
	k := fields[j]
	for ; j > 0 && t.order(fields[j-1]) > order; j-- {
		fields[j] = fields[j-1]
	}
	fields[j] = k
}

// want finds what the type requires: its required elements, and of invariants
// those that something has to be there (pat-1, app-1, imm-1, rat-1).
func (t *Type) want() {
	if t.Name == "Extension" {
		return
	}
	choices := map[string]int{}
	for i := range t.Elements {
		e := &t.Elements[i]
		switch n, known := choices[e.Choice]; {
		case !e.Required || e.Type == "Resource":
		case e.Choice == "":
			t.wants = append(t.wants, want{at: i, among: []string{e.Name}})
		case !known:
			choices[e.Choice] = len(t.wants)
			t.wants = append(t.wants, want{at: i, among: []string{e.Name}})
		default:
			t.wants[n].among = append(t.wants[n].among, e.Name)
			if e.Type == "CodeableConcept" {
				t.wants[n].at = i
			}
		}
	}
	some := func(with, filler string, others ...string) {
		t.wants = append(t.wants, want{at: t.byName[filler], among: append(others, filler), with: with})
	}
	switch t.Name {
	case "PatientContact":
		some("", "name", "telecom", "address", "organization")
	case "AppointmentParticipant":
		some("", "actor", "type")
		for i := range t.wants {
			if t.Elements[t.wants[i].at].Name == "status" {
				t.wants[i].code = "needs-action"
			}
		}
	case "ImmunizationEducation":
		some("", "documentType", "reference")
	case "Ratio":
		some("numerator", "denominator")
		some("denominator", "numerator")
	}
}

// complete says of what is wanted and not there that it is unknown.
func (t *Type) complete(fields []*Node, lacking *[]string) []*Node {
	has := func(name string) bool {
		return slices.ContainsFunc(fields, func(k *Node) bool { return strings.TrimPrefix(k.Name, "_") == name })
	}
	for i := range t.wants {
		w := &t.wants[i]
		if slices.ContainsFunc(w.among, has) || w.with != "" && !has(w.with) {
			continue
		}
		e := &t.Elements[w.at]
		*lacking = append(*lacking, t.Name+"."+e.Name)
		if w.code != "" {
			k := NewString(w.code)
			k.Name = e.Name
			fields = append(fields, k)
			t.insert(fields, 2*w.at)
			continue
		}
		reason := NewObject().SetString("url", dataAbsentReason).SetString("valueCode", "unknown")
		k := NewObject().Set("extension", NewArray(reason))
		order := 2 * w.at
		name := e.Name
		if e.Primitive() {
			name, order = "_"+name, order+1
		}
		if e.List {
			k = NewArray(k)
		}
		k.Name = name
		fields = append(fields, k)
		t.insert(fields, order)
	}
	return fields
}

// bounded takes a bound of a Range without a value out, where there is another
// (rng-2): its unit is the other's.
func bounded(fields []*Node) []*Node {
	empty := func(k *Node) bool {
		return (k.Name == "low" || k.Name == "high") && k.Get("value") == nil && k.Get("_value") == nil
	}
	has := func(k *Node) bool { return (k.Name == "low" || k.Name == "high") && k.Get("value") != nil }
	if !slices.ContainsFunc(fields, has) {
		if low := slices.IndexFunc(fields, func(k *Node) bool { return k.Name == "low" }); low < 0 {
			return fields
		}
		return slices.DeleteFunc(fields, func(k *Node) bool { return k.Name == "high" && empty(k) })
	}
	return slices.DeleteFunc(fields, empty)
}

const dataAbsentReason = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"

// align makes the arrays of primitives and of their extensions equally long: what
// one of the two does not have is null there (R4 §2.6.2.1).
func align(fields []*Node) {
	for i, k := range fields {
		if k.Kind != Array || k.Name == "" || k.Name[0] != '_' || k.fixed != nil {
			continue
		}
		if i > 0 && fields[i-1].Kind == Array && fields[i-1].Name == k.Name[1:] {
			values := fields[i-1]
			for len(k.Kids) < len(values.Kids) {
				k.Kids = append(k.Kids, &Node{Kind: Null, Text: "null"})
			}
			for len(values.Kids) < len(k.Kids) {
				values.Kids = append(values.Kids, &Node{Kind: Null, Text: "null"})
			}
		}
	}
}

// tidyField tidies the value of an element, found at a place in its type.
func (s *Schema) tidyField(t *Type, at int, primitive bool, k *Node, lacking *[]string) bool {
	switch {
	case k.Kind == String:
		return k.Text != ""
	case k.Kind > Array:
		return true
	case at < 0:
		return k.Prune()
	}
	e := &t.Elements[at]
	child := e.typ
	switch {
	case primitive: // the extensions of one
		child = s.extension
	case e.Type == "Resource":
		for _, item := range k.Items() {
			s.tidy(item, lacking)
		}
		return len(k.Kids) > 0
	}
	if child == nil {
		return k.Prune()
	}
	if k.Kind == Object {
		return s.tidyObject(child, k, lacking)
	}
	if k.fixed != nil {
		return true
	}
	kept := k.Kids[:0]
	for _, item := range k.Kids {
		keep := true
		switch item.Kind {
		case Object:
			keep = s.tidyObject(child, item, lacking) && !bareExtension(k, item)
		case Array, String:
			keep = item.Prune()
		default:
		}
		if keep {
			kept = append(kept, item)
		}
	}
	k.Kids = kept
	return len(kept) > 0
}

// from finds an element by its JSON name, looking from a place on first.
func (t *Type) from(cursor int, name string) int {
	if name[0] == '_' {
		name = name[1:]
	}
	for i := cursor; i < len(t.Elements); i++ {
		if t.Elements[i].Name == name {
			return i
		}
	}
	for i := range cursor {
		if t.Elements[i].Name == name {
			return i
		}
	}
	return -1
}

// Order is where an element stands among its type's, for Node.Order: whoever
// sets it on a field spares Tidy to look for it. name may begin with _.
func (t *Type) Order(name string) uint16 {
	at := t.from(0, name)
	switch {
	case at < 0:
		return 0
	case name[0] == '_':
		return uint16(2*at + 2)
	default:
		return uint16(2*at + 1)
	}
}

func (t *Type) order(k *Node) int {
	if k.Order != 0 {
		return int(k.Order) - 1
	}
	if k.Name == "resourceType" {
		return -1
	}
	at := t.from(0, k.Name)
	if at < 0 {
		return 1 << 20
	}
	if k.Name[0] == '_' {
		return 2*at + 1
	}
	return 2 * at
}
