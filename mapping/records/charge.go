package records

import (
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

// amountOf is the extended price (FT1-11), else quantity and unit price,
// without a sign: feeds send a credit's with and without one.
func amountOf(n *fhir.Node) string {
	amount := n.Str("priceOverride.value")
	if amount == "" {
		if price := extension(n, "unit-price").Str("valueMoney.value"); price != "" {
			amount = price + "x" + strings.TrimPrefix(n.Str("quantity.value"), "-")
		}
	}
	amount = strings.TrimLeft(amount, "-+")
	if whole, fraction, ok := strings.Cut(amount, "."); ok && !strings.Contains(fraction, "x") {
		amount = strings.TrimSuffix(whole+"."+strings.TrimRight(fraction, "0"), ".")
	}
	return amount
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
	for i := 0; i < len(f.pending); i++ { // reverse pends more
		p := f.pending[i]
		if p.s.kind != Charge || p.v.event != "" || p.s.ties != nil {
			continue
		}
		switch transactionOf(p.s.resource) {
		case "CD":
			if err := f.reverse(p, "CG"); err != nil {
				return err
			}
		case "CG", "":
			if err := f.reverse(p, "CD"); err != nil {
				return err
			}
		}
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

// reverse looks for the other side of a charge or credit: one that both name
// and of the same amount before one of another amount, and by likeness one of
// an earlier message before one of this.
func (f *fold) reverse(p *pending, other string) error {
	for _, mark := range prints(p.s) {
		listed, err := f.get(chargeKey(mark.text))
		if err != nil {
			return err
		}
		var second *state
		for key := range strings.SplitSeq(string(listed), "\n") {
			if key == p.s.key.String() {
				continue
			}
			s, err := f.load(Charge, key)
			if err != nil {
				return err
			}
			if s == nil || s == p.s {
				continue
			}
			f.unchanged(s)
			if !matches(p.s, s, mark, other) {
				continue
			}
			q := f.changes[string(recordKey(Charge, key))]
			if mark.strong && amountOf(s.resource) == amountOf(p.s.resource) || !mark.strong && (q == nil || !q.v.born) {
				f.tieCharges(p.s, s, other)
				return nil
			}
			if second == nil {
				second = s
			}
		}
		if second != nil {
			f.tieCharges(p.s, second, other)
			return nil
		}
	}
	if p.v.born && other == "CG" {
		p.v.warnings = append(p.v.warnings, "reversal-without-charge")
	}
	return nil
}

// matches says whether s can be the other side: of the other kind, not taken
// yet, for the same service, and by likeness alone only a charge that its
// sender sent before the credit.
func matches(mine, s *state, mark print, other string) bool {
	kind := transactionOf(s.resource)
	if s.ties != nil || kind != other && (other != "CG" || kind != "") {
		return false
	}
	if mark.strong {
		if !slices.ContainsFunc(mine.owners(), func(owner string) bool { return slices.Contains(s.owners(), owner) }) {
			return false // it was the survivor's before an unmerge
		}
		one, two := mine.resource.Str("code.coding[0].code"), s.resource.Str("code.coding[0].code")
		return one == two || one == "" || two == ""
	}
	charge, credit := s, mine
	if other == "CD" {
		charge, credit = mine, s
	}
	for i := range credit.stamps {
		if from := charge.heard(credit.stamps[i].name); from != nil {
			return from.first() <= credit.stamps[i].first()
		}
	}
	return other == "CG"
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

// tieCharges writes on both sides what the reversal is.
func (f *fold) tieCharges(mine, s *state, other string) {
	charge, credit := s, mine
	if other == "CD" {
		charge, credit = mine, s
	}
	for _, side := range [...]*state{charge, credit} {
		delete(f.states, string(recordKey(Charge, side.key.String()))) // it is going to change
	}
	partly := amountOf(charge.resource) != amountOf(credit.resource)
	for _, side := range [...]*state{charge, credit} {
		v := version{it: &Item{Kind: Charge, Key: side.key}, before: side.shown(), previous: side.label(), told: true}
		if partly {
			v.warnings = []string{"reversal-of-another-amount"}
		}
		if side == charge {
			side.ties = &ties{ReversedBy: &credit.key, Partly: partly}
		} else {
			side.ties = &ties{Reverses: &charge.key}
		}
		f.pend(side, v)
	}
}
