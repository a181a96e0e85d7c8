package records

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A partOp is what a message says of one service or resource of an appointment
// and leaves the others (HL7 v2.5.1 §10.4.7 to §10.4.11): it stands over the
// list that a whole message gave, until a newer whole one comes.
type partOp struct {
	List   string          `json:"list"`
	ID     string          `json:"id"`
	Set    string          `json:"set,omitempty"`   // segment and set ids, "AIP 1/2"
	Op     string          `json:"op"`              // A add, U change, D take out
	Stead  bool            `json:"stead,omitempty"` // it takes out what stands in the place of another one (Set)
	Alone  bool            `json:"alone,omitempty"` // it takes out what was added to its group, nothing of another
	Sender string          `json:"sender"`
	Order  string          `json:"order"`
	Node   json.RawMessage `json:"node,omitempty"`
}

// mostParts is how many of these are kept of an appointment, the newest.
const mostParts = 256

// partLists are the lists whose entries come one by one.
func partLists() []string { return []string{"participant", "serviceType"} }

// ofParts says whether an entry is one that comes one by one: neither the patient
// nor a contact (SCH-12, SCH-16, SCH-20) is.
func ofParts(list string, n *fhir.Node) bool {
	return list != "participant" || about(list, n).text != "patient" && !contact(n)
}

// contact says whether a participant is one of the appointment's contacts.
func contact(n *fhir.Node) bool {
	name := n.From.String()
	return strings.HasPrefix(name, "SCH-") || strings.HasPrefix(name, "ARQ-")
}

// partID names what an entry is about.
func partID(list string, n *fhir.Node) string {
	if list == "serviceType" {
		if code := n.Str("coding[0].code"); code != "" {
			return n.Str("coding[0].system") + "|" + code
		}
		return n.Str("text")
	}
	for _, path := range [...]string{"actor.reference", "actor.identifier.value", "actor.display", "type[0].coding[0].code", "type[0].text"} {
		if s := n.Str(path); s != "" {
			return path + "|" + s
		}
	}
	return ""
}

// actions takes the action codes (AIS-2, AIG-2, AIL-2, AIP-2) off the entries
// and gives them by entry.
func actions(n *fhir.Node) (*fhir.Node, map[*fhir.Node]string) {
	found := map[*fhir.Node]string{}
	out := n
	for _, name := range partLists() {
		list := n.Get(name)
		if list == nil || !slices.ContainsFunc(list.Items(), func(k *fhir.Node) bool { return extension(k, "resource-action") != nil }) {
			continue
		}
		if out == n {
			out = n.Shallow()
		}
		kept := fhir.NewArray()
		for _, item := range list.Items() {
			action := extension(item, "resource-action")
			if action == nil {
				kept.Kids = append(kept.Kids, item)
				continue
			}
			plain := item.Shallow()
			rest := fhir.NewArray()
			for _, e := range item.Get("extension").Items() {
				if e != action {
					rest.Kids = append(rest.Kids, e)
				}
			}
			if plain.Delete("extension"); len(rest.Kids) > 0 {
				plain.Set("extension", rest)
			}
			plain.Name = ""
			found[plain] = strings.ToUpper(action.Str("valueCode"))
			kept.Kids = append(kept.Kids, plain)
		}
		out.Set(name, kept)
	}
	return out, found
}

// delta takes the services and resources of a message one by one: each by its
// action code, without one as the trigger has it (Delta: it is there; Removal:
// it goes). It leaves the item without them, and says what it cannot make out.
func (s *state) delta(it *Item, st Stamp, codes map[*fhir.Node]string) (warnings []string) {
	n := it.Resource.Shallow()
	for _, name := range partLists() {
		list := it.Resource.Get(name)
		if list == nil {
			continue
		}
		kept := fhir.NewArray()
		var parts []*fhir.Node
		for _, item := range list.Items() {
			if ofParts(name, item) {
				parts = append(parts, item)
			} else {
				kept.Kids = append(kept.Kids, item)
			}
		}
		if n.Delete(name); len(kept.Kids) > 0 {
			n.Set(name, kept)
		}
		if !s.may(st, baseOf(name)) {
			continue
		}
		for _, op := range s.parts(it, name, parts, codes) {
			op.Sender, op.Order = st.Sender, st.Order
			if op.Op == "D" && !s.knows(&op) && s.news(st) {
				warnings = append(warnings, "resource-unknown")
			}
			s.addPart(op)
		}
	}
	it.Resource = n
	return warnings
}

// baseOf is the element group under which a whole message sets the list.
func baseOf(list string) string {
	if list == "participant" {
		return "participant:others"
	}
	return list
}

// parts decides what becomes of each entry. Of several without an action code
// in a message that takes out, the ones that it does not name are meant.
func (s *state) parts(it *Item, list string, named []*fhir.Node, codes map[*fhir.Node]string) []partOp {
	var out []partOp
	add := func(n *fhir.Node, op string) {
		out = append(out, partOp{List: list, ID: partID(list, n), Set: extension(n, "resource-set").Str("valueString"), Op: op, Node: n.JSON()})
	}
	var bare []*fhir.Node
	removed := false
	for _, n := range named {
		switch codes[n] {
		case "A", "U", "D":
			add(n, codes[n])
			removed = removed || codes[n] == "D"
		case "X":
		default:
			bare = append(bare, n)
		}
	}
	switch {
	case it.Action == Delta:
		for _, n := range bare {
			add(n, "U")
		}
	case removed, len(bare) == 0:
	case len(bare) == 1:
		add(bare[0], "D")
	default:
		for _, have := range s.shown().Get(list).Items() {
			id := partID(list, have)
			if ofParts(list, have) && !slices.ContainsFunc(bare, func(n *fhir.Node) bool { return partID(list, n) == id }) {
				add(have, "D")
			}
		}
	}
	return out
}

// knows says whether an appointment has what a part is about.
func (s *state) knows(op *partOp) bool { return op.find(s.shown().Get(op.List).Items()) >= 0 }

// find gives the entry that a part is about, -1 where there is none: what it names,
// in its own resource group (RGS-1) before others, to which alone it adds; else the
// one with its set ids, where it changes one or names none.
func (op *partOp) find(items []*fhir.Node) int {
	named, set := -1, -1
	for i, n := range items {
		if !ofParts(op.List, n) {
			continue
		}
		of := extension(n, "resource-set").Str("valueString")
		switch same := op.ID != "" && partID(op.List, n) == op.ID; {
		case same && (of == op.Set || op.Set != "" && groupOf(of) == groupOf(op.Set)):
			return i
		case same && named < 0 && (op.Op != "A" && !op.Alone || op.Set == "" || of == ""):
			named = i
		case !same && set < 0 && op.Set != "" && of == op.Set:
			set = i
		}
	}
	if named < 0 && (op.Op == "U" || op.ID == "" || op.Stead) {
		return set
	}
	return named
}

// groupOf is the resource group in an entry's set ids: "AIP 1" of "AIP 1/2".
func groupOf(set string) string {
	group, _, _ := strings.Cut(set, "/")
	return group
}

// addPart keeps a part: of those of one sender about the same thing the newest.
func (s *state) addPart(op partOp) {
	if s.ties == nil {
		s.ties = &ties{}
	}
	for i := range s.ties.Parts {
		have := &s.ties.Parts[i]
		if have.List != op.List || have.ID != op.ID || have.Set != "" && op.Set != "" && groupOf(have.Set) != groupOf(op.Set) && s.several(&op) {
			continue
		}
		if have.Sender == op.Sender && op.Order < have.Order {
			return
		}
		if op.Op == "D" && (have.Op == "U" || have.Stead) && have.Set != "" {
			op.Stead, op.Set = true, have.Set
		}
		op.Alone = op.Op == "D" && (have.Op == "A" || have.Alone)
		s.ties.Parts = slices.Delete(s.ties.Parts, i, i+1)
		break
	}
	s.ties.Parts = append(s.ties.Parts, op)
	slices.SortStableFunc(s.ties.Parts, func(a, b partOp) int {
		if a.Sender != b.Sender {
			return 0
		}
		return strings.Compare(a.Order, b.Order)
	})
	if over := len(s.ties.Parts) - mostParts; over > 0 {
		s.ties.Parts = slices.Delete(s.ties.Parts, 0, over)
	}
}

// several says whether an appointment has more than one entry that a part names.
func (s *state) several(op *partOp) bool {
	n := 0
	for _, item := range s.shown().Get(op.List).Items() {
		if ofParts(op.List, item) && partID(op.List, item) == op.ID {
			n++
		}
	}
	return n > 1
}

// asks says whether an item asks something of a record, or answers that: it is
// told though it changes nothing.
func asks(it *Item) bool {
	return strings.HasSuffix(it.Event, "-requested") || it.Event == "request-declined"
}

// news says whether a sender has not been heard at this order yet.
func (s *state) news(st Stamp) bool {
	from := s.heard(st.Sender)
	return from == nil || from.last < st.Order
}

// whole forgets the parts that a message with the whole list is newer than.
func (s *state) whole(it *Item, st Stamp) {
	if s.ties == nil || len(s.ties.Parts) == 0 || it.Resource == nil {
		return
	}
	s.ties.Parts = slices.DeleteFunc(s.ties.Parts, func(op partOp) bool {
		there := slices.ContainsFunc(it.Resource.Get(op.List).Items(), func(n *fhir.Node) bool { return ofParts(op.List, n) })
		return there && (op.Sender != st.Sender || op.Order <= st.Order)
	})
}

// showParts puts the parts over the lists of an appointment that is a shallow
// copy.
func (t *ties) showParts(n *fhir.Node) {
	for _, name := range partLists() {
		list := fhir.NewArray()
		list.Kids = append(list.Kids, n.Get(name).Items()...)
		for i := range t.Parts {
			if op := &t.Parts[i]; op.List == name {
				list.Kids = op.over(list.Kids)
			}
		}
		if len(list.Kids) > 0 {
			n.Set(name, list)
		} else {
			n.Delete(name)
		}
	}
}

// over applies a part to a list's entries.
func (op *partOp) over(items []*fhir.Node) []*fhir.Node {
	at := op.find(items)
	if op.Op == "D" {
		if at >= 0 {
			items = slices.Delete(slices.Clone(items), at, at+1)
		}
		return items
	}
	n, err := fhir.ParseJSON(op.Node)
	if err != nil {
		return items
	}
	if at >= 0 {
		items = slices.Clone(items)
		items[at] = n
		return items
	}
	return append(items, n)
}
