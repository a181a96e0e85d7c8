package fhir

import "strconv"

// An Origin is the field of a v2 message that a list entry was made of: three
// letters of the segment and the field's number (0: of the segment as a whole).
// The zero Origin is unknown. It is no part of a resource's JSON.
type Origin uint32

// OriginOf names a field; "" or a longer segment name gives the zero Origin.
func OriginOf(segment string, field int) Origin {
	if len(segment) != 3 || field < 0 || field > 255 {
		return 0
	}
	return Origin(segment[0])<<24 | Origin(segment[1])<<16 | Origin(segment[2])<<8 | Origin(field)
}

// ParseOrigin reads what String wrote; anything else gives the zero Origin.
func ParseOrigin(text string) Origin {
	if len(text) == 3 {
		return OriginOf(text, 0)
	}
	if len(text) < 5 || len(text) > 7 || text[3] != '-' {
		return 0
	}
	field := 0
	for _, c := range []byte(text[4:]) {
		if c < '0' || c > '9' {
			return 0
		}
		field = field*10 + int(c-'0')
	}
	return OriginOf(text[:3], field)
}

// String is the field as HL7 v2 names it, "PID-13", or "" where it is unknown.
func (o Origin) String() string { return string(o.Append(nil)) }

// Append appends what String gives.
func (o Origin) Append(dst []byte) []byte {
	if o == 0 {
		return dst
	}
	dst = append(dst, byte(o>>24), byte(o>>16), byte(o>>8))
	if o&255 == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, '-'), uint64(o&255), 10)
}
