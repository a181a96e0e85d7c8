package hl7v2_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

func TestEscapes(t *testing.T) {
	for raw, want := range map[string]string{
		`a\F\b\S\c\T\d\R\e\E\f\P\`: `a|b^c&d~e\f#`,
		`1\.br\2\.sp2\3\.sp\4`:     "1\n2\n\n3\n4",
		`1\.BR\2\.sp +1\3\.sp0\4`:  "1\n2\n34",
		// Bytes in the message's character set, one character over two sequences.
		`\X48C3BC\`: "Hü", `\X48\\XC3\\XBC\!`: "Hü!", `\x41\`: `\x41\`, `\X0D0A\`: "\r\n",
		// Kept: formatting, local ones, character set switches.
		`\H\bold\N\`: `\H\bold\N\`, `\Zx\F\`: `\Zx\F\`, `\.in+4\x\.ce\`: `\.in+4\x\.ce\`, `\C2842\\M244242\`: `\C2842\\M244242\`,
		`\.sp100\`: `\.sp100\`, `\.sp-1\`: `\.sp-1\`,
		// Kept: what means nothing, or does not end.
		`\X4\`: `\X4\`, `\X\`: `\X\`, `\XZZ\F\`: `\XZZ\F\`, `\XFF\`: `\XFF\`, `\XC3\x`: `\XC3\x`,
		`lone \ stays`: `lone \ stays`, `end\`: `end\`, `C:\temp\F\x`: `C:\temp|x`, `\\`: `\\`, `\\F\`: `\|`, `\Q\F\`: `\Q|`, `\Cold\T\`: `\Cold&`,
	} {
		require.Equal(t, want, hl7v2.Unescape([]byte(raw), hl7v2.DefaultDelimiters()), raw)
		m := parse(t, "MSH|^~\\&|A\rNTE|1||"+raw+"\r")
		require.Equal(t, want, text(t, m.Get("NTE-3")), raw)
	}
	require.Equal(t, "\xff\\F\\", hl7v2.Unescape([]byte("\xff\\F\\"), hl7v2.DefaultDelimiters()), "not text: as it is")
	latin := parse(t, "MSH|^~\\&|A|||||||||||||||8859/1\rNTE|1||\\XFC\\\\XA4\\\r")
	require.Equal(t, "ü¤", text(t, latin.Get("NTE-3")))
	latin = parse(t, "MSH|^~\\&|A|||||||||||||||8859/1\rNTE|1||\\Z\xfc\\\xfc\\F\\\r")
	require.Equal(t, "\\Zü\\ü|", text(t, latin.Get("NTE-3")), "what holds more than ASCII is no sequence")
}

func TestEscape(t *testing.T) {
	d := hl7v2.DefaultDelimiters()
	for text, want := range map[string]string{
		"": "", "plain ü": "plain ü", `a|b^c&d~e\f#`: `a\F\b\S\c\T\d\R\e\E\f#`, "1\n2\r3\x00\x7f": `1\.br\2\X0D\3\X00\\X7F\`,
		`""`: `\X22\"`, "  ": `\X20\ `, ` ""`: ` ""`,
	} {
		require.Equal(t, want, hl7v2.Escape(text, d), text)
	}
	d.Truncation = '#'
	require.Equal(t, `\P\`, hl7v2.Escape("#", d))
	require.Equal(t, `a\F\b\c`, hl7v2.Escape(`a|b\c`, hl7v2.Delimiters{Field: '|'}), "no escape character declared")
}

func TestAnyTextSurvivesEscaping(t *testing.T) {
	delimiters := []hl7v2.Delimiters{
		hl7v2.DefaultDelimiters(),
		{Field: '#', Component: '*', Repetition: '!', Escape: '?', Subcomponent: '%', Truncation: '$'},
		{Field: '|', Component: '^', Repetition: '~', Escape: '\\'},
	}
	texts := rapid.OneOf(rapid.String(), rapid.StringMatching(`[|^~\\&#*!?%$" XFSTRE.br0-9\r\n]{0,20}`))
	rapid.Check(t, func(t *rapid.T) {
		want := texts.Draw(t, "text")
		d := rapid.SampledFrom(delimiters).Draw(t, "delimiters")
		require.Equal(t, want, hl7v2.Unescape([]byte(hl7v2.Escape(want, d)), d))

		b := hl7v2.NewBuilder(d).Segment("MSH").Segment("NTE").Set("NTE-3[2].2", want)
		require.NoError(t, b.Err())
		m, err := hl7v2.Parse(b.Bytes())
		require.NoError(t, err)
		require.Equal(t, 2, m.Len())
		v := m.Get("NTE-3[2].2")
		got, err := v.Text()
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, want != "", v.Valued())
		require.False(t, strings.ContainsAny(string(v.Raw()), "\r\n\x0b\x1c"), "nothing that cuts a frame or a segment")
	})
}
