package connectortest

import (
	"fmt"
	"strings"
	"time"

	"github.com/liaison-health/liaison/pipelines"
)

// patience is how long the suites wait for what must happen. It is long, for
// slow machines under the race detector; nothing that works waits for it.
const patience = 20 * time.Second

// moment is how long the suites watch that something does not happen.
const moment = 30 * time.Millisecond

// V2 is a small HL7 v2 message whose control id is C and n. Messages of
// different n differ in content too.
func V2(n int) []byte {
	return fmt.Appendf(nil, "MSH|^~\\&|SENDER|NORTH|LIAISON|NORTH|20260310083000||ADT^A08^ADT_A01|C%d|P|2.5.1\r"+
		"EVN|A08|20260310083000\rPID|1||%d^^^NORTH^MR||Example^Invented\rPV1|1|I|W1^101^1\r", n, 10_000+n)
}

// FHIR is a small FHIR R4 Patient with an id of n.
func FHIR(n int) []byte {
	return fmt.Appendf(nil, `{"resourceType":"Patient","id":"p%d","identifier":[{"system":"urn:example:mr","value":"%d"}],"name":[{"family":"Example","given":["Invented"]}]}`, n, 10_000+n)
}

// payload is message n of a format.
func payload(f pipelines.Format, n int) []byte {
	if f == pipelines.FHIR {
		return FHIR(n)
	}
	return V2(n)
}

// odd are payloads that a careless source would change on their way.
func odd(f pipelines.Format) map[string][]byte {
	if f == pipelines.FHIR {
		return map[string][]byte{
			"white space":    []byte("{\r\n  \"resourceType\" : \"Patient\",\t\"id\":\"odd1\"\n}\n"),
			"escapes":        []byte(`{"resourceType":"Patient","id":"odd2","name":[{"family":"Stra\u00dfe <&>"}]}`),
			"number":         []byte(`{"resourceType":"Observation","id":"odd3","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.500}}`),
			"order of names": []byte(`{"id":"odd4","active":true,"resourceType":"Patient"}`),
			"large":          []byte(`{"resourceType":"Patient","id":"odd5","name":[{"text":"` + strings.Repeat("long ", 60_000) + `name"}]}`),
		}
	}
	plain := string(V2(900))
	named := func(id, text string) []byte { return []byte(strings.Replace(text, "|C900|", "|"+id+"|", 1)) }
	return map[string][]byte{
		"LF":                named("ODD1", strings.ReplaceAll(plain, "\r", "\n")),
		"CR LF":             named("ODD2", strings.ReplaceAll(plain, "\r", "\r\n")),
		"no line end":       named("ODD3", strings.TrimSuffix(plain, "\r")),
		"Latin-1 bytes":     named("ODD4", strings.Replace(plain, "Invented", "Andr\xe9", 1)),
		"other delimiters":  named("ODD5", strings.NewReplacer("|", "$", "^~\\&", "*~\\&", "^", "*").Replace(plain)),
		"lone backslash":    named("ODD6", strings.Replace(plain, "Invented", "a\\b\\Zx\\", 1)),
		"more than 64 KiB":  named("ODD7", plain+"OBX|1|ED|||^^PDF^Base64^"+strings.Repeat("QUJD", 100_000)+"\r"),
		"trailing blanks":   named("ODD8", strings.Replace(plain, "W1^101^1\r", "W1^101^1||  \r", 1)),
		"a Z segment":       named("ODD9", plain+"ZZZ|1|local\r"),
		"UTF-8, no MSH-18":  named("ODD10", strings.Replace(plain, "Invented", "Žofie 山", 1)),
		"deleted and empty": named("ODD11", strings.Replace(plain, "Example^Invented", "Example^Invented||\"\"|||", 1)),
	}
}
