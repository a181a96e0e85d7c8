package tables

import "strings"

// compared reads a number that a laboratory sends with a comparator in front of
// it, in a field for numbers: "<0.01", ">= 500" (HL7 v2.5.1 §2.A.47 allows none).
func compared(text string) (sign, number string) {
	for _, sign := range []string{"<=", ">=", "<", ">"} {
		if rest, ok := strings.CutPrefix(text, sign); ok {
			rest = strings.TrimSpace(rest)
			if _, ok := decimal(rest); ok {
				return sign, rest
			}
			break
		}
	}
	return "", ""
}
