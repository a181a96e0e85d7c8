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
