package tables

import (
	_ "embed"
	"strings"
)

//go:embed v2codes.txt
var v2codes string

const v2System = "http://terminology.hl7.org/CodeSystem/v2-"

// publishedCodes reads v2codes.txt: by table and code, as "0203\tMR".
func publishedCodes() map[string]bool {
	out := make(map[string]bool, 8192)
	for line := range strings.Lines(v2codes) {
		table, rest, ok := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		if !ok {
			continue
		}
		out[table] = true
		for code := range strings.SplitSeq(rest, "\t") {
			out[table+"\t"+code] = true
		}
	}
	return out
}

// codeSystem is the system of a code as sent: where the code is none of the HL7
// table that it is said to be of, a URI of ours that keeps the table's name. A
// code that a site adds to a table is not the standard's, and a validator that
// knows the table refuses it.
func (m *Mapper) codeSystem(system, code string) string {
	table, ok := strings.CutPrefix(system, v2System)
	if !ok || !m.published[table] || m.published[table+"\t"+code] {
		return system
	}
	return "urn:x-liaison:codesystem:HL7" + table
}
