package day_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// An analyte is one line of a panel: LOINC, name, unit, range, and a value in it.
type analyte struct {
	code, name, unit, limits string
	value, step              float64
	digits                   int
}

var panels = []struct {
	code, name, section string
	lines               []analyte
}{
	{"24321-2", "Basic metabolic 2000 panel - Serum or Plasma", "CH", []analyte{
		{"2345-7", "Glucose", "mg/dL", "70-99", 92, 7, 0},
		{"3094-0", "Urea nitrogen", "mg/dL", "7-20", 14, 1, 0},
		{"2160-0", "Creatinine", "mg/dL", "0.6-1.2", 0.9, 0.1, 1},
		{"2951-2", "Sodium", "mmol/L", "136-145", 139, 1, 0},
		{"2823-3", "Potassium", "mmol/L", "3.5-5.1", 4.2, 0.3, 1},
		{"2075-0", "Chloride", "mmol/L", "98-107", 102, 1, 0},
	}},
	{"58410-2", "CBC panel - Blood by Automated count", "HM", []analyte{
		{"6690-2", "Leukocytes", "10*3/uL", "4.5-11.0", 7.4, 0.9, 1},
		{"789-8", "Erythrocytes", "10*6/uL", "4.0-5.9", 4.7, 0.1, 2},
		{"718-7", "Hemoglobin", "g/dL", "12.0-17.5", 13.9, 0.4, 1},
		{"4544-3", "Hematocrit", "%", "36-53", 41, 1, 0},
		{"777-3", "Platelets", "10*3/uL", "150-450", 246, 21, 0},
	}},
	{"57698-3", "Lipid panel with direct LDL - Serum or Plasma", "CH", []analyte{
		{"2093-3", "Cholesterol", "mg/dL", "<200", 188, 9, 0},
		{"2571-8", "Triglyceride", "mg/dL", "<150", 131, 12, 0},
		{"2085-9", "Cholesterol in HDL", "mg/dL", ">40", 52, 3, 0},
		{"18262-6", "Cholesterol in LDL", "mg/dL", "<130", 110, 7, 0},
	}},
}

// An order is one specimen's results.
type order struct {
	n        int
	v        *stay
	panel    int
	drawn    time.Time
	status   string   // OBR-25 and OBX-11
	observed []string // OBX and NTE rows; nil: the panel's
	code     string   // OBR-4, "" the panel's
	section  string
}

func (o order) segments(s *style, at time.Time) []string {
	panel := panels[o.panel]
	placer, filler := fmt.Sprintf("%d^CPOE", 7700100+o.n), fmt.Sprintf("26-%06d^%s", 4500+o.n, s.app)
	code, section := o.code, o.section
	if code == "" {
		code, section = panel.code+"^"+panel.name+"^LN", panel.section
	}
	doctor := o.v.doctor()
	pv1 := row("PV1", f{1: "1", 2: o.v.class, 3: o.v.location, 7: doctor.xcn(s), 19: o.v.visit + "^^^" + assigner + "^VN"})
	rows := []string{o.v.pid(s), pv1, row("ORC", f{1: "RE", 2: placer, 3: filler, 5: "CM", 9: s.at(o.drawn.Add(-20 * time.Minute)), 12: doctor.xcn(s)})}
	rows = append(rows, row("OBR", f{
		1: "1", 2: placer, 3: filler, 4: code, 7: s.at(o.drawn), 13: esc(strings.Split(diagnoses[o.v.n%len(diagnoses)], "^")[1]),
		14: s.at(o.drawn.Add(11 * time.Minute)), 16: doctor.xcn(s), 22: s.at(at.Add(-time.Minute)), 24: section, 25: o.status,
	}))
	if o.observed != nil {
		return append(rows, o.observed...)
	}
	for i, a := range panel.lines {
		rows = append(rows, o.obx(s, i, a))
	}
	if o.status == "C" {
		rows = append(rows, row("NTE", f{1: "1", 2: "L", 3: "Corrected after repeat analysis; the earlier value was of another specimen."}))
	}
	return rows
}

// obx writes one value, flagged by its range.
func (o order) obx(s *style, i int, a analyte) string {
	value := a.value + a.step*float64((o.n*5+i*3)%9-4)
	if o.status == "C" && i == 0 {
		value += 3 * a.step
	}
	low, high := 0.0, 1e9
	switch {
	case a.limits[0] == '<':
		fmt.Sscanf(a.limits, "<%f", &high)
	case a.limits[0] == '>':
		fmt.Sscanf(a.limits, ">%f", &low)
	default:
		fmt.Sscanf(a.limits, "%f-%f", &low, &high)
	}
	flag := ""
	if value < low {
		flag = "L"
	} else if value > high {
		flag = "H"
	}
	fields := f{
		1: fmt.Sprint(i + 1), 2: "NM", 3: a.code + "^" + a.name + "^LN", 5: fmt.Sprintf("%.*f", a.digits, value), 6: a.unit + "^" + a.unit + "^UCUM",
		7: a.limits, 8: flag, 11: o.status, 14: s.at(o.drawn), 23: "Alder Medical Center Laboratory",
	}
	if o.n%11 == 6 && i == 2 {
		fields[2] = "" // an analyser that forgets the type
	}
	if o.n%13 == 5 && i == 3 {
		fields[2], fields[5] = "SN", "<^"+fmt.Sprintf("%.*f", a.digits, low)
	}
	return row("OBX", fields)
}

func (d *day) oru(s *style, o order, at time.Time) *event {
	o.v = o.v.asOf(at)
	return d.add(&event{style: s, kind: "ORU^R01^ORU_R01", at: at, segments: o.segments})
}

// results: panels of the wards and clinics, microbiology, reports, corrections.
func (d *day) results() {
	for i, v := range d.stays {
		if i%3 == 2 || v.cancelled {
			continue
		}
		o := order{n: 10 + i, v: v, panel: i % len(panels), drawn: v.admitted.Add(time.Duration(12+i%7) * time.Minute), status: "F"}
		if i%8 == 1 { // preliminary first
			o.status = "P"
			d.oru(&lab, o, o.drawn.Add(25*time.Minute))
			o.status = "F"
		}
		d.oru(&lab, o, o.drawn.Add(48*time.Minute))
		if i%12 == 4 {
			o.status = "C"
			d.oru(&lab, o, o.drawn.Add(130*time.Minute)).note = "correction"
		}
		if i%4 == 0 {
			o.n, o.panel, o.status = 200+i, (o.panel+1)%len(panels), "F"
			d.oru(&lab, o, o.drawn.Add(64*time.Minute))
		}
	}
	for i := range 6 {
		d.culture(i)
	}
	for i := range 4 {
		d.report(i)
	}
}

// culture is microbiology: text first, the organism and its resistances later.
func (d *day) culture(i int) {
	v := d.stays[i*3]
	o := order{n: 400 + i, v: v, drawn: v.admitted.Add(30 * time.Minute), code: "600-7^Bacteria identified in Blood by Culture^LN", section: "MB", status: "P"}
	text := "GRAM STAIN: gram-positive cocci in clusters\nCULTURE: growth in 1 of 2 bottles after 9 h\n  identification & susceptibility to follow"
	o.observed = []string{row("OBX", f{1: "1", 2: "FT", 3: "600-7^Bacteria identified in Blood by Culture^LN", 5: esc(text), 11: "P", 14: micro.at(o.drawn)})}
	d.oru(&micro, o, o.drawn.Add(3*time.Hour))
	o.status = "F"
	o.observed = []string{
		row("OBX", f{1: "1", 2: "CWE", 3: "600-7^Bacteria identified in Blood by Culture^LN", 4: "1", 5: "3092008^Staphylococcus aureus^SCT", 8: "A", 11: "F", 14: micro.at(o.drawn)}),
		row("OBX", f{1: "2", 2: "SN", 3: "6932-8^Penicillin [Susceptibility] by Minimum inhibitory concentration (MIC)^LN", 4: "1.1", 5: ">=^0.5", 6: "ug/mL^ug/mL^UCUM", 8: "R", 11: "F", 14: micro.at(o.drawn)}),
		row("OBX", f{1: "3", 2: "SN", 3: "524-9^Vancomycin [Susceptibility] by Minimum inhibitory concentration (MIC)^LN", 4: "1.2", 5: "<=^1", 6: "ug/mL^ug/mL^UCUM", 8: "S", 11: "F", 14: micro.at(o.drawn)}),
		row("NTE", f{1: "1", 2: "L", 3: esc("Called to the ward & read back.")}),
	}
	d.oru(&micro, o, o.drawn.Add(5*time.Hour))
}

// report carries a document in OBX-5.
func (d *day) report(i int) {
	v := d.stays[22+i*5]
	o := order{n: 500 + i, v: v, drawn: v.admitted.Add(15 * time.Minute), code: "11526-1^Pathology study^LN", section: "SP", status: "F"}
	o.observed = []string{
		row("OBX", f{1: "1", 2: "TX", 3: "22637-3^Pathology report final diagnosis^LN", 5: "Benign. No evidence of malignancy.", 11: "F", 14: lab.at(o.drawn)}),
		row("OBX", f{1: "2", 2: "ED", 3: "11526-1^Pathology study^LN", 5: "LAB^application^pdf^Base64^" + base64.StdEncoding.EncodeToString(pdf(i)), 11: "F", 14: lab.at(o.drawn)}),
	}
	d.oru(&lab, o, o.drawn.Add(95*time.Minute)).note = "a document"
}

// pdf makes a document of one page.
func pdf(i int) []byte {
	content := fmt.Sprintf("BT /F1 12 Tf 72 720 Td (Pathology report %d. Benign. No evidence of malignancy.) Tj ET", 500+i)
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
		fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", len(content), content), "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
	}
	out, offsets := "%PDF-1.4\n", []int{}
	for n, object := range objects {
		offsets = append(offsets, len(out))
		out += fmt.Sprintf("%d 0 obj\n%s\nendobj\n", n+1, object)
	}
	start := len(out)
	out += fmt.Sprintf("xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, offset := range offsets {
		out += fmt.Sprintf("%010d 00000 n \n", offset)
	}
	return []byte(out + fmt.Sprintf("trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, start))
}

// poison is a result whose name is in another character set than it says.
func (d *day) poison() {
	v := d.stays[12]
	e := d.oru(&lab, order{n: 666, v: v, drawn: d.clock(11, 15), status: "F"}, d.clock(11, 58))
	e.note = "poison: bytes that are not UTF-8"
	e.spoil = func(raw string) string {
		name := strings.Split(v.name(), "^")
		return strings.Replace(raw, name[0]+"^"+name[1], "M\xfcller^"+name[1], 1)
	}
}
