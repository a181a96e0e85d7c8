package tables_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/records"
)

// However messages split a requisition: each service is one order, whose versions
// follow one another, and results are based on orders that there are.
func TestServicesOfARequisition(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFeed(t)
		orders, results := map[string]string{}, map[string]bool{}
		for i := range rapid.IntRange(2, 8).Draw(rt, "messages") {
			least := 1
			if i == 0 { // one service alone may be sent again under another code
				least = 2
			}
			codes := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"BMP", "CBC", "GLU", "FER"}), least, 3, rapid.ID).Draw(rt, "services")
			kind := "ORM^O01"
			if i > 0 && rapid.Bool().Draw(rt, "result") {
				kind = "ORU^R01"
			}
			list := []string{header(kind, i), segment("PID", person())}
			for _, code := range codes {
				if kind == "ORM^O01" {
					list = append(list, segment("ORC", map[int]string{1: "NW", 2: "R7^CPOE", 7: fmt.Sprintf("%d^Q6H", i+1)}), segment("OBR", map[int]string{2: "R7^CPOE", 4: code + "^^L"}))
				} else {
					list = append(list, segment("OBR", map[int]string{2: "R7^CPOE", 3: "F1^LAB", 4: code + "^^L", 25: "F"}), segment("OBX", map[int]string{1: "1", 2: "NM", 3: code + "^^L", 5: fmt.Sprint(i), 11: "F"}))
				}
			}
			for _, r := range f.send(list...) {
				var n struct {
					ID      string
					Code    struct{ Coding []struct{ Code string } }
					BasedOn []struct{ Reference string }
				}
				require.NoError(t, json.Unmarshal(r.Resource, &n))
				switch {
				case r.Kind == records.Order && len(n.Code.Coding) > 0:
					if have := orders[n.ID]; have != "" && have != n.Code.Coding[0].Code {
						rt.Fatalf("the order of %s is one of %s", have, n.Code.Coding[0].Code)
					}
					orders[n.ID] = n.Code.Coding[0].Code
				case r.Kind == records.Result:
					for _, b := range n.BasedOn {
						results[b.Reference] = true
					}
				}
			}
		}
		for ref := range results {
			if orders[ref[len("ServiceRequest/"):]] == "" {
				rt.Fatalf("a result is based on %s, which is no order", ref)
			}
		}
	})
}

// ends sends messages and gives the state that each order is in, by its number.
func ends(t *testing.T, kind records.Kind, list []sent) map[string]string {
	t.Helper()
	f := newFeed(t)
	out := map[string]string{}
	for _, m := range list {
		for _, r := range f.send(append([]string{header(m.kind, m.minute), segment("PID", person())}, m.segments...)...) {
			if r.Kind == kind {
				out[r.Key.ID] = r.State
			}
		}
	}
	return out
}

// What a filler puts in the place of an order, under the same number, lives when the
// order ends (HL7 v2.5.1 §4.5.1.1, RU and RO).
func TestReplacedUnderOneNumber(t *testing.T) {
	for _, c := range []struct {
		kind                   records.Kind
		message, ended, detail string
		code                   int
	}{{records.Order, "ORM^O01", "revoked", "OBR", 4}, {records.MedicationOrder, "RDE^O11", "stopped", "RXE", 2}} {
		order := func(control, filler, code string) []string {
			return []string{segment("ORC", map[int]string{1: control, 2: "P1^CPOE", 3: filler}), segment(c.detail, map[int]string{c.code: code + "^^L"})}
		}
		for _, code := range []string{"A", "B"} { // the same, another one
			ordered := sent{c.message, 1, "", order("NW", "F1^LAB", "A")}
			replaced := sent{c.message, 2, "", append(order("RU", "F1^LAB", "A"), order("RO", "F2^LAB", code)...)}
			later := sent{c.message, 3, "", order("HD", "F2^LAB", code)}
			key := "P1#F2"
			if code == "B" {
				key = "P1#B#F2"
			}
			require.Equal(t, map[string]string{"P1": c.ended, key: "active"}, ends(t, c.kind, []sent{ordered, replaced}))
			require.Equal(t, map[string]string{"P1": c.ended, key: "active"}, ends(t, c.kind, []sent{ordered, replaced, replaced}), "sent again")
			require.Equal(t, map[string]string{"P1": c.ended, key: "on-hold"}, ends(t, c.kind, []sent{ordered, replaced, later}))
			if code == "A" {
				require.Equal(t, map[string]string{"P1": c.ended, key: "on-hold"}, ends(t, c.kind, []sent{replaced, later, ordered}))
			}
			placed := sent{c.message, 1, "", order("NW", "", "A")}
			byNumber := sent{c.message, 4, "", order("DC", "", code)}
			require.Equal(t, map[string]string{"P1": c.ended, key: c.ended}, ends(t, c.kind, []sent{placed, replaced, byNumber}), "by the placer's number the one that lives")
			none := sent{c.message, 2, "", append(order("RU", "", "A"), order("RO", "", "A")...)}
			require.Equal(t, map[string]string{"P1": c.ended, "P1#RO": "active"}, ends(t, c.kind, []sent{ordered, none}), "without numbers")
		}
	}
}

// Children inherit their parent's placer number and are told apart by the filler's,
// else by their start; each message of a child, sent again or not, in any order, is of
// the one child.
func TestChildrenOfOneOrder(t *testing.T) {
	child := func(control, filler string, start, status string) []string {
		orc := map[int]string{1: control, 2: "P1^CPOE", 3: filler, 5: status, 8: "P1&CPOE^F0&LAB"}
		return []string{segment("ORC", orc), segment("TQ1", map[int]string{1: "1", 7: start}), segment("OBR", map[int]string{2: "P1^CPOE", 3: filler, 4: "GLU^^L"})}
	}
	parent := func(control, filler string) []string {
		return []string{segment("ORC", map[int]string{1: control, 2: "P1^CPOE", 3: filler}), segment("OBR", map[int]string{2: "P1^CPOE", 3: filler, 4: "GLU^^L"})}
	}
	rapid.Check(t, func(rt *rapid.T) {
		want := map[string]string{"P1": "active"}
		list := []sent{{"ORM^O01", 1, "", parent("NW", "F0^LAB")}}
		all := parent("PA", "F0^LAB")
		n := rapid.IntRange(1, 4).Draw(rt, "children")
		numbered := rapid.Bool().Draw(rt, "numbered")
		for i := range n {
			filler, start := "", fmt.Sprintf("202603101%d0000", i)
			key := "P1#" + start
			if numbered {
				filler, key = fmt.Sprintf("F%d^LAB", i+1), fmt.Sprintf("P1#F%d", i+1)
			}
			want[key] = "active"
			all = append(all, child("CH", filler, start, "")...)
			if rapid.Bool().Draw(rt, "again") {
				list = append(list, sent{"ORM^O01", 3, "", child("CH", filler, start, "")})
			}
			if numbered && rapid.Bool().Draw(rt, "done") {
				want[key] = "completed"
				list = append(list, sent{"ORM^O01", 4 + i, "", child("SC", filler, start, "CM")})
			}
		}
		list = append(list, sent{"ORM^O01", 2, "", all})
		got := ends(t, records.Order, rapid.Permutation(list).Draw(rt, "order"))
		require.Equal(rt, want, got)
	})

	all := append(parent("PA", "F0^LAB"), append(child("CH", "F1^LAB", "", ""), child("CH", "F2^LAB", "", "")...)...)
	list := []sent{{"ORM^O01", 1, "", all}, {"ORM^O01", 2, "", child("SC", "F1^LAB", "", "CM")}, {"ORM^O01", 3, "", parent("CA", "")}}
	require.Equal(t, map[string]string{"P1": "revoked", "P1#F1": "completed", "P1#F2": "revoked"}, ends(t, records.Order, list), "cancelled by the placer")
	list = append(list, sent{"ORM^O01", 4, "", parent("UC", "")})
	require.Equal(t, map[string]string{"P1": "active", "P1#F1": "completed", "P1#F2": "active"}, ends(t, records.Order, list), "which is refused")
	list = []sent{{"ORM^O01", 1, "", all}, {"ORM^O01", 2, "", parent("SC", "F9^LAB")}}
	require.Equal(t, "active", ends(t, records.Order, list)["P1#F1"], "one that nobody spoke of is none of them")
}
