package records

import (
	"slices"
	"strings"
)

// A placer's request (ORC-1 CA, say) asks for a state that counts until the filler
// refuses it (UC): then the order is what it was before, whatever order the two
// come in. Of each only the newest of a sender is kept, the request as the state
// that it asks for, with its control code behind that.
const (
	refused  = "@refused="  // requests of this sender up to the stamp are refused
	unheeded = "@unheeded=" // this sender refused a request that has not been seen

	mildly = "*" // ends a request that does not bear on what was completed
)

// stateOf gives the state that an element tells, and the request that asks for it.
func stateOf(element string) (state, request string, ok bool) {
	text, ok := strings.CutPrefix(element, askedState)
	if ok && !strings.HasPrefix(text, "?") { // what has a condition is none of a request
		text, request, _ = strings.Cut(text, "=")
	}
	return text, request, ok
}

// refuses says whether a request of a sender was refused.
func (s *sender) refuses(request, order string) bool {
	request = strings.TrimSuffix(request, mildly)
	return request != "" && slices.ContainsFunc(s.at, func(at stamp) bool {
		name, ok := strings.CutPrefix(at.element, refused)
		return ok && name == request && at.order >= order
	})
}

// requested gives the order of a sender's newest request that stands, or "".
func (s *sender) requested(request string) string {
	for i := range s.at {
		if _, of, _ := stateOf(s.at[i].element); strings.TrimSuffix(of, mildly) == request && !s.refuses(of, s.at[i].order) {
			return s.at[i].order
		}
	}
	return ""
}

// refusals lets a request meet its refusal, where the message is one of the two.
// The clocks of two senders are not compared: a refusal is of what others asked
// before it came, else of the next that they ask.
func (s *state) refusals(it *Item, st Stamp) {
	refuser := ""
	for _, request := range it.Cancels {
		met := s.sender(st.Sender).requested(request)
		s.newer(st, refused+request)
		found := met != "" && met <= st.Order
		for i := range s.stamps {
			from := &s.stamps[i]
			if order := from.requested(request); from.name != st.Sender && order != "" {
				s.note(Stamp{Sender: from.name, Order: order}, refused+request)
				found = true
			}
		}
		if refuser = st.Sender; !found {
			s.newer(st, unheeded+request)
		}
	}
	if it.Request != "" && s.sender(st.Sender).requested(it.Request) != st.Order {
		s.heeds(st.Sender, it.Request, st.Order) // refused before, or asked again since
	} else if it.Request != "" {
		for i := range s.stamps {
			if name := s.stamps[i].name; name != st.Sender && s.heeds(name, it.Request, "") {
				s.newer(st, refused+it.Request)
				refuser = name
				break
			}
		}
	}
	if refuser != "" && s.sender(s.by).decides() != s.state {
		s.back(refuser)
	}
}

// heeds takes out a refusal that waited for its request, and says whether there was
// one; of a sender's own it has to be newer.
func (s *state) heeds(name, request, after string) bool {
	from := s.sender(name)
	count := len(from.at)
	from.at = slices.DeleteFunc(from.at, func(at stamp) bool { return at.element == unheeded+request && at.order > after })
	return len(from.at) < count
}

// back sets the state to what counted before a request that was refused: the
// refuser's, where that is more than active; a result's; what the one who asked had
// said before.
func (s *state) back(refuser string) {
	by, state := refuser, s.sender(refuser).decides()
	if state == "" || state == "active" {
		for i := range s.stamps {
			if s.stamps[i].decides() == "completed" {
				by, state = s.stamps[i].name, "completed"
			}
		}
		if before := s.sender(s.by).decides(); state != "completed" && before != "" {
			by, state = s.by, before
		}
	}
	if state != "" {
		s.state, s.by = state, by
	}
}

// refusedAny says whether a request was refused.
func (s *state) refusedAny() bool {
	return slices.ContainsFunc(s.stamps, func(from sender) bool {
		return slices.ContainsFunc(from.at, func(at stamp) bool { return strings.HasPrefix(at.element, refused) })
	})
}
