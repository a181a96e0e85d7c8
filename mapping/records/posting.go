package records

import (
	"fmt"
	"slices"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A line of a bill (FT1) has the number of its transaction, which says too little of
// which charge it speaks: senders put one number on several lines, use it again for
// what they post after a credit, and send it under each number of an account or a
// patient. Each line is led to its charge before it is folded.

// postings leads the lines of the message to their records: the credits first, which
// end the charges that they take back, and last the lines that only the others tell.
func (f *fold) postings() error {
	lines := f.billed()
	if len(lines) == 0 {
		return nil
	}
	f.claimed, f.same = map[string]bool{}, map[string][][2]string{}
	moved := map[string]string{}
	var open []*Item
	for _, it := range lines {
		if transactionOf(it.Resource) == "CD" {
			f.credits = append(f.credits, it)
		}
		if err := f.tellApart(it); err != nil {
			return err
		}
		s, chain, err := f.posted(it)
		if err != nil {
			return err
		}
		if len(chain) == 0 && it.apart() {
			open = append(open, it)
			continue
		}
		if err := f.posting(it, s, chain, moved); err != nil {
			return err
		}
	}
	for _, it := range open {
		s, chain, err := f.left(it, open)
		if err != nil {
			return err
		}
		if err := f.posting(it, s, chain, moved); err != nil {
			return err
		}
	}
	f.redirectRelated(moved)
	return nil
}

// billed are the message's lines that have a number, credits first.
func (f *fold) billed() []*Item {
	var out, rest []*Item
	for i := range f.c.Items {
		it := &f.c.Items[i]
		switch {
		case it.Kind != Charge || it.Resource == nil || it.Key.Role == "":
		case transactionOf(it.Resource) == "CD":
			out = append(out, it)
		default:
			rest = append(rest, it)
		}
	}
	return append(out, rest...)
}

// left finds the charge of a line that says something new, where it is the only such
// line and the only charge of its number and service that no other line speaks of.
// Where there are more, it is a charge of its own: which of them it puts right is not
// known.
func (f *fold) left(it *Item, open []*Item) (*state, []*state, error) {
	known, err := f.lines(it)
	if err != nil {
		return nil, nil, err
	}
	known = slices.DeleteFunc(known, func(key string) bool { return f.claimed[key] })
	alike := func(o *Item) bool { return o != it && string(o.Key.linesKey()) == string(it.Key.linesKey()) }
	if len(known) != 1 || slices.ContainsFunc(open, alike) {
		if len(known) > 0 {
			it.warnings = append(it.warnings, "repeated-number")
		}
		return nil, nil, nil
	}
	first, err := f.peek(Charge, known[0])
	if err != nil || first == nil {
		return nil, nil, err
	}
	chain, err := f.chain(it, first)
	if err != nil || len(chain) == 0 {
		return nil, nil, err
	}
	s, err := f.among(it, chain)
	return s, chain, err
}

// posting gives a line the key and the id of the charge that it speaks of; without one
// it is posted anew, behind what was posted under its name before.
func (f *fold) posting(it *Item, s *state, chain []*state, moved map[string]string) error {
	key := it.Key
	key.Role, key.Number, key.Line = "", "", ""
	var err error
	if s != nil {
		key = s.key
		if err := f.supersede(it, s); err != nil {
			return err
		}
	} else {
		if len(chain) > 0 {
			key = chain[0].key
		}
		if key, err = f.unused(key); err != nil {
			return err
		}
		if err := f.otherDay(it); err != nil {
			return err
		}
	}
	if it.apart() {
		if err := f.list(it.Key.linesKey(), key.String()); err != nil {
			return err
		}
	}
	if err := it.keys(func(k Key) error { return f.aliasCharge(k, key) }); err != nil {
		return err
	}
	it.Key, it.Alternate, f.claimed[key.String()] = key, nil, true
	id := fhir.ID("ChargeItem", key.Assigner, key.ID)
	if s != nil {
		id = s.resource.ID()
	}
	if id != it.Resource.ID() {
		moved["ChargeItem/"+it.Resource.ID()] = "ChargeItem/" + id
		it.Resource = it.Resource.Shallow().SetString("id", id)
	}
	return nil
}

// posted finds the charge that a line speaks of: nil where it is another one, with
// those that were posted before under its name.
func (f *fold) posted(it *Item) (*state, []*state, error) {
	names, err := f.chargeNames(it)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		first, err := f.peek(Charge, name.key)
		if err != nil {
			return nil, nil, err
		}
		if first == nil {
			continue
		}
		chain, err := f.chain(it, first)
		if err != nil {
			return nil, nil, err
		}
		if len(chain) == 0 || !name.exact && !slices.ContainsFunc(chain, func(s *state) bool { return it.lineOf(s.resource) }) {
			continue
		}
		s, err := f.among(it, chain)
		if err != nil || s == nil || !f.claimed[s.key.String()] {
			return s, chain, err
		}
	}
	return nil, nil, nil
}

// among finds which of the charges, credits or others of one number a line speaks of.
func (f *fold) among(it *Item, chain []*state) (*state, error) {
	kind := transactionOf(it.Resource)
	if kind == "CD" {
		return f.creditOf(it, chain)
	}
	chain = slices.DeleteFunc(slices.Clone(chain), func(s *state) bool { return opposite(s.resource, it.Resource) })
	switch {
	case len(chain) == 0:
		return nil, nil
	case kind == "CG" || kind == "":
		return f.chargeOf(it, chain)
	case amountOf(chain[0].resource) != amountOf(it.Resource):
		it.warnings = append(it.warnings, "repeated-number")
	}
	return chain[0], nil
}

// again is the n'th key of what was posted under one.
func (k Key) again(n int) Key {
	if n > 1 {
		k.ID = fmt.Sprintf("%s~%d", k.ID, n)
	}
	return k
}

// unused is the first key of a chain that no record has.
func (f *fold) unused(key Key) (Key, error) {
	for n := 1; ; n++ {
		name := recordKey(Charge, key.again(n).String())
		have, err := f.get(name)
		if err != nil || have == nil && !f.claimed[key.again(n).String()] {
			return key.again(n), err
		}
		if aliasOf(have) != "" { // of a charge that this line is not one of
			f.put(name, nil)
			return key.again(n), nil
		}
	}
}

// chain gives what was posted under one name, of the line's account, in its order.
func (f *fold) chain(it *Item, first *state) ([]*state, error) {
	var out []*state
	for n, s := 1, first; s != nil; n++ {
		same, err := f.sameAccount(it.Resource, s.resource)
		if err != nil {
			return nil, err
		}
		if same {
			out = append(out, s)
		}
		if s, err = f.peek(Charge, first.key.again(n+1).String()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sameAccount says whether two charges may be of one account: those that differ, and
// were not merged, are two.
func (f *fold) sameAccount(a, b *fhir.Node) (bool, error) {
	one, two := a.Str("account[0].reference"), b.Str("account[0].reference")
	if one == two || one == "" || two == "" {
		return true, nil
	}
	joined, err := f.joined()
	if err != nil || !joined {
		return false, err
	}
	for _, ref := range [...]*string{&one, &two} {
		if *ref, err = f.lead(*ref, func(Kind, string) error { return nil }); err != nil {
			return false, err
		}
	}
	return one == two, nil
}

// chargeOf finds which of the charges posted under one number a line speaks of: the
// one that it repeats, else the first that no credit had ended when it was sent.
// There is none for what is posted after the last was taken back.
func (f *fold) chargeOf(it *Item, chain []*state) (*state, error) {
	for _, s := range chain {
		if postingOf(s.resource) == postingOf(it.Resource) {
			return s, nil
		}
	}
	for i, s := range chain {
		ended, err := f.credited(s)
		if err == nil && !ended {
			if earlier, err := f.tookBack(it, s); err != nil || earlier {
				return nil, err
			}
			ended, err = f.replaces(it, s)
		}
		if err == nil && !ended && i == len(chain)-1 {
			ended = f.endsNow(s)
		}
		if err != nil || !ended {
			return s, err
		}
	}
	return nil, nil
}

// credited says whether a charge had been taken back when the message was sent.
func (f *fold) credited(s *state) (bool, error) {
	if s.ties == nil || s.ties.ReversedBy == nil || s.ties.Partly {
		return false, nil
	}
	for _, key := range s.ties.credits() {
		credit, err := f.peek(Charge, key.String())
		if err != nil {
			return false, err
		}
		if credit == nil {
			continue
		}
		if from := credit.heard(f.c.Stamp.Sender); from != nil && from.first() > f.c.Stamp.Order {
			return false, nil
		}
	}
	return true, nil
}

// endsNow says whether a credit of the message takes a whole charge back.
func (f *fold) endsNow(s *state) bool {
	return slices.ContainsFunc(f.credits, func(credit *Item) bool {
		return amountOf(credit.Resource) == amountOf(s.resource) && f.takesBack(credit.Resource, s) && f.unpaired(credit.Key.String())
	})
}

func (f *fold) unpaired(key string) bool {
	s, err := f.peek(Charge, key)
	return err == nil && (s == nil || s.partner() == nil)
}

// takesBack says whether a credit names the number of a charge, and no other service.
func (f *fold) takesBack(credit *fhir.Node, s *state) bool {
	if otherService(credit, s.resource) {
		return false
	}
	named := numbersOf(credit)
	return slices.ContainsFunc(numbersOf(s.resource), func(n string) bool { return slices.Contains(named, n) })
}

// numbersOf are the numbers of a charge, or of the one that a credit names.
func numbersOf(n *fhir.Node) []string {
	if value := extension(n, "reverses").Str("valueReference.identifier.value"); value != "" {
		return []string{value}
	}
	var out []string
	for _, id := range n.Get("identifier").Items() {
		if value := id.Str("value"); value != "" {
			out = append(out, value)
		}
	}
	return out
}

// creditOf finds which of the credits of one number a line speaks of: the one that it
// repeats, else the last, which it puts right; nil where it is another one: of a charge
// of its amount, of another service, or a further part of a charge whose number it bears.
func (f *fold) creditOf(it *Item, chain []*state) (*state, error) {
	for _, s := range chain {
		if postingOf(s.resource) == postingOf(it.Resource) {
			return s, nil
		}
	}
	last := chain[len(chain)-1]
	if last.partner() == nil {
		return last, nil
	}
	other := serviceOf(last.resource) != serviceOf(it.Resource)
	members, err := f.namesakes(last)
	if err != nil {
		return nil, err
	}
	named := slices.DeleteFunc(members, func(s *state) bool { return !transacts(s, "CG") || !f.takesBack(it.Resource, s) })
	open := slices.DeleteFunc(slices.Clone(named), func(s *state) bool { return s.label() == "aborted" })
	for _, s := range open {
		if !last.late(f.c.Stamp) && (other || amountOf(s.resource) == amountOf(it.Resource)) {
			return nil, nil
		}
	}
	for _, s := range chain {
		if serviceOf(s.resource) == serviceOf(it.Resource) && costOf(s.resource) == costOf(it.Resource) {
			it.warnings = append(it.warnings, "repeated-number")
			return s, nil
		}
	}
	for _, s := range named {
		if was, err := f.wasPosted(s, amountOf(it.Resource)); err != nil || was {
			return nil, err
		}
		if s.label() == "aborted" {
			continue
		}
		if fits, err := f.fits(s, it.Resource); err != nil || fits {
			it.warnings = append(it.warnings, "repeated-number")
			return nil, err
		}
	}
	if slices.ContainsFunc(named, func(s *state) bool { return bears(it.Resource, s) }) {
		it.warnings = append(it.warnings, "repeated-number")
	}
	return last, nil
}

// namesakes are the charges and credits that have a number of a line's.
func (f *fold) namesakes(s *state) ([]*state, error) {
	var all []*state
	for _, mark := range prints(s) {
		if !mark.strong {
			continue
		}
		members, err := f.alike(mark)
		if err != nil {
			return nil, err
		}
		all = append(all, members...)
	}
	return all, nil
}

// otherDay warns of a charge whose number, service and amount stand on another day
// too: its date may have been put right.
func (f *fold) otherDay(it *Item) error {
	if transactionOf(it.Resource) != "CG" || amountOf(it.Resource) == "" {
		return nil
	}
	owner, err := f.resolve(Patient, it.owner)
	if err != nil {
		return err
	}
	for _, number := range numbersOf(it.Resource) {
		members, err := f.alike(print{text: "id|" + owner + "|" + number, strong: true})
		if err != nil {
			return err
		}
		for _, s := range members {
			n := s.resource
			if !transacts(s, "CG") || s.label() == "aborted" || day(n) == day(it.Resource) || serviceOf(n) != serviceOf(it.Resource) || amountOf(n) != amountOf(it.Resource) {
				continue
			}
			if same, err := f.sameAccount(n, it.Resource); err != nil {
				return err
			} else if same {
				it.warnings = append(it.warnings, "number-of-another-day")
				return nil
			}
		}
	}
	return nil
}

// day is that of a charge's service.
func day(n *fhir.Node) string {
	at := n.Str("occurrenceDateTime") + n.Str("occurrencePeriod.start")
	return at[:min(len(at), len("2006-01-02"))]
}
