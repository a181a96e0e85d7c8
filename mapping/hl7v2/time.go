package hl7v2

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // zones of the program itself, where the machine has none
)

// Precision says how much of a time was given.
type Precision uint8

// The precisions of HL7 v2.5.1 §2.A.22.
const (
	Year Precision = iota + 1
	Month
	Day
	Hour
	Minute
	Second
	Fraction
)

// ZoneSource says where a time's offset comes from.
type ZoneSource uint8

// The sources of an offset. ZoneNone: the time has none and no zone is
// configured, so it is no instant.
const (
	ZoneNone ZoneSource = iota
	ZoneExplicit
	ZoneConfigured
)

func (z ZoneSource) String() string {
	switch z {
	case ZoneExplicit:
		return "explicit"
	case ZoneConfigured:
		return "source"
	default:
		return "none"
	}
}

// A Time is what an HL7 v2 time says, with the precision it says it in.
type Time struct {
	Time           time.Time // in its offset; UTC where Zone is ZoneNone
	Precision      Precision
	Zone           ZoneSource
	FractionDigits int  // 0 to 4
	Gap            bool // a local time that the clock skipped; moved on by the gap's length
	Fold           bool // a local time that happened twice: the first of the two is taken
	Leap           bool // second 60, kept in the FHIR forms
}

// A TimeError says why text is no HL7 v2 time; the text is not in it.
type TimeError struct{ Reason string }

func (e *TimeError) Error() string { return e.Reason }

// ParseTime reads YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ] (HL7 v2.5.1
// §2.A.22). loc is the zone of a time without an offset; nil means none is
// known. Tolerated because feeds send them: 2400 (the next day's 0000), second
// 60, an offset of two digits or with a colon, more than four digits of
// fraction (cut), and the precision component of v2.2 is not part of text.
func ParseTime(text string, loc *time.Location) (Time, error) {
	text = strings.TrimSpace(text)
	digits, zone := text, ""
	if i := strings.IndexAny(text, "+-"); i >= 0 {
		digits, zone = text[:i], text[i:]
	} else if strings.HasSuffix(text, "Z") {
		digits, zone = text[:len(text)-1], "+0000"
	}
	digits, fraction, hasFraction := strings.Cut(digits, ".")
	var t Time
	switch len(digits) {
	case 4, 6, 8, 10, 12, 14:
		t.Precision = Precision(len(digits)/2 - 1)
	default:
		return t, &TimeError{"a time has 4, 6, 8, 10, 12 or 14 digits before its fraction and offset"}
	}
	part := [6]int{0, 1, 1, 0, 0, 0} // year, month, day, hour, minute, second
	for i, at := 0, 0; at < len(digits); i++ {
		width := 2
		if i == 0 {
			width = 4
		}
		n, ok := number(digits[at : at+width])
		if !ok {
			return t, &TimeError{"a time is made of digits"}
		}
		part[i] = n
		at += width
	}
	nanos := 0
	if hasFraction {
		n, width, ok := readFraction(fraction, t.Precision)
		if !ok {
			return t, &TimeError{"a fraction of one to four digits stands behind the seconds"}
		}
		nanos = n
		if width > 0 {
			t.Precision, t.FractionDigits = Fraction, width
		}
	}
	if err := checkRanges(part, t.Precision); err != nil {
		return t, err
	}
	return t.place(part, nanos, zone, loc)
}

func number(s string) (int, bool) {
	n := 0
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(s) > 0
}

func readFraction(s string, p Precision) (nanos, width int, ok bool) {
	if s == "" {
		return 0, 0, true
	}
	if _, digits := number(s); !digits || len(s) > 9 || p != Second {
		return 0, 0, false
	}
	if len(s) > 4 {
		s = s[:4]
	}
	n, _ := number(s)
	for range 9 - len(s) {
		n *= 10
	}
	return n, len(s), true
}

func checkRanges(p [6]int, precision Precision) error {
	if p[1] < 1 || p[1] > 12 {
		return &TimeError{"a month from 01 to 12"}
	}
	if p[2] < 1 || p[2] > daysIn(p[0], p[1]) {
		return &TimeError{"a day that the month has"}
	}
	midnight := p[3] == 24 && p[4] == 0 && p[5] == 0
	if p[3] > 23 && !midnight || p[4] > 59 || p[5] > 60 {
		return &TimeError{"a time of day from 0000 to 2400"}
	}
	if p[0] == 0 && precision > Year {
		return &TimeError{"a year from 0001"}
	}
	return nil
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// place puts the parts on the line of time.
func (t Time) place(p [6]int, nanos int, zone string, loc *time.Location) (Time, error) {
	second := p[5]
	if second == 60 {
		t.Leap, second = true, 59
	}
	date := func(l *time.Location) time.Time {
		return time.Date(p[0], time.Month(p[1]), p[2], p[3], p[4], second, nanos, l)
	}
	switch {
	case zone != "":
		offset, ok := readOffset(zone)
		if !ok {
			return t, &TimeError{"an offset is +HHMM or -HHMM, at most 14 hours"}
		}
		t.Zone, t.Time = ZoneExplicit, date(fixedZone(offset))
	case loc == nil || t.Precision <= Day:
		t.Time = date(time.UTC)
		if loc != nil {
			t.Zone, t.Time = ZoneConfigured, date(loc)
		}
	default:
		t.Zone = ZoneConfigured
		t.local(date(time.UTC), loc)
	}
	return t, nil
}

// local resolves a wall clock in a zone: in a fold the first of the two
// instants, in a gap the instant as far behind the gap's start as the clock
// says, with the offset after the gap.
func (t *Time) local(wall time.Time, loc *time.Location) {
	offsetAt := func(at time.Time) time.Duration {
		_, o := at.In(loc).Zone()
		return time.Duration(o) * time.Second
	}
	before, after := offsetAt(wall.Add(-26*time.Hour)), offsetAt(wall.Add(26*time.Hour))
	early, late := wall.Add(-before), wall.Add(-after)
	earlyOK, lateOK := offsetAt(early) == before, offsetAt(late) == after
	switch {
	case earlyOK && lateOK && before != after:
		t.Fold = true
		t.Time = early.In(loc)
		if late.Before(early) {
			t.Time = late.In(loc)
		}
	case earlyOK:
		t.Time = early.In(loc)
	case lateOK:
		t.Time = late.In(loc)
	default:
		// The zone changed twice within two days, or the clock skipped this time.
		t.Time = time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), loc)
		back := t.Time
		t.Gap = back.Hour() != wall.Hour() || back.Minute() != wall.Minute()
		if t.Gap {
			t.Time = early.In(loc)
		}
	}
}

func readOffset(zone string) (int, bool) {
	sign := 1
	if zone[0] == '-' {
		sign = -1
	}
	digits := strings.Replace(zone[1:], ":", "", 1)
	if len(digits) == 2 {
		digits += "00"
	}
	n, ok := number(digits)
	hours, minutes := n/100, n%100
	if !ok || len(digits) != 4 || hours > 14 || minutes > 59 {
		return 0, false
	}
	return sign * (hours*3600 + minutes*60), true
}

func fixedZone(seconds int) *time.Location {
	if seconds == 0 {
		return time.UTC
	}
	return time.FixedZone("", seconds)
}

// LoadLocation gives a zone by its IANA name. "Local" is refused: a result must
// not depend on the machine it was computed on.
func LoadLocation(name string) (*time.Location, error) {
	if name == "" || strings.EqualFold(name, "local") {
		return nil, fmt.Errorf("time zone %q: give an IANA name such as Europe/Berlin", name)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w", name, err)
	}
	return loc, nil
}

// Date is the FHIR date (R4 §2.24.0.1): year, year-month or the day.
func (t Time) Date() string {
	switch t.Precision {
	case Year:
		return t.Time.Format("2006")
	case Month:
		return t.Time.Format("2006-01")
	default:
		return t.Time.Format("2006-01-02")
	}
}

// DateTime is the FHIR dateTime. FHIR wants seconds and an offset with a time
// of day: missing seconds are ":00"; a time whose offset nobody knows is given
// as its day, and Zone says so. Hours alone are given as the day, too: a
// minute would be invented.
func (t Time) DateTime() string {
	if t.Precision <= Hour || t.Zone == ZoneNone {
		return t.Date()
	}
	return t.stamp(t.FractionDigits)
}

// Instant is the FHIR instant, or "" where the time is less than one.
func (t Time) Instant() string {
	if t.Precision < Minute || t.Zone == ZoneNone {
		return ""
	}
	return t.stamp(t.FractionDigits)
}

func (t Time) stamp(fraction int) string {
	layout := "2006-01-02T15:04:05"
	if fraction > 0 {
		layout += "." + strings.Repeat("0", fraction)
	}
	text := t.Time.Format(layout)
	if t.Leap {
		text = text[:17] + "60" + text[19:]
	}
	return text + t.Time.Format("Z07:00")
}

// Clock is the FHIR time of day, HH:MM:SS, or "" below the precision of minutes.
func (t Time) Clock() string {
	if t.Precision < Minute {
		return ""
	}
	return t.Time.Format("15:04:05")
}
