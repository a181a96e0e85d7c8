package records

import (
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// choices are the elements of records' resources that R4 writes as one of
// several names (medication[x]): only one of them may stand (R4 §2.6.1.1).
func choices() []string {
	return []string{"medication", "occurrence", "effective", "product", "item", "quantity", "asNeeded", "reported", "deceased", "multipleBirth"}
}

// stem gives the choice that an element belongs to, or "".
func stem(element string) string {
	element = strings.TrimPrefix(element, "_")
	for _, c := range choices() {
		if len(element) > len(c) && element[:len(c)] == c && element[len(c)] >= 'A' && element[len(c)] <= 'Z' {
			return c
		}
	}
	return ""
}

// choose leaves one alternative of each choice that a message has set: the one
// that the sender's newest message gave, whichever came first; of two senders
// the one that spoke last. What the tables filled in gives way to a value.
func (s *state) choose(next *fhir.Node, it *Item, st Stamp) {
	for _, mine := range it.Resource.Kids {
		choice := stem(mine.Name)
		if choice == "" || next.Get(mine.Name) == nil {
			continue
		}
		order := it.order(st, mine.Name).Order
		for i := 0; i < len(next.Kids); i++ {
			name := next.Kids[i].Name
			if stem(name) != choice || it.Resource.Get(name) != nil {
				continue
			}
			if other, known := s.noted(st.Sender, name); known && other > order || !known && strings.HasPrefix(order, weakest) {
				next.Delete(mine.Name)
				break
			}
			next.Delete(name)
			i--
		}
	}
}

// noted gives the order of the message of a sender that set an element.
func (s *state) noted(sender, element string) (order string, known bool) {
	from := s.heard(sender)
	for i := 0; from != nil && i < len(from.at); i++ {
		if from.at[i].element == element {
			return from.at[i].order, true
		}
	}
	return "", false
}
