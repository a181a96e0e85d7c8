package records

import (
	"slices"
	"strings"
)

// A record may have several numbers: an order the placer's and the filler's
// (HL7 v2.5.1 §4.5.1), a visit its own and an alternate one (PV1-19, PV1-50). The
// later ones lead to the record too; but feeds put one filler number on all tests
// of a specimen, one placer number on all appointments of a series, one alternate
// number on all visits of an account. So two numbers of one Role and assigner that
// differ are two things, whatever else they share.

// namesKey is where the numbers of a record that has several stand; sharedKey
// where a number leads that several records have.
func namesKey(kind Kind, key string) []byte { return []byte("k/" + string(kind) + "/" + key) }

func sharedKey(kind Kind, number string) []byte { return []byte("d/" + string(kind) + "/" + number) }

// called is a number of a record in its role.
type called struct {
	Role     string `json:"role"`
	Assigner string `json:"assigner,omitempty"`
	ID       string `json:"id"`
}

// called splits a key of several parts, whose number comes first.
func (k Key) called() called {
	c := called{Role: k.Role, Assigner: k.Assigner, ID: k.ID}
	if c.Assigner == "" {
		c.ID, c.Assigner, _ = strings.Cut(c.ID, "|")
	}
	return c
}

// numbers are all of an item's keys that have a role.
func (it *Item) numbers() []called {
	var out []called
	for i := -1; i < len(it.Alternate); i++ {
		k := it.Key
		if i >= 0 {
			k = it.Alternate[i]
		}
		if k.Role != "" && !slices.Contains(out, k.called()) {
			out = append(out, k.called())
		}
	}
	return out
}

// contradict says whether an item's numbers say that it is another thing than the
// one of theirs: the first role and assigner of which both have a number decides.
func contradict(own, theirs []called) bool {
	for _, x := range own {
		alike := func(y called) bool { return y.Role == x.Role && y.Assigner == x.Assigner }
		if slices.ContainsFunc(theirs, alike) {
			return !slices.ContainsFunc(own, func(o called) bool { return alike(o) && slices.Contains(theirs, o) })
		}
	}
	return false
}

// byNumber finds the record that one of an item's numbers leads to, unless its
// other numbers say that it is another thing. Of several the one counts that has
// the item's code, else the one that the number was seen with last.
func (f *fold) byNumber(it *Item, number Key) (*state, error) {
	name := number.String()
	s, err := f.load(it.Kind, name)
	if s == nil || err != nil || number.Role == "" {
		return s, err
	}
	shared, err := listed[string](f, sharedKey(it.Kind, name))
	if err != nil {
		return nil, err
	}
	if shared == nil {
		shared = []string{s.key.String()}
	}
	own := it.numbers()
	var found *state
	for _, key := range slices.Backward(shared) {
		if s, err = f.load(it.Kind, key); err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		theirs, err := listed[called](f, namesKey(it.Kind, s.key.String()))
		if err != nil {
			return nil, err
		}
		if contradict(own, theirs) {
			continue
		}
		if len(shared) == 1 || coded(it, s) {
			return s, nil
		}
		if found == nil {
			found = s
		}
	}
	return found, nil
}

// coded says whether an item has the code of a record.
func coded(it *Item, s *state) bool {
	if it.Resource == nil || s.resource == nil {
		return false
	}
	for _, a := range it.Resource.Get("code").Get("coding").Items() {
		for _, b := range s.resource.Get("code").Get("coding").Items() {
			if a.Str("code") != "" && a.Str("code") == b.Str("code") && a.Str("system") == b.Str("system") {
				return true
			}
		}
	}
	text := it.Resource.Str("code.text")
	return text != "" && strings.EqualFold(text, s.resource.Str("code.text"))
}

// number lets every number of an item lead to its record, and every id.
func (f *fold) number(it *Item, s *state, born bool) error {
	key := s.key.String()
	added := born && len(it.Alternate) > 0
	for i := -1; i < len(it.Alternate); i++ {
		k := it.Key
		if i >= 0 {
			k = it.Alternate[i]
		}
		other := k.String()
		if other == key {
			continue
		}
		name := recordKey(it.Kind, other)
		have, err := f.get(name)
		if err != nil {
			return err
		}
		at := aliasOf(have)
		switch {
		case have == nil:
			f.put(name, aliasTo(key))
			added = true
		case at == key:
		default:
			if at == "" {
				at = other // a record's own key
			}
			if err := f.share(it.Kind, other, at, key); err != nil {
				return err
			}
			added = true
		}
	}
	if added {
		if err := f.called(it, s); err != nil {
			return err
		}
	}
	return f.aliasID(it, s)
}

// share notes that a number leads to another record too.
func (f *fold) share(kind Kind, number, first, key string) error {
	shared, err := listed[string](f, sharedKey(kind, number))
	if err != nil || slices.Contains(shared, key) {
		return err
	}
	if shared == nil {
		shared = []string{first}
	}
	if first != number {
		f.put(recordKey(kind, number), aliasTo(key))
	}
	return f.putJSON(sharedKey(kind, number), append(shared, key))
}

// called notes the numbers of a record.
func (f *fold) called(it *Item, s *state) error {
	name := namesKey(s.kind, s.key.String())
	have, err := listed[called](f, name)
	if err != nil {
		return err
	}
	n := len(have)
	for _, c := range it.numbers() {
		if !slices.Contains(have, c) {
			have = append(have, c)
		}
	}
	if len(have) == n {
		return nil
	}
	return f.putJSON(name, have)
}
