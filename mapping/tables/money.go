package tables

import "strings"

// money reads an amount as people write it, where it can mean one thing: a dollar
// sign, thousands apart by commas before a point, a minus behind. HL7 allows none of
// them (v2.5.1 §2.A.47). Any other text stays as it is: 1,250 may be little more than
// one.
func money(text string) string {
	if _, ok := decimal(text); ok {
		return text
	}
	sign, plain := "", strings.TrimSpace(text)
	if rest, ok := strings.CutSuffix(plain, "-"); ok {
		sign, plain = "-", rest
	}
	for _, mark := range [...]string{"-", "$", "-"} {
		rest, ok := strings.CutPrefix(plain, mark)
		switch {
		case !ok:
			continue
		case mark == "-" && sign != "": // a second one
			return text
		case mark == "-":
			sign = mark
		}
		plain = rest
	}
	number, ok := decimal(ungrouped(plain))
	if !ok || plain[0] == '+' {
		return text
	}
	return sign + number
}

// ungrouped is 1250.00 of 1,250.00; any other text stays.
func ungrouped(text string) string {
	whole, fraction, pointed := strings.Cut(text, ".")
	groups := strings.Split(whole, ",")
	if !pointed || fraction == "" || len(groups[0]) == 0 || len(groups[0]) > 3 {
		return text
	}
	for _, group := range groups[1:] {
		if len(group) != 3 {
			return text
		}
	}
	return strings.Join(groups, "") + "." + fraction
}
