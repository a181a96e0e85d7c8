package hl7v2_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// sizedADT is an admission of 1.7 KB, as a hospital's ADT system sends them.
func sizedADT() string {
	raw := strings.Join([]string{
		`MSH|^~\&|ADT1|GOODHEALTH^1.2.840.9.1^ISO|LIAISON|GOODHEALTH|20260301101500.1234-0500||ADT^A01^ADT_A01|MSG0000471101|P|2.5.1|||AL|NE|USA|UNICODE UTF-8`,
		`EVN|A01|20260301101500-0500||01|OP77^Marsh^Rita|20260301100000-0500|GOODHEALTH`,
		`PID|1||PX471100^^^GOODHEALTH&1.2.840.9.1&ISO^MR~900-11-2233^^^USSSA&2.16.840.1.113883.4.1&ISO^SS||Keller^Anna^Maria^^Mrs^^L~Voss^Anna^^^^^M||19700203|F||2106-3^White^HL70005|12 Linden Lane^Apt 4^Springfield^IL^62704^USA^H^^SANGAMON||^PRN^PH^^1^217^5550101~^NET^Internet^anna.keller@example.org|^WPN^PH^^1^217^5550199|eng^English^HL70296|M^Married^HL70002|CHR|AC900471^^^GOODHEALTH^AN|||||||||||||N`,
		`PD1|||Springfield Primary Care^^44112|1104^Holt^Simon^^^Dr^MD^^NPI`,
		`NK1|1|Keller^Otto^M|SPO^Spouse^HL70063|12 Linden Lane^Apt 4^Springfield^IL^62704|^PRN^PH^^1^217^5550102||EC^Emergency contact^HL70131`,
		`PV1|1|I|4W^412^B^GOODHEALTH^^^^4 West|U|||1104^Holt^Simon^^^Dr^MD|2209^Amari^Leila^^^Dr^MD||MED||||7|||1104^Holt^Simon^^^Dr^MD|IN|VN8800471^^^GOODHEALTH^VN|BCBS||||||||||||||||||||GOODHEALTH|||||20260301100000-0500`,
		`PV2|||R07.9^Chest pain, unspecified^I10|||||20260301|20260304|3|||||||||||||N`,
		`AL1|1|DA^Drug allergy^HL70127|70618^Penicillin^RXNORM|SV^Severe^HL70128|Hives|19950601`,
		`DG1|1||R07.9^Chest pain, unspecified^I10||20260301100000-0500|A`,
		`IN1|1|PPO1^Preferred Plan|BC001|Blue Example Insurance|PO Box 1^^Chicago^IL^60601||^WPN^PH^^1^800^5550000|GRP5512||||20250101|20261231||PPO|Keller^Anna^Maria|SEL^Self^HL70063|19700203|12 Linden Lane^Apt 4^Springfield^IL^62704|||||||||||||||||XH471100998`,
		`GT1|1||Keller^Anna^Maria||12 Linden Lane^Apt 4^Springfield^IL^62704^USA|^PRN^PH^^1^217^5550101||19700203|F||SEL^Self^HL70063|900-11-2233||||Linden Books`,
	}, "\r") + "\r"
	return raw
}

// BenchmarkParse indexes a 1.7 KB ADT and reads twelve values of it.
func BenchmarkParse(b *testing.B) {
	raw := []byte(sizedADT())
	var m hl7v2.Message
	buffer := make([]byte, 0, 256)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Parse(raw); err != nil {
			b.Fatal(err)
		}
		buffer = readTwelve(b, &m, buffer[:0])
		if len(buffer) < 80 {
			b.Fatal("values are missing")
		}
	}
}

func readTwelve(b testing.TB, m *hl7v2.Message, buffer []byte) []byte {
	var err error
	read := func(v hl7v2.Value) {
		if buffer, err = v.AppendText(buffer); err != nil {
			b.Fatal(err)
		}
	}
	msh := m.Segment(0)
	read(msh.Field(3).Component(1))
	read(msh.Field(7))
	read(msh.Field(9).Component(2))
	read(msh.Field(10))
	pid, _ := m.Find("PID", 1)
	read(pid.Field(3).Component(1))
	read(pid.Field(3).Repetition(2).Component(4).Subcomponent(2))
	read(pid.Field(5).Component(1))
	read(pid.Field(5).Component(2))
	read(pid.Field(7))
	pv1, _ := m.Find("PV1", pid.Index())
	read(pv1.Field(2))
	read(pv1.Field(19).Component(1))
	read(pv1.Field(44))
	return buffer
}

// BenchmarkNaiveSplit is what splitting strings costs for the same message.
func BenchmarkNaiveSplit(b *testing.B) {
	raw := []byte(sizedADT())
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		fields := 0
		for _, segment := range strings.Split(string(raw), "\r") {
			for _, field := range strings.Split(segment, "|") {
				for _, repetition := range strings.Split(field, "~") {
					fields += len(strings.Split(repetition, "^"))
				}
			}
		}
		if fields < 100 {
			b.Fatal("fields are missing")
		}
	}
}

func BenchmarkText(b *testing.B) {
	m := parse(b, admit)
	v := m.Get("PID-11.1") // with an escape
	buffer := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buffer, err = v.AppendText(buffer[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseTime(b *testing.B) {
	berlin, err := hl7v2.LoadLocation("Europe/Berlin")
	require.NoError(b, err)
	buffer := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		at, err := hl7v2.ParseTime("20260301101500", berlin)
		if err != nil {
			b.Fatal(err)
		}
		buffer = at.AppendDateTime(buffer[:0])
	}
}

func BenchmarkAck(b *testing.B) {
	m := parse(b, sizedADT())
	a := hl7v2.Answer{Code: hl7v2.AA, ControlID: "L1", Time: noon}
	buffer := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buffer = a.Append(buffer[:0], m)
	}
}

func BenchmarkContentHash(b *testing.B) {
	raw := []byte(sizedADT())
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		hl7v2.ContentHash(raw)
	}
}

func TestParsingAndReadingAgainAllocatesNothing(t *testing.T) {
	raw := []byte(sizedADT())
	require.InDelta(t, 1700, len(raw), 100, "the size that the claim is made for")
	var m hl7v2.Message
	buffer := make([]byte, 0, 256)
	require.NoError(t, m.Parse(raw))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if m.Parse(raw) != nil {
			panic("parse")
		}
		buffer = readTwelve(t, &m, buffer[:0])
	}))
}
