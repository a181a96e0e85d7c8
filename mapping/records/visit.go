package records

import (
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// An asking is what one message asked of a visit: a state, or that the newest of
// some trigger events be taken back.
type asking struct {
	order, state, trigger string
	cancels               []string
	admitted              string // of an admission: when (PV1-44)
}

// mostAsked is how many askings of a sender are kept, the newest.
const mostAsked = 64

// visit sets the state of a visit: what the sender's messages amount to in their
// order, cancels among them. told says whether the message is an event of its
// own, even where it changes nothing.
func (s *state) visit(it *Item, st Stamp) (told bool) {
	asked := it.State
	if status := statusOf(Encounter, it.Resource); asked == "" && it.silent() {
		if status != "" {
			s.newer(Stamp{Sender: st.Sender, Order: weakest + st.Order}, askedState+status)
		}
		if it.Event == "" {
			s.decide(st, false)
			return false
		}
	} else if asked == "" {
		asked = status
	}
	from := s.sender(st.Sender)
	element := askedState + asked + "=" + it.Trigger + "=" + strings.Join(it.Cancels, ",")
	if admits(it.Trigger) || reclassifies(it.Trigger) {
		element += "=" + it.Resource.Str("period.start")
	}
	last := true
	before := asking{}
	kept := from.at[:0]
	for _, at := range from.at {
		if !strings.HasPrefix(at.element, askedState) || strings.HasPrefix(at.order, weakest) {
			kept = append(kept, at)
			continue
		}
		if at.order == st.Order {
			if at.element == element {
				told, before.trigger = false, it.Trigger
			}
			continue
		}
		if at.order > st.Order {
			last = false
		} else if at.order > before.order {
			before = askedBy(at)
		}
		kept = append(kept, at)
	}
	from.at = append(kept, stamp{element: element, order: st.Order})
	from.forget()
	s.decide(st, last)
	return it.Event != "" && before.trigger != it.Trigger
}

// askedBy reads what visit noted.
func askedBy(at stamp) asking {
	text, _ := strings.CutPrefix(at.element, askedState)
	a := asking{order: at.order}
	var cancels string
	a.state, text, _ = strings.Cut(text, "=")
	a.trigger, text, _ = strings.Cut(text, "=")
	cancels, a.admitted, _ = strings.Cut(text, "=")
	if cancels != "" {
		a.cancels = strings.Split(cancels, ",")
	}
	return a
}

// forget keeps the newest askings.
func (s *sender) forget() {
	count, oldest := 0, -1
	for i, at := range s.at {
		if !strings.HasPrefix(at.element, askedState) || strings.HasPrefix(at.order, weakest) {
			continue
		}
		if count++; oldest < 0 || at.order < s.at[oldest].order {
			oldest = i
		}
	}
	if count > mostAsked {
		s.at = slices.Delete(s.at, oldest, oldest+1)
	}
}

// decide sets the state to what a sender's messages amount to; of two senders
// the one that spoke last counts.
func (s *state) decide(st Stamp, last bool) {
	if state := s.sender(st.Sender).amounts(); state != "" && (last || s.by == st.Sender || s.state == "") {
		s.state, s.by = state, st.Sender
	}
}

// amounts gives the state that the messages of a sender amount to in their
// order, whatever order they came in. A cancel takes the newest event of those it
// names and what came after it; then the state before counts, where it is one
// that can follow, else the one that the cancel asks for.
func (s *sender) amounts() string {
	list, weak := s.askings()
	list = slices.DeleteFunc(list, func(a asking) bool { return a.state == "" })
	var live []asking
	top := func() string {
		if len(live) == 0 {
			return ""
		}
		return live[len(live)-1].state
	}
	for _, a := range list {
		if a.trigger == "A10" && (top() == "in-progress" || top() == "onleave") {
			continue // an inpatient arrives at an examination: he stays one
		}
		if moves(a.trigger) && (top() == "finished" || top() == "cancelled") {
			continue // a transfer that comes late: A13 reopens a stay
		}
		if a.repeats(live) {
			continue
		}
		if before := top(); (a.trigger == "A05" || a.trigger == "A14") && (before == "arrived" || before == "in-progress" || before == "onleave") {
			a.state = before // who is there already waits for another bed
		}
		left, was, found := a.takes(live)
		if found {
			live = left
			if before := top(); before != "" && (a.state == "cancelled" || before != was && before != "planned") {
				continue
			}
		}
		live = append(live, a)
	}
	if top() == "" {
		state, _ := strings.CutPrefix(weak.element, askedState)
		return state
	}
	return top()
}

// moves says whether a trigger event is of a patient who is there: it neither admits
// nor reopens a stay.
func moves(trigger string) bool {
	return slices.Contains([]string{"A02", "A09", "A10", "A21", "A22"}, trigger)
}

// askings gives what the messages of a sender asked of a visit, in their order,
// and the newest that only told how it stood.
func (s *sender) askings() (list []asking, weak stamp) {
	for _, at := range s.at {
		switch {
		case !strings.HasPrefix(at.element, askedState):
		case !strings.HasPrefix(at.order, weakest):
			list = append(list, askedBy(at))
		case at.order >= weak.order:
			weak = at
		}
	}
	slices.SortFunc(list, func(a, b asking) int { return strings.Compare(a.order, b.order) })
	return list, weak
}

// takes gives what is left when a cancel takes back the newest event that it
// names, what came after that, and the same event sent before; was is its state.
func (a *asking) takes(live []asking) (left []asking, was string, found bool) {
	i := len(live) - 1
	for i >= 0 && !slices.Contains(a.cancels, live[i].trigger) {
		i--
	}
	if i < 0 {
		return live, "", false
	}
	was = live[i].state
	for i > 0 && live[i-1].state == was && slices.Contains(a.cancels, live[i-1].trigger) {
		i--
	}
	return live[:i], was, true
}

// undone says whether a message of this order was taken back by another one of
// its sender.
func (s *state) undone(st Stamp) bool {
	from := s.heard(st.Sender)
	if from == nil {
		return false
	}
	list, _ := from.askings()
	is := func(a asking) bool { return a.order == st.Order }
	if !slices.ContainsFunc(list, is) {
		return false
	}
	var live []asking
	for _, a := range list {
		if left, _, found := a.takes(live); found {
			live = left
		} else {
			live = append(live, a)
		}
	}
	return !slices.ContainsFunc(live, is)
}

// A once is a value that a message gave an element that cancels bring back.
type once struct {
	element, sender, order, trigger string
	cancels                         []string
	value                           string // JSON, "" where the message had none
}

// mostOnce is how many values of an element are kept.
const mostOnce = 16

// restorable are the elements that cancels bring back, each with the events that
// change it.
func restorable(element string) []string {
	switch element {
	case "location":
		return []string{"A02", "A09", "A10"}
	case "participant", "participant:PV1-7", "participant:PV1-9":
		return []string{"A54", "A61"}
	case plannedEnd:
		return []string{"A16"}
	}
	return nil
}

// plannedEnd is when the patient is expected to leave, which a cancelled
// discharge leaves open again where nobody had said it before.
const plannedEnd = "extension:PV2-9"

// recall notes what a message says of a visit's place, of its doctors and of
// when it is expected to end, and brings back what was before where a cancel took a change back. held is the
// resource before the message.
func (s *state) recall(it *Item, st Stamp, held *fhir.Node) {
	if s.kind != Encounter || it.Trigger == "" || it.Resource == nil {
		return
	}
	for _, element := range [...]string{"location", "participant", "participant:PV1-7", "participant:PV1-9", plannedEnd} {
		v := at(it.Resource, element)
		if element == "participant" && v != nil && v.Items()[0].From != 0 { // told apart by field
			v = nil
		}
		if v == nil && len(it.Cancels) == 0 {
			continue
		}
		was, before := s.recalled(element, st.Sender, false)
		o := once{element: element, sender: st.Sender, order: st.Order, trigger: it.Trigger, cancels: it.Cancels}
		if v != nil {
			o.value = string(v.JSON())
		}
		s.remember(o)
		now, restored := s.recalled(element, st.Sender, before)
		restored = restored || before // by what is no repeat any more
		touched := held == nil || !fhir.Equal(at(held, element), at(s.resource, element))
		if !restored || now == "" && element != plannedEnd || now == was && !touched {
			continue
		}
		if now == "" {
			if at(s.resource, element) != nil {
				s.resource, s.raw = s.resource.Shallow(), nil
				put(s.resource, element, nil)
			}
			continue
		}
		value, err := fhir.ParseJSON([]byte(now))
		if err != nil || fhir.Equal(at(s.resource, element), value) {
			continue
		}
		s.resource, s.raw = s.resource.Shallow(), nil
		name, field, _ := strings.Cut(element, ":")
		for _, item := range value.Items() {
			item.From = fhir.ParseOrigin(field)
		}
		value.Name = name
		put(s.resource, element, value)
	}
}

// remember adds a value to those of its element. Of too many the oldest goes that
// repeats the one before it and changed nothing, else the oldest.
func (s *state) remember(o once) {
	s.once = slices.DeleteFunc(slices.Clone(s.once), func(have once) bool {
		return have.element == o.element && have.sender == o.sender && have.order == o.order
	})
	at, _ := slices.BinarySearchFunc(s.once, o, compareOnce)
	s.once = slices.Insert(s.once, at, o)
	first, count, drop := -1, 0, -1
	for i := range s.once {
		if s.once[i].element != o.element || s.once[i].sender != o.sender {
			continue
		}
		if count++; first < 0 {
			first = i
		} else if drop < 0 && s.once[i].value == s.once[i-1].value && len(s.once[i].cancels) == 0 && !slices.Contains(restorable(o.element), s.once[i].trigger) {
			drop = i
		}
	}
	if count > mostOnce {
		if drop < 0 {
			drop = first
		}
		s.once = slices.Delete(s.once, drop, drop+1)
	}
}

func compareOnce(a, b once) int {
	for _, c := range [...]int{strings.Compare(a.element, b.element), strings.Compare(a.sender, b.sender), strings.Compare(a.order, b.order)} {
		if c != 0 {
			return c
		}
	}
	return 0
}

// recalled gives the value that a sender's messages amount to in their order, and
// whether a cancel had a part in it. A cancel takes back the newest change that
// it names, and what only repeats it; where it names another value itself, that
// is the one that is back.
func (s *state) recalled(element, sender string, anyway bool) (value string, restored bool) {
	if !anyway && !slices.ContainsFunc(s.once, func(o once) bool { return len(o.cancels) > 0 || o.repeats(s.once) }) {
		return "", false
	}
	var live []once
	for _, o := range s.once {
		if o.element != element || o.sender != sender {
			continue
		}
		if o.repeats(live) {
			restored = true
			continue
		}
		i := len(live) - 1
		for i >= 0 && (!slices.Contains(o.cancels, live[i].trigger) || !slices.Contains(restorable(element), live[i].trigger)) {
			i--
		}
		if i < 0 {
			if o.value != "" {
				live = append(live, o)
			}
			continue
		}
		undone := live[i]
		same := func(p once) bool { return gist(element, p.value) == gist(element, undone.value) }
		live = append(live[:i:i], slices.DeleteFunc(slices.Clone(live[i:]), same)...)
		restored = true
		switch {
		case o.value != "" && !same(o):
			live = append(live, o)
		case len(live) == 0 && element == "location":
			if o.value = prior(o.value, undone.value); o.value != "" {
				live = append(live, o)
			}
		}
	}
	if len(live) == 0 {
		return "", restored
	}
	return live[len(live)-1].value, restored
}

// gist is what two values of an element are compared by: of places those where
// the patient is.
func gist(element, value string) string {
	if element != "location" || value == "" {
		return value
	}
	list, err := fhir.ParseJSON([]byte(value))
	if err != nil {
		return value
	}
	var out []string
	for _, item := range list.Items() {
		if status := item.Str("status"); status == "" || status == "active" {
			out = append(out, item.Str("location.reference"))
		}
	}
	return strings.Join(out, " ")
}

// prior makes a place of the prior one (PV1-6) that a cancelled transfer names.
func prior(values ...string) string {
	for _, value := range values {
		list, err := fhir.ParseJSON([]byte(value))
		if err != nil {
			continue
		}
		for _, item := range list.Items() {
			if item.Str("status") != "completed" || item.Get("extension") != nil {
				continue
			}
			back := item.Shallow()
			back.Name = ""
			return string(fhir.NewArray(back.SetString("status", "active")).JSON())
		}
	}
	return ""
}

// withoutReserved leaves out the place that waits for the patient (PV1-42): what a
// cancelled transfer (A26) had planned.
func withoutReserved(n *fhir.Node) *fhir.Node {
	kept := fhir.NewArray()
	for _, item := range n.Get("location").Items() {
		if item.Str("status") != "reserved" {
			kept.Kids = append(kept.Kids, item)
		}
	}
	if len(kept.Kids) == len(n.Get("location").Items()) {
		return n
	}
	n = n.Shallow()
	if n.Delete("location"); len(kept.Kids) > 0 {
		n.Set("location", kept)
	}
	return n
}

// inherit takes over what messages asked of a record that is the same one under
// another number, and what they said of its place and doctors.
func (s *state) inherit(from *state) {
	for i := range from.stamps {
		to := s.sender(from.stamps[i].name)
		for _, at := range from.stamps[i].at {
			if strings.HasPrefix(at.element, askedState) && !slices.Contains(to.at, at) {
				to.at = append(to.at, at)
			}
		}
	}
	for _, o := range from.once {
		s.remember(o)
	}
	if s.kind != Encounter {
		if s.state == "" || from.state != "" && !s.told() {
			s.state, s.by = from.state, from.by
		}
		return
	}
	if from.by != "" && (s.by == "" || !s.told()) {
		s.by = from.by
	}
	if state := s.sender(s.by).amounts(); state != "" {
		s.state = state
	}
}

// told says whether a message asked for a state outright.
func (s *state) told() bool {
	for i := range s.stamps {
		for _, at := range s.stamps[i].at {
			if strings.HasPrefix(at.element, askedState) && !strings.HasPrefix(at.order, weakest) {
				return true
			}
		}
	}
	return false
}

// happens notes an event of an account, and says whether it is another one than
// the sender's last before it.
func (s *state) happens(event string, st Stamp) bool {
	const happened = "@event="
	last := stamp{}
	for _, at := range s.sender(st.Sender).at {
		if strings.HasPrefix(at.element, happened) && at.order <= st.Order && at.order >= last.order {
			last = at
		}
	}
	if s.may(st, happened+event) {
		s.note(st, happened+event)
	}
	return last.element != happened+event
}
