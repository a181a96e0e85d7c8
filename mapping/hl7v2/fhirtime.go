package hl7v2

import "time"

// Date is the FHIR date (R4 §2.24.0.1): the year, year and month, or day as it
// was written, whatever the zone; a time of day is left out.
func (t Time) Date() string { return string(t.AppendDate(make([]byte, 0, 40))) }

// DateTime is the FHIR dateTime. FHIR wants minutes, seconds and an offset with
// a time of day, so missing seconds are ":00". What would have to be invented
// is left out: a time whose offset nobody knows is given as its day (Zone is
// ZoneNone then), and so are hours without minutes (Precision is Hour then).
func (t Time) DateTime() string { return string(t.AppendDateTime(make([]byte, 0, 40))) }

// Instant is the FHIR instant, or "" where the time is less than one: no
// minutes, or no offset. Missing seconds are ":00".
func (t Time) Instant() string {
	if !t.isInstant() {
		return ""
	}
	return string(t.AppendDateTime(make([]byte, 0, 40)))
}

// Clock is the FHIR time of day, HH:MM:SS, or "" below the precision of minutes.
func (t Time) Clock() string {
	if t.Precision < Minute {
		return ""
	}
	return string(t.appendClock(make([]byte, 0, 40)))
}

func (t Time) isInstant() bool { return t.Precision >= Minute && t.Zone != ZoneNone }

// AppendDate appends what Date gives.
func (t Time) AppendDate(dst []byte) []byte {
	day := t.wall
	if day.IsZero() {
		day = t.Time
	}
	return appendDay(dst, day, t.Precision)
}

// AppendDateTime appends what DateTime gives.
func (t Time) AppendDateTime(dst []byte) []byte {
	if !t.isInstant() {
		return t.AppendDate(dst)
	}
	dst = append(appendDay(dst, t.Time, Day), 'T')
	dst = t.appendClock(dst)
	_, offset := t.Time.Zone()
	if offset == 0 {
		return append(dst, 'Z')
	}
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	dst = appendDigits(append(dst, sign), offset/3600, 2)
	return appendDigits(append(dst, ':'), offset/60%60, 2)
}

func appendDay(dst []byte, day time.Time, p Precision) []byte {
	dst = appendDigits(dst, day.Year(), 4)
	if p > Year {
		dst = appendDigits(append(dst, '-'), int(day.Month()), 2)
	}
	if p > Month {
		dst = appendDigits(append(dst, '-'), day.Day(), 2)
	}
	return dst
}

func (t Time) appendClock(dst []byte) []byte {
	second := t.Time.Second()
	if t.Leap {
		second = 60
	}
	dst = append(appendDigits(dst, t.Time.Hour(), 2), ':')
	dst = append(appendDigits(dst, t.Time.Minute(), 2), ':')
	dst = appendDigits(dst, second, 2)
	if t.FractionDigits > 0 {
		dst = append(dst, '.')
		end := len(dst) + min(t.FractionDigits, 9)
		dst = appendDigits(dst, t.Time.Nanosecond(), 9)[:end]
	}
	return dst
}

// appendDigits appends n with leading zeros, at most width digits.
func appendDigits(dst []byte, n, width int) []byte {
	var digits [9]byte
	for i := width - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(dst, digits[:width]...)
}
