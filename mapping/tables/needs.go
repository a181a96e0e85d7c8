package tables

// Needs are what has to be there for a rule to do anything: a bit for each field
// of the section's own segment, and for each component of its value.
type needs [2]uint64

// needsOf gives the rule's source, and the values that its condition asks for.
func needsOf(c *crule, condition []ref, own string) needs {
	var n needs
	if c.isRef {
		n.add(c.ref, own)
	} else if len(c.source.terms) == 1 && c.source.terms[0].kind == termCall {
		n.addCall(&c.source.terms[0], own, functions())
	}
	if c.nullable || c.perRepetition { // `""` in the source counts where the condition does not hold
		return n
	}
	return n.with(condition, own)
}

// with adds what a condition asks for.
func (n needs) with(condition []ref, own string) needs {
	for _, r := range condition {
		n.add(r, own)
	}
	return n
}

// addCall adds the arguments without which a function gives nothing.
func (n *needs) addCall(t *term, own string, known map[string]function) {
	if t.kind != termCall {
		return
	}
	needed := known[t.text].needed
	if t.text == "system" && len(t.args) > 1 {
		needed = 0
	}
	for i := range min(needed, len(t.args)) {
		if len(t.args[i].terms) != 1 {
			continue
		}
		if arg := &t.args[i].terms[0]; arg.kind == termRef {
			n.add(arg.ref, own)
		} else {
			n.addCall(arg, own, known)
		}
	}
}

func (n *needs) add(r ref, own string) {
	switch {
	case r.segment == own && own != "":
		n[0] |= 1 << min(r.field, 63)
	case r.segment == "" && r.component > 0 && r.component < 64:
		n[1] |= 1 << r.component
	}
}

// missing says whether some of it is not there.
func (n *needs) missing(there *needs) bool { return n[0]&^there[0]|n[1]&^there[1] != 0 }
