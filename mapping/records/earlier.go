package records

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A line that bears the number of a charge, and another amount, puts the charge right:
// HL7 has no other word for it (v2.5.1 §6.5.1). Or its sender adds it up with what it
// posted before, as ledgers do. A credit tells: one of the amount that was replaced
// takes back what was posted with it, and leaves what stands now. So what a charge or a
// credit was before is kept.

// earlierKey is where the postings that a charge or a credit no longer shows stand.
func earlierKey(key Key) []byte { return chargeKey("was|" + key.String()) }

// mostEarlier is how many of them are kept, the newest.
const mostEarlier = 16

// supersede keeps what a line that says something else replaces: the record as it is, or
// the line where that is the older.
func (f *fold) supersede(it *Item, s *state) error {
	if amountOf(it.Resource) == "" || amountOf(s.resource) == "" || postingOf(it.Resource) == postingOf(s.resource) || transactionOf(it.Resource) != "CD" && !transacts(s, "CG") {
		return nil
	}
	if transactionOf(it.Resource) == "CD" && costOf(it.Resource) == costOf(s.resource) {
		return nil
	}
	own, stays := *s, it.Resource
	own.ties, own.marks, own.apart, own.raw, own.version = nil, nil, nil, nil, 0
	if s.late(f.c.Stamp) {
		own = state{kind: Charge, key: s.key, owner: it.owner, subject: s.subject, born: s.born}
		own.take(it, f.c.Stamp)
		own.note(f.c.Stamp, "@owner")
		stays = s.resource
	}
	kept, err := f.earlier(s.key)
	if err != nil {
		return err
	}
	kept = slices.DeleteFunc(kept, func(e *state) bool {
		return postingOf(e.resource) == postingOf(stays) || postingOf(e.resource) == postingOf(own.resource)
	})
	return f.keepEarlier(s.key, append(kept, &own))
}

// earlier gives what a charge or a credit was posted as before.
func (f *fold) earlier(key Key) ([]*state, error) {
	texts, err := listed[json.RawMessage](f, earlierKey(key))
	if err != nil {
		return nil, err
	}
	var out []*state
	for _, text := range texts {
		s, err := decodeState(text)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (f *fold) keepEarlier(key Key, kept []*state) error {
	if len(kept) == 0 {
		f.put(earlierKey(key), nil)
		return nil
	}
	var texts []json.RawMessage
	for _, s := range kept[max(0, len(kept)-mostEarlier):] {
		texts = append(texts, s.encode(nil, s.resource.JSON(), false))
	}
	data, err := json.Marshal(texts)
	if err != nil {
		return fmt.Errorf("write what a charge was: %w", err)
	}
	f.put(earlierKey(key), data)
	return nil
}

// earlierCharge makes a charge of its own of what was posted with a credit's amount
// before another amount replaced it; nil where nothing was.
func (f *fold) earlierCharge(p *pending, members []*state) (*state, error) {
	amount := amountOf(p.s.resource)
	if amount == "" {
		return nil, nil
	}
	for _, s := range members {
		if !transacts(s, "CG") || !p.s.names(s) {
			continue
		}
		kept, err := f.earlier(s.key)
		if err != nil {
			return nil, err
		}
		for i, e := range kept {
			if amountOf(e.resource) != amount || otherService(e.resource, p.s.resource) || amountOf(s.resource) == amount && e.after(p.s) {
				continue
			}
			if err := f.keepEarlier(s.key, slices.Delete(kept, i, i+1)); err != nil {
				return nil, err
			}
			if amountOf(s.resource) == amount {
				return e, f.post(e, s.key)
			}
			p.v.warnOf(earlierAmount)
			return e, f.post(e, s.key, earlierAmount)
		}
	}
	return nil, nil
}

// earlierAmount warns that a credit was read as that of what was posted before another
// amount replaced it: it may have been a part of what stands.
const earlierAmount = "reversal-of-earlier-amount"

// post makes a record of its own of what was kept under another's key.
func (f *fold) post(s *state, key Key, warnings ...string) error {
	var err error
	if s.key, err = f.unused(key.first()); err != nil {
		return err
	}
	if f.claimed == nil {
		f.claimed = map[string]bool{}
	}
	f.claimed[s.key.String()] = true
	s.resource = s.resource.Shallow().SetString("id", fhir.ID("ChargeItem", s.key.Assigner, s.key.ID))
	s.version, s.stored = 0, nil
	if err := f.settle(s, nil, true); err != nil {
		return err
	}
	s.born = s.subject
	f.put(append(subjectKey(s.owner), recordKey(Charge, s.key.String())...), []byte{1})
	f.pend(s, version{it: &Item{Kind: Charge, Key: s.key}, born: true, warnings: warnings})
	return f.listPrints(s)
}

// first is the key of the first of a chain.
func (k Key) first() Key {
	if at := strings.LastIndexByte(k.ID, '~'); at >= 0 && at+1 < len(k.ID) && strings.Trim(k.ID[at+1:], "0123456789") == "" {
		k.ID = k.ID[:at]
	}
	return k
}

// earlierCredits makes credits of their own of what credits of a charge's number were
// before, where the charge was there and has room for all of them, or was of their amount.
func (f *fold) earlierCredits(charge *state, members []*state) error {
	for _, credit := range members {
		if transactionOf(credit.resource) != "CD" || !bears(credit.resource, charge) || !charge.names(credit) {
			continue
		}
		kept, err := f.earlier(credit.key)
		if err != nil {
			return err
		}
		for i := len(kept) - 1; i >= 0 && charge.label() != "aborted"; i-- {
			e := kept[i]
			room, err := f.room(charge, e)
			if err == nil && !room && !otherService(charge.resource, e.resource) {
				room, err = f.wasPosted(charge, amountOf(e.resource))
			}
			if err != nil {
				return err
			}
			if !room {
				continue
			}
			kept = slices.Delete(kept, i, i+1)
			if err := f.keepEarlier(credit.key, kept); err != nil {
				return err
			}
			if err := f.post(e, credit.key, "repeated-number"); err != nil {
				return err
			}
			if err := f.reverse(f.changes[string(recordKey(Charge, e.key.String()))], "CG"); err != nil {
				return err
			}
		}
	}
	return nil
}

// bears says whether a credit's own number is the charge's.
func bears(credit *fhir.Node, charge *state) bool {
	return slices.Contains(numbersOf(charge.resource), credit.Str("identifier[0].value"))
}

// morePartly does so where a charge that has credits was put right.
func (f *fold) morePartly(charge *state) error {
	if charge.ties == nil || !charge.ties.Partly {
		return nil
	}
	var credits []*state
	for _, key := range charge.ties.credits() {
		credit, err := f.peek(Charge, key.String())
		if err != nil {
			return err
		}
		if credit != nil {
			credits = append(credits, credit)
		}
	}
	return f.earlierCredits(charge, credits)
}

// room says whether what a credit was before takes back a part of a charge that was
// there, beside its other credits.
func (f *fold) room(charge, credit *state) (bool, error) {
	if otherService(charge.resource, credit.resource) {
		return false, nil
	}
	after, err := f.postedAfter(charge, credit)
	if err != nil || after {
		return false, err
	}
	return f.fits(charge, credit.resource)
}

// fits says whether a credit that bears a charge's own number may take back a part of
// it beside the other credits: together they come to no more than it. The number of a
// credit that has one of its own tells it from others.
func (f *fold) fits(charge *state, credit *fhir.Node) (bool, error) {
	if !bears(credit, charge) {
		return false, nil
	}
	sum, ok := new(big.Rat).SetString(amountOf(credit))
	amount, known := new(big.Rat).SetString(amountOf(charge.resource))
	for _, key := range charge.ties.credits() {
		other, err := f.peek(Charge, key.String())
		if err != nil {
			return false, err
		}
		if other == nil {
			continue
		}
		one, is := new(big.Rat).SetString(amountOf(other.resource))
		if ok = ok && is; ok {
			sum.Add(sum, one)
		}
	}
	return ok && known && sum.Cmp(amount) <= 0, nil
}

// postedAfter says whether a charge was posted after a credit of the same sender, and
// not only put right.
func (f *fold) postedAfter(charge, credit *state) (bool, error) {
	if !charge.after(credit) {
		return false, nil
	}
	kept, err := f.earlier(charge.key)
	return !slices.ContainsFunc(kept, func(e *state) bool { return !e.after(credit) }), err
}

// wasPosted says whether a charge had an amount before it was put right.
func (f *fold) wasPosted(s *state, amount string) (bool, error) {
	kept, err := f.earlier(s.key)
	return amount != "" && slices.ContainsFunc(kept, func(e *state) bool { return amountOf(e.resource) == amount }), err
}

// tookBack says whether a line that is older than a charge is what a credit of its
// amount takes back, which took none, or one that is less like it.
func (f *fold) tookBack(it *Item, s *state) (bool, error) {
	amount, from := amountOf(it.Resource), s.heard(f.c.Stamp.Sender)
	if amount == "" || from == nil || f.c.Stamp.Order >= from.first() {
		return false, nil
	}
	members, err := f.namesakes(s)
	for _, credit := range members {
		if transactionOf(credit.resource) != "CD" || amountOf(credit.resource) != amount || !f.takesBack(credit.resource, s) {
			continue
		}
		sent := credit.heard(f.c.Stamp.Sender)
		before := sent != nil && f.c.Stamp.Order <= sent.first()
		if amount == amountOf(s.resource) && !(before && s.after(credit)) {
			continue
		}
		if credit.partner() != nil {
			have, err := f.peek(Charge, credit.partner().String())
			if err != nil {
				return false, err
			}
			if have == nil || amountOf(have.resource) == amount && !(before && have.after(credit)) {
				continue
			}
		}
		after, err := f.postedAfter(s, credit)
		if err == nil && !(before && after) {
			it.warnings = append(it.warnings, earlierAmount)
		}
		return true, err
	}
	return false, err
}

// replaces says whether a line put a charge right before a credit of just the charge's
// amount took that back: what it posts stands.
func (f *fold) replaces(it *Item, s *state) (bool, error) {
	amount, from := amountOf(it.Resource), s.heard(f.c.Stamp.Sender)
	if s.ties == nil || amount == "" || amount == amountOf(s.resource) || from == nil || f.c.Stamp.Order < from.first() {
		return false, nil
	}
	for _, key := range s.ties.credits() {
		credit, err := f.peek(Charge, key.String())
		if err != nil {
			return false, err
		}
		if credit != nil && amountOf(credit.resource) == amountOf(s.resource) {
			it.warnings = append(it.warnings, earlierAmount)
			return true, nil
		}
	}
	return false, nil
}
