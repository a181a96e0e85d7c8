package records

import (
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// An element is one element group of a resource.
type element struct {
	path string
	node *fhir.Node
}

// groups are the parts of a resource that a message sets as one: its elements,
// the parts of the elements that several messages fill bit by bit (period.end),
// and of a list what about tells apart (telecom:PID-13, identifier:system|value).
func groups(n *fhir.Node) []element {
	out := make([]element, 0, len(n.Kids)+4)
	for _, k := range n.Kids {
		switch k.Name {
		case "resourceType", "id":
		case "meta":
			for _, sub := range k.Kids {
				if sub.Name != "versionId" && sub.Name != "lastUpdated" {
					out = append(out, element{path: "meta." + sub.Name, node: sub})
				}
			}
		case "period", "hospitalization", "servicePeriod":
			for _, sub := range k.Kids {
				out = append(out, element{path: k.Name + "." + sub.Name, node: sub})
			}
		case dosage:
			out = doses(out, k)
		default:
			if k.Kind != fhir.Array {
				out = append(out, element{path: k.Name, node: k})
				continue
			}
			out = parts(out, k)
		}
	}
	return out
}

// dosage is the list whose first entry several segments of a message fill bit by
// bit, and several messages: the dose, its timing, its route. The entries behind it
// are one group: a message that has the list says how many there are.
const (
	dosage  = "dosageInstruction"
	further = dosage + "[1:]"
)

func doses(out []element, list *fhir.Node) []element {
	items := list.Items()
	if len(items) == 0 {
		return out
	}
	for _, sub := range items[0].Kids {
		out = append(out, element{path: dosage + "." + sub.Name, node: sub})
	}
	return append(out, element{path: further, node: fhir.NewArray(items[1:]...)})
}

// dose gives a part of the first dosage, or the entries behind it.
func dose(n *fhir.Node, path string) *fhir.Node {
	items := n.Get(dosage).Items()
	_, part, first := strings.Cut(path, ".")
	switch {
	case first && len(items) > 0:
		return items[0].Get(part)
	case first:
		return nil
	case len(items) < 2:
		return fhir.NewArray()
	}
	return fhir.NewArray(items[1:]...)
}

// putDose writes what dose reads; nil deletes it.
func putDose(n *fhir.Node, path string, v *fhir.Node) {
	list := fhir.NewArray(n.Get(dosage).Items()...)
	if _, part, first := strings.Cut(path, "."); !first {
		list.Kids = append(list.Kids[:min(1, len(list.Kids)):1], v.Items()...)
	} else {
		if len(list.Kids) == 0 {
			list.Kids = append(list.Kids, fhir.NewObject())
		}
		entry := list.Kids[0].Shallow()
		entry.Name = ""
		if entry.Set(part, v); v == nil {
			entry.Delete(part)
		}
		list.Kids = append([]*fhir.Node{entry}, list.Kids[1:]...)
	}
	if len(list.Kids) == 0 {
		n.Delete(dosage)
		return
	}
	n.Set(dosage, list)
}

// parts groups a list's entries by what they are about; a list of which nothing
// is said of any entry is one group.
func parts(out []element, list *fhir.Node) []element {
	first := len(out)
	var told topic
entries:
	for i, item := range list.Kids {
		on := about(list.Name, item)
		if i > 0 && on == told { // as most are: like the one before
			if last := &out[len(out)-1]; last.node != list {
				last.node.Kids = append(last.node.Kids, item)
			}
			continue
		}
		if told = on; i == 0 {
			out = append(out, element{path: on.path(list.Name), node: list})
			continue
		}
		if len(out) == first+1 && out[first].node == list { // no longer the only one
			out[first].node = fhir.NewArray(append([]*fhir.Node(nil), list.Kids[:i]...)...)
		}
		path := on.path(list.Name)
		for k := first; k < len(out); k++ {
			if out[k].path == path {
				out[k].node.Kids = append(out[k].node.Kids, item)
				told = topic{text: "\x00"}
				continue entries
			}
		}
		out = append(out, element{path: path, node: fhir.NewArray(item)})
	}
	if len(out) == first+1 && out[first].path == list.Name+":" {
		out[first].path = list.Name
	}
	return out
}

// A topic is what an entry of a list is about: a text, or the field that made it.
type topic struct {
	text  string
	field fhir.Origin
}

// path names the group of a list's entries of this topic.
func (t topic) path(list string) string {
	if t.field == 0 {
		return list + ":" + t.text
	}
	var room [64]byte
	return string(t.field.Append(append(append(room[:0], list...), ':')))
}

// topicOf reads what stands behind the colon of a path.
func topicOf(list, part string) topic {
	if list != "identifier" && list != "participant" {
		if field := fhir.ParseOrigin(part); field != 0 {
			return topic{field: field}
		}
	}
	if list == "participant" && part != "patient" && part != "others" {
		return topic{field: fhir.ParseOrigin(part)}
	}
	return topic{text: part}
}

// about tells what an entry of a list is about, so that a message that says
// nothing of it leaves it: an identifier by itself; who takes part in an
// appointment, the patient, each contact, or who and what is booked; where a visit is, all of PV1's places
// as one; else the field of the message that made it. What came in no field is
// of no topic, extensions go by their URL.
func about(list string, item *fhir.Node) topic {
	switch list {
	case "identifier":
		return topic{text: item.Str("system") + "|" + item.Str("value")}
	case "location":
		return topic{}
	case "qualification":
		return topic{text: item.Str("identifier[0].value") + "|" + item.Str("code.coding[0].code") + "|" + item.Str("issuer.reference")}
	case "participant":
		if actor := item.Get("actor"); actor != nil {
			if strings.HasPrefix(actor.Str("reference"), "Patient/") {
				return topic{text: "patient"}
			}
			if contact(item) {
				break
			}
			return topic{text: "others"}
		}
	case "extension":
		if item.From == 0 {
			if url := item.Str("url"); !strings.HasSuffix(url, "/v2-field") {
				return topic{text: url}
			}
			return topic{text: "v2-field|" + item.Str("extension[0].valueString")}
		}
	}
	return topic{field: item.From}
}

// at reads an element group.
func at(n *fhir.Node, path string) *fhir.Node {
	if strings.HasPrefix(path, dosage) && len(path) > len(dosage) && path[len(dosage)] != ':' {
		return dose(n, path)
	}
	if name, part, ok := strings.Cut(path, ":"); ok {
		list, on := n.Get(name), topicOf(name, part)
		if list != nil && list.Kind != fhir.Array {
			return nil
		}
		var found *fhir.Node
		all := true
		for i, item := range list.Items() {
			switch {
			case about(name, item) != on:
				if all && i > 0 {
					found = fhir.NewArray(append([]*fhir.Node(nil), list.Kids[:i]...)...)
				}
				all = false
			case all:
				found = list
			case found == nil:
				found = fhir.NewArray(item)
			default:
				found.Kids = append(found.Kids, item)
			}
		}
		return found
	}
	first, rest, nested := strings.Cut(path, ".")
	n = n.Get(first)
	if nested {
		return n.Get(rest)
	}
	return n
}

// put writes an element group; nil deletes it. What it changes below n it
// copies first.
func put(n *fhir.Node, path string, v *fhir.Node) {
	if strings.HasPrefix(path, dosage) && len(path) > len(dosage) && path[len(dosage)] != ':' {
		putDose(n, path, v)
		return
	}
	if name, part, ok := strings.Cut(path, ":"); ok {
		putPart(n, name, part, v)
		return
	}
	first, rest, nested := strings.Cut(path, ".")
	if !nested {
		n.Set(first, v)
		return
	}
	child := n.Get(first)
	switch {
	case child != nil:
		child = child.Shallow()
	case v == nil:
		return
	default:
		child = fhir.NewObject()
	}
	child.Set(rest, v)
	n.Set(first, child)
}

// putPart puts a part of a list in the place of the one before, else behind
// those of fields before its own. An entry of no field that says the same in
// other words (another sender's home phone) makes room for it.
func putPart(n *fhir.Node, name, part string, v *fhir.Node) {
	list := fhir.NewArray()
	placed := v == nil
	place := func() {
		if !placed {
			list.Kids, placed = append(list.Kids, v.Kids...), true
		}
	}
	on := topicOf(name, part)
	there := v != nil && on.field != 0 && slices.ContainsFunc(n.Get(name).Items(), func(item *fhir.Node) bool { return about(name, item) == on })
	for _, item := range n.Get(name).Items() {
		switch {
		case about(name, item) == on:
			place()
			continue
		case item.From == 0 && on.field != 0 && alike(name, item, v):
			continue
		case item.From > on.field && on.field != 0 && !there:
			place()
		}
		list.Kids = append(list.Kids, item)
	}
	place()
	if len(list.Kids) == 0 {
		n.Delete(name)
		return
	}
	n.Set(name, list)
}

// alike says whether one of the entries of v stands where item does.
func alike(list string, item, v *fhir.Node) bool {
	for _, other := range v.Items() {
		same := false
		switch list {
		case "telecom":
			same = item.Str("system") == other.Str("system") && item.Str("use") == other.Str("use")
		case "name", "address":
			same = item.Str("use") == other.Str("use")
		case "extension":
			same = item.Str("url") == other.Str("url")
		case "participant":
			same = item.Str("type[0].coding[0].code") == other.Str("type[0].coding[0].code")
		default:
			same = fhir.Equal(item, other)
		}
		if same {
			return true
		}
	}
	return false
}
