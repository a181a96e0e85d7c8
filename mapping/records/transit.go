package records

import (
	"slices"
	"strings"
)

// askedState begins the element under which a sender's stamps keep the newest
// message that asked for a state.
const askedState = "@state="

// transit sets the state: the one that the newest message of a sender asked
// for, by its trigger or by the resource's status. Of two senders the one that
// spoke last counts. A no-show after an arrival is a conflict in which the
// arrival is kept; transit names it.
func (s *state) transit(it *Item, st Stamp) (conflict string) {
	conflict = s.ask(it, st)
	if it.Request != "" || len(it.Cancels) > 0 {
		s.refusals(it, st)
	}
	return conflict
}

func (s *state) ask(it *Item, st Stamp) (conflict string) {
	asked := it.State
	if asked == "" {
		asked = statusOf(it.Kind, it.Resource)
		nothing := asked == "" && stateless(it.Kind)
		if nothing {
			asked = "active"
		}
		if nothing || it.silent() {
			st.Order = weakest + st.Order
		}
	}
	if asked == "" {
		return ""
	}
	if it.Otherwise {
		st.Order = weakest + st.Order
	}
	from := s.sender(st.Sender)
	repeated := from.asked(asked) != ""
	element := askedState + asked
	if it.Request != "" || it.mild {
		element += "=" + it.Request
	}
	if it.mild {
		element += mildly
	}
	if !s.newer(st, element) {
		return ""
	}
	newest := from.supersede(element, st.Order)
	decided := from.decides()
	switch {
	case s.by == st.Sender || s.state == "":
		s.state, s.by = decided, st.Sender
	case !newest || strings.HasPrefix(st.Order, weakest):
	case decided == "noshow" && arrived(s.state), it.mild && s.state == "completed":
	case decided == "active" && s.state == "completed" && (s.kind == Order || s.kind == MedicationOrder): // who placed it does not undo its result
	default:
		s.state, s.by = decided, st.Sender
	}
	if asked == "noshow" && newest && !repeated && arrived(s.state) {
		return "noshow-after-arrival"
	}
	return ""
}

// asked gives the order of the newest message that asked for a state, or "".
func (s *sender) asked(state string) string {
	for i := range s.at {
		if name, ok := strings.CutPrefix(s.at[i].element, askedState); ok && name == state {
			return s.at[i].order
		}
	}
	return ""
}

// supersede forgets other states asked for at the very same order, and says
// whether none was asked for later.
func (s *sender) supersede(element, order string) (newest bool) {
	newest = true
	kept := s.at[:0]
	for _, at := range s.at {
		ok := strings.HasPrefix(at.element, askedState)
		if ok && at.element != element && at.order == order {
			continue
		}
		if ok && at.order > order {
			newest = false
		}
		kept = append(kept, at)
	}
	s.at = kept
	return newest
}

// decides gives the state that a sender's messages amount to, whatever order
// they came in: the newest one's; of a no-show what was before it, if that was
// an arrival.
func (s *sender) decides() string {
	if s.conditional() {
		return s.unfolds("")
	}
	last, order := "", ""
	before, earlier := "", ""
	for _, at := range s.at {
		name, request, ok := stateOf(at.element)
		if !ok || s.refuses(request, at.order) || strings.HasSuffix(request, mildly) && s.asked("completed") != "" {
			continue
		}
		if at.order >= order {
			last, order = name, at.order
		}
		if name != "noshow" && at.order >= earlier {
			before, earlier = name, at.order
		}
	}
	if last == "noshow" && arrived(before) {
		return before
	}
	return last
}

// unfolds is decides where some of what was asked for bears on what was before;
// before an order, where one is given.
func (s *sender) unfolds(before string) string {
	type asking struct {
		telling
		condition *stamp
	}
	var list []asking
	for _, t := range s.tellings() {
		if t.state != "" && (before == "" || t.order < before) {
			list = append(list, asking{telling: t})
		}
	}
	for i := range s.at {
		if at := &s.at[i]; strings.HasPrefix(at.element, askedState+"?") && (before == "" || at.order < before) {
			list = append(list, asking{telling: telling{order: at.order}, condition: at})
		}
	}
	slices.SortStableFunc(list, func(a, b asking) int {
		if a.weak != b.weak {
			if a.weak {
				return -1
			}
			return 1
		}
		return strings.Compare(a.order, b.order)
	})
	state := ""
	for _, a := range list {
		if a.condition != nil {
			if to := s.bears(*a.condition); to != "" {
				state = to
			}
		} else if a.state != "noshow" || !arrived(state) {
			state = a.state
		}
	}
	return state
}

// arrived says whether the patient is there, or was.
func arrived(state string) bool {
	return state == "arrived" || state == "checked-in" || state == "fulfilled"
}
