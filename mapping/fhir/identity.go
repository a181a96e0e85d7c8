package fhir

import (
	"crypto/sha1" //nolint:gosec // UUIDv5 is defined over SHA-1 (RFC 9562 §5.5); it is a name, not a secret
	"encoding/hex"
	"strconv"
	"strings"
)

// namespace is the UUID under which Liaison makes ids of business keys.
const namespace = "\x6b\xa1\x5c\x1e\x2f\x0d\x5d\x3a\x9c\x47\x11\xf0\x83\x5e\x6a\x21"

// ID is the logical id of a resource: UUIDv5 (RFC 9562 §5.5) over its type and
// business key. The same key gives the same id, whatever message it came in.
func ID(resourceType string, parts ...string) string {
	var room [256]byte
	return uuid(appendParts(appendPart(append(room[:0], namespace...), resourceType), parts))
}

// UUID is UUIDv5 over parts in Liaison's namespace; parts are joined with their
// lengths, so that no two lists of parts meet.
func UUID(parts ...string) string {
	var room [256]byte
	return uuid(appendParts(append(room[:0], namespace...), parts))
}

func appendParts(dst []byte, parts []string) []byte {
	for _, p := range parts {
		dst = appendPart(dst, p)
	}
	return dst
}

func appendPart(dst []byte, part string) []byte {
	dst = append(strconv.AppendInt(dst, int64(len(part)), 10), ':')
	return append(dst, part...)
}

func uuid(name []byte) string {
	sum := sha1.Sum(name) //nolint:gosec // see above
	u := sum[:16]
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	var out [36]byte
	hex.Encode(out[:], u[:4])
	out[8] = '-'
	hex.Encode(out[9:], u[4:6])
	out[13] = '-'
	hex.Encode(out[14:], u[6:8])
	out[18] = '-'
	hex.Encode(out[19:], u[8:10])
	out[23] = '-'
	hex.Encode(out[24:], u[10:16])
	return string(out[:])
}

// FullURL is the absolute URL of a Bundle entry (R4 §3.4.1).
func FullURL(id string) string { return "urn:uuid:" + id }

// IsUUID says whether s is a UUID in lower case.
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') || !dash && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// AppendTransaction appends a transaction Bundle of these resources: each entry
// with an absolute fullUrl and PUT Type/id, so that sending it twice is sending
// it once. Relative references to resources of the Bundle become their
// fullUrls, because a relative reference in an entry with a urn: fullUrl
// resolves to nothing (R4 §3.4.1, Bundle references).
func AppendTransaction(dst []byte, resources []*Node) []byte {
	return AppendEntries(append(dst, `{"resourceType":"Bundle","type":"transaction",`...), resources)
}

// AppendEntries appends the entries of a transaction Bundle and closes it.
func AppendEntries(dst []byte, resources []*Node) []byte {
	dst = append(dst, `"entry":[`...)
	in := inside(resources)
	for i, r := range resources {
		if i > 0 {
			dst = append(dst, ',')
		}
		id := r.ID()
		dst = append(dst, `{"fullUrl":"urn:uuid:`...)
		dst = append(dst, id...)
		dst = append(dst, `","resource":`...)
		dst = r.append(dst, in)
		dst = append(dst, `,"request":{"method":"PUT","url":"`...)
		dst = append(dst, r.ResourceType()...)
		dst = append(dst, '/')
		dst = append(dst, id...)
		dst = append(dst, `"}}`...)
	}
	return append(dst, `]}`...)
}

// A target is what a relative reference names.
type target struct{ typ, id string }

// Targets are the resources of a Bundle: a few are looked through faster than a
// map is made.
type targets struct {
	few  []*Node
	many map[target]bool
}

func inside(resources []*Node) *targets {
	const few = 32
	if len(resources) <= few {
		return &targets{few: resources}
	}
	many := make(map[target]bool, len(resources))
	for _, r := range resources {
		many[target{typ: r.ResourceType(), id: r.ID()}] = true
	}
	return &targets{many: many}
}

func (t *targets) has(typ, id string) bool {
	for _, r := range t.few {
		if r.ID() == id && r.ResourceType() == typ {
			return true
		}
	}
	return t.many[target{typ: typ, id: id}]
}

// appendReference appends a reference, absolute where it names a resource of
// the Bundle.
func appendReference(dst []byte, text string, in *targets) []byte {
	typ, id, _ := strings.Cut(text, "/")
	if !in.has(typ, id) {
		return AppendQuoted(dst, text)
	}
	dst = append(dst, `"urn:uuid:`...)
	return append(append(dst, id...), '"')
}

// An Issue is one entry of an OperationOutcome (R4 §2.42); Diagnostics holds no
// value of a patient's.
type Issue struct {
	Severity, Code, Expression, Diagnostics string
}

// IsOID says whether s is an OID as FHIR has it: [0-2](\.(0|[1-9][0-9]*))+
func IsOID(s string) bool {
	if len(s) < 3 || s[0] < '0' || s[0] > '2' || s[1] != '.' {
		return false
	}
	for arc := range strings.SplitSeq(s[2:], ".") {
		if arc == "" || len(arc) > 1 && arc[0] == '0' || strings.Trim(arc, "0123456789") != "" {
			return false
		}
	}
	return true
}
