package hl7v2_test

import (
	"strings"
	"testing"

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
		"MSH-1": "|", "MSH-2": `^~\&`, "MSH-9.2": "A01", "MSH-10": "C1", "MSH-18": "UNICODE UTF-8",
		"PID-3.1": "4711", "PID-3[2].1": "99", "PID-3.4": "HOSP&1.2.3&ISO", "PID-3.4.1": "HOSP", "PID-3.4.2": "1.2.3", "PID-5.1": "Müller",
		"PID-11.1": "1 & 2 Way", "ZPI-2": "local",
		"PID-40": "", "PID-3[3].1": "", "PID-3.1.2": "", "PID[2]-3": "", "QQQ-1": "", "PID": "", "not a place": "", "PID-0": "",
	} {
		require.Equal(t, want, text(t, m.Get(place)), place)
	}
	require.Equal(t, 4, m.Len())
	require.Equal(t, 18, m.Segment(0).Fields(), "MSH-1 counts")
	require.Equal(t, 11, m.Segment(2).Fields())
	require.Equal(t, "4711^^^HOSP&1.2.3&ISO^MR~99^^^GOV^SS", text(t, m.Get("PID-3")), "a value with parts is the whole")
	require.Equal(t, "PID|1||", string(m.Segment(2).Raw()[:7]))
	require.Equal(t, strings.Index(admit, "PID"), m.Segment(2).Offset())
	require.Equal(t, strings.Index(admit, "4711"), m.Get("PID-3").Offset())
}

// A reader of one level gets the first of the next, so that a sender's new
// component or repetition does not break it.
func TestValuesReadAsTheirFirstPart(t *testing.T) {
	m := parse(t, admit)
	pid, ok := m.Find("PID", 0)
	require.True(t, ok)
	id := pid.Field(3)
	require.Equal(t, 2, id.Repetitions())
	require.Equal(t, 5, id.Components())
	require.Equal(t, "4711", text(t, id.Component(1)))
	require.Equal(t, "4711", text(t, id.Subcomponent(1)))
	authority := id.Component(4)
	require.Equal(t, 3, authority.Components(), "components of a component are its subcomponents")
	require.Equal(t, "ISO", text(t, authority.Component(3)))
	require.Equal(t, "HOSP", text(t, authority.Component(1).Component(1)))
	require.Equal(t, hl7v2.Absent, authority.Component(1).Component(2).State())
	require.Equal(t, hl7v2.Absent, authority.Repetition(2).State())
	require.Equal(t, authority, authority.Repetition(1))
	require.False(t, id.IsLeaf())
	require.True(t, authority.Component(1).IsLeaf())
	require.Equal(t, 1, m.Get("MSH-2").Repetitions(), "MSH-2 is not split by what it declares")
	require.Equal(t, 1, m.Get("MSH-2").Components())
	var none hl7v2.Value
	require.Zero(t, none.Repetitions()+none.Components()+none.Subcomponents())
	require.Nil(t, none.Component(2).Subcomponent(1).Raw())
	require.Equal(t, hl7v2.Place{}, none.Place())
}

func TestThreeKindsOfNothing(t *testing.T) {
	m := parse(t, "MSH|^~\\&|A\rPID|1||\"\"|^^|x^\"\"|~&|  |\"\"~y|\r")
	for place, want := range map[string]hl7v2.State{
		"PID-2": hl7v2.Empty, "PID-3": hl7v2.Null, "PID-4": hl7v2.Empty, "PID-4.2": hl7v2.Empty, "PID-5": hl7v2.Valued, "PID-5.2": hl7v2.Null,
		"PID-5.3": hl7v2.Absent, "PID-6": hl7v2.Empty, "PID-7": hl7v2.Empty, "PID-8.1": hl7v2.Null, "PID-8[2].1": hl7v2.Valued,
		"PID-9": hl7v2.Empty, "PID-10": hl7v2.Absent, "PV1-1": hl7v2.Absent,
	} {
		require.Equal(t, want, m.Get(place).State(), place)
		require.Equal(t, want == hl7v2.Valued, m.Get(place).Valued(), place)
	}
	require.Empty(t, text(t, m.Get("PID-3")), "a deletion has no text")
}

func TestDelimitersAreTheMessages(t *testing.T) {
	cases := map[string]struct {
		raw  string
		want hl7v2.Delimiters
	}{
		"three": {"MSH|^~\\|A", hl7v2.Delimiters{Field: '|', Component: '^', Repetition: '~', Escape: '\\'}},
		"four":  {"MSH|^~}&|A", hl7v2.Delimiters{Field: '|', Component: '^', Repetition: '~', Escape: '}', Subcomponent: '&'}},
		"five": {
			"MSH#*!?%$#A",
			hl7v2.Delimiters{Field: '#', Component: '*', Repetition: '!', Escape: '?', Subcomponent: '%', Truncation: '$'},
		},
		"nothing behind": {"MSH|^~\\&", hl7v2.DefaultDelimiters()},
		"batch header":   {"BHS|^~\\&|A\r", hl7v2.DefaultDelimiters()},
	}
	for name, c := range cases {
		require.Equal(t, c.want, parse(t, c.raw).Delimiters(), name)
	}
	m := parse(t, "MSH#*!?%$#A*B#C%D\nPID#1##7*8!9?F?1?P?\r\n")
	require.Equal(t, "8", text(t, m.Get("PID-3.2")))
	require.Equal(t, "9#1$", text(t, m.Get("PID-3[2].1")))
	require.Equal(t, "D", text(t, m.Get("MSH-4.1.2")))
	require.Equal(t, "A&B", text(t, parse(t, "MSH|^~\\|A&B\r").Get("MSH-3.1.1")), "no subcomponent separator was declared")
}

func TestRefusedMessages(t *testing.T) {
	for name, c := range map[string]struct{ raw, place string }{
		"empty":                  {"", "MSH"},
		"empty lines":            {" \r\n\r\n", "MSH"},
		"no MSH":                 {"PID|1|Secret|3|4\r", "MSH"},
		"a word":                 {"Secret", "MSH"},
		"cut in MSH":             {"MSH", "MSH"},
		"letters separate":       {"MSHa^~\\&aSecret\r", "MSH-1"},
		"no encoding characters": {"MSH||Secret|", "MSH-2"},
		"two":                    {"MSH|^~|Secret", "MSH-2"},
		"six":                    {"MSH|^~\\&#*|Secret\r", "MSH-2"},
		"letters encode":         {"MSH|^~\\A|Secret\r", "MSH-2"},
		"one twice":              {"MSH|^^\\&|Secret\r", "MSH-2"},
		"cut in MSH-2":           {"MSH|^~", "MSH-2"},
	} {
		_, err := hl7v2.Parse([]byte(c.raw))
		var syntax *hl7v2.SyntaxError
		require.ErrorAs(t, err, &syntax, name)
		require.Equal(t, c.place, syntax.Place.String(), name)
		require.LessOrEqual(t, syntax.Offset, len(c.raw), name)
		require.NotContains(t, err.Error(), "Secret", "no value in an error")
		var m hl7v2.Message
		require.Error(t, m.Parse([]byte(c.raw)))
		require.Zero(t, m.Len(), "nothing of a refused message is read")
		require.Equal(t, hl7v2.Absent, m.Get("MSH-3").State())
	}
}

func TestLineEnds(t *testing.T) {
	want := []string{"MSH|^~\\&|A", "PID|1", "PV1|1|I", "ZZZ"}
	for name, raw := range map[string]string{
		"CR":              strings.Join(want, "\r"),
		"CR at the end":   strings.Join(want, "\r") + "\r",
		"LF":              strings.Join(want, "\n") + "\n",
		"CRLF":            strings.Join(want, "\r\n") + "\r\n",
		"mixed":           "MSH|^~\\&|A\rPID|1\nPV1|1|I\r\nZZZ",
		"empty lines":     "\r\n\n" + strings.Join(want, "\r\r\n\n  \r") + "\n\n",
		"mark and blocks": "\xef\xbb\xbf\x0b" + strings.Join(want, "\r") + "\r\x1c\r",
	} {
		m := parse(t, raw)
		var got []string
		for i := range m.Len() {
			got = append(got, string(m.Segment(i).Raw()))
			require.False(t, m.Segment(i).Continued(), name)
		}
		require.Equal(t, want, got, name)
		require.Equal(t, raw, string(m.AppendTo(nil)), name)
	}
}

// A sender that forgets to escape a line break inside a text loses nothing.
func TestLinesThatBeginNoSegmentBelongToTheOneBefore(t *testing.T) {
	m := parse(t, "MSH|^~\\&|A\rOBX|1|TX|R||first line\nsecond, 3|4\n\nIt is late|F\rNTE|1||done\r")
	require.Equal(t, 3, m.Len())
	require.True(t, m.Segment(1).Continued())
	require.Equal(t, "first line\nsecond, 3", text(t, m.Get("OBX-5")))
	require.Equal(t, "4\n\nIt is late", text(t, m.Get("OBX-6")))
	require.Equal(t, "F", text(t, m.Get("OBX-7")))
	require.Equal(t, "done", text(t, m.Get("NTE-3")))
	require.Equal(t, 2, parse(t, "MSH|^~\\&|A\r1AB|x\rzpi|2").Len(), "a digit begins no name; small letters with a separator do")
}

func TestSegments(t *testing.T) {
	m := parse(t, "MSH|^~\\&|A\rOBX|1\rZQ1|z\rNTE|1\rOBX|2\rOBX|3\rMSH|^~\\&|B\r")
	last, ok := m.Find("OBX", 5)
	require.True(t, ok)
	require.Equal(t, []int{5, 3}, []int{last.Index(), last.Occurrence()})
	require.Equal(t, "OBX[3]-1", last.Field(1).Place().String())
	require.Equal(t, 5, last.Field(1).SegmentIndex())
	require.Equal(t, 1, last.Field(1).FieldNumber())
	_, ok = m.Find("OBX", 6)
	require.False(t, ok)
	_, ok = m.Find("OB", 0)
	require.False(t, ok)
	require.Equal(t, "ZQ1", m.Segment(2).Name())
	require.True(t, m.Segment(2).Is("ZQ1"))
	require.Equal(t, "B", text(t, m.Segment(6).Field(3)), "a second MSH counts its fields as one does")
	for _, none := range []hl7v2.Segment{m.Segment(-1), m.Segment(7), {}} {
		require.Empty(t, none.Name())
		require.Zero(t, none.Fields()+none.Occurrence()+none.Offset()+len(none.Raw()))
		require.False(t, none.Is("OBX"))
		require.Equal(t, hl7v2.Absent, none.Field(1).State())
	}
	require.Zero(t, testing.AllocsPerRun(10, func() {
		for i := range 7 {
			if i != 2 && m.Segment(i).Name() == "" || m.Segment(i).Is("QQQ") {
				panic("name")
			}
		}
	}), "names of the standard cost nothing")
}

func TestPlaces(t *testing.T) {
	for _, s := range []string{"PID-3", "PID-3[2].4.1", "OBX[2]-5", "OBX[12]-5[3].1", "PID", "OBX[2]"} {
		p, ok := hl7v2.ParsePlace(s)
		require.True(t, ok, s)
		require.Equal(t, s, p.String())
	}
	for _, s := range []string{"", "PI-3", "PIDX-3", "PID-", "PID-x", "PID-3[", "PID-3[0]", "PID-3[x]", "PID-3.", "PID-3.1.2.3", "PID-3.0", "PID[1-3"} {
		_, ok := hl7v2.ParsePlace(s)
		require.False(t, ok, s)
	}
}

// messages draws messages of any shape, valid or odd.
func messages() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		marks := rapid.SampledFrom([]string{"|^~\\&", "|^~\\&#", "|^~\\", "#*!?%"}).Draw(t, "delimiters")
		out := "MSH" + marks + marks[:1] + "APP"
		for range rapid.IntRange(0, 8).Draw(t, "segments") {
			out += rapid.SampledFrom([]string{"\r", "\n", "\r\n"}).Draw(t, "end")
			out += rapid.StringMatching(`[A-Z][A-Z0-9]{2}`).Draw(t, "name")
			for range rapid.IntRange(0, 12).Draw(t, "fields") {
				out += marks[:1] + rapid.StringMatching(`("")?[ -~ü€]{0,12}`).Draw(t, "field")
			}
		}
		return out
	})
}

func TestWritingGivesWhatWasRead(t *testing.T) {
	var reused hl7v2.Message
	rapid.Check(t, func(t *rapid.T) {
		raw := messages().Draw(t, "message")
		require.NoError(t, reused.Parse([]byte(raw)))
		require.Equal(t, raw, string(reused.AppendTo(nil)))
		// Not by keeping the bytes alone: the index puts them together again.
		sep := string(raw[3:4])
		var segments []string
		for i := range reused.Len() {
			s := reused.Segment(i)
			out, first := s.Name(), 1
			if s.Is("MSH") || s.Is("FHS") || s.Is("BHS") { // field 1 is the separator itself
				first = 2
			}
			for n := first; n <= s.Fields(); n++ {
				out += sep + joined(t, s.Field(n), reused.Delimiters())
			}
			segments = append(segments, out)
		}
		want := strings.FieldsFunc(raw, func(r rune) bool { return r == '\r' || r == '\n' })
		require.Equal(t, want, segments)
	})
}

// joined writes a field from its parts.
func joined(t *rapid.T, f hl7v2.Value, d hl7v2.Delimiters) string {
	var repetitions []string
	for r := 1; r <= f.Repetitions(); r++ {
		var components []string
		for c := 1; c <= f.Repetition(r).Components(); c++ {
			var subs []string
			component := f.Repetition(r).Component(c)
			for s := 1; s <= component.Subcomponents(); s++ {
				subs = append(subs, string(component.Subcomponent(s).Raw()))
			}
			components = append(components, strings.Join(subs, string(d.Subcomponent)))
		}
		repetitions = append(repetitions, strings.Join(components, string(d.Component)))
	}
	require.Equal(t, hl7v2.Absent, f.Repetition(max(f.Repetitions(), 1)+1).Component(1).State())
	return strings.Join(repetitions, string(d.Repetition))
}

// Get finds by Place what a walk finds, and says the same place.
func TestPlacesLeadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, err := hl7v2.Parse([]byte(messages().Draw(t, "message")))
		require.NoError(t, err)
		s := m.Segment(rapid.IntRange(0, m.Len()-1).Draw(t, "segment"))
		if s.Fields() == 0 {
			return
		}
		v := s.Field(rapid.IntRange(1, s.Fields()).Draw(t, "field"))
		v = v.Repetition(max(1, v.Repetitions())).Component(max(1, v.Components()))
		got := m.Get(v.Place().String())
		require.Equal(t, v.State(), got.State())
		require.Equal(t, string(v.Raw()), string(got.Raw()))
	})
}
