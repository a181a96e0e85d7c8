package tables

import "strings"

// ucumSystem is the URI of the Unified Code for Units of Measure.
const ucumSystem = "http://unitsofmeasure.org"

// unit says whether a code is a unit of UCUM by its case sensitive grammar (UCUM
// 2.1 §4 to §12): units with prefixes and exponents, joined by . and /, with
// annotations in braces.
func (s codeSystems) unit(code string) bool {
	rest, ok := s.unitTerm(strings.TrimPrefix(code, "/"), 0)
	return ok && rest == "" && code != "" && code != "/"
}

// deepest is how far a unit's brackets may be nested.
const deepest = 16

// unitTerm reads components joined by . and /, and gives what is behind them.
func (s codeSystems) unitTerm(text string, depth int) (rest string, ok bool) {
	for {
		if text, ok = s.unitComponent(text, depth); !ok {
			return "", false
		}
		if text == "" || text[0] != '.' && text[0] != '/' {
			return text, true
		}
		text = text[1:]
	}
}

// unitComponent reads a term in brackets, a number, or a unit, and an annotation.
func (s codeSystems) unitComponent(text string, depth int) (rest string, ok bool) {
	if inner, found := strings.CutPrefix(text, "("); found && depth < deepest {
		if rest, ok = s.unitTerm(strings.TrimPrefix(inner, "/"), depth+1); !ok {
			return "", false
		}
		return strings.CutPrefix(rest, ")")
	}
	n := unitLength(text)
	simple, rest := text[:n], text[n:]
	if annotation, found := strings.CutPrefix(rest, "{"); found {
		inside, behind, closed := strings.Cut(annotation, "}")
		if !closed || strings.Contains(inside, "{") {
			return "", false
		}
		return behind, simple == "" || isDigits(simple) || s.simpleUnit(simple)
	}
	return rest, isDigits(simple) || s.simpleUnit(simple)
}

// unitLength is where a unit ends: at an operator or a bracket outside [].
func unitLength(text string) int {
	inside := false
	for i := range len(text) {
		switch text[i] {
		case '[':
			inside = true
		case ']':
			inside = false
		case '.', '/', '(', ')', '{', '}':
			if !inside {
				return i
			}
		}
	}
	return len(text)
}

// simpleUnit is a unit, with a prefix where it takes one, and an exponent.
func (s codeSystems) simpleUnit(text string) bool {
	if s.prefixed(text) {
		return true
	}
	base := strings.TrimRight(text, "0123456789")
	if base == text {
		return false
	}
	return s.prefixed(base) || s.prefixed(strings.TrimRight(base, "+-")) && len(base)-len(strings.TrimRight(base, "+-")) == 1
}

func (s codeSystems) prefixed(text string) bool {
	metric := s["ucum-metric"]
	if metric[text] || s["ucum-other"][text] {
		return true
	}
	for n := 1; n <= min(2, len(text)-1); n++ {
		if s["ucum-prefix"][text[:n]] && metric[text[n:]] {
			return true
		}
	}
	return false
}
