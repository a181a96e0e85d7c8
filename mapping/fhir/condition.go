package fhir

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// A Condition is what If-None-Exist asks for: a search by identifier (R4
// §3.1.0.8.1, §3.1.1.4.10). Each of its terms must be met; a term is met by any
// of its tokens.
type Condition [][]Token

// A Token is an identifier that is looked for.
type Token struct {
	System string // "": one without system
	Value  string // "": any
}

// conditionText is what a condition may be.
const conditionText = "the search is identifier=system|value, identifier=system| or identifier=|value, percent-encoded as a query"

// ParseCondition reads a search; the error tells what is not supported, with no
// value of it.
func ParseCondition(text string) (Condition, error) {
	if at := strings.IndexByte(text, '?'); at >= 0 {
		text = text[at+1:]
	}
	query, err := url.ParseQuery(text)
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %s", conditionText)
	}
	var c Condition
	for name, values := range query {
		if name != "identifier" {
			return nil, fmt.Errorf("it has a parameter other than identifier: %s", conditionText)
		}
		for _, value := range values {
			var term []Token
			for _, part := range split(value, ',') {
				token := split(part, '|')
				if len(token) != 2 || token[0]+token[1] == "" {
					return nil, fmt.Errorf("it names an identifier without saying of which system: %s", conditionText)
				}
				term = append(term, Token{System: unescape(token[0]), Value: unescape(token[1])})
			}
			slices.SortFunc(term, Token.compare)
			c = append(c, slices.Compact(term))
		}
	}
	if len(c) == 0 {
		return nil, fmt.Errorf("it is empty: %s", conditionText)
	}
	slices.SortFunc(c, func(a, b []Token) int { return slices.CompareFunc(a, b, Token.compare) })
	return slices.CompactFunc(c, func(a, b []Token) bool { return slices.Equal(a, b) }), nil
}

func (t Token) compare(other Token) int { return strings.Compare(t.text(), other.text()) }

func (t Token) text() string { return escapeToken(t.System) + "|" + escapeToken(t.Value) }

// split cuts at a separator that is not escaped (R4 §3.1.1.4.0.1).
func split(s string, at byte) []string {
	var out []string
	from := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case at:
			out = append(out, s[from:i])
			from = i + 1
		}
	}
	return append(out, s[from:])
}

func unescape(s string) string {
	return strings.NewReplacer(`\\`, `\`, `\|`, "|", `\,`, ",", `\$`, "$").Replace(s)
}

func escapeToken(s string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, ",", `\,`, "%", "%25", "&", "%26").Replace(s)
}

// String is one text for all ways in which the search can be written.
func (c Condition) String() string {
	var b strings.Builder
	for i, term := range c {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString("identifier=")
		for k, token := range term {
			if k > 0 {
				b.WriteByte(',')
			}
			b.WriteString(token.text())
		}
	}
	return b.String()
}

// Matches says whether a resource has the identifiers.
func (c Condition) Matches(n *Node) bool {
	for _, term := range c {
		met := slices.ContainsFunc(n.Get("identifier").Items(), func(id *Node) bool {
			return slices.ContainsFunc(term, func(t Token) bool {
				return id.Str("system") == t.System && (t.Value == "" || id.Str("value") == t.Value)
			})
		})
		if !met {
			return false
		}
	}
	return true
}
