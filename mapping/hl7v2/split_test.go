package hl7v2_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

const (
	one = "MSH|^~\\&|A\rPID|1\r"
	two = "MSH|^~\\&|B\rPID|2\r"
)

func split(t testing.TB, s *hl7v2.Splitter) (items []hl7v2.SplitItem, errs []error) {
	t.Helper()
	for {
		item, err := s.Next()
		switch {
		case errors.Is(err, io.EOF):
			_, err = s.Next()
			require.ErrorIs(t, err, io.EOF, "the end stays the end")
			return items, errs
		case err != nil:
			errs = append(errs, err)
		default:
			items = append(items, item)
		}
	}
}

func raws(items []hl7v2.SplitItem) []string {
	var out []string
	for _, item := range items {
		out = append(out, string(item.Raw))
	}
	return out
}

func TestSplitter(t *testing.T) {
	lf := strings.ReplaceAll(one, "\r", "\n")
	crlf := strings.ReplaceAll(two, "\r", "\r\n")
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"plain":                  {one + two, []string{one, two}},
		"no last line end":       {one + strings.TrimSuffix(two, "\r"), []string{one, strings.TrimSuffix(two, "\r")}},
		"other line ends":        {lf + crlf, []string{lf, crlf}},
		"empty lines between":    {"\n\n" + one + "\r\n\r\n" + two + "\r", []string{one, two}},
		"frames":                 {"\x0b" + one + "\x1c\r\x0b" + two + "\x1c\r", []string{one, two}},
		"frames without CR":      {"\x0b" + one + "\x1c\x0b" + two + "\x1c", []string{one, two}},
		"frames, a line each":    {"\x0b" + one + "\x1c\r\n\x0b" + two + "\x1c\r\n", []string{one, two}},
		"double frames":          {"\x0b\x0b" + one + "\x1c\r\x1c\r\x0b\x0b" + two + "\x1c\r\x1c\r", []string{one, two}},
		"FS is data":             {"\x0bMSH|^~\\&|A\x1cB\r\x1c\r", []string{"MSH|^~\\&|A\x1cB\r"}},
		"batch":                  {"FHS|^~\\&|\rBHS|^~\\&|\r" + one + two + "BTS|2\rFTS|1\r", []string{one, two}},
		"batch, LF":              {"BHS|^~\\&|\n" + lf + "BTS|1\n", []string{lf}},
		"file without batch":     {"FHS|^~\\&|\r" + one + two + "FTS|1|done\r", []string{one, two}},
		"batch in a frame":       {"\x0bBHS|^~\\&|\r" + one + two + "BTS|2\r\x1c\r", []string{one, two}},
		"no counts":              {"BHS|^~\\&|\r" + one + two + "BTS||as many as there are\rFTS\r", []string{one, two}},
		"own separator":          {"BHS#*!?%#\rMSH#*!?%#A\rBTS#1#\r", []string{"MSH#*!?%#A\r"}},
		"text that starts MSH":   {"MSH|^~\\&|A\rOBX|1|TX|||MSH \rMSHX\r", []string{"MSH|^~\\&|A\rOBX|1|TX|||MSH \rMSHX\r"}},
		"no message":             {"hello\nworld\n" + one, []string{"hello\nworld\n", one}},
		"empty lines in a text":  {"MSH|^~\\&|A\rOBX|1|TX|||a\r\n\r\nb\r\n\n", []string{"MSH|^~\\&|A\rOBX|1|TX|||a\r\n\r\nb\r\n"}},
		"byte order mark":        {"\xef\xbb\xbf" + one + two, []string{one, two}},
		"nothing":                {"", nil},
		"nothing but empty line": {"\r\n \n\x0b\x1c\r", nil},
	} {
		for reader, r := range map[string]io.Reader{
			"whole": strings.NewReader(c.in), "bytewise": iotest.OneByteReader(strings.NewReader(c.in)), "with EOF": iotest.DataErrReader(strings.NewReader(c.in)),
		} {
			items, errs := split(t, hl7v2.NewSplitter(r))
			require.Equal(t, c.want, raws(items), "%s, %s", name, reader)
			require.Empty(t, errs, name)
			for i, item := range items {
				require.Equal(t, i, item.Index)
			}
		}
	}
}

func TestBatches(t *testing.T) {
	items, errs := split(t, hl7v2.NewSplitter(strings.NewReader(
		"FHS|^~\\&|F\rBHS|^~\\&|B1\r"+one+two+"BTS|2\r"+"BHS|^~\\&|B2\r\n"+one+"BTS|1\rFTS|2\r"+two+"FHS|^~\\&|G\r"+one+"FTS|1\r",
	)))
	require.Empty(t, errs)
	require.Equal(t, []string{one, two, one, two, one}, raws(items))
	require.Equal(t, &hl7v2.BatchInfo{File: []byte("FHS|^~\\&|F"), Header: []byte("BHS|^~\\&|B1"), Number: 1}, items[0].Batch)
	require.Same(t, items[0].Batch, items[1].Batch)
	require.Equal(t, &hl7v2.BatchInfo{File: []byte("FHS|^~\\&|F"), Header: []byte("BHS|^~\\&|B2"), Number: 2}, items[2].Batch)
	require.Nil(t, items[3].Batch, "behind the file's trailer")
	require.Equal(t, &hl7v2.BatchInfo{File: []byte("FHS|^~\\&|G"), Number: 1}, items[4].Batch)
	require.True(t, hl7v2.IsBatch([]byte("\x0b\r\nBHS|^~\\&|")))
	require.True(t, hl7v2.IsBatch([]byte("FHS|^~\\&|")))
	require.False(t, hl7v2.IsBatch([]byte(one)))
	require.False(t, hl7v2.IsBatch(nil))
}

// A trailer is a line with the separator of the header that it ends; else it is
// a line of text.
func TestTrailersInText(t *testing.T) {
	for in, want := range map[string][]string{
		"MSH|^~\\&|A\rOBX|1|TX|||blood tests\nBTS: negative\nsee above\r" + two:       {"MSH|^~\\&|A\rOBX|1|TX|||blood tests\nBTS: negative\nsee above\r", two},
		"BHS|^~\\&\rMSH|^~\\&|A\rOBX|1|TX|||tests\nBTS: 3\nFTS=1\r" + two + "BTS|2\r": {"MSH|^~\\&|A\rOBX|1|TX|||tests\nBTS: 3\nFTS=1\r", two},
		"BHS|^~\\&\r" + one + "BTS|1\r" + two + "BTS\r":                               {one, two + "BTS\r"},
	} {
		items, err := hl7v2.SplitAll([]byte(in))
		require.NoError(t, err, "%q", in)
		require.Equal(t, want, raws(items), "%q", in)
	}
}

func TestBatchCounts(t *testing.T) {
	for in, want := range map[string][]hl7v2.BatchCountError{
		"BHS|^~\\&\r" + one + "BTS|3\r":                         {{Trailer: "BTS", Declared: 3, Found: 1}},
		"BHS|^~\\&\r" + one + two + "BTS|1\r":                   {{Trailer: "BTS", Declared: 1, Found: 2}},
		"BHS|^~\\&\rBTS|1\r":                                    {{Trailer: "BTS", Declared: 1, Found: 0}},
		"BHS|^~\\&\r" + one + "BTS|many\r":                      {{Trailer: "BTS", Declared: -1, Found: 1}},
		"BHS|^~\\&\r" + one + "BTS|99999999999999999999\r":      {{Trailer: "BTS", Declared: -1, Found: 1}},
		"FHS|^~\\&\rBHS|^~\\&\r" + one + "BTS|2\rFTS|2\r" + two: {{Trailer: "BTS", Declared: 2, Found: 1}, {Trailer: "FTS", Declared: 2, Found: 1}},
		"BHS|^~\\&\r" + one + "BTS|01 \r":                       nil,
	} {
		items, err := hl7v2.SplitAll([]byte(in))
		require.Len(t, items, strings.Count(in, "MSH"), "the messages are there all the same")
		got := []hl7v2.BatchCountError{}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				var count *hl7v2.BatchCountError
				require.ErrorAs(t, e, &count)
				require.Contains(t, e.Error(), count.Trailer+"-1")
				got = append(got, *count)
			}
		}
		require.ElementsMatch(t, want, got, in)
	}
}

// What was cut short is told: a frame without its end is no message, a batch
// without its trailer may not be all of it.
func TestCut(t *testing.T) {
	for in, want := range map[string]struct {
		messages []string
		missing  []string
	}{
		"\x0b" + one + "\x1c\r\x0b" + two[:len(two)-3]: {[]string{one}, []string{""}},
		"\x0b" + one + "\x0b" + two + "\x1c\r":         {[]string{two}, []string{""}},
		"\x0b" + one + "\x1c":                          {[]string{one}, nil},
		"BHS|^~\\&\r" + one + two:                      {[]string{one, two}, []string{"BTS"}},
		"FHS|^~\\&\rBHS|^~\\&\r" + one:                 {[]string{one}, []string{"BTS", "FTS"}},
		"FHS|^~\\&\rBHS|^~\\&\r" + one + "BTS|1\r":     {[]string{one}, []string{"FTS"}},
		"FHS|^~\\&\rBHS|^~\\&\r" + one + "FTS|1\r":     {[]string{one}, nil},
		"FHS|^~\\&\r" + one:                            {[]string{one}, []string{"FTS"}},
	} {
		items, errs := split(t, hl7v2.NewSplitter(strings.NewReader(in)))
		require.Equal(t, want.messages, raws(items), "%q", in)
		var missing []string
		for _, err := range errs {
			var cut *hl7v2.CutError
			require.ErrorAs(t, err, &cut)
			require.Contains(t, err.Error(), cut.Missing)
			missing = append(missing, cut.Missing)
		}
		require.Equal(t, want.missing, missing, "%q", in)
	}
}

func TestMessagesAboveTheLimit(t *testing.T) {
	long := "MSH|^~\\&|L\rOBX|1|TX|||" + strings.Repeat("x", 200_000) + "\rNTE|1\r"
	lines := "MSH|^~\\&|M\r" + strings.Repeat("NTE|1\r", 50)
	blank := "MSH|^~\\&|N\r" + strings.Repeat("\n", 500) + "NTE|1\r"
	items, errs := split(t, hl7v2.NewSplitter(strings.NewReader(one+long+two+lines+blank+one)).Limit(100))
	require.Equal(t, []string{one, two, one}, raws(items))
	require.Equal(t, []error{hl7v2.ErrTooLong, hl7v2.ErrTooLong, hl7v2.ErrTooLong}, errs)
	require.Equal(t, 5, items[2].Index, "what was too long keeps its number")
	items, errs = split(t, hl7v2.NewSplitter(strings.NewReader(one)).Limit(len(one)))
	require.Len(t, items, 1)
	require.Empty(t, errs)
}

// A reader that fails gives the messages before the fault, not the torn one.
func TestReaderThatFails(t *testing.T) {
	broken := errors.New("disk gone")
	s := hl7v2.NewSplitter(io.MultiReader(strings.NewReader(one+two), iotest.ErrReader(broken)))
	item, err := s.Next()
	require.NoError(t, err)
	require.Equal(t, one, string(item.Raw))
	_, err = s.Next()
	require.ErrorIs(t, err, broken)
	_, err = s.Next()
	require.ErrorIs(t, err, broken)
}

// However messages are packed, the same come out.
func TestPackingDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []string
		for range rapid.IntRange(1, 5).Draw(t, "messages") {
			want = append(want, "MSH|^~\\&|"+rapid.StringMatching(`([A-Za-z0-9|^]{0,20}\r[A-Z]{2}1\|){0,4}`).Draw(t, "message")+"end\r")
		}
		var in bytes.Buffer
		kind := rapid.SampledFrom([]string{"plain", "frames", "batch"}).Draw(t, "packing")
		if kind == "batch" {
			in.WriteString("BHS|^~\\&|x\r")
		}
		for _, m := range want {
			if kind == "frames" {
				m = "\x0b" + m + "\x1c\r"
			}
			in.WriteString(m)
		}
		if kind == "batch" {
			in.WriteString("BTS\r")
		}
		s := hl7v2.NewSplitter(iotest.HalfReader(&in))
		var got []string
		for {
			item, err := s.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			got = append(got, string(item.Raw))
		}
		require.Equal(t, want, got)
	})
}

func TestBatchAcknowledgement(t *testing.T) {
	items, err := hl7v2.SplitAll([]byte("FHS|^~\\&|APP|FAC|LIAISON|HUB|||||F7\rBHS|^~\\&|APP|FAC|LIAISON|HUB|20260301||||B7\r" +
		"MSH|^~\\&|APP||||||ADT^A01|1|P|2.3\rMSH|^~\\&|APP||||||ADT^A01|2|P|2.3\rMSH|^~\\&|APP||||||ACK|3|P|2.3\rBTS|3\rFTS|1\r"))
	require.NoError(t, err)
	var acks [][]byte
	for i, item := range items {
		code := []hl7v2.AckCode{hl7v2.AA, hl7v2.AE, hl7v2.AA}[i]
		acks = append(acks, hl7v2.BuildAck(parse(t, string(item.Raw)), code, "L", noon))
	}
	raw := hl7v2.BuildBatchAck(items[0].Batch, acks, "L9", noon)
	require.Equal(t, "FHS|^~\\&|LIAISON|HUB|APP|FAC|20260301120000+0000||||L9|F7\rBHS|^~\\&|LIAISON|HUB|APP|FAC|20260301120000+0000||||L9|B7\r"+
		"MSH|^~\\&|||APP||20260301120000+0000||ACK|L|P|2.3\rMSA|AA|1\rMSH|^~\\&|||APP||20260301120000+0000||ACK|L|P|2.3\rMSA|AE|2\r"+
		"BTS|2\rFTS|1\r", string(raw))
	read, err := hl7v2.ParseAcks(raw)
	require.NoError(t, err)
	require.Equal(t, []hl7v2.Ack{{Code: hl7v2.AA, ControlID: "1"}, {Code: hl7v2.AE, ControlID: "2"}}, read)

	require.Equal(t, "BHS|^~\\&|||||20260301120000+0000||||L9\rBTS|0\r", string(hl7v2.BuildBatchAck(nil, nil, "L9", noon)))
	require.Equal(t, "BHS|^~\\&|||||20260301120000+0000||||L9\rBTS|0\r",
		string(hl7v2.BuildBatchAck(&hl7v2.BatchInfo{Header: []byte("BHS")}, nil, "L9", noon)), "a header that says nothing")
	fileOnly := hl7v2.BuildBatchAck(&hl7v2.BatchInfo{File: []byte("FHS#*!?%#A"), Number: 1}, acks[:1], "L9", noon)
	require.True(t, bytes.HasPrefix(fileOnly, []byte("FHS#*!?%###A##2026")))
	require.True(t, bytes.HasSuffix(fileOnly, []byte("MSA|AA|1\rFTS#1\r")))
	_, err = hl7v2.ParseAcks([]byte("BHS|^~\\&\r" + one + "BTS|2\r"))
	require.Error(t, err)
	_, err = hl7v2.ParseAcks([]byte(one))
	require.ErrorIs(t, err, hl7v2.ErrNotAck)
	_, err = hl7v2.ParseAcks(nil)
	require.ErrorIs(t, err, hl7v2.ErrNotAck)
}
