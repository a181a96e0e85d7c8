package hl7v2

import "bytes"

// A Segment is one line of a message, passed by value.
type Segment struct {
	m *Message
	i int
}

// standardNames are the segments of v2.1 to v2.9, three letters each, sorted:
// a piece of a constant is a string that costs no allocation.
const standardNames = "ABSACCADDADJAFFAIGAILAIPAISAL1APRARQARVAUTBHSBLCBLGBPOBPXBTSBTXBUI" +
	"CDMCDOCERCM0CM1CM2CNSCONCSPCSRCSSCTDCTIDB1DEVDG1DMIDONDPSDRGDSCDSPDSTECDECREDU" +
	"EQPEQUERREVNFACFHSFT1FTSGOLGP1GP2GT1IAMIARIIMILTIN1IN2IN3INVIPCIPRISDITMIVCIVT" +
	"LANLCCLCHLDPLOCLRLMFAMFEMFIMRGMSAMSHNCKNDSNK1NPUNSCNSTNTEOBROBXODSODTOH1OH2OH3OH4" +
	"OM1OM2OM3OM4OM5OM6OM7OMCORCORGOVRPACPCEPCRPD1PDAPDCPEOPESPIDPKGPM1PMTPR1PRAPRBPRC" +
	"PRDPRTPSGPSHPSLPSSPTHPV1PV2PYEQAKQIDQPDQRDQRFQRIRCPRDFRDTREGRELRF1RFIRGSRMIROL" +
	"RQ1RQDRXARXCRXDRXERXGRXORXRRXVSACSCDSCHSCPSDDSFTSGHSGTSHPSIDSLTSPMSTFSTZTCCTCD" +
	"TQ1TQ2TXAUACUB1UB2URDURSVARVND"

// segmentName gives a name as a string; only a name that the standard does not
// have costs an allocation.
func segmentName(b []byte) string {
	low, high := 0, len(standardNames)/3
	for low < high {
		mid := (low + high) / 2
		switch name := standardNames[mid*3 : mid*3+3]; {
		case name == string(b):
			return name
		case name < string(b):
			low = mid + 1
		default:
			high = mid
		}
	}
	return string(b)
}

// Name is the segment's three-character name. It allocates only for names that
// the standard does not have; Is never does.
func (s Segment) Name() string {
	if s.m == nil {
		return ""
	}
	at := s.m.segments[s.i].start
	return segmentName(s.m.text[at : at+3])
}

// Is says whether the segment has this name.
func (s Segment) Is(name string) bool {
	return s.m != nil && len(name) == 3 && s.m.segments[s.i].name == nameKey(name[0], name[1], name[2])
}

// Index is the segment's position in the message, from 0.
func (s Segment) Index() int { return s.i }

// Occurrence counts the segments of this name up to this one, from 1.
func (s Segment) Occurrence() int {
	if s.m == nil {
		return 0
	}
	return int(s.m.segments[s.i].occurrence)
}

// Raw gives the segment's bytes as received, without its terminator.
func (s Segment) Raw() []byte {
	if s.m == nil {
		return nil
	}
	seg := s.m.segments[s.i]
	return s.m.text[seg.start:seg.end:seg.end]
}

// Offset is where the segment begins in the message's bytes.
func (s Segment) Offset() int {
	if s.m == nil {
		return 0
	}
	return int(s.m.segments[s.i].start)
}

// Continued says whether the segment holds line breaks that its sender should
// have escaped: lines that begin no segment of their own.
func (s Segment) Continued() bool { return bytes.ContainsAny(s.Raw(), "\r\n") }

// Filled has bit n set where field n has any bytes; bit 63 is set when a field
// from 63 on may have some.
func (s Segment) Filled() uint64 {
	if s.m == nil {
		return 0
	}
	first, count := int(s.m.segments[s.i].first), s.m.fieldCount(s.i)
	fields, shift, set := s.m.fields[first:first+count], 0, uint64(0)
	if s.header() {
		shift, set = 1, 0b110
	}
	for k := 1; k < count; k++ {
		end := s.m.segments[s.i].end
		if k+1 < count {
			end = fields[k+1] - 1
		}
		if end > fields[k] {
			set |= 1 << min(k+shift, 63)
		}
	}
	return set
}

// header says whether field 1 is the field separator itself.
func (s Segment) header() bool { return s.m.segments[s.i].header }

// Fields is the number of fields by the standard's numbering (MSH-1 counts).
func (s Segment) Fields() int {
	if s.m == nil {
		return 0
	}
	n := s.m.fieldCount(s.i) - 1
	if s.header() {
		n++
	}
	return n
}

// fieldCount counts the entries of a segment in Message.fields.
func (m *Message) fieldCount(i int) int {
	end := len(m.fields)
	if i+1 < len(m.segments) {
		end = int(m.segments[i+1].first)
	}
	return end - int(m.segments[i].first)
}

// Field gives field n by the standard's numbering, from 1: MSH-1 is the field
// separator, MSH-2 the encoding characters. A field that the segment does not
// have is Absent.
func (s Segment) Field(n int) Value {
	if s.m == nil || n < 1 {
		return Value{}
	}
	v := Value{m: s.m, segment: int32(s.i), field: int32(n)}
	seg, k := &s.m.segments[s.i], n
	if seg.header {
		if n == 1 {
			v.start = seg.start + 3
			v.end = min(v.start+1, seg.end)
			v.present, v.opaque = true, true
			return v
		}
		k, v.opaque = n-1, n == 2
	}
	fields := s.m.fields[seg.first:]
	if s.i+1 < len(s.m.segments) {
		fields = s.m.fields[seg.first:s.m.segments[s.i+1].first]
	}
	if k >= len(fields) {
		return v
	}
	v.start, v.end, v.present = fields[k], seg.end, true
	if k+1 < len(fields) {
		v.end = fields[k+1] - 1
	}
	return v
}
