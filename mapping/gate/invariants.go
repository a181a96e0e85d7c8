package gate

import (
	"strconv"
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// An invariant's key and when it is broken.
type rule struct {
	key, text string
	broken    func(n *fhir.Node) bool
}

// rules makes one check of a type's invariants.
func rules(list ...rule) func(*checker, *fhir.Node) {
	return func(c *checker, n *fhir.Node) {
		for i := range list {
			if list[i].broken(n) {
				c.fail(list[i].key, list[i].text)
			}
		}
	}
}

// both runs two checks.
func both(a, b func(*checker, *fhir.Node)) func(*checker, *fhir.Node) {
	return func(c *checker, n *fhir.Node) {
		a(c, n)
		b(c, n)
	}
}

// has says whether an element is there, with a value or with extensions only.
func has(n *fhir.Node, name string) bool { return n.Get(name) != nil || n.Get("_"+name) != nil }

// hasAny says whether one of the elements is there.
func hasAny(n *fhir.Node, names ...string) bool {
	for _, name := range names {
		if has(n, name) {
			return true
		}
	}
	return false
}

// hasChoice says whether an alternative of stem[x] is there.
func hasChoice(n *fhir.Node, stem string) bool {
	for _, k := range n.Kids {
		if typed, ok := strings.CutPrefix(strings.TrimPrefix(k.Name, "_"), stem); ok && typed != "" && typed[0] >= 'A' && typed[0] <= 'Z' {
			return true
		}
	}
	return false
}

// coded says whether a CodeableConcept has one of the codes of a system.
func coded(concept *fhir.Node, system string, codes ...string) bool {
	for _, coding := range concept.Get("coding").Items() {
		if coding.Str("system") != system {
			continue
		}
		for _, code := range codes {
			if coding.Str("code") == code {
				return true
			}
		}
	}
	return false
}

// number of a quantity; false where it has none.
func value(n *fhir.Node) (float64, bool) {
	v := n.Get("value")
	if v == nil || v.Kind != fhir.Number {
		return 0, false
	}
	f, err := strconv.ParseFloat(v.Text, 64)
	return f, err == nil
}

// after says whether a date or time is later than another whatever their
// precision leaves open; without an offset a date could be anywhere on Earth.
func after(a, b string) bool {
	aFirst, _, aZone, ok := span(a)
	_, bLast, bZone, ok2 := span(b)
	if !ok || !ok2 {
		return false
	}
	if aZone != bZone {
		if aZone {
			bLast = bLast.Add(12 * time.Hour)
		} else {
			aFirst = aFirst.Add(-14 * time.Hour)
		}
	}
	return aFirst.After(bLast)
}

// span gives the first and last instant that a dateTime may mean.
func span(s string) (first, last time.Time, zone, ok bool) {
	if !isDateTime(s) {
		return first, last, false, false
	}
	year, month, day := number(s[:4]), 1, 1
	switch len(s) {
	case 4:
		first = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		return first, first.AddDate(1, 0, 0).Add(-1), false, true
	case 7:
		first = time.Date(year, time.Month(number(s[5:7])), 1, 0, 0, 0, 0, time.UTC)
		return first, first.AddDate(0, 1, 0).Add(-1), false, true
	}
	month, day = number(s[5:7]), number(s[8:10])
	if len(s) == 10 {
		first = time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
		return first, first.AddDate(0, 0, 1).Add(-1), false, true
	}
	clock, offset := s[11:], 0
	if strings.HasSuffix(clock, "Z") {
		clock = clock[:len(clock)-1]
	} else {
		z := clock[len(clock)-6:]
		clock = clock[:len(clock)-6]
		offset = number(z[1:3])*3600 + number(z[4:])*60
		if z[0] == '-' {
			offset = -offset
		}
	}
	nanos := 0
	if len(clock) > 9 {
		nanos = number((clock[9:] + "000000000")[:9])
	}
	first = time.Date(year, time.Month(month), day, number(clock[:2]), number(clock[3:5]), number(clock[6:8])-offset, nanos, time.UTC)
	return first, first, true, true
}

// invariants lists the checks by type. What only those meet who publish
// definitions (ValueSet, StructureDefinition …) is left out.
func invariants() map[string]func(*checker, *fhir.Node) {
	out := map[string]func(*checker, *fhir.Node){
		"Bundle":    bundle,
		"Reference": (*checker).reference,
		// onBehalfOf is a practitioner's (ctm-1).
		"CareTeamParticipant": func(c *checker, n *fhir.Node) {
			if typ := c.typeOf(n.Get("member")); has(n, "onBehalfOf") && typ != "" && typ != "Practitioner" {
				c.fail("ctm-1", "only a practitioner takes part on behalf of an organization")
			}
		},
	}
	for name, check := range dataTypes() {
		out[name] = check
	}
	for name, check := range clinical() {
		out[name] = check
	}
	for name, check := range administrative() {
		out[name] = check
	}
	return out
}

const ucum = "http://unitsofmeasure.org"

func dataTypes() map[string]func(*checker, *fhir.Node) {
	quantity := rule{"qty-3", "a unit's code needs its system", func(n *fhir.Node) bool { return has(n, "code") && !has(n, "system") }}
	measured := func(key string) rule {
		return rule{key, "a value needs its UCUM code and system", func(n *fhir.Node) bool {
			return has(n, "value") && !has(n, "code") || has(n, "system") && n.Str("system") != ucum
		}}
	}
	return map[string]func(*checker, *fhir.Node){
		"Extension": rules(rule{"ext-1", "an extension has either a value or extensions", func(n *fhir.Node) bool {
			return has(n, "extension") == hasChoice(n, "value")
		}}),
		"Identifier": rules(
			rule{"identifier", "a system is an absolute URI", func(n *fhir.Node) bool {
				system := n.Str("system")
				return system != "" && !absolute(system)
			}},
			rule{"identifier", "where the system is urn:ietf:rfc:3986 the value is an absolute URI", func(n *fhir.Node) bool {
				value := n.Str("value")
				return n.Str("system") == "urn:ietf:rfc:3986" && value != "" && !absolute(value)
			}},
		),
		"Coding": rules(
			rule{"code", "a system is an absolute URI", func(n *fhir.Node) bool {
				system := n.Str("system")
				return system != "" && !absolute(system)
			}},
			rule{"code", "a value set is no code system", func(n *fhir.Node) bool { return strings.Contains(n.Str("system"), "/ValueSet/") }},
		),
		"Period":   rules(rule{"per-1", "it ends before it starts", func(n *fhir.Node) bool { return after(n.Str("start"), n.Str("end")) }}),
		"Quantity": rules(quantity),
		"Age": rules(quantity, measured("age-1"), rule{"age-1", "an age is above 0", func(n *fhir.Node) bool {
			v, ok := value(n)
			return ok && v <= 0
		}}),
		"Count": rules(quantity, rule{"cnt-3", "a count is a whole number of UCUM's unit 1", func(n *fhir.Node) bool {
			code := n.Str("code")
			return has(n, "value") && !has(n, "code") || has(n, "system") && n.Str("system") != ucum || code != "" && code != "1" ||
				strings.Contains(n.Str("value"), ".")
		}}),
		"Distance": rules(quantity, measured("dis-1")),
		"Duration": rules(quantity, rule{"drt-1", "a duration's code is of UCUM and has its value", func(n *fhir.Node) bool {
			return has(n, "code") && (n.Str("system") != ucum || !has(n, "value"))
		}}),
		"Attachment": rules(rule{"att-1", "data needs its contentType", func(n *fhir.Node) bool { return has(n, "data") && !has(n, "contentType") }}),
		"ContactPoint": rules(rule{"cpt-2", "a contact's value needs its system", func(n *fhir.Node) bool {
			return has(n, "value") && !has(n, "system")
		}}),
		"Expression": rules(rule{"exp-1", "an expression or a reference to one", func(n *fhir.Node) bool { return !hasAny(n, "expression", "reference") }}),
		"Range": rules(rule{"rng-2", "low is above high, or one of them has no value", func(n *fhir.Node) bool {
			low, ok := value(n.Get("low"))
			high, ok2 := value(n.Get("high"))
			if has(n, "low") && has(n, "high") && !(ok && ok2) {
				return true
			}
			return ok && ok2 && low > high && n.Str("low.code") == n.Str("high.code") && n.Str("low.unit") == n.Str("high.unit")
		}}),
		"Ratio": rules(rule{"rat-1", "numerator and denominator together", func(n *fhir.Node) bool {
			return has(n, "numerator") != has(n, "denominator") || !hasAny(n, "numerator", "extension")
		}}),
		"TimingRepeat": timing(),
	}
}

func timing() func(*checker, *fhir.Node) {
	needs := func(key, name, other string) rule {
		return rule{key, name + " needs " + other, func(n *fhir.Node) bool { return has(n, name) && !has(n, other) }}
	}
	notNegative := func(key, name string) rule {
		return rule{key, name + " is not negative", func(n *fhir.Node) bool { return strings.HasPrefix(n.Str(name), "-") }}
	}
	return rules(
		needs("tim-1", "duration", "durationUnit"), needs("tim-2", "period", "periodUnit"), notNegative("tim-4", "duration"),
		notNegative("tim-5", "period"), needs("tim-6", "periodMax", "period"), needs("tim-7", "durationMax", "duration"),
		needs("tim-8", "countMax", "count"),
		rule{"tim-9", "offset needs when, and no meal itself", func(n *fhir.Node) bool {
			if !has(n, "offset") {
				return false
			}
			for _, when := range n.Get("when").Items() {
				switch when.Text {
				case "C", "CM", "CD", "CV":
					return true
				}
			}
			return !has(n, "when")
		}},
		rule{"tim-10", "timeOfDay or when, not both", func(n *fhir.Node) bool { return has(n, "timeOfDay") && has(n, "when") }},
	)
}
