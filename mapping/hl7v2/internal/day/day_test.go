package day_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/testdata"
)

var update = flag.Bool("update", false, "write testdata/day")

// A day collects events, which are written in the order of their sending.
type day struct {
	zone     *time.Location
	patients []*patient
	stays    []*stay
	events   []*event
}

func (d *day) clock(hour, minute int) time.Time {
	return time.Date(2026, 3, 10, hour, minute, 0, 0, d.zone)
}

// add gives each event a second of its own.
func (d *day) add(e *event) *event {
	e.id = len(d.events)
	e.at = e.at.Add(time.Duration(e.id*7%60) * time.Second)
	e.sent = e.at
	d.events = append(d.events, e)
	return e
}

// again resends the n-th message of a kind, as a sender does that has not seen
// the acknowledgement.
func (d *day) again(kind string, n int, after time.Duration) {
	for _, e := range d.events {
		if !strings.HasPrefix(e.kind, kind) || e.repeat != nil || e.note != "" {
			continue
		}
		if n--; n < 0 {
			copied := *e
			copied.repeat, copied.note, copied.id, copied.sent = e, "resent", len(d.events), e.sent.Add(after)
			d.events = append(d.events, &copied)
			return
		}
	}
}

// makeDay gives the files of the day by name, and the order in which to send.
func makeDay(t *testing.T) (map[string]string, string) {
	t.Helper()
	zone, err := hl7v2.LoadLocation("America/New_York")
	require.NoError(t, err)
	d := &day{zone: zone}
	for n := range 66 {
		d.patients = append(d.patients, person(n))
	}
	d.inpatients()
	d.outpatients()
	d.persons()
	d.appointments()
	d.results()
	d.poison()
	d.charges()
	for i, kind := range []string{"ADT^A01", "ADT^A08", "ADT^A03", "SIU^S12", "SIU^S13", "ORU", "ORU", "DFT", "ADT^A04", "DFT", "ADT^A31", "SIU^S15"} {
		d.again(kind, i%3, time.Duration(20+i*31)*time.Second)
	}
	return d.write()
}

func (d *day) write() (map[string]string, string) {
	numbers := map[string]int{}
	slices.SortStableFunc(d.events, func(a, b *event) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id)) })
	for _, e := range d.events {
		if e.repeat == nil {
			numbers[e.prefix]++
			if e.sequence {
				numbers[e.file]++
			}
			e.raw = e.write(1000+numbers[e.prefix], numbers[e.file])
		}
	}
	slices.SortStableFunc(d.events, func(a, b *event) int { return cmp.Or(a.sent.Compare(b.sent), cmp.Compare(a.id, b.id)) })
	files, index := map[string]string{}, map[string]int{}
	var order strings.Builder
	order.WriteString("# The messages of the day in the order in which they are sent: time, file, position in it from 0, type, what is special.\n")
	portal := false
	for _, e := range d.events {
		if !portal && e.sent.After(d.clock(10, 0)) {
			portal = true
			order.WriteString("10:00:00 portal-bundle.json 0 Bundle from the patients' portal\n")
		}
		raw := e.raw
		if e.repeat != nil {
			raw = e.repeat.raw
		}
		files[e.file] += raw
		kind := strings.Join(strings.SplitN(e.kind, "^", 3)[:2], "^")
		order.WriteString(strings.TrimSpace(fmt.Sprintf("%s %s %d %s %s", e.sent.Format("15:04:05"), e.file, index[e.file], kind, e.note)) + "\n")
		index[e.file]++
	}
	return files, order.String()
}

// The committed files are what this program makes.
func TestFilesOfTheDay(t *testing.T) {
	made, order := makeDay(t)
	made["order.txt"] = order
	committed, err := testdata.Files()
	require.NoError(t, err)
	for name, want := range made {
		if *update {
			require.NoError(t, os.WriteFile(filepath.Join("..", "..", "..", "..", "testdata", "day", name), []byte(want), 0o644))
			continue
		}
		got, err := fs.ReadFile(committed, name)
		require.NoError(t, err)
		require.True(t, string(got) == want, "%s is not what is made: go test ./mapping/hl7v2/internal/day -update", name)
	}
}

// The day shows what the rest of the program is tested with.
func TestTheDayShowsWhatItShould(t *testing.T) {
	day, err := testdata.Day()
	require.NoError(t, err)
	types, notes, versions, first := map[string]int{}, map[string]int{}, map[string]int{}, map[string]string{}
	bytes, undecodable, transactions := 0, 0, map[string]int{}
	for i, m := range day {
		if i > 0 {
			require.GreaterOrEqual(t, m.Time, day[i-1].Time, "in time order")
		}
		types[m.Type]++
		notes[strings.SplitN(m.Note, ":", 2)[0]]++
		if m.Type == "Bundle" {
			continue
		}
		bytes += len(m.Raw)
		msg, err := hl7v2.Parse(m.Raw)
		require.NoError(t, err)
		h := msg.Header()
		versions[h.Version]++
		require.Equal(t, m.Type, h.Type())
		id := h.SendingApplication + " " + h.ControlID
		if m.Note == "resent" {
			require.Equal(t, first[id], string(m.Raw), "byte for byte")
		} else {
			require.NotContains(t, first, id, "a control id is given once")
		}
		first[id] = string(m.Raw)
		if !readable(t, msg) {
			undecodable++
			require.Contains(t, m.Note, "poison")
		}
		for s, ok := msg.Find("FT1", 0); ok; s, ok = msg.Find("FT1", s.Index()+1) {
			transactions[string(s.Field(6).Raw())]++
		}
	}
	require.Greater(t, len(day), 300)
	require.InDelta(t, 1350, bytes/len(day), 350, "1 to 1.7 KB a message")
	require.Equal(t, 1, undecodable)
	for _, kind := range strings.Fields("A01 A02 A03 A04 A05 A06 A07 A08 A09 A11 A12 A13 A28 A31 A40") {
		require.Positive(t, types["ADT^"+kind], kind)
	}
	for _, kind := range strings.Fields("S12 S13 S14 S15 S16 S17 S26") {
		require.Positive(t, types["SIU^"+kind], kind)
	}
	require.Greater(t, types["ORU^R01"], 50)
	require.Greater(t, types["DFT^P03"], 40)
	require.Equal(t, 1, types["Bundle"])
	for _, kind := range []string{"CG", "CD", "PY", "AJ", "CO"} {
		require.Positive(t, transactions[kind], kind)
	}
	require.Equal(t, 12, notes["resent"])
	require.Equal(t, 2, notes["merge"])
	for _, note := range []string{"before its booking", "older update, late", "correction", "a document", "credit", "for a retired patient", "poison"} {
		require.Positive(t, notes[note], note)
	}
	for _, version := range []string{"2.3", "2.4", "2.5.1", "2.6", "2.7", "2.8"} {
		require.Positive(t, versions[version], version)
	}
	t.Logf("%d messages, %d bytes each, %v", len(day), bytes/len(day), types)
}

// readable reads every value and every time of a message.
func readable(t *testing.T, m *hl7v2.Message) bool {
	t.Helper()
	ok := true
	for i := range m.Len() {
		s := m.Segment(i)
		require.False(t, s.Continued())
		for n := 1; n <= s.Fields(); n++ {
			_, err := s.Field(n).Text()
			var charset *hl7v2.CharsetError
			if errors.As(err, &charset) {
				ok = false
				continue
			}
			require.NoError(t, err)
		}
	}
	for _, place := range []string{"MSH-7", "EVN-2", "PID-7", "PV1-44", "PV1-45", "SCH-11.4", "AIS-4", "OBR-7", "OBX-14", "FT1-4"} {
		if v := m.Get(place); v.Valued() {
			text, err := v.Text()
			require.NoError(t, err)
			_, err = hl7v2.ParseTime(text, time.UTC)
			require.NoError(t, err, place)
		}
	}
	return ok
}

// The four feeds write as differently as real ones do.
func TestHabitsOfTheFeeds(t *testing.T) {
	committed, err := testdata.Files()
	require.NoError(t, err)
	for name, want := range map[string]struct{ begins, lineEnd, other string }{
		"adt.hl7":        {`MSH|^~\&|`, "\r", "\n"},
		"scheduling.hl7": {`MSH|^~\&|`, "\n", "\r"},
		"lab.hl7":        {`MSH|^~\&#|`, "\r\n", "\n\r"},
		"billing.hl7":    {`MSH^~|\&^`, "\r", "\n"},
	} {
		data, err := fs.ReadFile(committed, name)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(data), want.begins), name)
		require.True(t, strings.HasSuffix(string(data), want.lineEnd), name)
		require.NotContains(t, string(data), want.other, name)
	}
}

// Every reference of the portal's transaction leads somewhere.
func TestPortalBundle(t *testing.T) {
	committed, err := testdata.Files()
	require.NoError(t, err)
	data, err := fs.ReadFile(committed, "portal-bundle.json")
	require.NoError(t, err)
	var bundle struct {
		ResourceType, Type string
		Entry              []struct {
			FullURL  string `json:"fullUrl"`
			Resource map[string]any
			Request  struct{ Method, URL string }
		}
	}
	require.NoError(t, json.Unmarshal(data, &bundle))
	require.Equal(t, []string{"Bundle", "transaction"}, []string{bundle.ResourceType, bundle.Type})
	urls, types := map[string]bool{}, []string{}
	for _, e := range bundle.Entry {
		urls[e.FullURL] = true
		types = append(types, fmt.Sprint(e.Resource["resourceType"]))
		require.NotEmpty(t, e.Request.Method+e.Request.URL)
	}
	require.Equal(t, []string{"Patient", "ServiceRequest", "Appointment"}, types)
	references := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if r, ok := v["reference"].(string); ok {
				references++
				require.True(t, urls[r], r)
			}
			for _, child := range v {
				walk(child)
			}
		case []any:
			for _, child := range v {
				walk(child)
			}
		}
	}
	for _, e := range bundle.Entry {
		walk(e.Resource)
	}
	require.Equal(t, 3, references)
}
