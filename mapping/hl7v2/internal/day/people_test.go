package day_test

import (
	"fmt"
	"time"
)

// Invented people. Telephone numbers are the 555-01xx that no one has, SSNs
// begin with 900, which none does, mail goes to example.org.
var (
	lastNames = []string{
		"Abbott", "Bergström", "Castellano", "Dunmore", "Eklund", "Fairweather", "Goossens", "Hartnell", "Ibarra", "Jansky",
		"Kowalczyk", "Lindqvist", "Müller", "Núñez", "O'Neil", "Pemberton", "Quillfeather", "Rasmussen", "Santángelo", "Thistlewood",
		"Underhill", "Vasquez-Ortega", "Whitcombe", "Xenakis", "Yarrow", "Zielinski", "Ashgrove", "Brightwater", "Coldwell", "Drummond",
	}
	women   = []string{"Anna", "Beatriz", "Clara", "Dolores", "Ewa", "Fiona", "Greta", "Hélène", "Ingrid", "Joan", "Katrin", "Leila", "Mona", "Nadia", "Orla"}
	men     = []string{"Aaron", "Björn", "Carlos", "Dmitri", "Elias", "Frank", "Gustav", "Hugo", "Ivan", "Jonas", "Karl", "Luis", "Marco", "Nils", "Oscar"}
	middles = []string{"A", "Marie", "", "J", "Lee", "", "R", "Quinn"}
	streets = []string{"Linden Lane", "Harbor Street", "Old Mill Road", "Cedar Court", "Station Avenue", "Quarry Hill", "Juniper Way", "Chapel Street"}
	towns   = []string{"Alderton^MA^02999", "Saltmarsh^MA^02998", "Birch Falls^NH^03999", "Millbrook Green^MA^02997"}
	races   = []string{
		"2106-3^White^HL70005", "2054-5^Black or African American^HL70005", "2028-9^Asian^HL70005", "1002-5^American Indian or Alaska Native^HL70005",
		"2131-1^Other Race^HL70005",
	}
	languages = []string{"en^English^ISO639", "es^Spanish^ISO639", "en^English^ISO639", "pl^Polish^ISO639", "pt^Portuguese^ISO639"}
	marital   = []string{"M^Married^HL70002", "S^Single^HL70002", "D^Divorced^HL70002", "W^Widowed^HL70002"}
	employers = []string{"Linden Books", "Saltmarsh Shipyard", "Alderton Public Schools", "Quarry & Sons", "Birch Falls Dairy", ""}
	plans     = []plan{
		{"PPO1", "BC001", "Beacon Mutual Health", "PO Box 100^^Boston^MA^02999", "GRP5512", "PPO"},
		{"HMO7", "HP220", "Harborside Health Plan", "7 Wharf Road^^Portland^ME^04999", "GRP0917", "HMO"},
		{"MCARE", "MC000", "Medicare", "PO Box 9^^Baltimore^MD^21999", "", "MC"},
		{"SELF", "SP000", "Self pay", "", "", ""},
	}
	doctors = []doctor{
		{"1104", "Holt", "Simon", "1234567893"},
		{"2209", "Amari", "Leila", "1245319599"},
		{"3021", "Brandt", "Otto", "1679576722"},
		{"3340", "Chaudhry", "Samina", "1003000126"},
		{"4415", "Delacroix", "Noël", "1881018265"},
		{"5078", "Everly", "Ruth", "1316004957"},
		{"6112", "Forsyth", "Malcolm", "1487696823"},
		{"7203", "Greene", "Tamsin", "1558444216"},
	}
	allergies = [][2]string{
		{"DA^Drug allergy^HL70127", "70618^Penicillin^RXNORM|SV^Severe^HL70128|Hives|19950601"},
		{"FA^Food allergy^HL70127", "102263004^Eggs^SCT|MO^Moderate^HL70128|Swelling"},
		{"EA^Environmental allergy^HL70127", "111088007^Latex^SCT|MI^Mild^HL70128|Rash"},
	}
	diagnoses = []string{
		"R07.9^Chest pain, unspecified^I10", "J18.9^Pneumonia, unspecified organism^I10", "I10^Essential (primary) hypertension^I10",
		"E11.9^Type 2 diabetes mellitus without complications^I10", "S72.001A^Fracture of unspecified part of neck of right femur^I10",
		"K35.80^Unspecified acute appendicitis^I10", "N39.0^Urinary tract infection, site not specified^I10", "M54.50^Low back pain, unspecified^I10",
	}
)

type plan struct{ id, company, name, address, group, kind string }

type doctor struct{ id, last, first, npi string }

// xcn writes a provider.
func (d doctor) xcn(s *style) string {
	if s.legacy {
		return fmt.Sprintf("%s^%s^%s^^^Dr^MD", d.id, d.last, d.first)
	}
	return fmt.Sprintf("%s^%s^%s^^^Dr^MD^^%s^L^^^EI~%s^%s^%s^^^Dr^MD^^NPI&2.16.840.1.113883.4.6&ISO^L^^^NPI",
		d.id, d.last, d.first, assigner, d.npi, d.last, d.first)
}

// A patient is one of the day's people.
type patient struct {
	n                        int
	mrn, last, first, middle string
	sex                      string
	born                     time.Time
	phone                    string // "" when the registration has none; `""` to delete
	street                   string
	plan                     plan
	account                  string
}

func person(n int) *patient {
	p := &patient{
		n: n, mrn: fmt.Sprintf("%07d", 4100300+n*37), last: lastNames[n%len(lastNames)], middle: middles[n%len(middles)],
		born:    time.Date(1931+(n*17)%85, time.Month(1+n*5%12), 1+n*11%28, 0, 0, 0, 0, time.UTC),
		phone:   fmt.Sprintf("555%04d", 100+n%100),
		street:  fmt.Sprintf("%d %s", 3+n*7%180, streets[n%len(streets)]),
		plan:    plans[n%len(plans)],
		account: fmt.Sprintf("AC%06d", 520000+n*13),
	}
	if p.sex, p.first = "F", women[n*7%len(women)]; n%2 == 1 {
		p.sex, p.first = "M", men[n*7%len(men)]
	}
	if p.child() {
		p.plan = plans[n%2] // a parent's
	}
	return p
}

func (p *patient) child() bool { return p.born.Year() > 2007 }

// payer gives who answers for the bill: name, date of birth, sex, relationship
// to the patient, and what the patient is to that person.
func (p *patient) payer() (name, born, sex, guarantor, patient string) {
	if p.child() {
		mother := fmt.Sprintf("%s^%s", esc(p.last), women[(p.n+4)%len(women)])
		return mother, p.born.AddDate(-29, 2, 5).Format("20060102"), "F", "MTH^Mother^HL70063", "CHD^Child^HL70063"
	}
	return p.name(), p.born.Format("20060102"), p.sex, "SEL^Self^HL70063", "SEL^Self^HL70063"
}

func (p *patient) maritalStatus() string {
	if p.child() {
		return marital[1]
	}
	return marital[p.n%len(marital)]
}

func (p *patient) cx(s *style) string {
	if s.legacy {
		return fmt.Sprintf("%s^^^%s^MR", p.mrn, hospital)
	}
	return fmt.Sprintf("%s^^^%s^MR~900-%02d-%04d^^^USSSA&2.16.840.1.113883.4.1&ISO^SS", p.mrn, assigner, 10+p.n, 1000+p.n*31)
}

func (p *patient) name() string { return fmt.Sprintf("%s^%s^%s", esc(p.last), p.first, p.middle) }

func (p *patient) address() string {
	return fmt.Sprintf("%s^^%s^USA", p.street, towns[p.n%len(towns)])
}

func (p *patient) telephone(s *style) string {
	switch {
	case p.phone == "" || p.phone == `""`:
		return p.phone
	case s.legacy:
		return fmt.Sprintf("(617)%s-%s", p.phone[:3], p.phone[3:])
	}
	return fmt.Sprintf("^PRN^PH^^1^617^%s~^NET^Internet^%c.%s@example.org", p.phone, p.first[0]|0x20, fmt.Sprintf("mail%d", p.n))
}

// pid writes PID as each version's senders do.
func (p *patient) pid(s *style) string {
	fields := f{
		1: "1", 3: p.cx(s), 5: p.name() + "^^^^L", 7: p.born.Format("20060102"), 8: p.sex, 11: p.address() + "^H", 13: p.telephone(s),
		18: p.account,
	}
	switch {
	case s.version == "2.3":
		fields[2], fields[5], fields[11], fields[19] = p.mrn, p.name(), p.address(), fmt.Sprintf("900%02d%04d", 10+p.n, 1000+p.n*31)
	case s.legacy:
		fields[5], fields[16] = p.name(), p.maritalStatus()[:1]
	default:
		fields[10], fields[15], fields[16] = races[p.n*3%len(races)], languages[p.n%len(languages)], p.maritalStatus()
		fields[18] = p.account + "^^^" + assigner + "^AN"
		fields[22] = []string{"N^Not Hispanic or Latino^HL70189", "H^Hispanic or Latino^HL70189"}[p.n%5/4]
	}
	return row("PID", fields)
}

func (p *patient) doctor() doctor { return doctors[p.n%len(doctors)] }

func (p *patient) pd1(s *style) string {
	return row("PD1", f{3: "Alderton Primary Care^^44112", 4: doctors[(p.n+3)%len(doctors)].xcn(s)})
}

// nk1 writes the next of kin, and a second contact for the older ones.
func (p *patient) nk1(s *style) []string {
	relation, name := "SPO^Spouse^HL70063", men[(p.n+4)%len(men)]
	if p.sex == "M" {
		name = women[(p.n+4)%len(women)]
	}
	if p.child() {
		relation, name = "MTH^Mother^HL70063", women[(p.n+4)%len(women)]
	}
	rows := []string{row("NK1", f{
		1: "1", 2: esc(p.last) + "^" + name, 3: relation, 4: p.address(), 5: fmt.Sprintf("^PRN^PH^^1^617^555%04d", 100+(p.n+1)%100),
		7: "EC^Emergency contact^HL70131",
	})}
	if p.born.Year() < 1960 {
		rows = append(rows, row("NK1", f{
			1: "2", 2: esc(p.last) + "^" + women[(p.n+9)%len(women)], 3: "CHD^Child^HL70063", 5: fmt.Sprintf("^PRN^CP^^1^617^555%04d", 100+(p.n+2)%100),
			7: "N^Next of kin^HL70131",
		}))
	}
	return rows
}

func (p *patient) al1() []string {
	if p.n%3 == 2 {
		return nil
	}
	a := allergies[p.n%len(allergies)]
	return []string{"AL1|1|" + a[0] + "|" + a[1]}
}

func (p *patient) gt1(s *style) string {
	name, born, sex, relation, _ := p.payer()
	g := f{
		1: "1", 2: fmt.Sprintf("G%06d", 700000+p.n), 3: name, 5: p.address(), 6: p.telephone(s), 8: born, 9: sex,
		11: relation, 15: "1", 16: esc(employers[p.n%len(employers)]),
	}
	if s.legacy {
		g[11] = relation[:2]
	}
	return row("GT1", g)
}

// insurance writes IN1 and IN2; nothing for those who pay themselves.
func (p *patient) insurance(s *style) []string {
	if p.plan.id == "SELF" {
		return nil
	}
	policy := fmt.Sprintf("XH%08d", 47110000+p.n*53)
	name, born, sex, _, relation := p.payer()
	in1 := f{
		1: "1", 2: p.plan.id + "^" + p.plan.name, 3: p.plan.company, 4: p.plan.name, 5: p.plan.address, 7: "^WPN^PH^^1^800^5550100",
		8: p.plan.group, 12: "20250101", 13: "20261231", 15: p.plan.kind, 16: name, 17: relation, 18: born,
		19: p.address(), 22: "1", 36: policy, 43: sex,
	}
	in2 := f{2: fmt.Sprintf("900%02d%04d", 10+p.n, 1000+p.n*31), 61: policy}
	if employer := employers[p.n%len(employers)]; employer != "" {
		in2[3] = "^" + esc(employer)
	}
	if p.plan.id == "MCARE" {
		in2[6], in2[61] = fmt.Sprintf("1EG4-TE5-MK%02d", p.n), ""
	}
	if s.legacy {
		in1[2], in1[7], in1[17] = p.plan.id, "(800)555-0100", relation[:2]
		in2[61] = ""
	}
	return []string{row("IN1", in1), row("IN2", in2)}
}
