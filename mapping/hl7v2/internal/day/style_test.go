package day_test

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/text/encoding/charmap"
)

const (
	hospital    = "ALDER"
	hospitalOID = "2.16.840.1.113883.19.4.6" // below HL7's root for examples
	assigner    = hospital + "&" + hospitalOID + "&ISO"
)

// A style is how one system writes: the habits that tell real feeds apart.
type style struct {
	file       string
	app        string
	version    string
	delimiters string // field, component, repetition, escape, subcomponent, truncation
	lineEnd    string
	charset    string // MSH-18
	encode     func(string) string
	stamp      string // layout of its times
	prefix     string // of its control ids
	accept     string // MSH-15 and MSH-16
	country    string
	sequence   bool // numbers its messages in MSH-13
	legacy     bool // ids without the assigner's OID, providers without NPI
}

func utf8(s string) string { return s }

func latin1(s string) string {
	out, err := charmap.ISO8859_1.NewEncoder().String(s)
	if err != nil {
		panic(fmt.Sprintf("%q is not in ISO 8859-1", s))
	}
	return out
}

var (
	// The ADT system declares everything and gives every time its offset.
	adt = style{
		file: "adt.hl7", app: "ADT1", version: "2.5.1", delimiters: `|^~\&`, lineEnd: "\r", charset: "UNICODE UTF-8", encode: utf8,
		stamp: "20060102150405.000-0700", prefix: "A", country: "USA",
	}
	// The person index is another program on the same connection.
	mpi = style{
		file: "adt.hl7", app: "MPI", version: "2.6", delimiters: `|^~\&`, lineEnd: "\r", charset: "UNICODE UTF-8", encode: utf8,
		stamp: "20060102150405-0700", prefix: "MPI", country: "USA",
	}
	// The scheduling system writes local time without an offset, in ISO 8859-1, for Unix.
	scheduling = style{
		file: "scheduling.hl7", app: "SCHED", version: "2.4", delimiters: `|^~\&`, lineEnd: "\n", charset: "8859/1", encode: latin1,
		stamp: "20060102150405", prefix: "SCH-", legacy: true,
	}
	// The laboratory is new: truncation character, enhanced mode, sequence numbers.
	lab = style{
		file: "lab.hl7", app: "LAB", version: "2.8", delimiters: `|^~\&#`, lineEnd: "\r\n", charset: "UNICODE UTF-8", encode: utf8,
		stamp: "20060102150405-0700", prefix: "L", accept: "AL|NE", country: "USA", sequence: true,
	}
	micro = style{
		file: "lab.hl7", app: "MICRO", version: "2.7", delimiters: `|^~\&#`, lineEnd: "\r\n", charset: "UNICODE UTF-8", encode: utf8,
		stamp: "200601021504-0700", prefix: "M", accept: "AL|NE", country: "USA", sequence: true,
	}
	// The billing system is the oldest: its own delimiters, no character set, no offset.
	billing = style{
		file: "billing.hl7", app: "BILL", version: "2.3", delimiters: `^~|\&`, lineEnd: "\r", encode: utf8,
		stamp: "20060102150405", prefix: "", accept: "NE|AL", legacy: true,
	}
)

// at writes a time as this system does.
func (s *style) at(t time.Time) string { return t.Format(s.stamp) }

// An event is a message before it is written.
type event struct {
	*style
	kind     string
	at, sent time.Time // when its sender wrote it; when it arrives
	segments func(s *style, at time.Time) []string
	note     string
	spoil    func(raw string) string
	repeat   *event // the same bytes once more
	raw      string
	id       int
}

// write gives the message in the sender's own form.
func (e *event) write(number, sequence int) string {
	id := fmt.Sprintf("%s%06d", e.prefix, number)
	msh := f{
		3: e.app, 4: hospital, 5: "LIAISON", 6: hospital, 7: e.style.at(e.at), 9: e.kind, 10: id, 11: "P", 12: e.version,
		17: e.country, 18: e.charset,
	}
	if e.sequence {
		msh[13] = fmt.Sprint(sequence)
	}
	if accept, application, ok := strings.Cut(e.accept, "|"); ok {
		msh[15], msh[16] = accept, application
	}
	lines := append([]string{strings.Replace(row("MSH", msh), "MSH|||", `MSH|^~\&|`, 1)}, e.segments(e.style, e.at)...)
	text := strings.Join(lines, "\r") + "\r"
	// The five standard delimiters change places at once.
	d := e.delimiters
	text = strings.NewReplacer("|", d[0:1], "^", d[1:2], "~", d[2:3], "&", d[4:5], "\r", e.lineEnd).Replace(text)
	if len(d) > 5 {
		text = text[:8] + d[5:] + text[8:]
	}
	text = e.encode(text)
	if e.spoil != nil {
		text = e.spoil(text)
	}
	return text
}

// f is the fields of a segment by the standard's numbering.
type f map[int]string

// row writes a segment with the standard's delimiters.
func row(name string, fields f) string {
	last := 0
	for n, v := range fields {
		if v != "" {
			last = max(last, n)
		}
	}
	parts := make([]string, last+1)
	parts[0] = name
	for n, v := range fields {
		if n <= last {
			parts[n] = v
		}
	}
	return strings.Join(parts, "|")
}

// esc writes text inside a field.
func esc(s string) string {
	return strings.NewReplacer(`\`, `\E\`, "|", `\F\`, "^", `\S\`, "~", `\R\`, "&", `\T\`, "\n", `\.br\`).Replace(s)
}
