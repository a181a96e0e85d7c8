package tables

// Needs are what has to be there for a rule to do anything, two of it, a byte
// each: a field of the section's own segment, a component of its value, or 0
// where that is not said.
type needs uint16

// needComponent marks a component.
const needComponent = 64

// needsOf gives the rule's source, and the first value that its condition asks
// for.
func needsOf(c *crule, condition []ref, own string) needs {
	var n needs
	if c.isRef {
		n = needOf(c.ref, own)
	}
	if c.nullable || c.perRepetition { // `""` in the source counts where the condition does not hold
		return n
	}
	for _, r := range condition {
		if k := needOf(r, own); k != 0 && k != n {
			return n | k<<8
		}
	}
	return n
}

func needOf(r ref, own string) needs {
	switch {
	case r.segment == own && own != "":
		return needs(min(r.field, 63))
	case r.segment == "" && r.component > 0 && r.component < 64:
		return needComponent | needs(r.component)
	}
	return 0
}

// missing says whether some of it is not there: a bit for each field and each
// component that is, with bit 0 of the fields set.
func (n needs) missing(there *[2]uint64) bool {
	return there[n>>6&1]>>(n&63)&1 == 0 || there[n>>14&1]>>(n>>8&63)&1 == 0
}
