package records

import "slices"

// A visit's number may come with an admission again: sent again, which neither opens
// the stay that has ended nor brings the patient back to his first bed; or of another
// stay under the same number.

// admits says whether a trigger event begins a stay.
func admits(trigger string) bool { return trigger == "A01" || trigger == "A04" }

// repeats says whether an admission is one of a stay that has ended since, sent again:
// of the time (PV1-44) of one before. A13 reopens a stay; an admission of another time
// is another stay.
func (a *asking) repeats(before []asking, state string) bool {
	return admits(a.trigger) && state == "finished" && a.admitted != "" && slices.ContainsFunc(before, func(b asking) bool {
		return admits(b.trigger) && b.admitted == a.admitted
	})
}

// left says whether what is known of a visit's end is of the stay before: the patient
// was admitted again under its number.
func (s *state) left() bool {
	if s.state == "finished" || s.resource.Get("period").Get("end") == nil {
		return false
	}
	from := s.heard(s.by)
	if from == nil {
		return false
	}
	list, _ := from.askings()
	for _, a := range slices.Backward(list) {
		if admits(a.trigger) {
			return s.order(s.by, "period.end") < a.order && slices.ContainsFunc(list, func(b asking) bool { return b.state == "finished" && b.order < a.order })
		}
	}
	return false
}

// repeats says whether an admission that is sent again names the place of the first
// one, which the patient has left since: it moves nobody.
func (o *once) repeats(before []once) bool {
	if o.element != "location" || !admits(o.trigger) || o.value == "" {
		return false
	}
	first, left := false, false
	for i := range before {
		b := &before[i]
		if b.element != o.element || b.sender != o.sender || b.order >= o.order || b.value == "" {
			continue
		}
		same := gist(o.element, b.value) == gist(o.element, o.value)
		first = first || same && admits(b.trigger)
		left = first && !same
	}
	return left
}
