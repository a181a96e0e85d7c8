package records

// closed warns of what the message charges or takes back on an account that was closed
// when it was sent: nothing more is charged there (HL7 v2.5.1 §6.4.6). Payments and
// adjustments go on.
func (f *fold) closed() {
	for _, a := range f.pending {
		if a.s.kind != Account || a.s.label() != "inactive" {
			continue
		}
		if from := a.s.heard(f.c.Stamp.Sender); from != nil && from.asked("inactive") > f.c.Stamp.Order {
			continue
		}
		account := "Account/" + a.s.resource.ID()
		for _, p := range f.pending {
			if p.s.kind == Charge && (transacts(p.s, "CG") || transacts(p.s, "CD")) && p.s.shown().Str("account[0].reference") == account {
				p.v.warnOf("account-closed")
			}
		}
	}
}
