package tables_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
	"github.com/liaison-health/liaison/mapping/tables"
)

// A feed maps a sender's messages and folds them into records.
type feed struct {
	t      *testing.T
	mapper *tables.Mapper
	folder *records.Folder
	state  records.Memory
	check  *recordstest.Checker
	told   recordstest.History
	n      uint64

	entries []tables.Entry // of the last message
}

// read are the tables, for all tests.
var read = sync.OnceValues(tables.Read)

// compiled is tables.Load without reading the tables once more.
func compiled(schema *fhir.Schema, overlays ...tables.Overlay) (*tables.Mapper, error) {
	all, err := read()
	if err != nil {
		return nil, err
	}
	return all.Compile(schema, overlays...)
}

// loaded are the compiled tables, for all feeds.
var loaded = sync.OnceValues(func() (*tables.Mapper, error) { return tables.Load(fhir.NewSchema()) })

// checker compiles the records' schema once, for all feeds.
var checker = sync.OnceValue(func() *recordstest.Checker { return recordstest.New(thrower{}) })

type thrower struct{}

func (thrower) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (thrower) FailNow()                          {}

func newFeed(t *testing.T) *feed {
	t.Helper()
	mapper, err := loaded()
	require.NoError(t, err)
	return &feed{t: t, mapper: mapper, folder: records.NewFolder(0, 0), state: records.Memory{}, check: checker(), told: recordstest.History{}}
}

// send gives the records that a message made.
func (f *feed) send(segments ...string) []*records.Record {
	f.t.Helper()
	raw := strings.Join(segments, "\r") + "\r"
	msg, err := hl7v2.Parse([]byte(raw))
	require.NoError(f.t, err)
	zone, err := newYork()
	require.NoError(f.t, err)
	f.n++
	sum := sha256.Sum256([]byte(raw))
	result, err := f.mapper.Map(msg, tables.Context{
		Source: "adt", Location: zone, Received: received().Add(time.Duration(f.n) * time.Second), Journal: f.n, SHA256: hex.EncodeToString(sum[:]),
	})
	require.NoError(f.t, err)
	f.entries = result.Entries
	effects, err := f.folder.Fold(f.state, result.Change)
	require.NoError(f.t, err)
	f.state.Apply(effects)
	var out []*records.Record
	for i := range effects.Events {
		f.check.Valid(f.t, effects.Events[i].Payload)
		r, err := records.Decode(effects.Events[i].Payload)
		require.NoError(f.t, err)
		require.NoError(f.t, f.told.Follows(r))
		out = append(out, r)
	}
	return out
}

// of gives the record of a kind, nil where the message made none.
func of(made []*records.Record, kind records.Kind) *records.Record {
	for _, r := range made {
		if r.Kind == kind {
			return r
		}
	}
	return nil
}

// text is the resource of the record of a kind.
func text(t *testing.T, made []*records.Record, kind records.Kind) string {
	t.Helper()
	r := of(made, kind)
	require.NotNil(t, r, "no version of the %s", kind)
	return string(r.Resource)
}

// header is MSH, and EVN of an ADT, of the minute'th minute of a morning.
func header(message string, minute int) string {
	at := time.Date(2026, 3, 10, 7, minute, 0, 0, time.UTC).Format("20060102150405")
	msh := `MSH|^~\&|ADT1|ALDER|L|A|` + at + `||` + message + `|` + at + `|P|2.5.1`
	if kind, trigger, _ := strings.Cut(message, "^"); kind == "ADT" || kind == "DFT" {
		msh += "\rEVN|" + trigger + "|" + at
	}
	return msh
}

// segment writes a segment of fields by their number.
func segment(name string, fields map[int]string) string {
	last := 0
	for n := range fields {
		last = max(last, n)
	}
	list := make([]string, last+1)
	list[0] = name
	for n, v := range fields {
		list[n] = v
	}
	return strings.Join(list, "|")
}

// with is a copy of fields in which some are others.
func with(fields, change map[int]string) map[int]string {
	out := map[int]string{}
	for n, v := range fields {
		out[n] = v
	}
	for n, v := range change {
		out[n] = v
	}
	return out
}

// person is a PID whose every field says something of its own.
func person() map[int]string {
	return map[int]string{
		1: "1", 2: "55^^^OLD^PT", 3: "100^^^ALDER^MR", 4: "77^^^ALT^PI", 5: "Doe^Jo^^^^^L", 6: "Poe^Ann", 7: "197001010930", 8: "F", 9: "Alias^Al^^^^^A",
		10: "2106-3^White", 11: "1 Road^^Town^MA^02000", 12: "CTY", 13: "^PRN^PH^^1^617^5550105~^PRN^CP^^1^617^5550777", 14: "^WPN^PH^^1^617^5559999", 15: "en", 16: "S",
		17: "CAT", 18: "AC1^^^ALDER^AN", 19: "900112222", 20: "DL1^MA", 21: "M1^^^ALDER", 22: "2135-2^H", 23: "Salem", 24: "N", 26: "US", 27: "V", 31: "N", 35: "dog^Dog^L", 36: "pug^Pug^L", 39: "XTRIBE",
	}
}

func a31(minute int, change map[int]string) []string {
	return []string{header("ADT^A31", minute), segment("PID", with(person(), change))}
}

// `""` takes away what its own field made and nothing else (HL7 v2.5.1 §2.5.3),
// whichever of the two messages comes first.
func TestNullDeletesItsOwn(t *testing.T) {
	for name, c := range map[string]struct {
		field      int
		keep, gone string
	}{
		"external id": {2, `"value":"100"`, `"value":"55"`}, "alternate id": {4, `"value":"100"`, `"value":"77"`},
		"licence": {20, `"value":"100"`, `"DL1"`}, "social security number": {19, `"value":"100"`, `900112222`},
		"alias": {9, `"family":"Doe"`, `"Alias"`}, "work phone": {14, "5550105", "5559999"}, "home phone": {13, "5559999", "5550"},
		"language": {15, `"value":"100"`, `"communication"`}, "race": {10, "2135-2", "2106-3"}, "ethnicity": {22, "2106-3", "2135-2"},
		"maiden name": {6, "Salem", "Poe"}, "place of birth": {23, "Poe", "Salem"}, "religion": {17, "Salem", "CAT"},
		"citizenship": {26, "XTRIBE", `"US"`}, "tribe": {39, `"US"`, "XTRIBE"}, "address": {11, "5550105", "Town"},
		"county": {12, "Town", "CTY"}, "breed": {36, "Dog", "Pug"}, "species": {35, "Town", "Dog"}, "time of birth": {7, `"value":"100"`, "1970"},
	} {
		t.Run(name, func(t *testing.T) {
			full, null := a31(0, map[int]string{8: "M"}), a31(10, map[int]string{c.field: `""`})
			for _, order := range [][2][]string{{full, null}, {null, full}} {
				f := newFeed(t)
				f.send(order[0]...)
				got := text(t, f.send(order[1]...), records.Patient)
				require.Contains(t, got, c.keep)
				require.NotContains(t, got, c.gone)
			}
		})
	}
}

// `""` in a field that says a part of what another field makes takes away that
// part, where the other says nothing, whichever of the two messages comes first.
func TestNullDeletesAPart(t *testing.T) {
	for name, c := range map[string]struct {
		whole, part int
		keep, gone  string
	}{"county of the address": {11, 12, "Town", "CTY"}, "breed of the animal": {35, 36, "Dog", "Pug"}} {
		t.Run(name, func(t *testing.T) {
			full, null := a31(0, map[int]string{8: "M"}), a31(10, map[int]string{c.whole: "", c.part: `""`})
			for _, order := range [][2][]string{{full, null}, {null, full}} {
				f := newFeed(t)
				f.send(order[0]...)
				got := text(t, f.send(order[1]...), records.Patient)
				require.Contains(t, got, c.keep)
				require.NotContains(t, got, c.gone)
			}
			f := newFeed(t)
			f.send(full...)
			f.send(null...)
			got := text(t, f.send(a31(20, map[int]string{8: "O"})...), records.Patient)
			require.Contains(t, got, c.gone, "it is said again")
		})
	}
}

// A field that is empty leaves what is known (HL7 v2.5.1 §2.5.3), also where
// another field fills the same list; a new value replaces the field's own.
func TestEmptyKeeps(t *testing.T) {
	for name, c := range map[string]struct {
		field int
		want  string
	}{
		"work phone": {14, "5559999"}, "home phone": {13, "5550105"}, "alias": {9, "Alias"}, "legal name": {5, "Doe"}, "maiden name": {6, "Poe"},
		"race": {10, "2106-3"}, "religion": {17, "1041"}, "licence": {20, "DL1"}, "citizenship": {26, `"US"`}, "tribe": {39, "XTRIBE"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			f.send(a31(0, nil)...)
			require.Contains(t, text(t, f.send(a31(10, map[int]string{c.field: "", 8: "M"})...), records.Patient), c.want)
		})
	}
	t.Run("referrer", func(t *testing.T) {
		f := newFeed(t)
		visit := map[int]string{1: "1", 2: "I", 3: "4W^501^A^ALDER", 7: "1^Att^A", 8: "2^Ref^B", 19: "V1^^^ALDER^VN"}
		f.send(header("ADT^A08", 0), segment("PID", person()), segment("PV1", visit))
		got := text(t, f.send(header("ADT^A08", 10), segment("PID", person()), segment("PV1", with(visit, map[int]string{7: "3^New^C", 8: ""}))), records.Encounter)
		require.Contains(t, got, `"REF"`)
		require.Equal(t, 2, strings.Count(got, `"individual"`), "one attending doctor follows another")
		got = text(t, f.send(header("ADT^A08", 20), segment("PID", person()), segment("PV1", with(visit, map[int]string{7: "", 8: `""`}))), records.Encounter)
		require.NotContains(t, got, `"REF"`)
		require.Contains(t, got, `"ATND"`)
	})
	t.Run("replaced", func(t *testing.T) {
		f := newFeed(t)
		f.send(a31(0, nil)...)
		got := text(t, f.send(a31(10, map[int]string{13: "^PRN^PH^^1^617^5551111", 14: ""})...), records.Patient)
		require.Contains(t, got, "5551111")
		require.NotContains(t, got, "5550105")
		require.NotContains(t, got, "5550777")
		require.Contains(t, got, "5559999")
	})
}

// A sender that names its offset in MSH-7 means it for the times of the whole message
// (HL7 v2.5.1 §2.14.9.7); the zone that the source is configured with counts more: it
// knows of summer time.
func TestZoneOfMessage(t *testing.T) {
	mapper, err := loaded()
	require.NoError(t, err)
	location, err := newYork()
	require.NoError(t, err)
	for name, c := range map[string]struct {
		sent, want string
		location   *time.Location
	}{
		"named":      {"20260110044000+0530", "2026-07-01T08:00:00+05:30", nil},
		"not named":  {"20260110044000", "2026-07-01", nil},
		"configured": {"20260110044000-0500", "2026-07-01T08:00:00-04:00", location},
	} {
		t.Run(name, func(t *testing.T) {
			msg, err := hl7v2.Parse([]byte(`MSH|^~\&|ADT1|ALDER|||` + c.sent + "||ADT^A01|1|P|2.5.1\rPID|1||1^^^ALDER\rPV1|1|I" + strings.Repeat("|", 42) + "202607010800\r"))
			require.NoError(t, err)
			result, err := mapper.Map(msg, tables.Context{Source: "test", Location: c.location, Received: received()})
			require.NoError(t, err)
			defer mapper.Release(result)
			require.Contains(t, string(result.AppendBundle(nil)), `"period":{"start":"`+c.want+`"}`)
		})
	}
}
