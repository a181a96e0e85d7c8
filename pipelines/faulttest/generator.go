package faulttest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// A Message is one HL7 v2 message, with what it says in the model's terms.
// What it does not say is empty.
type Message struct {
	Sender  string // MSH-3
	Seq     int    // its place in the sender's own order, from 0
	Control string // MSH-10
	Raw     []byte
	Fill    func(*Message) []byte // what is sent instead of Raw, saying the same; nil: Raw

	Patient, Family                     string
	Retired                             string // merged into Patient
	Visit, VisitState, Service          string
	Appointment, AppointmentState, Time string
	Charge, Amount                      string
	Reverses                            bool   // Charge is taken back
	Poison                              string // the reason for which it ends in quarantine
}

// Bytes is what is sent.
func (m *Message) Bytes() []byte {
	if m.Fill != nil {
		return m.Fill(m)
	}
	return m.Raw
}

// A Scale says how much is sent.
type Scale struct {
	Senders  int
	Messages int // of each sender
	Poison   int // one in so many cannot be mapped; 0: none
	Merges   bool
}

// A Feed is what every sender sends, in the senders' own order.
type Feed struct {
	Seed    uint64
	Senders [][]*Message
}

// Count is how many messages the feed has.
func (f *Feed) Count() int {
	n := 0
	for _, s := range f.Senders {
		n += len(s)
	}
	return n
}

// Generate makes a feed. The same seed and scale give the same feed.
func Generate(seed uint64, scale Scale) *Feed {
	feed := &Feed{Seed: seed}
	for n := range scale.Senders {
		s := &sender{
			name: fmt.Sprintf("S%03d", n), random: rand.New(rand.NewPCG(seed, uint64(n))), scale: scale,
			at: time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Minute),
		}
		for range scale.Messages {
			s.next()
		}
		feed.Senders = append(feed.Senders, s.out)
	}
	return feed
}

// A sender is one feed in the making: a few patients, each with what goes on
// about them.
type sender struct {
	name     string
	random   *rand.Rand
	scale    Scale
	at       time.Time
	out      []*Message
	patients []*patient
	made     int
}

type patient struct {
	id           string
	visit        string // in progress
	appointments []string
	charges      []posted
}

type posted struct{ id, amount, at string }

const patientsOfSender = 3

// next adds one message.
func (s *sender) next() {
	s.at = s.at.Add(time.Second)
	m := &Message{Sender: s.name, Seq: len(s.out)}
	m.Control = fmt.Sprintf("%sC%05d", s.name, m.Seq)
	m.Family = fmt.Sprintf("Name%d", m.Seq)
	s.out = append(s.out, m)
	if s.scale.Poison > 0 && m.Seq%s.scale.Poison == s.scale.Poison-1 {
		s.poison(m)
		return
	}
	if len(s.patients) < patientsOfSender {
		s.patients = append(s.patients, &patient{id: s.id("P")})
	}
	p := s.patients[s.random.IntN(len(s.patients))]
	m.Patient = p.id
	switch kind := s.random.IntN(10); {
	case kind < 4:
		s.flow(m, p)
	case kind < 7:
		s.schedule(m, p)
	case kind < 9 || !s.scale.Merges || len(s.patients) < 2:
		s.charge(m, p)
	default:
		s.merge(m, p)
	}
}

// id makes an id that no other sender has.
func (s *sender) id(letter string) string {
	s.made++
	return fmt.Sprintf("%s%s%d", letter, s.name, s.made)
}

func stamp(at time.Time) string { return at.Format("20060102150405") + "+0000" }

func (s *sender) head(m *Message, trigger, structure string) string {
	event, code, _ := strings.Cut(trigger, "^")
	text := fmt.Sprintf("MSH|^~\\&|%s|ALDER|||%s||%s^%s^%s|%s|P|2.5.1\r", s.name, stamp(s.at), event, code, structure, m.Control)
	if event != "SIU" {
		text += fmt.Sprintf("EVN|%s|%s\r", code, stamp(s.at))
	}
	return text
}

func pid(m *Message) string {
	return fmt.Sprintf("PID|1||%s^^^ALDER^MR||%s^Anna||19700101|F\r", m.Patient, m.Family)
}

// flow is an admission, or what comes after it.
func (s *sender) flow(m *Message, p *patient) {
	trigger, structure, place := "ADT^A08", "ADT_A01", fmt.Sprintf("W%d", m.Seq)
	m.Visit, m.VisitState, m.Service = p.visit, "in-progress", fmt.Sprintf("SV%d", m.Seq)
	switch {
	case p.visit == "":
		trigger = "ADT^A01"
		p.visit = s.id("V")
		m.Visit = p.visit
	case s.random.IntN(4) == 0:
		trigger, structure = "ADT^A03", "ADT_A03"
		m.VisitState, p.visit = "finished", ""
	case s.random.IntN(2) == 0:
		trigger, structure = "ADT^A02", "ADT_A02"
	}
	m.Raw = []byte(s.head(m, trigger, structure) + pid(m) + fmt.Sprintf("PV1|1|I|%s^1^A^ALDER|||||||%s|||||||||%s^^^ALDER^VN\r", place, m.Service, m.Visit))
}

// schedule books, moves or cancels an appointment.
func (s *sender) schedule(m *Message, p *patient) {
	trigger, status := "SIU^S12", "Booked"
	m.AppointmentState = "booked"
	start := time.Date(2026, 6, 1, 9, 0, 0, 0, time.UTC).Add(time.Duration(m.Seq) * time.Minute)
	if len(p.appointments) == 0 || s.random.IntN(3) == 0 {
		m.Appointment = s.id("A")
		p.appointments = append(p.appointments, m.Appointment)
	} else {
		m.Appointment = p.appointments[len(p.appointments)-1]
		trigger = "SIU^S13"
		if s.random.IntN(3) == 0 {
			trigger, status, m.AppointmentState = "SIU^S15", "Cancelled", "cancelled"
			p.appointments = p.appointments[:len(p.appointments)-1]
		}
	}
	m.Time = start.Format("2006-01-02T15:04")
	m.Raw = []byte(s.head(m, trigger, "SIU_S12") +
		fmt.Sprintf("SCH||%s^FIL||||R^Routine|R1^Checkup||30|min|^^^%s^%s||||||||||||||%s\r", m.Appointment, stamp(start), stamp(start.Add(30*time.Minute)), status) +
		pid(m) + "RGS|1|A\rAIL|1|A|R1^101^^ALDER\r")
}

// charge posts a charge or takes one back (FT1-6 CD).
func (s *sender) charge(m *Message, p *patient) {
	c, kind, sign := posted{}, "CG", ""
	if n := len(p.charges); n > 0 && s.random.IntN(3) == 0 {
		c, kind, sign = p.charges[n-1], "CD", "-"
		p.charges = p.charges[:n-1]
		m.Reverses = true
	} else {
		c = posted{id: s.id("T"), amount: fmt.Sprintf("%d.50", 10+m.Seq), at: stamp(s.at)}
		p.charges = append(p.charges, c)
	}
	m.Charge, m.Amount = c.id, c.amount
	m.Raw = []byte(s.head(m, "DFT^P03", "DFT_P03") + pid(m) +
		fmt.Sprintf("FT1|1|%s||%s||%s|99213^Visit^C4||||%s%s^USD\r", c.id, c.at, kind, sign, c.amount))
}

// merge retires one of the sender's other patients: what goes on about them
// goes on about the survivor.
func (s *sender) merge(m *Message, p *patient) {
	for i, other := range s.patients {
		if other == p {
			continue
		}
		m.Retired = other.id
		p.appointments = append(p.appointments, other.appointments...)
		p.charges = append(p.charges, other.charges...)
		s.patients = append(s.patients[:i], s.patients[i+1:]...)
		break
	}
	m.Raw = []byte(s.head(m, "ADT^A40", "ADT_A39") + pid(m) + fmt.Sprintf("MRG|%s^^^ALDER^MR\r", m.Retired))
}

// poison cannot become records: bytes that the character set does not have, a
// type that no table maps, a type with a very long tail.
func (s *sender) poison(m *Message) {
	switch m.Seq / s.scale.Poison % 3 {
	case 0:
		m.Poison = "undecodable"
		m.Raw = []byte(s.head(m, "ADT^A08", "ADT_A01") + "PID|1||X1^^^ALDER^MR||M\xfcller^Anna\rPV1|1|O\r")
	case 1:
		m.Poison = "unsupported-message"
		m.Raw = []byte(s.head(m, "QQQ^Q99", "QQQ_Q99") + "PID|1||X1^^^ALDER^MR\r")
	default:
		m.Poison = "unsupported-message"
		m.Raw = []byte(s.head(m, "QQQ^Q98", "QQQ_Q98") + strings.Repeat("ZZZ|1|x\r", 2000))
	}
}
