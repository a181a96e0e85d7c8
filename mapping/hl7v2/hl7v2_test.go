package hl7v2_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

const admit = "MSH|^~\\&|ADT|HOSP|LIAISON|HOSP|20260301101500+0100||ADT^A01^ADT_A01|C1|P|2.5.1|7||AL|NE||UNICODE UTF-8\r" +
	"EVN|A01|20260301101500\r" +
	"PID|1||4711^^^HOSP&1.2.3&ISO^MR~99^^^GOV^SS||M\xc3\xbcller^Anna^\"\"||19700203|F|||1 \\T\\ 2 Way^^Town\r" +
	"ZPI|1|local\r"

func parse(t testing.TB, raw string) *hl7v2.Message {
	t.Helper()
	m, err := hl7v2.Parse([]byte(raw))
	require.NoError(t, err)
	return m
}

func text(t testing.TB, v hl7v2.Value) string {
	t.Helper()
	s, err := v.Text()
	require.NoError(t, err)
	return s
}

func TestValuesByPlace(t *testing.T) {
	m := parse(t, admit)
	for place, want := range map[string]string{
		"MSH-1": "|", "MSH-2": `^~\&`, "MSH-9.2": "A01", "MSH-10": "C1", "PID-3.1": "4711", "PID-3[2].1": "99",
		"PID-3.4.2": "1.2.3", "PID-5.1": "Müller", "PID-11.1": "1 & 2 Way", "ZPI-2": "local", "PID-40": "", "PID-3[3].1": "", "QQQ-1": "",
	} {
		require.Equal(t, want, text(t, m.Get(place)), place)
	}
	require.Equal(t, "PID-3[2].1", m.Get("PID-3[2].1").Place().String())
	require.Equal(t, "ADT^A01", m.Header().Type())
	require.Equal(t, 4, m.Len())
	require.Equal(t, 18, m.Segment(0).Fields())
}

func TestThreeKindsOfNothing(t *testing.T) {
	m := parse(t, "MSH|^~\\&|A\rPID|1||\"\"|^^|x^\"\"\r")
	states := map[string]hl7v2.State{
		"PID-2": hl7v2.Empty, "PID-3": hl7v2.Null, "PID-4": hl7v2.Empty, "PID-5": hl7v2.Valued, "PID-5.2": hl7v2.Null, "PID-5.3": hl7v2.Absent,
		"PID-6": hl7v2.Absent, "PV1-1": hl7v2.Absent,
	}
	for place, want := range states {
		require.Equal(t, want, m.Get(place).State(), place)
	}
}

func TestDelimitersAreTheMessages(t *testing.T) {
	m := parse(t, "MSH#*!?%$#A*B#C%D\nPID#1##7*8!9?F?\r\n")
	require.Equal(t, hl7v2.Delimiters{Field: '#', Component: '*', Repetition: '!', Escape: '?', Subcomponent: '%', Truncation: '$'}, m.Delimiters())
	require.Equal(t, "8", text(t, m.Get("PID-3.2")))
	require.Equal(t, "9#", text(t, m.Get("PID-3[2].1")))
	require.Equal(t, "D", text(t, m.Get("MSH-4.1.2")))
	short := parse(t, "MSH|^~\\|A&B\r")
	require.Equal(t, "A&B", text(t, short.Get("MSH-3")), "no subcomponent separator declared")
}

func TestRefusedMessages(t *testing.T) {
	for name, raw := range map[string]string{
		"empty": "", "no MSH": "PID|1|2|3|4\r", "short": "MSH|", "letters separate": "MSHa^~\\&a\r", "too many": "MSH|^~\\&#*!|A\r",
		"not a segment": "MSH|^~\\&|A\rhello world\r", "unknown charset": "MSH|^~\\&|A|||||||||||||||KLINGON\r",
	} {
		_, err := hl7v2.Parse([]byte(raw))
		var syntax *hl7v2.SyntaxError
		require.ErrorAs(t, err, &syntax, name)
		require.NotContains(t, err.Error(), "hello", "no value in an error")
	}
}

func TestCharsets(t *testing.T) {
	latin := "MSH|^~\\&|A|||||||||||||||8859/1\rPID|1||||M\xfcller\r"
	require.Equal(t, "Müller", text(t, parse(t, latin).Get("PID-5")))
	m := parse(t, "MSH|^~\\&|A\rPID|1||||M\xfcller\r")
	_, err := m.Get("PID-5.1").Text()
	var charset *hl7v2.CharsetError
	require.ErrorAs(t, err, &charset)
	require.Equal(t, "PID-5.1", charset.Place.String())
	require.NoError(t, m.SetDefaultCharset("8859/15"))
	require.Equal(t, "Müller", text(t, m.Get("PID-5.1")))
	require.Error(t, m.SetDefaultCharset("nonsense"))
}

func TestEscapes(t *testing.T) {
	for raw, want := range map[string]string{
		`a\F\b\S\c\T\d\R\e\E\f\P\`: `a|b^c&d~e\f#`, `1\.br\2\.sp2\3`: "1\n2\n\n3", `\X48C3BC\`: "Hü", `lone \ stays`: `lone \ stays`,
		`\H\bold\N\`: `\H\bold\N\`, `\Zx\`: `\Zx\`, `\X4\`: `\X4\`, `end\`: `end\`,
	} {
		require.Equal(t, want, hl7v2.Unescape([]byte(raw), hl7v2.DefaultDelimiters()), raw)
	}
}

func TestAnyTextSurvivesEscaping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.String().Draw(t, "text")
		raw := hl7v2.NewBuilder(hl7v2.Delimiters{}).Header("MSH", hl7v2.F("A")).Segment("NTE", hl7v2.F("1"), nil, hl7v2.F("x", want)).Bytes()
		m, err := hl7v2.Parse(raw)
		require.NoError(t, err)
		v := m.Get("NTE-3.2")
		got, err := v.Text()
		require.NoError(t, err)
		switch {
		case want == `""`:
			require.Equal(t, hl7v2.Null, v.State())
		case strings.Trim(want, " ") == "":
			require.Empty(t, got)
		default:
			require.Equal(t, want, got)
		}
	})
}

func TestWritingGivesWhatWasRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.StringMatching(`([A-Z]{3}\|[ -~]{0,30}\r){0,6}`).Draw(t, "body")
		raw := "MSH|^~\\&|A|B\r" + body
		m, err := hl7v2.Parse([]byte(raw))
		require.NoError(t, err)
		require.Equal(t, raw, string(m.AppendTo(nil)))
		for i := range m.Len() {
			s := m.Segment(i)
			parts := make([]string, 0, s.Fields())
			first := 1
			if s.Is("MSH") {
				first = 2
			}
			for n := first; n <= s.Fields(); n++ {
				parts = append(parts, string(s.Field(n).Raw()))
			}
			require.Equal(t, strings.Split(raw, "\r")[i], strings.Join(append([]string{s.Name()}, parts...), "|"))
		}
	})
}

func TestTimes(t *testing.T) {
	berlin, err := hl7v2.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	cases := []struct {
		in, dateTime, zone string
		gap, fold          bool
	}{
		{in: "2026", dateTime: "2026", zone: "source"},
		{in: "202602", dateTime: "2026-02", zone: "source"},
		{in: "20260203", dateTime: "2026-02-03", zone: "source"},
		{in: "2026020310", dateTime: "2026-02-03", zone: "source"},
		{in: "202602031015", dateTime: "2026-02-03T10:15:00+01:00", zone: "source"},
		{in: "20260703101530.12-0500", dateTime: "2026-07-03T10:15:30.12-05:00", zone: "explicit"},
		{in: "20260203101530+05", dateTime: "2026-02-03T10:15:30+05:00", zone: "explicit"},
		{in: "202602032400", dateTime: "2026-02-04T00:00:00+01:00", zone: "source"},
		{in: "20161231235960+0000", dateTime: "2016-12-31T23:59:60Z", zone: "explicit"},
		{in: "202603290230", dateTime: "2026-03-29T03:30:00+02:00", zone: "source", gap: true},
		{in: "202610250230", dateTime: "2026-10-25T02:30:00+02:00", zone: "source", fold: true},
	}
	for _, c := range cases {
		got, err := hl7v2.ParseTime(c.in, berlin)
		require.NoError(t, err, c.in)
		require.Equal(t, c.dateTime, got.DateTime(), c.in)
		require.Equal(t, c.zone, got.Zone.String(), c.in)
		require.Equal(t, c.gap, got.Gap, c.in)
		require.Equal(t, c.fold, got.Fold, c.in)
	}
	none, err := hl7v2.ParseTime("202602031015", nil)
	require.NoError(t, err)
	require.Equal(t, "2026-02-03", none.DateTime(), "no offset is invented")
	require.Empty(t, none.Instant())
	for _, bad := range []string{"", "20", "20261301", "20260230", "2026020325", "abcd", "20260203101530.", "x20260203", "20260203101530+2500", "20260203.5"} {
		if _, err := hl7v2.ParseTime(bad, berlin); bad != "20260203101530." {
			require.Error(t, err, bad)
		}
	}
	_, err = hl7v2.LoadLocation("Local")
	require.Error(t, err)
}

func TestTimePropertyInstantKeepsTheWallClock(t *testing.T) {
	zones := []string{"America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"}
	rapid.Check(t, func(t *rapid.T) {
		loc, err := hl7v2.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		require.NoError(t, err)
		at := time.Unix(rapid.Int64Range(0, 2e9).Draw(t, "unix"), 0).In(loc)
		got, err := hl7v2.ParseTime(at.Format("20060102150405"), loc)
		require.NoError(t, err)
		require.False(t, got.Gap, "a time that was on the clock is in no gap")
		if got.Fold {
			require.LessOrEqual(t, got.Time.Unix(), at.Unix(), "the first of the two")
			return
		}
		require.Equal(t, at.Unix(), got.Time.Unix())
	})
}

func TestAcknowledgements(t *testing.T) {
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	failure := hl7v2.AckError{Location: hl7v2.Place{Segment: "PID", Occurrence: 1, Field: 3}, Code: "101", Severity: "E", Text: "required"}
	answer := hl7v2.Answer{Code: hl7v2.AR, ControlID: "L1", Time: at, Errors: []hl7v2.AckError{failure}}
	require.Equal(t, "MSH|^~\\&|LIAISON|HOSP|ADT|HOSP|20260301090000+0000||ACK^A01^ACK|L1|P|2.5.1\r"+
		"MSA|AR|C1|required\rERR||PID^1^3^1|101^Required field missing^HL70357|E||||required\r", string(hl7v2.BuildAck(parse(t, admit), answer)))
	old := parse(t, "MSH|^~\\&|X|Y|||||ADT^A01|7|P|2.3\r")
	require.Contains(t, string(hl7v2.BuildAck(old, answer)), "ERR|PID^1^3^101\r")
	newest := parse(t, "MSH|^~\\&|X|Y|||||ADT^A01|7|P|2.9\r")
	answer.Errors[0].Code = "207"
	require.Contains(t, string(hl7v2.BuildAck(newest, answer)), "|0^Message accepted^HL70357|E|207^Application internal error^HL70533|")
	ack := hl7v2.BuildAck(parse(t, admit), hl7v2.Answer{Code: hl7v2.CA, ControlID: "L2", Time: at})
	require.Nil(t, hl7v2.BuildAck(parse(t, string(ack)), answer), "an acknowledgement is never acknowledged")
	read, err := hl7v2.ParseAck(ack)
	require.NoError(t, err)
	require.Equal(t, hl7v2.Ack{Code: hl7v2.CA, ControlID: "C1"}, read)
	_, err = hl7v2.ParseAck([]byte("MSH|^~\\&|A\rPID|1\r"))
	require.ErrorIs(t, err, hl7v2.ErrNotAck)
}

func TestAckModes(t *testing.T) {
	for name, c := range map[string]struct {
		accept, application string
		wantAccept, wantApp bool // for a good message
	}{
		"original": {"", "", false, true}, "AL/NE": {"AL", "NE", true, false}, "NE/AL": {"NE", "AL", false, true},
		"AL/AL": {"AL", "AL", true, true}, "ER/ER": {"ER", "ER", false, false}, "SU/NE": {"SU", "NE", true, false}, "NE/NE": {"NE", "NE", false, false},
	} {
		mode := hl7v2.Header{AcceptAck: c.accept, ApplicationAck: c.application}.AckMode()
		require.Equal(t, c.wantAccept, mode.Accept.Wants(true), name)
		require.Equal(t, c.wantApp, mode.Application.Wants(true), name)
	}
	require.True(t, hl7v2.OnError.Wants(false))
}

func split(t *testing.T, in string) (messages []string, counts []*hl7v2.BatchCountError) {
	t.Helper()
	s := hl7v2.NewSplitter(strings.NewReader(in), 0)
	for {
		raw, err := s.Next()
		if errors.Is(err, io.EOF) {
			return messages, counts
		}
		var count *hl7v2.BatchCountError
		if errors.As(err, &count) {
			counts = append(counts, count)
		} else {
			require.NoError(t, err)
		}
		if raw != nil {
			messages = append(messages, string(raw))
		}
	}
}

func TestSplitter(t *testing.T) {
	one, two := "MSH|^~\\&|A\rPID|1\r", "MSH|^~\\&|B\rPID|2\r"
	for name, in := range map[string]string{
		"plain": one + two, "frames": "\x0b" + one + "\x1c\r\x0b" + two + "\x1c\r", "blank lines": one + "\r\n\r\n" + two,
		"batch": "FHS|^~\\&|\rBHS|^~\\&|\r" + one + two + "BTS|2\rFTS|1\r",
	} {
		messages, counts := split(t, in)
		require.Equal(t, []string{one, two}, messages, name)
		require.Empty(t, counts, name)
	}
	messages, counts := split(t, "BHS|^~\\&|\r"+one+"BTS|3\r")
	require.Len(t, messages, 1)
	require.Equal(t, []*hl7v2.BatchCountError{{Trailer: "BTS", Declared: 3, Found: 1}}, counts)
	_, err := hl7v2.NewSplitter(strings.NewReader("MSH|"+strings.Repeat("x", 100)), 50).Next()
	require.ErrorIs(t, err, hl7v2.ErrTooLong)
}

func TestContentHashIgnoresTimeAndControlID(t *testing.T) {
	other := strings.Replace(strings.Replace(admit, "|C1|", "|C2|", 1), "20260301101500+0100", "20260302", 1)
	require.Equal(t, hl7v2.ContentHash([]byte(admit)), hl7v2.ContentHash([]byte(other)))
	require.Equal(t, hl7v2.ContentHash([]byte(admit)), hl7v2.ContentHash([]byte(strings.ReplaceAll(admit, "\r", "\r\n"))))
	require.NotEqual(t, hl7v2.ContentHash([]byte(admit)), hl7v2.ContentHash([]byte(strings.Replace(admit, "4711", "4712", 1))))
	require.NotEqual(t, hl7v2.ContentHash([]byte(admit)), hl7v2.ContentHash([]byte(strings.Replace(admit, "|P|", "|T|", 1))))
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(admit))
	f.Add([]byte("MSH|^~\\&#|A|||||||||||||||8859/1\rOBX|1|TX|a\\X41\\||\xfc\\.sp3\\"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := hl7v2.Parse(raw)
		if err != nil {
			return
		}
		for i := range m.Len() {
			s := m.Segment(i)
			for n := 1; n <= s.Fields(); n++ {
				for r := 1; r <= s.Field(n).Repetitions(); r++ {
					v := s.Field(n).Repetition(r)
					for c := 1; c <= v.Components(); c++ {
						_, _ = v.Component(c).Text()
					}
				}
			}
		}
		hl7v2.BuildAck(m, hl7v2.Answer{Code: hl7v2.AA})
		hl7v2.ContentHash(raw)
	})
}

func FuzzTime(f *testing.F) {
	f.Add("20260301101500.1234+0100")
	f.Fuzz(func(t *testing.T, s string) {
		if at, err := hl7v2.ParseTime(s, time.UTC); err == nil {
			_, _, _ = at.Date(), at.DateTime(), at.Instant()
		}
	})
}

func FuzzSplitter(f *testing.F) {
	f.Add("FHS|^~\\&|\rBHS|^~\\&|\rMSH|^~\\&|A\rBTS|2\rFTS|1\r")
	f.Fuzz(func(t *testing.T, in string) {
		s := hl7v2.NewSplitter(strings.NewReader(in), 1000)
		for range len(in) + 2 {
			if _, err := s.Next(); errors.Is(err, io.EOF) {
				return
			}
		}
	})
}

func FuzzParseAck(f *testing.F) {
	f.Add([]byte("MSH|^~\\&|A\rMSA|AE|1\rERR||PID^1^3|101|E\r"))
	f.Fuzz(func(t *testing.T, raw []byte) { _, _ = hl7v2.ParseAck(raw) })
}
