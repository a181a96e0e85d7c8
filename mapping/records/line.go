package records

import (
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// What a line of a bill may be called, and what tells it from others of its number.

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
