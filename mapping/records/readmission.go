package records

import "slices"

// A visit's number may come with an admission again: sent again, which neither opens
// the stay that has ended nor brings the patient back to his first bed; or of another
// stay under the same number.

// admits says whether a trigger event begins a stay.
func admits(trigger string) bool { return trigger == "A01" || trigger == "A04" }

// reclassifies says whether a trigger event makes an inpatient of an outpatient, or the
// other way about.
func reclassifies(trigger string) bool { return trigger == "A06" || trigger == "A07" }

// repeats says whether an admission or a change of class is one of those that count,
// sent again: by the same event, of the same time (PV1-44). It changes nothing: the
// stay may have ended since, which A13 takes back, or the outpatient be an inpatient.
// An admission of another time is another stay.
func (a *asking) repeats(live []asking) bool {
	return (admits(a.trigger) || reclassifies(a.trigger)) && a.admitted != "" && slices.ContainsFunc(live, func(b asking) bool {
		return b.trigger == a.trigger && b.admitted == a.admitted
	})
}

// again says whether a version comes of an admission that is sent again and leaves the
// visit where it is since.
func (v *version) again(s *state) bool {
	if v.born || !admits(v.it.Trigger) && !reclassifies(v.it.Trigger) || v.previous != s.label() {
		return false
	}
	return v.previous == "finished" || v.previous == "onleave" || v.previous == "in-progress" && v.it.Trigger == "A04"
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
