package hl7v2

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
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

// An Answer is what an acknowledgement says beyond what it echoes.
type Answer struct {
	Code      AckCode
	ControlID string    // the acknowledgement's own MSH-10
	Time      time.Time // its MSH-7
	Text      string    // MSA-3, for people; empty: the first error's
	Expected  string    // MSA-4, the expected sequence number, or ""
	Errors    []AckError
}

// IsAck says whether a message is itself an acknowledgement: one is never
// answered (HL7 v2.5.1 §2.9.1).
func (h Header) IsAck() bool { return h.Code == "ACK" || h.Code == "MCF" }

// BuildAck writes the acknowledgement of a message, as Answer.Append does.
func BuildAck(request *Message, code AckCode, controlID string, now time.Time, errs ...AckError) []byte {
	return Answer{Code: code, ControlID: controlID, Time: now, Errors: errs}.Append(nil, request)
}

// Append appends the acknowledgement of a message, with its delimiters,
// character set and version (HL7 v2.5.1 §2.9, §2.14.1): MSH-5/6 are the
// sender's MSH-3/4, MSH-11/12 are copied, MSA-2 echoes MSH-10 byte for byte,
// MSH-9 is ACK up to v2.3 and ACK^S12^ACK later, errors are in the version's
// layout. A message without a version is answered as v2.3. An acknowledgement
// is never answered: dst is given back as it was, nil for nil.
func (a Answer) Append(dst []byte, request *Message) []byte {
	msh := request.Segment(0)
	code := msh.Field(9).Component(1).Raw()
	if string(code) == "ACK" || string(code) == "MCF" {
		return dst
	}
	number := version(msh.Field(12).Component(1).Raw())
	w := writer{dst: dst, d: request.Delimiters()}
	w.begin("MSH").raw(msh.Field(2).Raw())
	w.raw(msh.Field(5).Raw()).raw(msh.Field(6).Raw()).raw(msh.Field(3).Raw()).raw(msh.Field(4).Raw())
	w.raw(appendStamp(nil, a.Time)).raw(nil)
	if event := request.event(); event != "" && number >= 20301 {
		w.text("ACK", event, "ACK")
	} else {
		w.text("ACK")
	}
	w.text(a.ControlID)
	w.raw(orDefault(msh.Field(11).Raw(), "P")).raw(orDefault(msh.Field(12).Raw(), "2.3"))
	charset := msh.Field(18).Raw()
	if request.charset.multi != nil { // its values are in UTF-8 here
		charset = []byte("UNICODE UTF-8")
	}
	w.raw(nil).raw(nil).raw(nil).raw(nil).raw(nil).raw(charset)
	w.end()
	text := a.Text
	if text == "" && len(a.Errors) > 0 {
		text = a.Errors[0].Text
	}
	w.begin("MSA").raw([]byte(a.Code)).raw(msh.Field(10).Raw()).text(text).text(a.Expected)
	w.end()
	return a.appendErrors(w, number)
}

func orDefault(field []byte, text string) []byte {
	if len(field) == 0 {
		return []byte(text)
	}
	return field
}

// appendErrors writes ERR-1 alone up to v2.4 (ELD: segment, sequence, field,
// code), an ERR with ERR-2 to ERR-8 for each error from v2.5 (§2.14.5); in v2.9
// the application's codes 204 to 207 stand in ERR-5 (table 0533).
func (a Answer) appendErrors(w writer, number int) []byte {
	if len(a.Errors) == 0 {
		return w.dst
	}
	if number < 20500 {
		return a.appendELD(w)
	}
	for _, e := range a.Errors {
		p := e.Location.numbers()
		code, application := []string{e.Code, errorText(e.Code), "HL70357"}, []string(nil)
		if number >= 20900 && e.Code >= "204" && e.Code <= "207" && len(e.Code) == 3 {
			application = []string{e.Code, errorText(e.Code), "HL70533"}
			code = []string{"0", errorText("0"), "HL70357"} // the message itself was understood
		}
		severity := e.Severity
		if severity == "" {
			severity = "E"
		}
		w.begin("ERR").raw(nil).text(p[:]...).text(code...).text(severity).text(application...)
		w.raw(nil).raw(nil).text(e.Text)
		w.end()
	}
	return w.dst
}

// appendELD writes all errors as repetitions of one ERR-1.
func (a Answer) appendELD(w writer) []byte {
	w.begin("ERR")
	w.dst = append(w.dst, w.d.Field)
	for i, e := range a.Errors {
		if i > 0 && w.d.Repetition != 0 {
			w.dst = append(w.dst, w.d.Repetition)
		}
		numbers := e.Location.numbers()
		for _, part := range numbers[:3] {
			w.dst = append(AppendEscaped(w.dst, part, w.d), w.d.Component)
		}
		w.dst = AppendEscaped(w.dst, e.Code, w.d)
		if w.d.Subcomponent != 0 {
			w.dst = AppendEscaped(append(w.dst, w.d.Subcomponent), errorText(e.Code), w.d)
			w.dst = append(append(w.dst, w.d.Subcomponent), "HL70357"...)
		}
	}
	w.full = len(w.dst)
	return w.end()
}

// numbers gives a place as ERL has it: segment, its occurrence, field,
// repetition, component, subcomponent; "" from where the place ends.
func (p Place) numbers() [6]string {
	out := [6]string{p.Segment}
	if p.Segment == "" {
		return out
	}
	out[1] = strconv.Itoa(max(p.Occurrence, 1))
	if p.Field == 0 {
		return out
	}
	out[2], out[3] = strconv.Itoa(p.Field), strconv.Itoa(max(p.Repetition, 1))
	if p.Component > 0 {
		out[4] = strconv.Itoa(p.Component)
		if p.Subcomponent > 0 {
			out[5] = strconv.Itoa(p.Subcomponent)
		}
	}
	return out
}

// BuildReject answers bytes that are not taken as messages: AE where the first
// error is one that may pass (204 to 207, HL7 table 0357), else AR; CE or CR
// where MSH-15 and MSH-16 can still be made out and ask for it, nothing where
// they ask for nothing (HL7 v2.5.1 §2.9). What can be read of MSH is echoed,
// with the default encoding characters where MSH-2 is the fault; of a batch its
// header, whose control id is field 11. What says that it is an acknowledgement
// gets nil.
func BuildReject(raw []byte, controlID string, now time.Time, errs ...AckError) []byte {
	m := readable(raw)
	if m == nil {
		return nil
	}
	code := AR
	if len(errs) > 0 && errs[0].Code >= "204" && errs[0].Code <= "207" {
		code = AE
	}
	if mode := m.Header().AckMode(); mode.Accept.Wants(false) {
		code = "C" + code[1:]
	} else if !mode.Application.Wants(false) {
		return nil
	}
	return BuildAck(m, code, controlID, now, errs...)
}

// readable makes a message of what can be read of the first line.
func readable(raw []byte) *Message {
	raw = raw[contentStart(raw):]
	line := raw[:min(indexFrom(raw, 0, '\r'), indexFrom(raw, 0, '\n'))]
	m, err := Parse(line)
	if err == nil && !m.Segment(0).Is("MSH") {
		m, err = Parse(batchAsMessage(m.Segment(0), line[3:4]))
	}
	if err != nil && len(line) > 4 && string(line[:3]) == "MSH" && separator(line[3]) {
		sep := line[3:4]
		_, rest, _ := bytes.Cut(line[4:], sep)
		m, err = Parse(bytes.Join([][]byte{[]byte("MSH"), []byte(`^~\&`), rest}, sep))
	}
	if err != nil {
		if m, err = Parse([]byte(`MSH|^~\&`)); err != nil {
			return nil
		}
	}
	return m
}

// batchAsMessage writes what FHS and BHS have in common with MSH: who sends to
// whom, and a control id.
func batchAsMessage(h Segment, sep []byte) []byte {
	fields := [][]byte{[]byte("MSH")}
	for n := 2; n <= 7; n++ {
		fields = append(fields, h.Field(n).Raw())
	}
	return bytes.Join(append(fields, nil, nil, h.Field(11).Raw()), sep)
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
	Text      string // MSA-3
	Expected  string // MSA-4, the sequence number that the receiver waits for
	Errors    []AckError
}

// ErrNotAck is the answer to a message without MSA.
var ErrNotAck = errors.New("not an acknowledgement: no MSA segment")

// ParseAck reads an acknowledgement of either mode and any version. It may say
// no code that this package knows: Ack.Code.Positive is false then.
func ParseAck(raw []byte) (Ack, error) {
	m, err := Parse(raw)
	if err != nil {
		return Ack{}, fmt.Errorf("read acknowledgement: %w", err)
	}
	msa, ok := m.Find("MSA", 0)
	if !ok {
		return Ack{}, ErrNotAck
	}
	a := Ack{
		Code:      AckCode(strings.ToUpper(orEmpty(msa.Field(1).Component(1)))),
		ControlID: orEmpty(msa.Field(2)), Text: orEmpty(msa.Field(3)), Expected: orEmpty(msa.Field(4)),
	}
	for i := range m.Len() {
		if s := m.Segment(i); s.Is("ERR") {
			a.Errors = append(a.Errors, readErrors(s)...)
		}
	}
	return a, nil
}

// orEmpty gives a value's text, "" for what cannot be decoded.
func orEmpty(v Value) string {
	text, err := v.Text()
	if err != nil {
		return ""
	}
	return text
}

// readErrors reads an ERR segment: of v2.5 and later one error, before that as
// many as ERR-1 has repetitions.
func readErrors(s Segment) []AckError {
	if s.Field(3).Valued() || s.Field(5).Valued() {
		code := orEmpty(s.Field(3).Component(1))
		if application := orEmpty(s.Field(5).Component(1)); application != "" {
			code = application
		}
		text := orEmpty(s.Field(8))
		if text == "" {
			text = orEmpty(s.Field(7))
		}
		return []AckError{{Location: readLocation(s.Field(2), 6), Code: code, Severity: orEmpty(s.Field(4).Component(1)), Text: text}}
	}
	var errs []AckError
	for i := 1; i <= s.Field(1).Repetitions(); i++ {
		eld := s.Field(1).Repetition(i)
		code := eld.Component(4)
		errs = append(errs, AckError{
			Location: readLocation(eld, 3), Code: orEmpty(code.Subcomponent(1)), Text: orEmpty(code.Subcomponent(2)),
		})
	}
	return errs
}

func readLocation(v Value, parts int) Place {
	var n [6]int
	for i := 1; i < parts; i++ {
		n[i], _ = number(orEmpty(v.Component(i + 1)))
	}
	return Place{Segment: orEmpty(v.Component(1)), Occurrence: n[1], Field: n[2], Repetition: n[3], Component: n[4], Subcomponent: n[5]}
}
