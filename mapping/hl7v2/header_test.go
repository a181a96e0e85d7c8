package hl7v2_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

func TestHeader(t *testing.T) {
	require.Equal(t, hl7v2.Header{
		SendingApplication: "ADT", SendingFacility: "HOSP", ReceivingApplication: "LIAISON", ReceivingFacility: "HOSP",
		DateTime: "20260301101500+0100", ControlID: "C1", Code: "ADT", Event: "A01", Structure: "ADT_A01", ProcessingID: "P", Version: "2.5.1",
		Sequence: "7", AcceptAck: "AL", ApplicationAck: "NE", Charset: "UNICODE UTF-8",
	}, parse(t, admit).Header())
	for raw, want := range map[string]hl7v2.Header{
		"MSH|^~\\&|A^1.2^ISO||||||ADT|1":       {SendingApplication: "A", Code: "ADT", ControlID: "1"},
		"MSH|^~\\&|||||||ADT|1\rEVN|A04":       {Code: "ADT", Event: "A04", ControlID: "1"},
		"MSH|^~\\&|||||||ADT^A01|a^b&c~d\\F\\": {Code: "ADT", Event: "A01", ControlID: "a^b&c~d|"},
		"MSH|^~\\&|\xff||||||ADT^A01|1":        {Code: "ADT", Event: "A01", ControlID: "1"},
		"MSH|^~\\&":                            {},
	} {
		require.Equal(t, want, parse(t, raw).Header(), raw)
	}
	require.Equal(t, "ADT^A01", parse(t, admit).Header().Type())
	require.Equal(t, "ACK", hl7v2.Header{Code: "ACK"}.Type())
}

// What is set is what the header says, whatever the text.
func TestHeaderReadsWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ -~]{0,10}[a-z|^~\\&]`)
		want := hl7v2.Header{
			SendingApplication: word.Draw(t, "app"), ReceivingFacility: word.Draw(t, "facility"), ControlID: word.Draw(t, "id"),
			Code: word.Draw(t, "code"), Event: word.Draw(t, "event"), Version: word.Draw(t, "version"),
		}
		b := hl7v2.NewBuilder(hl7v2.DefaultDelimiters()).Segment("MSH").
			Set("MSH-3.1", want.SendingApplication).Set("MSH-3.2", "1.2.3").Set("MSH-6", want.ReceivingFacility).
			Set("MSH-9.1", want.Code).Set("MSH-9.2", want.Event).Set("MSH-10", want.ControlID).Set("MSH-12.1", want.Version)
		require.NoError(t, b.Err())
		m, err := hl7v2.Parse(b.Bytes())
		require.NoError(t, err)
		require.Equal(t, want, m.Header())
	})
}

func TestContentHash(t *testing.T) {
	hash := func(s string) [32]byte { return hl7v2.ContentHash([]byte(s)) }
	same := map[string]string{
		"control id":      strings.Replace(admit, "|C1|", "|C2|", 1),
		"no control id":   strings.Replace(admit, "|C1|", "||", 1),
		"time":            strings.Replace(admit, "20260301101500+0100", "20260302", 1),
		"CRLF":            strings.ReplaceAll(admit, "\r", "\r\n"),
		"LF":              strings.ReplaceAll(admit, "\r", "\n"),
		"no last CR":      strings.TrimSuffix(admit, "\r"),
		"frame and blank": "\x0b" + admit + "\r\x1c\r",
	}
	for name, s := range same {
		require.Equal(t, hash(admit), hash(s), name)
	}
	other := map[string]string{
		"value":         strings.Replace(admit, "4711", "4712", 1),
		"processing id": strings.Replace(admit, "|P|", "|T|", 1),
		"moved id":      strings.Replace(admit, "|C1|", "|||", 1),
		"segment":       admit + "NTE|1\r",
		"order":         strings.Replace(admit, "EVN|A01|20260301101500\r", "", 1) + "EVN|A01|20260301101500\r",
		"joined":        strings.Replace(admit, "\rEVN", "EVN", 1),
		"nothing":       "",
		"cut":           "MSH",
	}
	seen := map[[32]byte]string{hash(admit): "the message"}
	for name, s := range other {
		require.NotContains(t, seen, hash(s), name)
		seen[hash(s)] = name
	}
}
