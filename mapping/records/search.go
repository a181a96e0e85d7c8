package records

import (
	"slices"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// Keys of the index of identifiers: i/ with the resource's type, the
// identifier's system and value, and the resource's id. A record is found by its
// own key as well. The index may name what is not so any more.
const identifierSpace = "i/"

// longestIdentifier is from how many bytes on an identifier is not looked for.
const longestIdentifier = 1024

func identifierKey(typ, system, value string) string {
	return identifierSpace + typ + "/" + system + "\x00" + value
}

// index lets a resource be found by its identifiers, but for its record's key,
// where they are others than before.
func (f *fold) index(n, before *fhir.Node, key Key) {
	list := n.Get("identifier")
	if list == nil || before != nil && fhir.Equal(before.Get("identifier"), list) {
		return
	}
	for _, id := range list.Items() {
		system, value := id.Str("system"), id.Str("value")
		if value == "" || len(system)+len(value) > longestIdentifier || system == key.Assigner && value == key.ID {
			continue
		}
		ref := n.ResourceType() + "/" + n.ID()
		f.put([]byte(identifierKey(n.ResourceType(), system, value)+"\x00"+ref), []byte(ref))
	}
}

// sought says whether a resource that is no record can be found by its
// identifiers: what a FHIR client sent, and who and where, of whom there are few.
func (f *fold) sought(typ string) bool {
	return f.c.Sought || typ == "Practitioner" || typ == "Organization" || typ == "Location"
}

// Search finds the held resources of a type that meet a condition: Type/id,
// two at most. What was merged into another is that other.
func Search(v View, typ string, c fhir.Condition) ([]string, error) {
	s := search{view: v, typ: typ, condition: c}
	// the term with the fewest candidates; the others are checked of each
	term := slices.MinFunc(c, func(a, b []fhir.Token) int { return breadth(a) - breadth(b) })
	for _, token := range term {
		if err := s.token(token); err != nil {
			return nil, err
		}
	}
	return s.found, nil
}

// breadth is how much a term may find.
func breadth(term []fhir.Token) int {
	n := 0
	for _, t := range term {
		if n++; t.Value == "" {
			n += 1000
		}
	}
	return n
}

type search struct {
	view      View
	typ       string
	condition fhir.Condition
	found     []string
}

const mostFound = 2

func (s *search) token(t fhir.Token) error {
	prefix := identifierKey(s.typ, t.System, t.Value)
	if t.Value != "" {
		prefix += "\x00"
	}
	err := s.each([]byte(prefix), func(kv KV) error { return s.candidate(lookup(s.view.Get, string(kv.Value))) })
	kind := KindOf(s.typ)
	if err != nil || kind == "" {
		return err
	}
	name := recordKey(kind, Key{Assigner: t.System, ID: t.Value}.String())
	record := func(kv KV) error {
		if alias := aliasOf(kv.Value); alias != "" {
			kv.Key = recordKey(kind, alias)
		}
		return s.candidate(lookupRecord(s.view.Get, kv.Key))
	}
	if t.Value == "" {
		return s.each(name, record)
	}
	data, err := s.view.Get(name)
	if err != nil || data == nil {
		return err
	}
	return record(KV{Key: name, Value: data})
}

// each visits what stands under a prefix until enough is found.
func (s *search) each(prefix []byte, visit func(KV) error) error {
	const page = 64
	var after []byte
	for len(s.found) < mostFound {
		list, err := s.view.Scan(prefix, after, page)
		if err != nil {
			return err //nolint:wrapcheck // the store's own
		}
		for _, kv := range list {
			if err := visit(kv); err != nil {
				return err
			}
		}
		if len(list) < page {
			return nil
		}
		after = list[len(list)-1].Key
	}
	return nil
}

// candidate looks whether a resource meets the condition.
func (s *search) candidate(text []byte, _ uint64, err error) error {
	if err != nil || text == nil {
		return err
	}
	n, err := fhir.ParseJSON(text)
	if err != nil || !s.condition.Matches(n) {
		return err
	}
	ref := n.ResourceType() + "/" + n.ID()
	for _, link := range n.Get("link").Items() {
		if link.Str("type") == "replaced-by" && link.Str("other.reference") != "" {
			ref = link.Str("other.reference")
		}
	}
	if len(s.found) < mostFound && !slices.Contains(s.found, ref) {
		s.found = append(s.found, ref)
	}
	return nil
}
