package records

import (
	"fmt"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A record may have several numbers: an order the placer's and the filler's
// (HL7 v2.5.1 §4.5.1), a visit its own and an alternate one (PV1-19, PV1-50). The
// later ones lead to the record too; but feeds put one filler number on all tests
// of a specimen, one placer number on all services of a requisition or appointments
// of a series, one alternate number on all visits of an account. So two numbers of
// one Role and assigner that differ are two things, whatever else they share.

// namesKey is where the numbers of a record that has several stand; sharedKey
// where a number leads that several records have.
func namesKey(kind Kind, key string) []byte { return []byte("k/" + string(kind) + "/" + key) }

func sharedKey(kind Kind, number string) []byte { return []byte("d/" + string(kind) + "/" + number) }

// called is a number of a record in its role, and what tells the record apart from
// others of this number.
type called struct {
	Role     string `json:"role"`
	Assigner string `json:"assigner,omitempty"`
	ID       string `json:"id"`
	Apart    string `json:"apart,omitempty"`
	Own      string `json:"own,omitempty"`
	Replaces bool   `json:"replaces,omitempty"`
}

// called splits a key of several parts, whose number comes first.
func (k Key) called() called {
	c := called{Role: k.Role, Assigner: k.Assigner, ID: k.ID, Replaces: k.Replaces}
	if k.Number != "" {
		c.ID, c.Apart = k.Number, strings.TrimPrefix(k.ID, k.Number)
	}
	if c.Own = k.Own; c.Own != "" {
		c.Apart = strings.TrimSuffix(c.Apart, "#"+c.Own)
	}
	if k.patient != "" {
		c.Apart = strings.TrimSuffix(c.Apart, "#"+k.patient)
	}
	if c.Assigner == "" {
		c.ID, c.Assigner, _ = strings.Cut(c.ID, "|")
	}
	return c
}

// same says whether a number of a message may be of the thing that has another.
func (c called) same(o called) bool {
	return c.ID == o.ID && (c.Apart == o.Apart || c.Apart == "" || o.Apart == "") && (c.Own == o.Own || c.Own == "")
}

// keys visits an item's key and its alternate ones.
func (it *Item) keys(visit func(Key) error) error {
	if err := visit(it.Key); err != nil {
		return err
	}
	for _, k := range it.Alternate {
		if err := visit(k); err != nil {
			return err
		}
	}
	return nil
}

// numbers are all of an item's keys that have a role.
func (it *Item) numbers() []called {
	var out []called
	_ = it.keys(func(k Key) error {
		if k.Role != "" && !slices.Contains(out, k.called()) {
			out = append(out, k.called())
		}
		return nil
	})
	return out
}

// contradict says whether an item's numbers say that it is another thing than the
// one of theirs: the first role and assigner of which both have a number decides.
func contradict(own, theirs []called) bool {
	for _, x := range own {
		alike := func(y called) bool { return y.Role == x.Role && y.Assigner == x.Assigner }
		if slices.ContainsFunc(theirs, alike) {
			return !slices.ContainsFunc(own, func(o called) bool {
				return alike(o) && slices.ContainsFunc(theirs, func(y called) bool { return alike(y) && o.same(y) })
			})
		}
	}
	return false
}

// plain is a key's number alone.
func (k Key) plain() string {
	if k.Number != "" {
		k.ID = k.Number
	}
	return k.String()
}

// byKeys finds the record that an item's numbers lead to; the first one decides.
func (f *fold) byKeys(it *Item) (s *state, err error) {
	if it.Key.Number != "" {
		s, err = f.load(it.Kind, it.Key.String())
		if s, err = f.familiar(it, s, err); s != nil || err != nil {
			return s, err
		}
	}
	_ = it.keys(func(k Key) error {
		switch {
		case s != nil || err != nil:
		case k.Role != "":
			s, err = f.byNumber(it, k)
		default:
			s, err = f.load(it.Kind, k.String())
		}
		return nil
	})
	return s, err
}

// byNumber finds the record that a number of an item leads to, unless the item's
// other numbers say that it is another thing. Of several the one with the item's
// code counts; for an item without a code the one that was seen with the number last.
func (f *fold) byNumber(it *Item, number Key) (*state, error) {
	shared, err := listed[string](f, sharedKey(it.Kind, number.plain()))
	if err != nil {
		return nil, err
	}
	heirs, err := f.inherited(it, number, shared)
	if err != nil {
		return nil, err
	}
	several := len(shared) > 1 || number.Number != "" || f.unlike
	if shared == nil {
		shared = []string{number.plain()}
	}
	own := it.numbers()
	var codes []string
	if several {
		if codes, err = f.codesOf(it.Resource); err != nil {
			return nil, err
		}
	}
	var elsewhere *state
	for _, key := range slices.Backward(shared) {
		s, err := f.load(it.Kind, key)
		if s, err = f.familiar(it, s, err); err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		if len(codes) > 0 {
			if same, err := f.of(s, codes); err != nil {
				return nil, err
			} else if !same {
				f.unlike = true
				continue
			}
		}
		theirs, err := listed[called](f, namesKey(it.Kind, s.key.String()))
		if err != nil {
			return nil, err
		}
		switch {
		case contradict(own, theirs) || heirs && !f.heir(s, number, own, theirs):
			f.unlike = true
		case it.Key.Bare && len(shared) > 1 && s.owner != it.owner: // the patient's own first
			if elsewhere == nil {
				elsewhere = s
			}
		default:
			return s, nil
		}
	}
	return elsewhere, nil
}

// fulfils lets the order of a result be the one that was placed: a panel's parts are
// reported under its number, and a laboratory has codes of its own. The order keeps
// its service.
func (f *fold) fulfils(it *Item) error {
	if it.Kind != Order || it.Resource == nil || it.Key.Role == "" || it.Key.Own != "" || !slices.ContainsFunc(f.c.Items, func(o Item) bool { return o.Kind == Result }) {
		return nil
	}
	shared, err := listed[string](f, sharedKey(Order, it.Key.plain()))
	if err != nil || len(shared) > 1 {
		return err
	}
	s, err := f.load(Order, it.Key.plain())
	if s == nil || err != nil {
		return err
	}
	if own, err := f.reported(s, it.Key.plain()); err != nil || own {
		return err
	}
	if ordered, err := f.codesOf(s.resource); err != nil || len(ordered) == 0 {
		return err
	}
	if it.Key.Number != "" {
		it.Key.ID, it.Key.Number = it.Key.Number, ""
	}
	it.Resource = it.Resource.Shallow()
	it.Resource.Delete("code")
	return nil
}

// reported says whether an item of the message has the number and the service of an
// order; it is found out once.
func (f *fold) reported(s *state, number string) (bool, error) {
	if own, known := f.ordered[number]; known {
		return own, nil
	}
	if f.ordered == nil {
		f.ordered = map[string]bool{}
	}
	for i := range f.c.Items {
		o := &f.c.Items[i]
		if o.Kind != Order || o.Key.plain() != number {
			continue
		}
		codes, err := f.codesOf(o.Resource)
		if err != nil {
			return false, err
		}
		if f.ordered[number], err = f.of(s, codes); err != nil || f.ordered[number] {
			return f.ordered[number], err
		}
	}
	f.ordered[number] = false
	return false, nil
}

// meant are the keys of the orders that an item speaks of by a number alone: one
// without a service asks for a state (ORC-1 CA, say) of all that have the number. It
// gives none where the item is about one order, or the kind is another.
func (f *fold) meant(it *Item) ([]string, error) {
	if it.Kind != Order && it.Kind != MedicationOrder || it.State == "" || it.Key.Role == "" || it.Key.Number != "" {
		return nil, nil
	}
	shared, err := listed[string](f, sharedKey(it.Kind, it.Key.plain()))
	if err != nil || len(shared) < 2 {
		return nil, err
	}
	if codes, err := f.codesOf(it.Resource); err != nil || len(codes) > 0 {
		if err == nil {
			err = f.children(it, shared, codes)
		}
		return nil, err
	}
	if s, err := f.load(it.Kind, it.Key.String()); err != nil || s != nil && len(it.Alternate) > 0 {
		return nil, err
	}
	if !it.Key.Bare {
		return shared, nil
	}
	var own []string
	for _, key := range shared {
		s, err := f.peek(it.Kind, key)
		if s, err = f.familiar(it, s, err); err != nil {
			return nil, err
		}
		if s != nil {
			own = append(own, key)
		}
	}
	return own, nil
}

// codesOf are the codes of what a resource is of, a service or a medication, and
// the text where that is all; nothing where it is not known.
func (f *fold) codesOf(n *fhir.Node) ([]string, error) {
	if n == nil {
		return nil, nil
	}
	if ref := n.Str("medicationReference.reference"); ref != "" {
		return f.medication(ref)
	}
	c := n.Get("code")
	if c == nil {
		c = n.Get("medicationCodeableConcept")
	}
	var out []string
	for _, coding := range c.Get("coding").Items() {
		if code, system := coding.Str("code"), coding.Str("system"); code != "" && !strings.HasSuffix(system, "/data-absent-reason") {
			out = append(out, system+"|"+code)
		}
	}
	if text := c.Str("text"); text != "" {
		out = append(out, strings.ToLower(text))
	}
	return out, nil
}

// medication are the codes of a Medication, of the message or held.
func (f *fold) medication(ref string) ([]string, error) {
	for _, n := range f.c.Related {
		if n.ResourceType()+"/"+n.ID() == ref {
			return f.codesOf(n)
		}
	}
	data, _, err := lookup(f.get, ref)
	if err != nil || data == nil {
		return nil, err
	}
	n, err := fhir.ParseJSON(data)
	if err != nil {
		return nil, fmt.Errorf("read medication: %w", err)
	}
	return f.codesOf(n)
}

// of says whether a record is of one of the codes; of a record or codes that are
// not known, no.
func (f *fold) of(s *state, codes []string) (bool, error) {
	theirs, err := f.codesOf(s.resource)
	return slices.ContainsFunc(theirs, func(c string) bool { return slices.Contains(codes, c) }), err
}

// number lets every number of an item lead to its record, and every id.
func (f *fold) number(it *Item, s *state, born bool) error {
	key := s.key.String()
	added := born && (len(it.Alternate) > 0 || it.Key.Number != "")
	if born && it.Key.Own != "" {
		f.put(heirsKey(it.Kind, it.Key.plain()), []byte{1})
		s.note(f.c.Stamp, since)
	}
	err := it.keys(func(k Key) error {
		if k.Number != "" || born && k.Role != "" && k.String() == key {
			if err := f.share(it.Kind, k.plain(), key, k.Number != ""); err != nil {
				return err
			}
		}
		other := k.String()
		if other == key {
			return nil
		}
		name := recordKey(it.Kind, other)
		have, err := f.get(name)
		if err != nil || aliasOf(have) == key {
			return err
		}
		if added = true; have == nil {
			f.put(name, aliasTo(key))
			return nil
		}
		return f.share(it.Kind, other, key, true)
	})
	if err != nil {
		return err
	}
	if added {
		if err := f.called(it, s); err != nil {
			return err
		}
	}
	return f.aliasID(it, s)
}

// mostShared is of how many records a number is remembered, the newest.
const mostShared = 64

// share notes that a number leads to another record too; unless anew only where it
// leads to several already.
func (f *fold) share(kind Kind, number, key string, anew bool) error {
	shared, err := listed[string](f, sharedKey(kind, number))
	if err != nil || slices.Contains(shared, key) || shared == nil && !anew {
		return err
	}
	have, err := f.get(recordKey(kind, number))
	if err != nil {
		return err
	}
	first := aliasOf(have)
	switch {
	case shared != nil:
	case first != "":
		shared = []string{first}
	case have != nil || f.changes[string(recordKey(kind, number))] != nil: // a record's own key
		shared = []string{number}
	}
	if first != "" && number != key {
		f.put(recordKey(kind, number), aliasTo(key))
	}
	if slices.Contains(shared, key) {
		return nil
	}
	if shared = append(shared, key); len(shared) > mostShared {
		shared = shared[len(shared)-mostShared:]
	}
	return f.putJSON(sharedKey(kind, number), shared)
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
