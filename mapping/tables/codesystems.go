package tables

import (
	"fmt"
	"strings"
)

// hl7Systems is what the URIs of HL7's own code systems begin with.
const hl7Systems = "http://terminology.hl7.org/CodeSystem/"

// A codeSystems knows which codes HL7's code systems have, by the name behind
// hl7Systems, and what UCUM's units are made of. Validators refuse a code that its
// system does not have.
type codeSystems map[string]map[string]bool

func loadCodeSystems(text string) (codeSystems, error) {
	out := codeSystems{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		words, err := fields(strings.TrimSpace(line))
		if err != nil || len(words) < 2 {
			return nil, fmt.Errorf("codesystems.txt: %q: a line is SYSTEM CODE …", line)
		}
		codes := make(map[string]bool, len(words)-1)
		for _, w := range words[1:] {
			codes[unquote(w)] = true
		}
		out[words[0]] = codes
	}
	return out, nil
}

// of gives the system that a code is sent under: the one that it claims, or
// where that has no such code, a system of ours with the table's name.
func (s codeSystems) of(system, code string) string {
	if system == ucumSystem && !s.unit(code) {
		return "urn:x-liaison:codesystem:UCUM"
	}
	name, ok := strings.CutPrefix(system, hl7Systems)
	if !ok {
		return system
	}
	codes, known := s[name]
	if !known || codes[code] {
		return system
	}
	if number, ok := strings.CutPrefix(name, "v2-"); ok {
		name = "HL7" + number
	}
	return "urn:x-liaison:codesystem:" + name
}
