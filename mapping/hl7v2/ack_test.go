package hl7v2_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

func request(version string) string {
	return "MSH|^~\\&|SCHED^1.2.3^ISO|CLINIC|LIAISON|HUB|20260301||SIU^S12^SIU_S12|C\\T\\1|P^A|" + version + "\rSCH|1\r"
}

func TestAcknowledgementEchoes(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	got := hl7v2.BuildAck(parse(t, request("2.5.1^DEU")), hl7v2.AA, "L1", noon.In(berlin))
	require.Equal(t, "MSH|^~\\&|LIAISON|HUB|SCHED^1.2.3^ISO|CLINIC|20260301130000+0100||ACK^S12^ACK|L1|P^A|2.5.1^DEU\rMSA|AA|C\\T\\1\r", string(got))

	for name, c := range map[string]struct{ raw, want string }{
		"own delimiters": {
			"MSH#*!?%#A*B#C#####ADT*A01#7#P#2.4\r",
			"MSH#*!?%###A*B#C#20260301120000+0000##ACK*A01*ACK#L1#P#2.4\rMSA#AA#7\r",
		},
		"bytes and set of the sender": {
			"MSH|^~\\&|M\xfcnster|||||| ADT^A01|\xfc1|P|2.5||||||8859/1\r",
			"MSH|^~\\&|||M\xfcnster||20260301120000+0000||ACK^A01^ACK|L1|P|2.5||||||8859/1\rMSA|AA|\xfc1\r",
		},
		"separators in a control id": {
			"MSH|^~\\&|||||||ADT^A01|1^2&3~4|P|2.5\r", "MSH|^~\\&|||||20260301120000+0000||ACK^A01^ACK|L1|P|2.5\rMSA|AA|1^2&3~4\r",
		},
		"no control characters": {
			"MSH|^~\\&|||||||ADT^A01|1\x1c|P|2.5\r", "MSH|^~\\&|||||20260301120000+0000||ACK^A01^ACK|L1|P|2.5\rMSA|AA|1\r",
		},
		"trigger in EVN": {
			"MSH|^~\\&|||||||ADT|1|P|2.5\rEVN|A08\r", "MSH|^~\\&|||||20260301120000+0000||ACK^A08^ACK|L1|P|2.5\rMSA|AA|1\r",
		},
		"as good as nothing": {"MSH|^~\\&", "MSH|^~\\&|||||20260301120000+0000||ACK|L1|P|2.3\rMSA|AA\r"},
	} {
		require.Equal(t, c.want, string(hl7v2.BuildAck(parse(t, c.raw), hl7v2.AA, "L1", noon)), name)
	}
}

func TestErrorsInTheLayoutOfTheVersion(t *testing.T) {
	missing := hl7v2.AckError{Location: hl7v2.Place{Segment: "PID", Field: 3}, Code: "101", Text: "PID-3 is required"}
	locked := hl7v2.AckError{
		Location: hl7v2.Place{Segment: "OBX", Occurrence: 2, Field: 5, Repetition: 3, Component: 4, Subcomponent: 1},
		Code:     "206", Severity: "F", Text: "a|b",
	}
	eld := "ERR|PID^1^3^101&Required field missing&HL70357~OBX^2^5^206&Application record locked&HL70357\r"
	pid := "ERR||PID^1^3^1|101^Required field missing^HL70357|E||||PID-3 is required\r"
	for version, want := range map[string]string{
		"2.1": eld, "2.3": eld, "2.3.1": eld, "2.4": eld,
		"2.5":   pid + "ERR||OBX^2^5^3^4^1|206^Application record locked^HL70357|F||||a\\F\\b\r",
		"2.8.2": pid + "ERR||OBX^2^5^3^4^1|206^Application record locked^HL70357|F||||a\\F\\b\r",
		"2.9":   pid + "ERR||OBX^2^5^3^4^1|0^Message accepted^HL70357|F|206^Application record locked^HL70533|||a\\F\\b\r",
	} {
		ack := string(hl7v2.BuildAck(parse(t, request(version)), hl7v2.AE, "L1", noon, missing, locked))
		_, errs, _ := strings.Cut(ack, "MSA|AE|C\\T\\1|PID-3 is required\r")
		require.Equal(t, want, errs, version)
		require.Equal(t, version > "2.3", strings.Contains(ack, "|ACK^S12^ACK|"), version)

		read, err := hl7v2.ParseAck([]byte(ack))
		require.NoError(t, err)
		require.Equal(t, hl7v2.AE, read.Code)
		require.False(t, read.Code.Positive())
		require.Equal(t, "C&1", read.ControlID)
		require.Len(t, read.Errors, 2, version)
		require.Equal(t, []string{"101", "206"}, []string{read.Errors[0].Code, read.Errors[1].Code}, version)
		require.Equal(t, 3, read.Errors[0].Location.Field)
		require.Equal(t, "OBX[2]-5", read.Errors[1].Location.String()[:8])
	}
	ack := hl7v2.BuildAck(parse(t, request("2.5")), hl7v2.AR, "L1", noon, hl7v2.AckError{Code: "200"})
	require.Contains(t, string(ack), "\rERR|||200^Unsupported message type^HL70357|E\r", "no place to name")
	for code, text := range map[string]string{
		"0": "Message accepted", "100": "Segment sequence error", "102": "Data type error", "103": "Table value not found", "104": "Value too long",
		"201": "Unsupported event code", "202": "Unsupported processing id", "203": "Unsupported version id", "204": "Unknown key identifier",
		"205": "Duplicate key identifier", "207": "Application internal error",
	} {
		ack := hl7v2.BuildAck(parse(t, request("2.5")), hl7v2.AR, "L1", noon, hl7v2.AckError{Code: code})
		require.Contains(t, string(ack), code+"^"+text+"^HL70357", code)
	}
}

func TestAnswersOfTheSequenceProtocol(t *testing.T) {
	a := hl7v2.Answer{Code: hl7v2.AE, ControlID: "L1", Time: noon, Text: "out of order", Expected: "8"}
	ack := a.Append([]byte("kept "), parse(t, request("2.5")))
	require.True(t, strings.HasPrefix(string(ack), "kept MSH|"))
	require.Contains(t, string(ack), "MSA|AE|C\\T\\1|out of order|8\r")
	read, err := hl7v2.ParseAck(ack[5:])
	require.NoError(t, err)
	require.Equal(t, hl7v2.Ack{Code: hl7v2.AE, ControlID: "C&1", Text: "out of order", Expected: "8"}, read)
}

func TestAnAcknowledgementIsNeverAcknowledged(t *testing.T) {
	for _, kind := range []string{"ACK", "ACK^A01", "ACK^S12^ACK", "MCF"} {
		m := parse(t, "MSH|^~\\&|A||B||||"+kind+"|1|P|2.5|||AL|AL\rMSA|AA|0\r")
		require.True(t, m.Header().IsAck())
		require.Nil(t, hl7v2.BuildAck(m, hl7v2.AA, "L1", noon), kind)
		require.Nil(t, hl7v2.BuildReject([]byte(strings.Replace(string(m.Raw()), `^~\&`, "^~", 1)), "L1", noon), kind)
	}
}

func TestRejectingWhatCannotBeRead(t *testing.T) {
	failure := hl7v2.AckError{Location: hl7v2.Place{Segment: "MSH", Field: 2}, Code: "102", Text: "no delimiters"}
	for raw, want := range map[string]string{
		"MSH|^~|APP|FAC|||20260301||ADT^A01|77|P|2.3\rPID|1\r": "MSH|^~\\&|||APP|FAC|20260301120000+0000||ACK|L1|P|2.3\rMSA|AR|77|no delimiters\r" +
			"ERR|MSH^1^2^102&Data type error&HL70357\r",
		"MSH||APP|FAC|||20260301||ADT^A01|77|P|2.5|||AL\r": "MSH|^~\\&|||APP|FAC|20260301120000+0000||ACK^A01^ACK|L1|P|2.5\rMSA|CR|77|no delimiters\r" +
			"ERR||MSH^1^2^1|102^Data type error^HL70357|E||||no delimiters\r",
		"garbage": "MSH|^~\\&|||||20260301120000+0000||ACK|L1|P|2.3\rMSA|AR||no delimiters\rERR|MSH^1^2^102&Data type error&HL70357\r",
		"":        "MSH|^~\\&|||||20260301120000+0000||ACK|L1|P|2.3\rMSA|AR||no delimiters\rERR|MSH^1^2^102&Data type error&HL70357\r",
		"MSH^~":   "MSH|^~\\&|||||20260301120000+0000||ACK|L1|P|2.3\rMSA|AR||no delimiters\rERR|MSH^1^2^102&Data type error&HL70357\r",
	} {
		require.Equal(t, want, string(hl7v2.BuildReject([]byte(raw), "L1", noon, failure)), raw)
	}
}

// A batch is refused by its own control id, BHS-11 or FHS-11; what may pass is
// AE, so that it is sent again.
func TestRejectingABatch(t *testing.T) {
	for _, header := range []string{"BHS", "FHS"} {
		raw := header + "|^~\\&|APP|FAC|LIAISON|HUB|20260301||nightly|a comment|B7\rMSH|^~\\&|APP||||||ADT^A01|1|P|2.5\rBTS|2\r"
		require.Equal(t, "MSH|^~\\&|LIAISON|HUB|APP|FAC|20260301120000+0000||ACK|L1|P|2.3\rMSA|AE|B7|again\rERR|^^^207&Application internal error&HL70357\r",
			string(hl7v2.BuildReject([]byte(raw), "L1", noon, hl7v2.AckError{Code: "207", Text: "again"})))
	}
}

// What cannot be read is refused in the mode that its sender asks for.
func TestRejectingByMode(t *testing.T) {
	for asked, want := range map[string]string{"": "MSA|AR|77", "NE|AL": "MSA|AR|77", "AL|NE": "MSA|CR|77", "ER|ER": "MSA|CR|77", "SU|AL": "MSA|AR|77", "NE|ER": "MSA|AR|77"} {
		ack := string(hl7v2.BuildReject([]byte("MSH||APP|FAC|||20260301||ADT^A01|77|P|2.5|||"+asked+"\r"), "L1", noon, hl7v2.AckError{Code: "102"}))
		require.Contains(t, ack, want, asked)
	}
	for _, asked := range []string{"NE|NE", "NE|SU", "SU|NE"} {
		require.Nil(t, hl7v2.BuildReject([]byte("MSH||APP|FAC|||20260301||ADT^A01|77|P|2.5|||"+asked+"\r"), "L1", noon, hl7v2.AckError{Code: "102"}), asked)
	}
}

// A version with blanks around it is that version.
func TestPaddedVersion(t *testing.T) {
	ack := string(hl7v2.BuildAck(parse(t, request(" 2.5.1 ")), hl7v2.AE, "L1", noon, hl7v2.AckError{Code: "101", Location: hl7v2.Place{Segment: "PID", Field: 3}}))
	require.Contains(t, ack, "ERR||PID^1^3^1|101^")
}

func TestAckModes(t *testing.T) {
	for name, c := range map[string]struct {
		accept, application                    string
		acceptGood, acceptBad, appGood, appBad bool
	}{
		"original": {"", "", false, false, true, true},
		"AL/NE":    {"AL", "NE", true, true, false, false},
		"NE/AL":    {"NE", "AL", false, false, true, true},
		"AL/AL":    {"AL", "AL", true, true, true, true},
		"AL/":      {"AL", "", true, true, false, false},
		"ER/ER":    {"ER", "er", false, true, false, true},
		"SU/NE":    {"SU", "NE", true, false, false, false},
		"NE/NE":    {"NE", "NE", false, false, false, false},
		"odd":      {"XX", "AL", false, false, true, true},
	} {
		mode := hl7v2.Header{AcceptAck: c.accept, ApplicationAck: c.application}.AckMode()
		require.Equal(t, name != "original", mode.Enhanced, name)
		require.Equal(t, []bool{c.acceptGood, c.acceptBad, c.appGood, c.appBad},
			[]bool{mode.Accept.Wants(true), mode.Accept.Wants(false), mode.Application.Wants(true), mode.Application.Wants(false)}, name)
	}
}

func TestReadingAcknowledgements(t *testing.T) {
	read, err := hl7v2.ParseAck([]byte("MSH|^~\\&|A\nMSA|aa|77|fine\nERR||PID^1^3|101||207^x||diag\n"))
	require.NoError(t, err)
	require.Equal(t, hl7v2.Ack{Code: hl7v2.AA, ControlID: "77", Text: "fine", Errors: []hl7v2.AckError{{
		Location: hl7v2.Place{Segment: "PID", Occurrence: 1, Field: 3}, Code: "207", Text: "diag",
	}}}, read)
	require.True(t, read.Code.Positive())
	require.True(t, hl7v2.CA.Positive())
	_, err = hl7v2.ParseAck([]byte("MSH|^~\\&|A\rPID|1\r"))
	require.ErrorIs(t, err, hl7v2.ErrNotAck)
	var syntax *hl7v2.SyntaxError
	_, err = hl7v2.ParseAck([]byte("HTTP/1.1 400"))
	require.ErrorAs(t, err, &syntax)
}

// Whatever a message says, its acknowledgement can be read and names it.
func TestAcknowledgementsAreReadable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[ -~]{1,20}`).Draw(t, "id")
		b := hl7v2.NewBuilder(hl7v2.DefaultDelimiters()).Segment("MSH").Set("MSH-10", id).Set("MSH-9.1", "ADT").
			Set("MSH-9.2", rapid.StringMatching(`[A-Z]\d\d`).Draw(t, "event")).
			Set("MSH-12", rapid.SampledFrom([]string{"2.1", "2.3", "2.4", "2.5.1", "2.9", "x", ""}).Draw(t, "version"))
		require.NoError(t, b.Err())
		m, err := hl7v2.Parse(b.Bytes())
		require.NoError(t, err)
		ack, err := hl7v2.ParseAck(hl7v2.BuildAck(m, hl7v2.CE, "L", noon, hl7v2.AckError{Code: "207", Text: id}))
		require.NoError(t, err)
		require.Equal(t, id, ack.ControlID)
		require.Equal(t, m.Header().ControlID, ack.ControlID)
		require.Equal(t, id, ack.Text)
		require.Len(t, ack.Errors, 1)
	})
}
