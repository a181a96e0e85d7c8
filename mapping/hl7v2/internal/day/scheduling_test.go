package day_test

import (
	"fmt"
	"time"
)

var services = []struct{ code, name, reason, minutes, room, kind string }{
	{"OV15", "Office visit, 15 minutes", "Follow-up", "15", "CLIN1^11^^ALDER", "ROUTINE"},
	{"CTABD", "CT abdomen with contrast", "Abdominal pain", "30", "RAD^CT1^^ALDER", "ROUTINE"},
	{"COLON", "Colonoscopy, screening", "Screening", "45", "ENDO^2^^ALDER", "ROUTINE"},
	{"PT30", "Physical therapy, 30 minutes", "Rehabilitation after hip fracture", "30", "PT^GYM^^ALDER", "SERIES"},
	{"LAPCHO", "Laparoscopic cholecystectomy", "Gallstones", "90", "OR^4^^ALDER", "ROUTINE"},
	{"ECHO", "Echocardiogram", "Heart murmur", "40", "CARD^E1^^ALDER", "ROUTINE"},
}

// An appointment is what the scheduling system knows of one.
type appointment struct {
	n                int
	p                *patient
	start            time.Time
	status, reason   string
	doctor           doctor
	service, comment int
	series           bool
}

func (a appointment) segments(s *style, at time.Time) []string {
	const local = "200601021504"
	svc := services[a.service]
	var minutes int
	fmt.Sscan(svc.minutes, &minutes)
	start, end := a.start.Format(local), a.start.Add(time.Duration(minutes)*time.Minute).Format(local)
	clerk := "CL08^Okafor^Grace"
	sch := f{
		1: fmt.Sprintf("P%05d^SCHED", 30100+a.n), 2: fmt.Sprintf("F%05d^SCHED", 61100+a.n), 6: a.reason, 7: svc.code + "^" + esc(svc.reason) + "^L",
		8: svc.kind + "^" + svc.kind + "^HL70276", 9: svc.minutes, 10: "min^minutes^UCUM", 11: fmt.Sprintf("^^%s^%s^%s", svc.minutes, start, end),
		12: a.doctor.xcn(s), 16: clerk, 17: "(617)555-0180", 19: "WEST^1^^ALDER", 20: clerk, 25: a.status,
	}
	if a.n%9 == 4 { // an ancient client of the scheduling system
		sch[10], sch[11] = "m", fmt.Sprintf("^^^%s", start)
	}
	if a.series {
		sch[3], sch[4], sch[24] = fmt.Sprint(a.n%4+1), fmt.Sprintf("G%05d^SCHED", 900), "F61000^SCHED"
	}
	rows := []string{row("SCH", sch)}
	if a.comment > 0 {
		rows = append(rows, row("NTE", f{1: "1", 3: esc([]string{"", "Patient asks for an interpreter.", "Fasting from midnight\nBring earlier films & reports", "Uses a wheelchair; needs the ground floor"}[a.comment])}))
	}
	v := newStay(a.p, "O", svc.room, a.start)
	pv1 := row("PV1", f{1: "1", 2: "O", 3: svc.room, 7: a.doctor.xcn(s), 19: v.visit})
	rows = append(rows, a.p.pid(s), pv1, row("DG1", f{1: "1", 3: diagnoses[a.n%len(diagnoses)], 6: "W"}), row("RGS", f{1: "1", 2: "A"}))
	rows = append(rows,
		row("AIS", f{1: "1", 2: "A", 3: svc.code + "^" + esc(svc.name) + "^L", 4: start, 7: svc.minutes, 8: "min^minutes^UCUM", 10: a.status}),
		row("AIG", f{1: "1", 2: "A", 3: "EQ" + svc.code + "^" + esc(svc.name) + " set^L", 4: "EQ^Equipment^L", 8: start, 11: svc.minutes, 12: "min^minutes^UCUM", 14: a.status}),
		row("AIL", f{1: "1", 2: "A", 3: svc.room, 4: "C^Clinic^HL70305", 6: start, 9: svc.minutes, 10: "min^minutes^UCUM", 12: a.status}),
		row("AIP", f{1: "1", 2: "A", 3: a.doctor.xcn(s), 4: "AT^Attending^HL70443", 6: start, 9: svc.minutes, 10: "min^minutes^UCUM", 12: a.status}))
	return rows
}

// siu sends one scheduling message.
func (d *day) siu(trigger string, a appointment, at time.Time) *event {
	a.status = map[string]string{"S12": "Booked", "S13": "Booked", "S14": "Booked", "S15": "Cancelled", "S16": "Cancelled", "S17": "Deleted", "S26": "Noshow"}[trigger]
	kind := "SIU^" + trigger + "^SIU_S12"
	p := *a.p
	a.p = &p
	return d.add(&event{style: &scheduling, kind: kind, at: at, segments: a.segments})
}

// appointments: sixty bookings and what becomes of them.
func (d *day) appointments() {
	for n := range 60 {
		at := d.clock(7, 40).Add(time.Duration(n*9) * time.Minute)
		a := appointment{
			n: n, p: d.patients[10+n%40], doctor: doctors[n%len(doctors)], service: n % len(services), comment: n % 4,
			start: d.clock(8+n%8, n%4*15).AddDate(0, 0, 1+n%19), series: n%len(services) == 3, reason: "NEW^New booking^L",
		}
		booked := d.siu("S12", a, at)
		later := at.Add(time.Duration(35+n%50) * time.Minute)
		moved := a
		moved.start = a.start.AddDate(0, 0, 2).Add(90 * time.Minute)
		switch {
		case n == 17: // the reschedule overtakes the booking
			moved.reason = "PATREQ^Patient request^L"
			early := d.siu("S13", moved, at.Add(40*time.Second))
			early.note = "before its booking"
			booked.sent, booked.note = at.Add(4*time.Minute), "after its reschedule"
		case n == 29: // so does the cancellation
			a.reason = "CANC^No longer needed^L"
			d.siu("S15", a, at.Add(50*time.Second)).note = "before its booking"
			booked.sent, booked.note = at.Add(5*time.Minute), "after its cancellation"
		case n%5 == 1:
			moved.reason = "PROVREQ^Provider request^L"
			d.siu("S13", moved, later)
			if n == 21 { // and once more
				moved.start = moved.start.AddDate(0, 0, 1)
				d.siu("S13", moved, later.Add(44*time.Minute))
			}
		case n%7 == 2:
			a.comment, a.doctor, a.reason = 3, doctors[(n+1)%len(doctors)], "MOD^Other provider^L"
			d.siu("S14", a, later)
		case n%10 == 3:
			a.reason = "PATCAN^Cancelled by patient^L"
			d.siu("S15", a, later)
		case n == 15, n == 45:
			a.reason = "DISC^Series ended^L"
			d.siu("S16", a, later)
		case n == 28, n == 50:
			a.reason = "ERR^Booked in error^L"
			d.siu("S17", a, later)
		}
	}
	// Booked weeks ago, for today, and nobody came.
	for n := 60; n < 65; n++ {
		a := appointment{
			n: n, p: d.patients[n-8], doctor: doctors[n%len(doctors)], service: n % 3, start: d.clock(8+n%6, 30),
			reason: "NOSHOW^Did not come^L",
		}
		if a.p.n == 57 {
			continue // a name that this system cannot write
		}
		d.siu("S26", a, a.start.Add(40*time.Minute))
	}
}
