package hl7v2

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// AckCode is MSA-1 (HL7 table 0008).
type AckCode string

// The acknowledgement codes: application accept, error, reject; commit accept,
// error, reject.
const (
	AA AckCode = "AA"
	AE AckCode = "AE"
	AR AckCode = "AR"
	CA AckCode = "CA"
	CE AckCode = "CE"
	CR AckCode = "CR"
)

// Positive says whether the sender may forget its message.
func (c AckCode) Positive() bool { return c == AA || c == CA }

// An AckError is one ERR segment: where, what by table 0357, how bad, and what
// to do. Text never holds a value of the message.
type AckError struct {
	Location Place
	Code     string // table 0357: 0, 100–103, 200–207
	Severity string // E, W, I
	Text     string
}

// AckWhen is a condition of MSH-15 or MSH-16 (HL7 table 0155).
type AckWhen string

// The conditions of table 0155.
const (
	Always   AckWhen = "AL"
	Never    AckWhen = "NE"
	OnError  AckWhen = "ER"
	OnAccept AckWhen = "SU"
)

// Wants says whether an answer of this kind goes out.
func (w AckWhen) Wants(positive bool) bool {
	return w == Always || w == OnError && !positive || w == OnAccept && positive
}

// AckMode says which acknowledgements a sender asks for.
type AckMode struct {
	Enhanced            bool
	Accept, Application AckWhen
}

// AckMode reads MSH-15 and MSH-16: both empty is the original mode, one
// application acknowledgement always (HL7 v2.5.1 §2.9.2, §2.9.3). In enhanced
// mode an empty field means never.
func (h Header) AckMode() AckMode {
	if h.AcceptAck == "" && h.ApplicationAck == "" {
		return AckMode{Accept: Never, Application: Always}
	}
	read := func(s string) AckWhen {
		switch w := AckWhen(strings.ToUpper(s)); w {
		case Always, OnError, OnAccept:
			return w
		default:
			return Never
		}
	}
	return AckMode{Enhanced: true, Accept: read(h.AcceptAck), Application: read(h.ApplicationAck)}
}

// An Answer is what an acknowledgement says.
type Answer struct {
	Code      AckCode
	ControlID string    // the acknowledgement's own MSH-10
	Time      time.Time // its MSH-7
	Text      string    // MSA-3, for people
	Expected  string    // MSA-4, the expected sequence number, or ""
	Errors    []AckError
}

// IsAck says whether a message is itself an acknowledgement: one is never
// answered (HL7 v2.5.1 §2.9.1).
func (h Header) IsAck() bool { return h.Code == "ACK" || h.Code == "MCF" }

// BuildAck writes the acknowledgement of a message, with its delimiters and
// version: MSH-5/6 are the sender's MSH-3/4, MSH-11/12 are copied, MSA-2 echoes
// MSH-10, ERR by the version's layout. It answers nil for an acknowledgement.
func BuildAck(request *Message, a Answer) []byte {
	h := request.Header()
	if h.IsAck() {
		return nil
	}
	msh := request.Segment(0)
	all := func(n int) Field { // all components of a field, as text
		v := msh.Field(n)
		var f Field
		for i := 1; i <= v.Components(); i++ {
			t, err := v.Component(i).Text()
			if err != nil {
				t = ""
			}
			f = append(f, t)
		}
		return f
	}
	version := orDefault(h.Version, "2.3")
	kind := F("ACK")
	if h.Event != "" && version >= "2.3" {
		kind = F("ACK", h.Event)
		if version >= "2.3.1" {
			kind = F("ACK", h.Event, "ACK")
		}
	}
	d := request.Delimiters()
	if d.Component == 0 || d.Escape == 0 {
		d = DefaultDelimiters()
	}
	b := NewBuilder(d).Header("MSH",
		all(5), all(6), all(3), all(4), F(a.Time.Format("20060102150405-0700")), nil, kind,
		F(a.ControlID), F(orDefault(h.ProcessingID, "P")), F(version))
	text := a.Text
	if text == "" && len(a.Errors) > 0 {
		text = a.Errors[0].Text
	}
	b.Segment("MSA", F(string(a.Code)), F(h.ControlID), F(text), F(a.Expected))
	for _, e := range a.Errors {
		appendERR(b, version, e)
	}
	return b.Bytes()
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// appendERR writes ERR-1 alone up to v2.4 (ELD: segment, sequence, field,
// code), ERR-2 to ERR-4 and ERR-8 from v2.5 (§2.15.5); in v2.9 the application
// codes 204 to 207 stand in ERR-5 (table 0533).
func appendERR(b *Builder, version string, e AckError) {
	p := e.Location
	at := func(n int) string {
		if n == 0 {
			return ""
		}
		return itoa(n)
	}
	seq := at(p.Occurrence)
	if p.Segment != "" && seq == "" {
		seq = "1"
	}
	if version < "2.5" {
		b.Segment("ERR", F(p.Segment, seq, at(p.Field), e.Code))
		return
	}
	rep := at(p.Repetition)
	if p.Field > 0 && rep == "" {
		rep = "1"
	}
	location := Field{p.Segment, seq, at(p.Field), rep, at(p.Component), at(p.Subcomponent)}
	for len(location) > 0 && location[len(location)-1] == "" {
		location = location[:len(location)-1]
	}
	code, application := F(e.Code, errorText(e.Code), "HL70357"), Field(nil)
	if version >= "2.9" && e.Code >= "204" && e.Code <= "207" {
		code, application = F("0", errorText("0"), "HL70357"), F(e.Code, errorText(e.Code), "HL70533")
	}
	b.Segment("ERR", nil, location, code, F(orDefault(e.Severity, "E")), application, nil, nil, F(e.Text))
}

func errorText(code string) string {
	switch code {
	case "0":
		return "Message accepted"
	case "100":
		return "Segment sequence error"
	case "101":
		return "Required field missing"
	case "102":
		return "Data type error"
	case "103":
		return "Table value not found"
	case "104":
		return "Value too long"
	case "200":
		return "Unsupported message type"
	case "201":
		return "Unsupported event code"
	case "202":
		return "Unsupported processing id"
	case "203":
		return "Unsupported version id"
	case "204":
		return "Unknown key identifier"
	case "205":
		return "Duplicate key identifier"
	case "206":
		return "Application record locked"
	default:
		return "Application internal error"
	}
}

// An Ack is an acknowledgement as a sender reads it.
type Ack struct {
	Code      AckCode
	ControlID string // MSA-2, the message that it answers
	Text      string
	Errors    []AckError
}

// ErrNotAck is the answer to a message without MSA.
var ErrNotAck = errors.New("not an acknowledgement: no MSA segment")

// ParseAck reads an acknowledgement of either mode and any version.
func ParseAck(raw []byte) (Ack, error) {
	m, err := Parse(raw)
	if err != nil {
		return Ack{}, fmt.Errorf("read acknowledgement: %w", err)
	}
	msa, ok := m.Find("MSA", 0)
	if !ok {
		return Ack{}, ErrNotAck
	}
	text := func(v Value) string {
		t, err := v.Text()
		if err != nil {
			return ""
		}
		return t
	}
	a := Ack{
		Code:      AckCode(strings.ToUpper(text(msa.Field(1).Component(1)))),
		ControlID: text(msa.Field(2).Component(1)), Text: text(msa.Field(3)),
	}
	for i := 0; i < m.Len(); i++ {
		s := m.Segment(i)
		if !s.Is("ERR") {
			continue
		}
		where, code := s.Field(2), text(s.Field(3).Component(1))
		severity, note := text(s.Field(4).Component(1)), text(s.Field(8))
		if app := text(s.Field(5).Component(1)); app != "" {
			code = app
		}
		if code == "" { // ERR-1 of v2.4 and earlier: segment, sequence, field, code
			where, code = s.Field(1), text(s.Field(1).Component(4).Subcomponent(1))
		}
		n := func(i int) int {
			v, _ := number(text(where.Component(i)))
			return v
		}
		a.Errors = append(a.Errors, AckError{
			Location: Place{Segment: text(where.Component(1)), Occurrence: n(2), Field: n(3)},
			Code:     code, Severity: severity, Text: note,
		})
	}
	return a, nil
}
