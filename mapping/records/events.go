package records

// asks is the event that the message asks for; "" where it says once more that the
// record has come to an end, and the state was so before.
func (v *version) asks(s *state) string {
	switch v.it.Event {
	case "cancelled", "rejected", "discontinued", "deleted":
		if !v.born && s.label() == v.previous {
			return ""
		}
	}
	return v.it.Event
}

// appointmentEvent: of what a message asks and what changed, the change of
// state counts first, then the time. A state that was there before, or that a
// late message does not bring about, and a time that is the same are not told.
func appointmentEvent(s *state, v *version) string {
	asked, state := v.it.Event, s.label()
	to, plain := leadsTo(asked), asked == "" || asked == "rescheduled"
	switch moved := v.moved(); {
	case v.born && asked != "":
		return asked
	case v.born:
		return cameTo(state)
	case state != v.previous:
		if asked == "rescheduled" && moved && state == "booked" || to == state || to == "" && !plain {
			return asked
		}
		return cameTo(state)
	case moved && !over(state) && (plain || asked == "booked"):
		return "rescheduled"
	case plain || to != "" || asked == arrivalCancelled:
		return "modified"
	}
	return asked
}

// leadsTo is the state that an appointment's event tells, "" of one that tells
// none.
func leadsTo(event string) string {
	switch event {
	case "discontinued":
		return "cancelled"
	case "deleted":
		return "entered-in-error"
	case "cancelled", "noshow", "arrived", "booked":
		return event
	}
	return ""
}

// cameTo names the event of a state that is told without one.
func cameTo(state string) string {
	if state == "entered-in-error" {
		return "deleted"
	}
	return state
}

// over says whether an appointment will not be kept.
func over(state string) bool {
	return state == "cancelled" || state == "noshow" || state == "entered-in-error"
}

// moved says whether an appointment has another time: the same instant with
// another offset is none.
func (v *version) moved() bool {
	for i := range v.changed {
		d := &v.changed[i]
		if d.Path != "start" && d.Path != "end" {
			continue
		}
		if d.Old == nil || d.New == nil {
			return true
		}
		was, wrong := instant(d.Old.Text)
		is, err := instant(d.New.Text)
		if wrong != nil || err != nil || !was.Equal(is) {
			return true
		}
	}
	return false
}
