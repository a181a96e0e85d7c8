package records

import (
	"fmt"
	"slices"
	"strings"

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
	if len(moved) == 0 {
		return nil
	}
	f.c.Related = slices.Clone(f.c.Related)
	for i, n := range f.c.Related {
		n = n.Clone()
		redirect(n, moved)
		f.c.Related[i] = n
	}
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

// tellApart takes a line that is alone in its message for one of several, where others
// of its number and service are known.
func (f *fold) tellApart(it *Item) error {
	if it.Key.Number != "" {
		return nil
	}
	known, err := f.lines(it)
	if err != nil || len(known) < 2 {
		return err
	}
	it.Alternate = slices.Clone(it.Alternate)
	it.Key = it.Key.apart()
	for i := range it.Alternate {
		it.Alternate[i] = it.Alternate[i].apart()
	}
	return nil
}

// apart is the key of a line with all that tells it from others.
func (k Key) apart() Key {
	k.Number = k.ID
	k.ID += k.Line
	return k
}

// apart says whether a line's key has all that tells it from others.
func (it *Item) apart() bool {
	return it.Key.Number != "" && it.Key.ID == it.Key.Number+it.Key.Line
}

// linesKey is where the charges of one number and service are listed, where messages
// had several.
func (k Key) linesKey() []byte {
	service := k.Line[:max(0, strings.LastIndexByte(k.Line, '#'))]
	return chargeKey("line|" + k.plain() + service)
}

// lines gives them, under every number of the line's account and patient.
func (f *fold) lines(it *Item) ([]string, error) {
	plain, err := f.plainKeys(it)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, k := range plain {
		listed, err := f.get(k.linesKey())
		if err != nil {
			return nil, err
		}
		if len(listed) > 0 {
			out = append(out, strings.Split(string(listed), "\n")...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
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

// aliasCharge lets a name that leads nowhere lead to a charge.
func (f *fold) aliasCharge(name, key Key) error {
	if name.String() == key.String() {
		return nil
	}
	at := recordKey(Charge, name.String())
	have, err := f.get(at)
	if err == nil && have == nil {
		f.put(at, aliasTo(key.String()))
	}
	return err
}

// A chargeName is what the record of a line's charge may be called; exact where the
// line's own message calls it so.
type chargeName struct {
	key   string
	exact bool
}

// plainKeys are a line's keys without what tells it from other lines, under every
// number of its account and patient.
func (f *fold) plainKeys(it *Item) ([]Key, error) {
	var out []Key
	_ = it.keys(func(k Key) error {
		if k.Number != "" {
			k.ID, k.Number = k.Number, ""
		}
		out = append(out, k)
		return nil
	})
	same, err := f.sameOwners(it)
	if err != nil {
		return nil, err
	}
	for _, k := range out[:len(out):len(out)] {
		own := k.ID
		for _, names := range same {
			if at := strings.LastIndex(own, "|"+names[0]+"|"); at >= 0 {
				k.ID = own[:at+1] + names[1] + own[at+1+len(names[0]):]
				out = append(out, k)
			}
		}
	}
	return out, nil
}

// chargeNames gives what a line's charge may be called, the most telling first: with
// all that tells it from other lines of its number, its service, or nothing.
func (f *fold) chargeNames(it *Item) ([]chargeName, error) {
	plain, err := f.plainKeys(it)
	if err != nil {
		return nil, err
	}
	apart := ""
	if it.Key.Number != "" {
		apart = strings.TrimPrefix(it.Key.ID, it.Key.Number)
	}
	var out []chargeName
	line := it.Key.Line
	for {
		for _, k := range plain {
			k.ID += line
			out = append(out, chargeName{k.String(), line == apart})
		}
		if line == "" {
			return out, nil
		}
		line = line[:strings.LastIndexByte(line, '#')]
	}
}

// sameOwners pairs what a line calls its account and patient with what else they are
// called, where they were merged.
func (f *fold) sameOwners(it *Item) ([][2]string, error) {
	account := it.Resource.Str("account[0].reference")
	who := account + " " + it.owner + " " + patientOf(it.Resource)
	if same, ok := f.same[who]; ok {
		return same, nil
	}
	var out [][2]string
	joined, err := f.joined()
	if err != nil {
		return nil, err
	}
	if joined && account != "" {
		_, key, err := f.recordOf(account)
		if err != nil {
			return nil, err
		}
		others, err := f.mergedWith(Account, key)
		if err != nil {
			return nil, err
		}
		for _, other := range others {
			out = append(out, [2]string{keyFrom(key).ID, keyFrom(other).ID})
		}
	}
	if _, own, ok := strings.Cut(patientOf(it.Resource), "/"); ok {
		others, err := f.mergedWith(Patient, it.owner)
		if err != nil {
			return nil, err
		}
		for _, other := range others {
			k := keyFrom(other)
			out = append(out, [2]string{own, fhir.ID("Patient", k.Assigner, k.ID)})
		}
	}
	f.same[who] = out
	return out, nil
}

// mergedWith gives the keys of all that are one with a patient or an account.
func (f *fold) mergedWith(kind Kind, key string) ([]string, error) {
	if key == "" {
		return nil, nil
	}
	root, err := f.resolve(kind, key)
	if err != nil {
		return nil, err
	}
	all, err := f.upstream(kind, root, true)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(k string) bool { return k == key }), nil
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
	switch transactionOf(it.Resource) {
	case "CG", "":
		return f.chargeOf(it, chain)
	case "CD":
		return f.creditOf(it, chain)
	default:
		return chain[0], nil
	}
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

// lineOf says whether a line that its message tells from others of its number may be
// that of a charge whose message had none to tell it from.
func (it *Item) lineOf(n *fhir.Node) bool {
	switch {
	case it.Key.Number == "":
		return true
	case it.apart():
		return serviceOf(it.Resource) == serviceOf(n) && costOf(it.Resource) == costOf(n)
	default:
		return serviceOf(it.Resource) == serviceOf(n)
	}
}

// serviceOf is what a charge is for, as text to compare: its codes, and the charge
// that it refers to.
func serviceOf(n *fhir.Node) string {
	var out []string
	for _, coding := range n.At("code.coding").Items() {
		out = append(out, coding.Str("code"))
	}
	for _, name := range [...]string{"reverses", "settles"} {
		out = append(out, extension(n, name).Str("valueReference.identifier.value"))
	}
	return strings.Join(out, "|")
}

// costOf is what a charge comes to, and what of, as text to compare.
func costOf(n *fhir.Node) string {
	out := []string{amountOf(n), n.Str("quantity.value"), n.Str("occurrenceDateTime"), n.Str("occurrencePeriod.start")}
	for _, e := range n.Get("extension").Items() {
		if strings.HasSuffix(e.Str("url"), "/procedure-modifier") {
			out = append(out, e.Str("valueCodeableConcept.coding[0].code"))
		}
	}
	for _, info := range n.Get("supportingInformation").Items() {
		out = append(out, info.Str("identifier.value"))
	}
	return strings.Join(out, "|")
}

// postingOf is what makes a line that comes again the same posting.
func postingOf(n *fhir.Node) string {
	return strings.Join([]string{serviceOf(n), costOf(n), n.Str("enteredDate")}, "|")
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
		if err == nil && !ended && i == len(chain)-1 {
			if ended = f.endsNow(s); !ended {
				ended, err = f.endedBetween(s)
			}
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
	code, other := credit.Str("code.coding[0].code"), s.resource.Str("code.coding[0].code")
	if code != other && code != "" && other != "" {
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

// endedBetween says whether a message that comes late speaks of an earlier charge: a
// credit that took none back was sent after it, and before the charge.
func (f *fold) endedBetween(s *state) (bool, error) {
	from := s.heard(f.c.Stamp.Sender)
	if from == nil || f.c.Stamp.Order >= from.first() {
		return false, nil
	}
	for _, mark := range prints(s) {
		if !mark.strong {
			continue
		}
		members, err := f.alike(mark)
		if err != nil {
			return false, err
		}
		for _, credit := range members {
			sent := credit.heard(f.c.Stamp.Sender)
			if transactionOf(credit.resource) == "CD" && credit.partner() == nil && sent != nil && f.c.Stamp.Order <= sent.first() && sent.first() < from.first() {
				return true, nil
			}
		}
	}
	return false, nil
}

// creditOf finds which of the credits of one number a line speaks of: the one that it
// repeats, else the last; nil where that has taken one charge back, and the line
// another: one of its amount, or of another service than the last one's.
func (f *fold) creditOf(it *Item, chain []*state) (*state, error) {
	for _, s := range chain {
		if postingOf(s.resource) == postingOf(it.Resource) {
			return s, nil
		}
	}
	last := chain[len(chain)-1]
	if last.partner() == nil || last.late(f.c.Stamp) {
		return last, nil
	}
	other := serviceOf(last.resource) != serviceOf(it.Resource)
	for _, mark := range prints(last) {
		if !mark.strong {
			continue
		}
		members, err := f.alike(mark)
		if err != nil {
			return nil, err
		}
		for _, s := range members {
			if transacts(s, "CG") && s.label() != "aborted" && f.takesBack(it.Resource, s) && (other || amountOf(s.resource) == amountOf(it.Resource)) {
				return nil, nil
			}
		}
	}
	return last, nil
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
