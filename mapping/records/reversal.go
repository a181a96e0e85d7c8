package records

import "slices"

// reverse looks for the other side of a charge or credit: what both name, one of the
// same amount before one of another, else one that is like it. A credit takes one
// charge back; a charge has all credits that name it.
func (f *fold) reverse(p *pending, other string) error {
	for _, mark := range prints(p.s) {
		members, err := f.alike(mark)
		if err != nil {
			return err
		}
		if !mark.strong {
			if p.s.partner() == nil {
				f.pair(p, members)
			}
			if p.s.partner() != nil {
				return nil
			}
			continue
		}
		found, err := f.others(p, members, other)
		if err != nil {
			return err
		}
		for _, s := range found {
			charge, credit := s, p.s
			if other == "CD" {
				charge, credit = p.s, s
			}
			if charge.label() == "aborted" {
				break
			}
			if err := f.takeBack(charge, credit); err != nil {
				return err
			}
		}
		if other == "CD" {
			if err := f.earlierCredits(p.s, members); err != nil {
				return err
			}
		}
		if len(found) > 0 {
			return nil
		}
	}
	if p.v.born && other == "CG" {
		p.v.warnings = append(p.v.warnings, "reversal-without-charge")
	}
	return nil
}

// others are the charges that a credit names, or the credits that name a charge: those
// of its amount first. A credit gets one: of its amount, else what was posted with its
// amount before that was put right, else one of another amount.
func (f *fold) others(p *pending, members []*state, other string) ([]*state, error) {
	amount := amountOf(p.s.resource)
	var same, rest []*state
	for _, s := range members {
		charge, credit := s, p.s
		if other == "CD" {
			charge, credit = p.s, s
		}
		if !transacts(s, other) || !p.s.names(s) || charge.label() == "aborted" || negative(charge.resource) {
			continue
		}
		free, err := f.creditable(credit, charge)
		switch {
		case err != nil:
			return nil, err
		case !free:
		case amountOf(s.resource) == amount:
			same = append(same, s)
		default:
			if after, err := f.postedAfter(charge, credit); err != nil {
				return nil, err
			} else if !after {
				rest = append(rest, s)
			}
		}
	}
	if other == "CD" {
		return append(same, rest...), nil
	}
	if !slices.ContainsFunc(same, func(s *state) bool { return !s.after(p.s) }) {
		earlier, err := f.earlierCharge(p, members)
		if err != nil {
			return nil, err
		}
		if earlier != nil {
			return []*state{earlier}, nil
		}
	}
	before := slices.DeleteFunc(slices.Clone(same), func(s *state) bool { return s.after(p.s) })
	found := slices.Concat(before, same, rest)
	return found[:min(len(found), 1)], nil
}

// creditable says whether a credit may take back a charge: it has none, or one that is less
// like it.
func (f *fold) creditable(credit, charge *state) (bool, error) {
	if credit.partner() == nil || amountOf(charge.resource) != amountOf(credit.resource) {
		return credit.partner() == nil, nil
	}
	have, err := f.peek(Charge, credit.partner().String())
	return have != nil && (amountOf(have.resource) != amountOf(credit.resource) || have.after(credit) && !charge.after(credit)), err
}

// takeBack ties a credit to a charge, and no longer to the one that it was tied to,
// which may have room for another then.
func (f *fold) takeBack(charge, credit *state) error {
	var former *state
	if to := credit.partner(); to != nil && to.String() != charge.key.String() {
		var err error
		if former, err = f.load(Charge, to.String()); err != nil {
			return err
		}
	}
	f.partners(credit, charge)
	if err := f.tieCredits(charge, append(charge.ties.credits(), credit.key)); err != nil || former == nil {
		return err
	}
	less := slices.DeleteFunc(former.ties.credits(), func(k Key) bool { return k.String() == credit.key.String() })
	if err := f.tieCredits(former, less); err != nil {
		return err
	}
	return f.earlierCredits(former, []*state{credit})
}

// after says whether a charge was posted after a credit of the same sender.
func (s *state) after(credit *state) bool {
	for i := range credit.stamps {
		if from := s.heard(credit.stamps[i].name); from != nil {
			return from.first() > credit.stamps[i].first()
		}
	}
	return false
}
