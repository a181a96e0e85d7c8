package hl7v2_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

func named(charset, name string) string {
	return "MSH|^~\\&|A|||||||||||||||" + charset + "\rPID|1||||" + name + "|x|\\X41\\\r"
}

func TestCharsets(t *testing.T) {
	for _, c := range []struct{ charset, raw, want string }{
		{"ASCII", "Muller", "Muller"},
		{"ASCII", "M\xc3\xbcller", "Müller"}, // ASCII is UTF-8, and nobody means anything else by this
		{"UNICODE UTF-8", "M\xc3\xbcller", "Müller"},
		{"UNICODE", "M\xc3\xbcller", "Müller"},
		{"8859/1", "M\xfcller", "Müller"},
		{"ISO-8859-1", "M\xfcller", "Müller"},
		{"ISO IR 100", "M\xfcller", "Müller"},
		{"8859/2", "D\xbeka", "Džka"},
		{"8859/3", "\xa6", "Ĥ"},
		{"8859/4", "\xa2", "ĸ"},
		{"8859/5", "\xb8\xd2\xd0\xdd\xde\xd2", "Иванов"},
		{"8859/6", "\xc7", "ا"},
		{"8859/7", "\xc1", "Α"},
		{"8859/8", "\xe0", "א"},
		{"8859/9", "\xfd\xde", "ıŞ"},
		{"8859/10", "\xa2", "Ē"},
		{"8859/11", "\xa1", "ก"},
		{"8859/13", "\xc0", "Ą"},
		{"8859/14", "\xa1", "Ḃ"},
		{"8859/15", "\xa4", "€"},
		{"windows-1252", "\x80", "€"},
		{"", "M\xc3\xbcller", "Müller"},
		{"8859/1~8859/5", "M\xfcller", "Müller"},
	} {
		m := parse(t, named(c.charset, c.raw))
		require.Equal(t, c.want, text(t, m.Get("PID-5")), c.charset)
		require.Equal(t, "A", text(t, m.Get("PID-7")), c.charset)
	}
}

// What a set does not have is an error that says where, never a replacement.
func TestUndecodableBytesAreAnErrorWithTheirPlace(t *testing.T) {
	for _, c := range []struct{ charset, raw string }{
		{"", "M\xfcller"},
		{"UNICODE UTF-8", "M\xfcller"},
		{"UNICODE UTF-8", "M\xc3"},
		{"UNICODE UTF-8", "M\xed\xa0\x80"},
		{"ASCII", "M\xfcller"},
		{"8859/3", "M\xa5"},
		{"8859/12", "M\xfc"},
		{"KLINGON", "M\xc3\xbcller"},
		{"GB 18030-2000", "M\xff"},
		{"ISO IR87", "M\xfc"},
	} {
		m := parse(t, named(c.charset, c.raw))
		_, err := m.Get("PID-5.1").Text()
		var bad *hl7v2.CharsetError
		require.ErrorAs(t, err, &bad, c.charset)
		require.Equal(t, "PID-5.1", bad.Place.String(), c.charset)
		require.Equal(t, m.Get("PID-5").Offset()+1, bad.Offset, c.charset)
		require.NotContains(t, err.Error(), "ller")
		buffer, err := m.Get("PID-5.1").AppendText([]byte("kept"))
		require.Error(t, err)
		require.Equal(t, "kept", string(buffer))
		require.Equal(t, "1", text(t, m.Get("PID-1")), "the rest is read")
	}
	require.Equal(t, "Muller", text(t, parse(t, named("KLINGON", "Muller")).Get("PID-5")), "ASCII is ASCII in any set")
}

func TestDefaultCharset(t *testing.T) {
	m := parse(t, named("", "M\xfcller"))
	require.Equal(t, "UTF-8", m.Charset())
	require.NoError(t, m.SetDefaultCharset("8859/15"))
	require.Equal(t, "Müller", text(t, m.Get("PID-5.1")), "holds for the message in hand")
	require.Equal(t, "8859/15", m.Charset())
	require.NoError(t, m.Parse([]byte(named("ASCII", "\xa4"))))
	require.Equal(t, "€", text(t, m.Get("PID-5.1")), "a feed that says ASCII and is configured otherwise")
	require.NoError(t, m.Parse([]byte(named("8859/1", "\xa4"))))
	require.Equal(t, "¤", text(t, m.Get("PID-5.1")), "what a message says of itself is stronger")
	require.NoError(t, m.Parse([]byte(named("KLINGON", "\xa4"))))
	_, err := m.Get("PID-5").Text()
	require.Error(t, err, "an unknown set is not the default one")
	require.Error(t, m.SetDefaultCharset("nonsense"))

	japanese := parse(t, named("", "\x95\x5c^x")) // in Shift-JIS the second byte is a backslash
	require.NoError(t, japanese.SetDefaultCharset("Shift-JIS"))
	require.Equal(t, "表", text(t, japanese.Get("PID-5.1")))
	require.NoError(t, japanese.SetDefaultCharset("windows-1252"))
	require.Equal(t, "•\\", text(t, japanese.Get("PID-5.1")))
	require.NoError(t, japanese.SetDefaultCharset(""))
	_, err = japanese.Get("PID-5.1").Text()
	require.Error(t, err)
	require.Zero(t, testing.AllocsPerRun(10, func() { _ = japanese.SetDefaultCharset("") }))
	var refused hl7v2.Message
	require.Error(t, refused.Parse([]byte("PID|1")))
	require.NoError(t, refused.SetDefaultCharset("8859/1"), "after a message that was refused")
	var fresh hl7v2.Message
	require.NoError(t, fresh.SetDefaultCharset("ASCII"))
	require.NoError(t, fresh.Parse([]byte(named("", "M\xc3\xbcller"))))
	_, err = fresh.Get("PID-5").Text()
	require.Error(t, err)
}

// In these sets a character's second byte may be a delimiter.
func TestMultiByteSetsAreNotCutInsideACharacter(t *testing.T) {
	encode := func(s string, err error) string {
		require.NoError(t, err)
		return s
	}
	kanji := "山田太郎"
	for charset, c := range map[string]struct{ raw, want string }{
		"GB 18030-2000": {encode(simplifiedchinese.GB18030.NewEncoder().String("輁憗^王")), "輁憗"},
		"BIG-5":         {encode(traditionalchinese.Big5.NewEncoder().String("許功蓋^王")), "許功蓋"},
		"SHIFT JIS":     {encode(japanese.ShiftJIS.NewEncoder().String("表ソ^王")), "表ソ"},
		"~ISO IR87":     {encode(japanese.ISO2022JP.NewEncoder().String(kanji)) + "^" + encode(japanese.ISO2022JP.NewEncoder().String("花")), kanji},
		"KS X 1001":     {"\xb1\xe8^\xb1\xe8", "김"},
	} {
		raw := named(charset, c.raw)
		m := parse(t, raw)
		require.Equal(t, c.want, text(t, m.Get("PID-5.1")), charset)
		require.NotEmpty(t, text(t, m.Get("PID-5.2")), charset)
		require.Equal(t, "x", text(t, m.Get("PID-6")), charset)
		require.Equal(t, "A", text(t, m.Get("PID-7")), charset)
		require.Equal(t, raw, string(m.AppendTo(nil)), "the bytes stay")
	}
}

// Every byte of every single-byte set either becomes its character or is an error.
func TestSingleByteSetsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := fmt.Sprintf("8859/%d", rapid.SampledFrom([]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15}).Draw(t, "set"))
		raw := rapid.SliceOfN(rapid.ByteRange(0xa0, 0xff), 1, 20).Draw(t, "bytes")
		m, err := hl7v2.Parse([]byte(named(set, string(raw))))
		require.NoError(t, err)
		got, err := m.Get("PID-5").Text()
		if err != nil {
			return
		}
		b := hl7v2.NewBuilder(hl7v2.DefaultDelimiters()).Segment("MSH").Charset(set).Segment("PID").Set("PID-5", got)
		require.NoError(t, b.Err())
		back, err := hl7v2.Parse(b.Bytes())
		require.NoError(t, err)
		require.Equal(t, raw, back.Get("PID-5").Raw())
	})
}
