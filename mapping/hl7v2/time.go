package hl7v2

import (
	"strings"
	"time"
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

// String gives the name that records use: none, explicit or source.
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
//
// A wall clock that a configured zone had twice (the hour before summer time
// ends) is taken as the first of the two, which has the earlier instant: Fold,
// and Second is the other.
// One that the zone skipped (the hour when it begins) is moved on by the length
// of the gap, as a clock that nobody set would show it: Gap.
type Time struct {
	Time           time.Time // with its offset as a fixed zone; UTC where Zone is ZoneNone; the first instant of what Precision covers
	Precision      Precision
	Zone           ZoneSource
	FractionDigits int  // 0 to 9, as given
	Gap            bool // a local time that the clock skipped
	Fold           bool // a local time that happened twice
	Leap           bool // second 60: Time is second 59, the FHIR forms keep 60
	Irregular      bool // not written as the standard has it, but clear

	wall   time.Time // the digits as given, as if in UTC
	second time.Time // of a Fold
}

// Second gives the second instant of a time that happened twice (Fold), else
// Time.
func (t Time) Second() time.Time {
	if t.Fold {
		return t.second
	}
	return t.Time
}

// A TimeError says why text is no HL7 v2 time; the text is not in it.
type TimeError struct{ Reason string }

func (e *TimeError) Error() string { return e.Reason }

// ParseTime reads YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ] (HL7 v2.5.1
// §2.A.22; the types DT, DTM and TS.1). loc is the zone of a time without an
// offset; nil means none is known. 2400 is the next day's 0000. Tolerated and
// marked Irregular, because feeds send them: offsets +05, +05:30 and Z, more
// than four digits of fraction, a blank or T before the hour, and ISO 8601's
// 2026-02-03T10:15:00. The error is a *TimeError.
func ParseTime(text string, loc *time.Location) (Time, error) {
	text = strings.TrimSpace(text)
	var t Time
	if len(text) >= 10 && text[4] == '-' && text[7] == '-' {
		text, t.Irregular = text[:4]+text[5:7]+text[8:10]+strings.Replace(withoutColons(text[10:]), ",", ".", 1), true
	}
	if len(text) == 7 && text[4] == '-' {
		return t, &TimeError{"a year with an offset of two digits, or a year and month: it could be both"}
	}
	if len(text) > 10 && (text[8] == 'T' || text[8] == ' ') {
		text, t.Irregular = text[:8]+text[9:], true
	}
	digits, zone := cutZone(text)
	digits, fraction, hasFraction := strings.Cut(digits, ".")
	switch len(digits) {
	case 4, 6, 8, 10, 12, 14:
		t.Precision = Precision(len(digits)/2 - 1)
	default:
		return t, &TimeError{"a time has 4, 6, 8, 10, 12 or 14 digits before its fraction and offset"}
	}
	part, ok := readParts(digits)
	if !ok {
		return t, &TimeError{"a time is made of digits"}
	}
	nanos := 0
	if hasFraction {
		if nanos, ok = t.readFraction(fraction); !ok {
			return t, &TimeError{"a fraction of one to nine digits stands behind the seconds"}
		}
	}
	if err := checkRanges(part, nanos); err != nil {
		return t, err
	}
	return t.place(part, nanos, zone, loc)
}

// withoutColons takes them out of a clock, not out of its offset.
func withoutColons(clock string) string {
	time, zone := cutZone(clock)
	return strings.ReplaceAll(time, ":", "") + zone
}

func cutZone(text string) (digits, zone string) {
	if i := strings.IndexAny(text, "+-Z"); i >= 0 {
		return text[:i], text[i:]
	}
	return text, ""
}

// readParts gives year, month, day, hour, minute and second.
func readParts(digits string) (part [6]int, ok bool) {
	part = [6]int{0, 1, 1, 0, 0, 0}
	for i, at, width := 0, 0, 4; at < len(digits); i, at, width = i+1, at+width, 2 {
		if part[i], ok = number(digits[at : at+width]); !ok {
			return part, false
		}
	}
	return part, true
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

// readFraction reads the digits behind the point; a point alone says nothing.
func (t *Time) readFraction(s string) (nanos int, ok bool) {
	if s == "" {
		t.Irregular = true
		return 0, true
	}
	nanos, ok = number(s)
	if !ok || len(s) > 9 || t.Precision != Second {
		return 0, false
	}
	for range 9 - len(s) {
		nanos *= 10
	}
	t.Precision, t.FractionDigits = Fraction, len(s)
	t.Irregular = t.Irregular || len(s) > 4
	return nanos, true
}

func checkRanges(p [6]int, nanos int) error {
	if p[0] == 0 {
		return &TimeError{"a year from 0001"}
	}
	if p[1] < 1 || p[1] > 12 {
		return &TimeError{"a month from 01 to 12"}
	}
	if p[2] < 1 || p[2] > daysIn(p[0], p[1]) {
		return &TimeError{"a day that the month has"}
	}
	midnight := p[3] == 24 && p[4] == 0 && p[5] == 0 && nanos == 0
	if p[3] > 23 && !midnight || p[4] > 59 || p[5] > 60 {
		return &TimeError{"a time of day from 0000 to 2400"}
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
	t.wall = time.Date(p[0], time.Month(p[1]), p[2], p[3], p[4], second, nanos, time.UTC)
	if t.wall.Year() > 9999 {
		return t, &TimeError{"a year up to 9999"}
	}
	switch {
	case zone != "":
		offset, regular, ok := readOffset(zone)
		if !ok {
			return t, &TimeError{"an offset is +HHMM or -HHMM, at most 14 hours"}
		}
		t.Irregular = t.Irregular || !regular
		t.Zone = ZoneExplicit
		t.Time = t.at(offset)
	case loc == nil:
		t.Time = t.wall
	default:
		t.Zone = ZoneConfigured
		t.local(loc)
		if t.Precision <= Day { // a day has no clock to be wrong
			t.Gap, t.Fold = false, false
		}
	}
	return t, nil
}

// dayAway is more than any zone is from UTC, and than any change of its clock.
const dayAway = 26 * time.Hour

// local resolves the wall clock in a zone.
func (t *Time) local(loc *time.Location) {
	near := t.wall.In(loc)
	start, end := near.ZoneBounds()
	if (start.IsZero() || t.wall.Sub(start) > dayAway) && (end.IsZero() || end.Sub(t.wall) > dayAway) {
		t.Time = t.at(offsetAt(t.wall, loc))
		return
	}
	before, after := offsetAt(t.wall.Add(-dayAway), loc), offsetAt(t.wall.Add(dayAway), loc)
	early, late := t.at(before), t.at(after)
	earlyOK, lateOK := offsetAt(early, loc) == before, offsetAt(late, loc) == after
	switch {
	case earlyOK && lateOK && before != after:
		t.Fold, t.Time, t.second = true, early, late
		if late.Before(early) {
			t.Time, t.second = late, early
		}
	case earlyOK:
		t.Time = early
	case lateOK:
		t.Time = late
	default: // skipped, or the zone changed twice in these days
		w := t.wall
		found := time.Date(w.Year(), w.Month(), w.Day(), w.Hour(), w.Minute(), w.Second(), w.Nanosecond(), loc)
		if t.Gap = !clockOf(found).Equal(w); t.Gap {
			found = early.In(loc)
		}
		t.Time = found.In(fixedZone(offsetAt(found, loc)))
	}
}

// at gives the instant at which a clock with this offset shows the wall time.
func (t *Time) at(offset int) time.Time {
	return t.wall.Add(-time.Duration(offset) * time.Second).In(fixedZone(offset))
}

// offsetAt is in seconds east of UTC.
func offsetAt(at time.Time, loc *time.Location) int {
	_, offset := at.In(loc).Zone()
	return offset
}

// clockOf gives what a wall clock shows at a time, as if in UTC.
func clockOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// readOffset reads +HHMM; regular is false for the forms that the standard
// does not have.
func readOffset(zone string) (seconds int, regular, ok bool) {
	if zone == "Z" {
		return 0, false, true
	}
	digits := zone[1:]
	regular = len(digits) == 4
	if len(digits) == 5 && digits[2] == ':' {
		digits = digits[:2] + digits[3:]
	}
	if len(digits) == 2 {
		digits += "00"
	}
	n, isNumber := number(digits)
	hours, minutes := n/100, n%100
	if !isNumber || len(digits) != 4 || minutes > 59 || hours*60+minutes > 14*60 || zone[0] == 'Z' {
		return 0, false, false
	}
	seconds = hours*3600 + minutes*60
	if zone[0] == '-' {
		seconds = -seconds
	}
	return seconds, regular, true
}

func fixedZone(seconds int) *time.Location {
	if seconds == 0 {
		return time.UTC
	}
	return time.FixedZone("", seconds)
}
