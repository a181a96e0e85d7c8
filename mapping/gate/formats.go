package gate

import (
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// formatOf gives the syntax of a primitive type's text (R4 §2.24.0.1), or nil.
func formatOf(typ string) func(string) bool {
	switch typ {
	case "id":
		return isID
	case "code":
		return isCode
	case "uri", "url", "canonical":
		return isURI
	case "oid":
		return isOID
	case "uuid":
		return isUUID
	case "date":
		return isDate
	case "dateTime":
		return isDateTime
	case "instant":
		return isInstant
	case "time":
		return isTime
	case "base64Binary":
		return isBase64
	case "integer":
		return func(s string) bool { return isInteger(s, -1<<31) }
	case "unsignedInt":
		return func(s string) bool { return isInteger(s, 0) }
	case "positiveInt":
		return func(s string) bool { return isInteger(s, 1) }
	case "string", "markdown":
		return isText
	default:
		return nil
	}
}

func isID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// isCode: no whitespace at the ends, single spaces inside.
func isCode(s string) bool {
	space := true
	for _, r := range s {
		switch {
		case r == ' ' && !space:
			space = true
		case r <= ' ':
			return false
		default:
			space = false
		}
	}
	return !space
}

func isURI(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' {
			return false
		}
	}
	urn := s
	if end := strings.IndexAny(s, "|#"); end > 0 { // a version, a fragment
		urn = s[:end]
	}
	switch {
	case strings.HasPrefix(urn, "urn:uuid:"):
		return isUUID(urn)
	case strings.HasPrefix(urn, "urn:oid:"):
		return isOID(urn)
	}
	return s != ""
}

// isOID: urn:oid: and arcs, the first 0 to 2.
func isOID(s string) bool {
	s, ok := strings.CutPrefix(s, "urn:oid:")
	return ok && fhir.IsOID(s)
}

// isUUID: in either case; R4 asks for lower, senders do otherwise.
func isUUID(s string) bool {
	s, ok := strings.CutPrefix(s, "urn:uuid:")
	return ok && fhir.IsUUID(strings.ToLower(s))
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func number(s string) int {
	if !digits(s) {
		return -1
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

// isDate: YYYY, YYYY-MM or YYYY-MM-DD, of the calendar.
func isDate(s string) bool {
	if len(s) != 4 && len(s) != 7 && len(s) != 10 {
		return false
	}
	year := number(s[:4])
	if year < 1 {
		return false
	}
	if len(s) == 4 {
		return true
	}
	month := number(s[5:7])
	if s[4] != '-' || month < 1 || month > 12 {
		return false
	}
	if len(s) == 7 {
		return true
	}
	day := number(s[8:])
	return s[7] == '-' && day >= 1 && day <= daysIn(year, month)
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	default:
		return 31
	}
}

func isDateTime(s string) bool { return isDate(s) || isInstant(s) }

// isInstant: to the second, with its offset; 60 is a leap second.
func isInstant(s string) bool {
	if len(s) < 20 || s[10] != 'T' || !isDate(s[:10]) {
		return false
	}
	clock, zone := s[11:], ""
	if strings.HasSuffix(clock, "Z") {
		clock = clock[:len(clock)-1]
	} else if len(clock) > 6 {
		clock, zone = clock[:len(clock)-6], clock[len(clock)-6:]
		hour, minute := number(zone[1:3]), number(zone[4:])
		if zone[0] != '+' && zone[0] != '-' || zone[3] != ':' || hour < 0 || hour > 14 || minute < 0 || minute > 59 || hour == 14 && minute > 0 {
			return false
		}
	} else {
		return false
	}
	return isTime(clock)
}

// isTime: hh:mm:ss with any fraction.
func isTime(s string) bool {
	if len(s) < 8 || s[2] != ':' || s[5] != ':' {
		return false
	}
	hour, minute, second := number(s[:2]), number(s[3:5]), number(s[6:8])
	if hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 {
		return false
	}
	return len(s) == 8 || s[8] == '.' && digits(s[9:])
}

// isBase64: groups of four, padded at the end, whitespace anywhere.
func isBase64(s string) bool {
	n, pad := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			continue
		case c == '=':
			pad++
		case pad > 0:
			return false
		case (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '+' && c != '/':
			return false
		}
		n++
	}
	return n > 0 && n%4 == 0 && pad <= 2
}

func isInteger(s string, least int64) bool {
	n, err := strconv.ParseInt(s, 10, 32)
	return err == nil && n >= least && s != "-0" && s[0] != '+'
}

// isText: up to 1 MiB, no control characters but tab, CR and LF.
func isText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return len(s) <= 1<<20
}
