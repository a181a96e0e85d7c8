package hl7v2_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := hl7v2.LoadLocation(name)
	require.NoError(t, err)
	return loc
}

func TestTimes(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	const none, day, sec = "", "2026-02-03", "2026-02-03T10:15:30"
	for _, c := range []struct {
		in, date, dateTime, instant, zone string
		precision                         hl7v2.Precision
	}{
		{"2026", "2026", "2026", none, "source", hl7v2.Year},
		{"202602", "2026-02", "2026-02", none, "source", hl7v2.Month},
		{"20260203", day, day, none, "source", hl7v2.Day},
		{"20260203+0500", day, day, none, "explicit", hl7v2.Day},
		{"2026020310", day, day, none, "source", hl7v2.Hour}, // minutes would be invented
		{"202602031015", day, "2026-02-03T10:15:00+01:00", "2026-02-03T10:15:00+01:00", "source", hl7v2.Minute},
		{"20260203101530", day, sec + "+01:00", sec + "+01:00", "source", hl7v2.Second},
		{"20260203101530.1", day, sec + ".1+01:00", sec + ".1+01:00", "source", hl7v2.Fraction},
		{"20260203101530.1200-0500", day, sec + ".1200-05:00", sec + ".1200-05:00", "explicit", hl7v2.Fraction},
		{"20260203101530+0000", day, sec + "Z", sec + "Z", "explicit", hl7v2.Second},
		{"20260203101530-0330", day, sec + "-03:30", sec + "-03:30", "explicit", hl7v2.Second},
		{"20260203233000-1100", day, "2026-02-03T23:30:00-11:00", "2026-02-03T23:30:00-11:00", "explicit", hl7v2.Second},
		{" 20260203 ", day, day, none, "source", hl7v2.Day},
		{"202602030000", day, "2026-02-03T00:00:00+01:00", "2026-02-03T00:00:00+01:00", "source", hl7v2.Minute},
		{"202602032400", "2026-02-04", "2026-02-04T00:00:00+01:00", "2026-02-04T00:00:00+01:00", "source", hl7v2.Minute},
		{"20261231240000", "2027-01-01", "2027-01-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00", "source", hl7v2.Second},
		{"20161231235960+0000", "2016-12-31", "2016-12-31T23:59:60Z", "2016-12-31T23:59:60Z", "explicit", hl7v2.Second},
		{"20240229", "2024-02-29", "2024-02-29", none, "source", hl7v2.Day},
	} {
		got, err := hl7v2.ParseTime(c.in, berlin)
		require.NoError(t, err, c.in)
		require.Equal(t, []string{c.date, c.dateTime, c.instant, c.zone},
			[]string{got.Date(), got.DateTime(), got.Instant(), got.Zone.String()}, c.in)
		require.Equal(t, c.precision, got.Precision, c.in)
		require.False(t, got.Gap || got.Fold || got.Irregular, c.in)
	}
}

func TestOddTimesThatAreClear(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	for in, want := range map[string]string{
		"20260203101530+05":             "2026-02-03T10:15:30+05:00",
		"20260203101530-05:30":          "2026-02-03T10:15:30-05:30",
		"20260203101530Z":               "2026-02-03T10:15:30Z",
		"20260203101530.123456":         "2026-02-03T10:15:30.123456+01:00",
		"20260203101530.":               "2026-02-03T10:15:30+01:00",
		"20260203 1015":                 "2026-02-03T10:15:00+01:00",
		"20260203T101530":               "2026-02-03T10:15:30+01:00",
		"2026-02-03":                    "2026-02-03",
		"2026-02-03 10:15":              "2026-02-03T10:15:00+01:00",
		"2026-02-03T10:15:30.250Z":      "2026-02-03T10:15:30.250Z",
		"2026-02-03T10:15:30,250-05:00": "2026-02-03T10:15:30.250-05:00",
	} {
		got, err := hl7v2.ParseTime(in, berlin)
		require.NoError(t, err, in)
		require.Equal(t, want, got.DateTime(), in)
		require.True(t, got.Irregular, in)
	}
}

func TestTimesThatAreNone(t *testing.T) {
	for _, bad := range []string{
		"", "20", "202", "20260", "0000", "00000000", "20261301", "20260001", "20260230", "20260200", "20250229", "2026020325", "202602031060",
		"20260203101561", "202602032401", "20260203240000.1", "abcd", "x20260203", "2026x203", "20260203101530+2500", "20260203101530+1401",
		"20260203101530+0560", "20260203101530+", "20260203101530+5", "20260203101530Zulu", "20260203.5", "20260203101530.x", "20260203101530.1234567890",
		"Feb 3, 2026", "02/03/2026", "2026-02", "99991231240000", `""`,
	} {
		_, err := hl7v2.ParseTime(bad, time.UTC)
		var reason *hl7v2.TimeError
		require.ErrorAs(t, err, &reason, bad)
		if len(bad) > 2 {
			require.NotContains(t, err.Error(), bad)
		}
	}
}

func TestNoZoneKnown(t *testing.T) {
	got, err := hl7v2.ParseTime("202602031015", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"2026-02-03", "2026-02-03", "", "none", "10:15:00"},
		[]string{got.Date(), got.DateTime(), got.Instant(), got.Zone.String(), got.Clock()}, "no offset is invented")
	got, err = hl7v2.ParseTime("202602031015-0500", nil)
	require.NoError(t, err)
	require.Equal(t, "2026-02-03T10:15:00-05:00", got.DateTime())
	got, err = hl7v2.ParseTime("20260203", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"none", ""}, []string{got.Zone.String(), got.Clock()})
}

func TestSummerTime(t *testing.T) {
	for _, c := range []struct {
		zone, in, want string
		gap, fold      bool
	}{
		{"Europe/Berlin", "202603290159", "2026-03-29T01:59:00+01:00", false, false},
		{"Europe/Berlin", "202603290200", "2026-03-29T03:00:00+02:00", true, false},
		{"Europe/Berlin", "202603290230", "2026-03-29T03:30:00+02:00", true, false},
		{"Europe/Berlin", "202603290300", "2026-03-29T03:00:00+02:00", false, false},
		{"Europe/Berlin", "202610250159", "2026-10-25T01:59:00+02:00", false, false},
		{"Europe/Berlin", "202610250230", "2026-10-25T02:30:00+02:00", false, true},
		{"Europe/Berlin", "202610250300", "2026-10-25T03:00:00+01:00", false, false},
		{"America/New_York", "202611010130", "2026-11-01T01:30:00-04:00", false, true},
		{"Australia/Lord_Howe", "202604050145", "2026-04-05T01:45:00+11:00", false, true}, // half an hour
		{"Pacific/Apia", "201112301000", "2011-12-31T10:00:00+14:00", true, false},        // a whole day
		{"America/Sao_Paulo", "201811040010", "2018-11-04T01:10:00-02:00", true, false},   // at midnight
	} {
		got, err := hl7v2.ParseTime(c.in, zone(t, c.zone))
		require.NoError(t, err)
		require.Equal(t, c.want, got.DateTime(), c.in)
		require.Equal(t, []bool{c.gap, c.fold}, []bool{got.Gap, got.Fold}, c.in)
	}
	// A birthday stays the day that was written, though its midnight is skipped or
	// the day itself was.
	for name, day := range map[string]string{"America/Sao_Paulo": "2018-11-04", "Pacific/Apia": "2011-12-30", "Asia/Beirut": "2026-03-29"} {
		got, err := hl7v2.ParseTime(day[:4]+day[5:7]+day[8:], zone(t, name))
		require.NoError(t, err)
		require.Equal(t, []string{day, day}, []string{got.Date(), got.DateTime()}, name)
		require.False(t, got.Gap || got.Fold)
	}
}

func TestAWallClockKeepsItsInstant(t *testing.T) {
	zones := []string{"America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "America/St_Johns"}
	rapid.Check(t, func(t *rapid.T) {
		loc, err := hl7v2.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		require.NoError(t, err)
		at := time.Unix(rapid.Int64Range(0, 2e9).Draw(t, "unix"), 0).In(loc)
		got, err := hl7v2.ParseTime(at.Format("20060102150405"), loc)
		require.NoError(t, err)
		require.False(t, got.Gap, "a time that was on the clock is in no gap")
		if got.Fold {
			require.LessOrEqual(t, got.Time.Unix(), at.Unix(), "the first of the two")
			require.Equal(t, at.Format("150405"), got.Time.Format("150405"))
			require.Contains(t, []int64{got.Time.Unix(), got.Second().Unix()}, at.Unix(), "one of the two")
			require.Less(t, got.Time.Unix(), got.Second().Unix())
			return
		}
		require.Equal(t, at.Unix(), got.Time.Unix())
		require.Equal(t, at.Unix(), got.Second().Unix())
		require.Equal(t, at.Format("2006-01-02"), got.Date())
	})
}

// What FHIR reads back is the instant with the precision that was given.
func TestFHIRFormsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		offset := rapid.IntRange(-14*4, 14*4).Draw(t, "quarters") * 900
		at := time.Unix(rapid.Int64Range(-2e9, 4e9).Draw(t, "unix"), rapid.Int64Range(0, 9999).Draw(t, "fraction")*100_000).
			In(time.FixedZone("", offset))
		digits := rapid.IntRange(0, 4).Draw(t, "digits")
		layout := "20060102150405.0000"[:14] + ".0000"[:min(digits*2, digits+1)] + "-0700"
		got, err := hl7v2.ParseTime(at.Format(layout), nil)
		require.NoError(t, err)
		require.Equal(t, hl7v2.ZoneExplicit, got.Zone)
		back, err := time.Parse(time.RFC3339Nano, got.DateTime())
		require.NoError(t, err)
		unit := []time.Duration{time.Second, 100 * time.Millisecond, 10 * time.Millisecond, time.Millisecond, 100 * time.Microsecond}[digits]
		require.True(t, back.Equal(at.Truncate(unit)), "%s %s", back, at)
		require.Equal(t, got.DateTime(), got.Instant())
		require.Equal(t, digits, got.FractionDigits)
		require.Equal(t, at.Format("2006-01-02"), got.Date())
	})
}

func TestTimesMadeByHand(t *testing.T) {
	made := hl7v2.Time{Time: noon, Precision: hl7v2.Second, Zone: hl7v2.ZoneExplicit}
	require.Equal(t, []string{"2026-03-01", "2026-03-01T12:00:00Z", "12:00:00"}, []string{made.Date(), made.DateTime(), made.Clock()})
}

// P9: the machine's zone files say nothing here.
func TestZonesAreTheProgramsOwn(t *testing.T) {
	dir := t.TempDir()
	// RFC 8536: one type, nine hours east, and no transitions.
	wrong := append([]byte("TZif"), make([]byte, 40)...)
	wrong[39], wrong[43] = 1, 4
	wrong = append(wrong, 0, 0, 0x7e, 0x90, 0, 0, 'J', 'S', 'T', 0)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "Europe"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Europe", "Berlin"), wrong, 0o600))
	t.Setenv("ZONEINFO", dir)
	fooled, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	_, offset := noon.In(fooled).Zone()
	require.Equal(t, 9*3600, offset, "the trap works")
	_, offset = noon.In(zone(t, "Europe/Berlin")).Zone()
	require.Equal(t, 3600, offset)
	require.Equal(t, time.UTC, zone(t, "UTC"))
	for _, name := range []string{"", "Local", "local", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe", "EST5XYZ"} {
		_, err := hl7v2.LoadLocation(name)
		require.Error(t, err, name)
	}
}
