package records

import (
	"cmp"
	"math/big"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// transactionOf reads the kind of transaction that a charge carries (FT1-6):
// CG charge, CD credit, PY payment, AJ adjustment, CO co-payment.
func transactionOf(n *fhir.Node) string {
	e := extension(n, "transaction-type")
	return e.Str("valueCodeableConcept.coding[0].code") + e.Str("valueCode") + e.Str("valueCoding.code")
}

func chargeEvent(n *fhir.Node, born bool) string {
	if !born {
		return "corrected"
	}
	switch transactionOf(n) {
	case "CD":
		return "reversed"
	case "PY":
		return "payment"
	case "AJ":
		return "adjusted"
	case "CO":
		return "copay"
	default:
		return "posted"
	}
}

// A print is what a credit may know of the charge that it takes back.
type print struct {
	text   string
	strong bool // names the charge: the transaction's own id, or the reference (FT1-31)
}

// prints of a charge or credit: the numbers that name it among its patient's
// (the transaction's, FT1-2, and the reference, FT1-31), and code, date, amount
// and account together. A credit that says which charge it takes back has only
// that.
func prints(s *state) []print {
	n := s.resource
	owners := s.owners()
	var out []print
	named := func(value string) {
		for _, owner := range owners {
			out = append(out, print{text: "id|" + owner + "|" + value, strong: true})
		}
	}
	if value := extension(n, "reverses").Str("valueReference.identifier.value"); value != "" {
		named(value)
		return out
	}
	for _, id := range n.Get("identifier").Items() {
		if value := id.Str("value"); value != "" {
			named(value)
		}
	}
	code := n.Str("code.coding[0].code") + n.Str("code.text")
	date := n.Str("occurrenceDateTime") + n.Str("occurrencePeriod.start")
	amount := amountOf(n)
	if code == "" || date == "" || amount == "" {
		return out
	}
	if account := n.Str("account[0].reference"); account != "" {
		owners = []string{account}
	}
	for _, owner := range owners {
		out = append(out, print{text: strings.Join([]string{"like", code, date, amount, owner}, "|")})
	}
	return out
}

// owners are the patient that a record was born with and, after a merge, the
// survivor: a credit may come under either.
func (s *state) owners() []string {
	if s.subject == "" || s.subject == s.owner {
		return []string{s.owner}
	}
	return []string{s.owner, s.subject}
}

// extension gives the extension of a URL that ends in a name, or nil.
func extension(n *fhir.Node, name string) *fhir.Node {
	for _, e := range n.Get("extension").Items() {
		if url := e.Str("url"); len(url) > len(name) && strings.HasSuffix(url, name) && url[len(url)-len(name)-1] == '/' {
			return e
		}
	}
	return nil
}

// amountOf is the extended price (FT1-11), else quantity times unit price, as a
// number without a sign: feeds send a credit's with and without one, and 10.00
// for 10. "" where there is none.
func amountOf(n *fhir.Node) string {
	if amount, ok := decimal(n.Str("priceOverride.value")); ok {
		return amount.RatString()
	}
	price, ok := decimal(extension(n, "unit-price").Str("valueMoney.value"))
	if !ok {
		return ""
	}
	if quantity, ok := decimal(n.Str("quantity.value")); ok {
		price.Mul(price, quantity)
	}
	return price.RatString()
}

// opposite says whether two amounts have different signs: one that takes money back
// puts none right that was charged or paid. Credits are the exception: their sign says
// nothing.
func opposite(a, b *fhir.Node) bool {
	return amountOf(a) != "" && amountOf(b) != "" && negative(a) != negative(b)
}

// negative says whether what a line comes to is below nothing.
func negative(n *fhir.Node) bool {
	if amount := n.Str("priceOverride.value"); amount != "" {
		return amount[0] == '-'
	}
	return strings.HasPrefix(extension(n, "unit-price").Str("valueMoney.value"), "-") != strings.HasPrefix(n.Str("quantity.value"), "-")
}

// decimal reads a decimal without its sign; one with an exponent is none.
func decimal(text string) (*big.Rat, bool) {
	if text == "" || len(text) > 64 || strings.ContainsAny(text, "eE/_") {
		return nil, false
	}
	n, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, false
	}
	return n.Abs(n), true
}

// reversals brings the message's credits and the charges that they take back
// together, in whichever order they come. A charge is taken back once.
func (f *fold) reversals() error {
	for _, p := range f.pending {
		if p.s.kind != Charge || p.v.event != "" {
			continue
		}
		kind := transactionOf(p.s.resource)
		if kind != "CD" && kind != "CG" && kind != "" {
			continue
		}
		if err := f.listPrints(p.s); err != nil {
			return err
		}
	}
	f.closed()
	for _, credits := range [...]bool{true, false} { // of one message a credit looks first
		for i := 0; i < len(f.pending); i++ { // reverse pends more
			p := f.pending[i]
			if p.s.kind != Charge || p.v.event != "" || (transactionOf(p.s.resource) == "CD") != credits {
				continue
			}
			if err := f.reversal(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// reversal brings one charge or credit together with its other side.
func (f *fold) reversal(p *pending) error {
	if p.s.partner() != nil {
		if err := f.recount(p.s); err != nil {
			return err
		}
		if err := f.morePartly(p.s); err != nil {
			return err
		}
	}
	switch kind := transactionOf(p.s.resource); {
	case kind == "CD" && p.s.partner() == nil:
		return f.reverse(p, "CG")
	case transacts(p.s, "CG") && p.s.label() != "aborted" && !negative(p.s.resource):
		return f.reverse(p, "CD")
	}
	return nil
}

// listPrints lets the other side of a charge or credit find it.
func (f *fold) listPrints(s *state) error {
	for _, mark := range prints(s) {
		if err := f.list(chargeKey(mark.text), s.key.String()); err != nil {
			return err
		}
	}
	return nil
}

// mostAlike is how many charges of one print are kept, the newest.
const mostAlike = 64

// list adds a name to those under a key.
func (f *fold) list(key []byte, name string) error {
	listed, err := f.get(key)
	if err != nil {
		return err
	}
	var names []string
	if len(listed) > 0 {
		names = strings.Split(string(listed), "\n")
	}
	if slices.Contains(names, name) {
		return nil
	}
	names = append(names, name)
	f.put(key, []byte(strings.Join(names[max(0, len(names)-mostAlike):], "\n")))
	return nil
}

// partner is the other side of a reversal, nil where there is none.
func (s *state) partner() *Key {
	if s.ties == nil {
		return nil
	}
	return cmp.Or(s.ties.Reverses, s.ties.ReversedBy)
}

// recount works out again whether the credits of a charge come to its amount: one of
// them, or the charge, was put right.
func (f *fold) recount(s *state) error {
	charge := s
	if s.ties.Reverses != nil {
		var err error
		if charge, err = f.load(Charge, s.ties.Reverses.String()); err != nil || charge == nil {
			return err
		}
	}
	return f.tieCredits(charge, charge.ties.credits())
}

// tieCredits writes on a charge what its credits are, and whether they come to less
// or more than it.
func (f *fold) tieCredits(charge *state, credits []Key) error {
	slices.SortFunc(credits, func(a, b Key) int { return strings.Compare(a.String(), b.String()) })
	sum, amount := new(big.Rat), amountOf(charge.resource)
	known := true
	for _, key := range credits {
		credit, err := f.peek(Charge, key.String())
		if err != nil {
			return err
		}
		if credit == nil {
			continue
		}
		one, ok := new(big.Rat).SetString(amountOf(credit.resource))
		if known = known && ok; ok {
			sum.Add(sum, one)
		}
	}
	partly := known && sum.RatString() != amount || !known && (amount != "" || len(credits) > 1)
	if slices.Equal(charge.ties.credits(), credits) && (charge.ties == nil || charge.ties.Partly == partly) {
		f.unchanged(charge)
		return nil
	}
	f.tie(charge, partly, func(next *ties) {
		next.ReversedBy, next.More, next.Partly = nil, nil, false
		if len(credits) > 0 {
			next.ReversedBy, next.More, next.Partly = new(credits[0]), slices.Clone(credits[1:]), partly
		}
	})
	return nil
}

// tie changes the ties of a charge or credit, and pends its version.
func (f *fold) tie(s *state, partly bool, set func(*ties)) {
	delete(f.states, string(recordKey(Charge, s.key.String()))) // it is going to change
	v := version{it: &Item{Kind: Charge, Key: s.key}, before: s.shown(), previous: s.label(), told: true}
	if partly {
		v.warnings = []string{"reversal-of-another-amount"}
	}
	next := ties{}
	if s.ties != nil {
		next = *s.ties
	}
	set(&next)
	if s.ties = &next; next.empty() {
		s.ties = nil
	}
	f.pend(s, v)
}

// transacts says whether a charge is of a kind; one of no kind is a charge.
func transacts(s *state, kind string) bool {
	is := transactionOf(s.resource)
	return is == kind || is == "" && kind == "CG"
}

// alike gives the charges and credits of a print, the oldest first.
func (f *fold) alike(mark print) ([]*state, error) {
	listed, err := f.get(chargeKey(mark.text))
	if err != nil || listed == nil {
		return nil, err
	}
	var out []*state
	for key := range strings.SplitSeq(string(listed), "\n") {
		s, err := f.load(Charge, key)
		if err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		f.unchanged(s)
		if slices.Contains(prints(s), mark) { // corrections may have changed it
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *state) int {
		return cmp.Or(strings.Compare(a.first(), b.first()), strings.Compare(a.key.String(), b.key.String()))
	})
	return out, nil
}

// names says whether two charges that bear one number are about one service: not
// two of other facilities or accounts, whose numbers may be the same.
func (s *state) names(other *state) bool {
	differ := func(one, two string) bool { return one != two && one != "" && two != "" }
	if otherService(s.resource, other.resource) ||
		differ(s.shown().Str("account[0].reference"), other.shown().Str("account[0].reference")) {
		return false
	}
	referred := extension(s.resource, "reverses") != nil || extension(other.resource, "reverses") != nil
	return referred || !differ(s.facility(), other.facility())
}

// otherService says whether two lines name two services; one that names none may be of
// any.
func otherService(a, b *fhir.Node) bool {
	code := func(n *fhir.Node) string {
		if strings.HasSuffix(n.Str("code.coding[0].system"), "/data-absent-reason") {
			return ""
		}
		return n.Str("code.coding[0].code")
	}
	one, two := code(a), code(b)
	return one != two && one != "" && two != ""
}

// facility is who gave a charge its number: the key's authority, else the
// facility that sent it.
func (s *state) facility() string {
	if s.key.Assigner != "" || len(s.stamps) == 0 {
		return s.key.Assigner
	}
	name := s.stamps[0].name
	return name[strings.LastIndexByte(name, '|')+1:]
}

// pair brings charges and credits that are alike together: each credit, the
// oldest first, takes back the oldest charge that it can. So which of several is
// taken back does not depend on when they came.
func (f *fold) pair(p *pending, members []*state) {
	is := map[string]*state{}
	for _, s := range members {
		is[s.key.String()] = s
	}
	wanted := map[*state]*state{}
	free := slices.DeleteFunc(slices.Clone(members), func(s *state) bool {
		to := s.partner()
		return to != nil && (is[to.String()] == nil || shareNumber(s, is[to.String()]))
	})
	for _, credit := range free {
		if transactionOf(credit.resource) != "CD" {
			continue
		}
		for _, charge := range free {
			if transacts(charge, "CG") && !negative(charge.resource) && wanted[charge] == nil && charge.precedes(credit, p) {
				wanted[charge], wanted[credit] = credit, charge
				break
			}
		}
	}
	for _, s := range free {
		f.partners(s, wanted[s])
	}
}

// shareNumber says whether two charges are together by name.
func shareNumber(a, b *state) bool {
	for _, mark := range prints(a) {
		if mark.strong && slices.Contains(prints(b), mark) {
			return true
		}
	}
	return false
}

// precedes says whether a credit may take back this charge by likeness alone:
// one that its sender sent before; of another sender one that was there first.
func (s *state) precedes(credit *state, p *pending) bool {
	for i := range credit.stamps {
		if from := s.heard(credit.stamps[i].name); from != nil {
			return from.first() <= credit.stamps[i].first()
		}
	}
	to := credit.partner()
	return p.s == credit || to != nil && to.String() == s.key.String()
}

// first is the order of the oldest message of a record whose elements still stand.
func (s *state) first() string {
	first := ""
	for i := range s.stamps {
		if order := s.stamps[i].first(); first == "" || order < first {
			first = order
		}
	}
	return first
}

// first is the order of the oldest message whose elements still stand.
func (s *sender) first() string {
	first := s.last
	for _, at := range s.at {
		if at.order < first && !strings.HasPrefix(at.order, weakest) {
			first = at.order
		}
	}
	return first
}

// partners writes on one side of a reversal what the other is; nil: none any more.
func (f *fold) partners(s, other *state) {
	to := s.partner()
	if other == nil && to == nil || other != nil && to != nil && to.String() == other.key.String() {
		return
	}
	partly := other != nil && amountOf(s.resource) != amountOf(other.resource)
	f.tie(s, partly, func(next *ties) {
		next.Reverses, next.ReversedBy, next.More, next.Partly = nil, nil, nil, false
		switch {
		case other == nil:
		case transactionOf(s.resource) == "CD":
			next.Reverses = new(other.key)
		default:
			next.ReversedBy, next.Partly = new(other.key), partly
		}
	})
}
