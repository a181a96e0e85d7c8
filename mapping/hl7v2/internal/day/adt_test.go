package day_test

import (
	"fmt"
	"time"
)

var units = []string{"4W", "5E", "ICU", "MAT", "3N"}

// bed writes a PL: point of care, room, bed, facility, building, floor.
func bed(n int) string {
	unit := units[n%len(units)]
	return fmt.Sprintf("%s^%d%02d^%c^%s^^N^MAIN^%d", unit, 3+n%3, 1+n*7%24, 'A'+rune(n%2), hospital, 3+n%3)
}

// A stay is one visit of one patient.
type stay struct {
	*patient
	visit          string
	class          string
	location       string
	prior          string
	temporary      string
	admitted, left time.Time
	disposition    string
	extra          []string  // segments of the hospital's own
	moved          time.Time // from prior to location
	cancelled      bool      // admitted in error
}

// asOf is what another system knows of the stay at a time.
func (v *stay) asOf(at time.Time) *stay {
	known, p := *v, *v.patient
	known.patient, known.extra = &p, nil
	if known.left.After(at) {
		known.left, known.disposition = time.Time{}, ""
	}
	if known.moved.After(at) {
		known.location, known.prior = known.prior, ""
	}
	return &known
}

func newStay(p *patient, class, location string, at time.Time) *stay {
	return &stay{patient: p, visit: fmt.Sprintf("VN%06d", 880000+p.n*7), class: class, location: location, admitted: at}
}

func (v *stay) pv1(s *style) string {
	fields := f{
		1: "1", 2: v.class, 3: v.location, 4: map[string]string{"I": "U", "E": "E", "O": "R", "P": "R"}[v.class], 6: v.prior,
		7: v.doctor().xcn(s), 8: doctors[(v.n+2)%len(doctors)].xcn(s), 10: []string{"MED", "SUR", "CAR", "OBS"}[v.n%4], 11: v.temporary,
		14: "7", 17: v.doctor().xcn(s), 18: v.class, 19: v.visit + "^^^" + assigner + "^VN", 20: v.plan.kind, 36: v.disposition, 39: hospital,
		44: s.at(v.admitted),
	}
	if s.legacy {
		fields[19], fields[8], fields[17] = v.visit, "", ""
	}
	if !v.left.IsZero() {
		fields[45] = s.at(v.left)
	}
	return row("PV1", fields)
}

func (v *stay) pv2(s *style) string {
	return row("PV2", f{
		3: diagnoses[v.n%len(diagnoses)], 8: s.at(v.admitted)[:8], 9: v.admitted.AddDate(0, 0, 3).Format("20060102"), 10: "3",
		22: "N", 23: "Alder Medical Center^L",
	})
}

func (v *stay) dg1(s *style, kind string) []string {
	rows := []string{row("DG1", f{1: "1", 3: diagnoses[v.n%len(diagnoses)], 5: s.at(v.admitted), 6: kind, 16: v.doctor().xcn(s)})}
	if v.n%4 == 1 {
		rows = append(rows, row("DG1", f{1: "2", 3: diagnoses[(v.n+2)%len(diagnoses)], 5: s.at(v.admitted), 6: kind}))
	}
	return rows
}

func evn(s *style, trigger string, at time.Time) string {
	return row("EVN", f{1: trigger, 2: s.at(at), 5: "OP77^Marsh^Rita", 6: s.at(at.Add(-90 * time.Second)), 7: hospital})
}

var structures = map[string]string{
	"A01": "ADT_A01", "A02": "ADT_A02", "A03": "ADT_A03", "A04": "ADT_A01", "A05": "ADT_A05", "A06": "ADT_A06", "A07": "ADT_A06", "A08": "ADT_A01",
	"A09": "ADT_A09", "A11": "ADT_A09", "A12": "ADT_A12", "A13": "ADT_A01", "A28": "ADT_A05", "A31": "ADT_A05", "A40": "ADT_A39",
}

// movement sends one ADT message with what the stay is at that moment.
func (d *day) movement(trigger string, v stay, at time.Time) *event {
	p := *v.patient
	v.patient = &p
	return d.add(&event{style: &adt, kind: "ADT^" + trigger + "^" + structures[trigger], at: at, segments: func(s *style, at time.Time) []string {
		rows := []string{evn(s, trigger, at), v.pid(s)}
		switch trigger {
		case "A02", "A09", "A11", "A12":
			return append(rows, v.pv1(s), v.pv2(s))
		case "A03":
			return append(append(rows, v.pv1(s), v.pv2(s)), v.dg1(s, "F")...)
		case "A06", "A07":
			rows = append(append(append(rows, v.pd1(s)), v.nk1(s)...), v.pv1(s), v.pv2(s))
			return append(append(rows, v.dg1(s, "W")...), v.insurance(s)...)
		}
		rows = append(append(append(rows, v.pd1(s)), v.nk1(s)...), v.pv1(s), v.pv2(s))
		rows = append(append(append(rows, v.al1()...), v.dg1(s, "A")...), v.gt1(s))
		return append(append(rows, v.insurance(s)...), v.extra...)
	}})
}

// person sends A28 or A31 of the person index.
func (d *day) person(trigger string, p patient, at time.Time) *event {
	return d.add(&event{style: &mpi, kind: "ADT^" + trigger + "^ADT_A05", at: at, segments: func(s *style, at time.Time) []string {
		rows := append([]string{evn(s, trigger, at), p.pid(s), p.pd1(s)}, p.nk1(s)...)
		return append(append(append(rows, "PV1|1|N"), p.al1()...), p.insurance(s)...)
	}})
}

// merge sends A40: retired is the same person as survivor.
func (d *day) merge(into, from *patient, at time.Time) *event {
	survivor, retired := *into, *from
	return d.add(&event{style: &mpi, kind: "ADT^A40^ADT_A39", at: at, note: "merge", segments: func(s *style, at time.Time) []string {
		mrg := row("MRG", f{1: retired.mrn + "^^^" + assigner + "^MR", 3: retired.account + "^^^" + assigner + "^AN", 7: retired.name()})
		return []string{evn(s, "A40", at), survivor.pid(s), row("PD1", f{3: "Alderton Primary Care^^44112"}), mrg}
	}})
}

// inpatients: twenty stays, in every way a stay can go.
func (d *day) inpatients() {
	for n := range 20 {
		at := d.clock(5, 30).Add(time.Duration(n*17) * time.Minute)
		v := newStay(d.patients[n], "I", bed(n), at)
		switch {
		case n%4 == 0:
			pre := *v
			pre.class, pre.location = "P", "PREADM^^^"+hospital
			d.movement("A05", pre, at.Add(-50*time.Minute))
		case n >= 13 && n%2 == 0: // through the emergency department
			er := *v
			er.class, er.location = "E", fmt.Sprintf("ED^%02d^A^%s", n, hospital)
			d.movement("A04", er, at.Add(-95*time.Minute))
			v.prior = er.location
		}
		if v.prior != "" {
			d.movement("A06", *v, at)
		} else {
			if n%5 == 0 {
				v.extra = []string{"ZPV|1|Y|PARKING " + fmt.Sprint(100+n) + "|QUIET ROOM"}
			}
			d.movement("A01", *v, at)
		}
		d.stays = append(d.stays, v)
		d.course(n, v, at)
	}
}

// course is what follows an admission.
func (d *day) course(n int, v *stay, at time.Time) {
	if n == 7 { // admitted in error
		d.movement("A11", *v, at.Add(12*time.Minute))
		v.cancelled = true
		return
	}
	v.plan.group += "V" // the insurance has been verified
	d.movement("A08", *v, at.Add(25*time.Minute))
	if n%5 == 1 { // to radiology and back
		away := *v
		away.temporary = "RAD^CT1^^" + hospital
		d.movement("A09", away, at.Add(70*time.Minute))
	}
	if n%2 == 0 {
		v.prior, v.location = v.location, bed(n+11)
		v.moved = at.Add(2*time.Hour + time.Duration(n)*time.Minute)
		d.movement("A02", *v, v.moved)
		if n == 2 || n == 10 { // the bed was not ready
			v.prior, v.location = v.location, v.prior
			d.movement("A12", *v, at.Add(2*time.Hour+time.Duration(n+9)*time.Minute))
		}
	}
	if n == 5 {
		v.class = "O"
		d.movement("A07", *v, at.Add(3*time.Hour))
	}
	if n%3 == 2 {
		return // stays overnight
	}
	v.left, v.disposition = at.Add(7*time.Hour), []string{"01", "03", "06"}[n%3]
	d.movement("A03", *v, v.left)
	if n == 3 || n == 9 { // not gone after all
		again := *v
		again.left, again.disposition = time.Time{}, ""
		d.movement("A13", again, v.left.Add(20*time.Minute))
		if n == 9 {
			v.left = v.left.Add(2 * time.Hour)
			d.movement("A03", *v, v.left)
		}
	}
}

// outpatients: registrations of the emergency department and the clinics.
func (d *day) outpatients() {
	for n := 20; n < 52; n++ {
		at := d.clock(7, 0).Add(time.Duration((n-20)*16) * time.Minute)
		v := newStay(d.patients[n], "O", fmt.Sprintf("CLIN%d^%d^^%s^^C^WEST^1", n%4, 10+n%6, hospital), at)
		if n%3 == 0 {
			v.class, v.location = "E", fmt.Sprintf("ED^%02d^A^%s", n-19, hospital)
		}
		d.movement("A04", *v, at)
		d.stays = append(d.stays, v)
		if n%2 == 0 {
			v.phone = fmt.Sprintf("555%04d", 100+(n+50)%100)
			d.movement("A08", *v, at.Add(6*time.Minute))
		}
		v.left, v.disposition = at.Add(75*time.Minute), "01"
		if n%4 != 3 {
			d.movement("A03", *v, v.left)
		}
	}
	// An update that waited in a queue: written before the newer one, sent after it.
	newer, older := d.clock(12, 41), d.clock(12, 30)
	v := *d.stays[2].asOf(older)
	p := v.patient
	p.street = "9 Harbor Street"
	d.movement("A08", v, newer).note = "newer update"
	p.street = "9 Harbour Strt"
	late := d.movement("A08", v, older)
	late.sent, late.note = newer.Add(3*time.Minute), "older update, late"
}

// persons: the person index, its merges, and what comes after a merge.
func (d *day) persons() {
	for n := 52; n < 64; n++ {
		at := d.clock(6, 10).Add(time.Duration((n-52)*43) * time.Minute)
		p := d.patients[n]
		if n == 57 {
			p.last, p.first = "Wójcik", "Łukasz" // no ISO 8859-1 has these
		}
		d.person("A28", *p, at)
		switch {
		case n%4 == 0:
			p.phone = `""` // the old number is somebody else's now
			d.person("A31", *p, at.Add(3*time.Hour)).note = "deletes the telephone"
		case n%4 != 3:
			p.street = fmt.Sprintf("%d Juniper Way", n)
			d.person("A31", *p, at.Add(4*time.Hour))
		}
	}
	// 64 came in unconscious and is 30; 65 was registered twice and is 55.
	unknown, twice := d.patients[64], d.patients[65]
	unknown.last, unknown.first, unknown.middle, unknown.phone, unknown.plan = "Unknown", "Alpha", "", "", plans[3]
	v := newStay(unknown, "E", "ED^21^A^"+hospital, d.clock(9, 2))
	d.movement("A04", *v, v.admitted)
	d.stays = append(d.stays, v)
	d.merge(d.patients[30], unknown, d.clock(13, 5))
	twice.last, twice.first, twice.born = d.patients[55].last, d.patients[55].first, d.patients[55].born
	d.person("A28", *twice, d.clock(8, 20))
	d.merge(d.patients[55], twice, d.clock(14, 35))
	// The emergency department has not heard of it: a message for the retired id.
	v.left, v.disposition = d.clock(13, 40), "01"
	d.movement("A03", *v, v.left).note = "for a retired patient"
}
