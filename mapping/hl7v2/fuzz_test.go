package hl7v2_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(admit))
	f.Add([]byte(sizedADT()))
	f.Add([]byte("MSH|^~\\&#|A|||||||||||||||8859/1\rOBX|1|TX|a\\X41\\||\xfc\\.sp3\\"))
	f.Add([]byte("MSH|^~\\&|A|||||||||||||||~ISO IR87\rPID|1||||\x1b$B;3ED\x1b(B^x\xff|y\r"))
	f.Add([]byte("MSH|^~\\&|A|||||||||||||||GB 18030-2000\rPID|1||||\x81|\xff^x\rMSH\rBHS"))
	f.Add([]byte("FHS|^~\\\nline\n\nMSH"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		m, err := hl7v2.Parse(raw)
		if err != nil {
			var syntax *hl7v2.SyntaxError
			require.ErrorAs(t, err, &syntax)
			require.LessOrEqual(t, syntax.Offset, len(raw))
			return
		}
		require.Equal(t, raw, m.AppendTo(nil))
		for i := range m.Len() {
			s := m.Segment(i)
			require.True(t, s.Is(s.Name()))
			for n := 1; n <= s.Fields(); n++ {
				for r := 1; r <= s.Field(n).Repetitions(); r++ {
					v := s.Field(n).Repetition(r)
					for c := 1; c <= v.Components(); c++ {
						for u := 1; u <= v.Component(c).Subcomponents(); u++ {
							checkText(t, v.Component(c).Subcomponent(u))
						}
					}
				}
			}
		}
		m.Header()
		hl7v2.ContentHash(raw)
		require.Equal(t, before, raw, "the bytes are never changed")
	})
}

func checkText(t *testing.T, v hl7v2.Value) {
	text, err := v.Text()
	var bad *hl7v2.CharsetError
	switch {
	case errors.As(err, &bad):
		require.Equal(t, v.Place(), bad.Place)
		require.GreaterOrEqual(t, bad.Offset, v.Offset())
		require.Less(t, bad.Offset, v.Offset()+len(v.Raw()))
	default:
		require.NoError(t, err)
		require.True(t, utf8.ValidString(text), "text is UTF-8")
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a|b^c&d~e\\f#\n\r\x00 ü", []byte(`\F\\.br\\X0d\\XC3\\XBC\\Zx\`))
	f.Add(`""`, []byte(`\\\F\.sp99\`))
	f.Fuzz(func(t *testing.T, text string, raw []byte) {
		d := hl7v2.DefaultDelimiters()
		escaped := hl7v2.Escape(text, d)
		require.False(t, strings.ContainsAny(escaped, "|^~&\r\n\x1c\x0b"), "nothing that separates is left")
		if utf8.ValidString(text) {
			require.Equal(t, text, hl7v2.Unescape([]byte(escaped), d))
		}
		if once := hl7v2.Unescape(raw, d); utf8.ValidString(once) {
			require.Equal(t, once, hl7v2.Unescape([]byte(hl7v2.Escape(once, d)), d))
		}
	})
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{"20260301101500.1234+0100", "202603290230", "2026-03-29T02:30:00Z", "20161231235960+00", "202602032400", "2026"} {
		f.Add(s)
	}
	berlin, err := hl7v2.LoadLocation("Europe/Berlin")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, s string) {
		at, err := hl7v2.ParseTime(s, berlin)
		if err != nil {
			var reason *hl7v2.TimeError
			require.ErrorAs(t, err, &reason)
			return
		}
		_, err = time.Parse("2006-01-02"[:len(at.Date())], at.Date())
		require.NoError(t, err)
		if instant := at.Instant(); instant != "" {
			_, err = time.Parse(time.RFC3339Nano, strings.Replace(instant, ":60", ":59", 1))
			require.NoError(t, err)
		}
		require.True(t, strings.HasPrefix(at.DateTime(), at.Date()) || at.Gap, "%s %s", at.DateTime(), at.Date())
	})
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("FHS|^~\\&|\rBHS|^~\\&|\rMSH|^~\\&|A\rBTS|2\rFTS|1\r"))
	f.Add([]byte("\x0bMSH|^~\\&|A\r\x1c\x0bMSH|^~\\&|B\n\n\nx\x1c"))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := hl7v2.NewSplitter(bytes.NewReader(in)).Limit(64)
		total := 0
		for range len(in) + 2 {
			item, err := s.Next()
			if errors.Is(err, io.EOF) {
				require.LessOrEqual(t, total, len(in), "nothing is invented")
				return
			}
			require.LessOrEqual(t, len(item.Raw), 64)
			total += len(item.Raw)
		}
		t.Fatal("no end")
	})
}

func FuzzAck(f *testing.F) {
	f.Add([]byte("MSH|^~\\&|A\rMSA|AE|1\rERR||PID^1^3|101|E\r"), "text")
	f.Add([]byte("MSH|^~|A|||||ADT^A01|1\x1c|P|2.3"), "a|b")
	f.Add([]byte("MSH#*!?%$#A|||||ADT*A01#1#P#2.9"), "#")
	f.Fuzz(func(t *testing.T, raw []byte, text string) {
		_, _ = hl7v2.ParseAck(raw)
		_, _ = hl7v2.ParseAcks(raw)
		failure := hl7v2.AckError{Location: hl7v2.Place{Segment: "PID", Field: 3}, Code: "207", Text: text}
		var ack []byte
		if m, err := hl7v2.Parse(raw); err == nil {
			ack = hl7v2.BuildAck(m, hl7v2.AE, "L1", noon, failure)
		} else {
			ack = hl7v2.BuildReject(raw, "L1", noon, failure)
		}
		if ack == nil {
			return
		}
		require.False(t, bytes.ContainsAny(ack, "\x0b\x1c\n"), "nothing that cuts its frame")
		read, err := hl7v2.ParseAck(ack)
		require.NoError(t, err)
		require.False(t, read.Code.Positive())
		require.Len(t, read.Errors, 1)
		require.Equal(t, "207", read.Errors[0].Code)
	})
}
