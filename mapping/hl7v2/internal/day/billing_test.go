package day_test

import (
	"fmt"
	"time"
)

// A transaction is one FT1.
type transaction struct {
	id, kind, code, name string
	cents, quantity      int
	on                   time.Time
	procedure            string
}

var fees = []struct {
	code, name string
	cents      int
	procedure  string
}{
	{"450", "Emergency room", 68_000, "99284"},
	{"300", "Laboratory", 8_450, "80048"},
	{"351", "CT scan, head", 112_500, "70450"},
	{"120", "Room and board, semi-private", 214_000, ""},
	{"510", "Clinic visit", 19_900, "99213"},
	{"250", "Pharmacy", 4_725, ""},
}

func money(cents int) string {
	if cents < 0 {
		return fmt.Sprintf("-%d.%02d", -cents/100, -cents%100)
	}
	return fmt.Sprintf("%d.%02d", cents/100, cents%100)
}

func (t transaction) ft1(s *style, n int, v *stay) string {
	fields := f{
		1: fmt.Sprint(n), 2: t.id, 3: "B0310", 4: t.on.Format("20060102"), 5: s.at(t.on), 6: t.kind, 7: t.code + "^" + esc(t.name) + "^L", 10: fmt.Sprint(t.quantity),
		11: money(t.cents*t.quantity) + "&USD", 12: money(t.cents) + "&USD", 13: "D" + t.code, 14: v.plan.id, 16: v.location, 18: v.class,
		19: diagnoses[v.n%len(diagnoses)], 20: v.doctor().xcn(s), 21: v.doctor().xcn(s), 25: t.procedure,
	}
	if t.procedure != "" {
		fields[25] += "^^C4"
	}
	return row("FT1", fields)
}

// dft sends transactions of one stay.
func (d *day) dft(v *stay, at time.Time, transactions ...transaction) *event {
	frozen := v.asOf(at)
	return d.add(&event{style: &billing, kind: "DFT^P03", at: at, segments: func(s *style, at time.Time) []string {
		rows := []string{row("EVN", f{1: "P03", 2: s.at(at)}), frozen.pid(s), frozen.pv1(s)}
		for i, t := range transactions {
			rows = append(rows, t.ft1(s, i+1, frozen))
		}
		rows = append(rows, row("DG1", f{1: "1", 2: "I10", 3: diagnoses[frozen.n%len(diagnoses)], 5: frozen.admitted.Format("20060102"), 6: "F"}))
		return append(append(rows, frozen.gt1(s)), frozen.insurance(s)...)
	}})
}

// charges: what the stays cost, credits, payments, adjustments and copayments.
func (d *day) charges() {
	for i, v := range d.stays {
		if i%7 == 6 || v.cancelled {
			continue
		}
		at := v.admitted.Add(150 * time.Minute)
		charge := func(k, quantity int) transaction {
			fee := fees[(i+k)%len(fees)]
			return transaction{fmt.Sprintf("T%05d%d", 20000+i, k), "CG", fee.code, fee.name, fee.cents, quantity, at.Add(-time.Hour), fee.procedure}
		}
		first, second := charge(0, 1), charge(1, 1+i%3)
		switch {
		case i%9 == 5: // no transaction id, twice the same: two charges
			first.id = ""
			d.dft(v, at, first, first).note = "two charges without ids"
		case i%2 == 0:
			d.dft(v, at, first, second)
		default:
			d.dft(v, at, first)
		}
		extra := func(kind string, k, cents int, code, name string) transaction {
			return transaction{fmt.Sprintf("T%05d%d", 20000+i, k), kind, code, name, cents, 1, at, ""}
		}
		switch i % 6 {
		case 1: // charged in error
			credit := first
			credit.id, credit.kind, credit.cents = first.id+"R", "CD", -first.cents
			d.dft(v, at.Add(55*time.Minute), credit).note = "credit"
		case 2:
			d.dft(v, at.Add(80*time.Minute), extra("PY", 7, -first.cents/2, "PAY-INS", "Insurance payment"), extra("AJ", 8, -first.cents/10, "ADJ-CON", "Contractual adjustment"))
		case 4:
			d.dft(v, at.Add(5*time.Minute), extra("CO", 9, 2_500, "COPAY", "Copayment at the desk"))
		}
	}
}
