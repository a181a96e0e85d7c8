package tables_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/records"
)

// An order is what messages "SENDER MINUTE CONTROL[=STATUS]" say of it, in the order
// they come in: its state, and its resource's status.
func orderAfter(t *testing.T, kind records.Kind, messages []string) (state, status string) {
	t.Helper()
	f := newFeed(t)
	for _, text := range messages {
		var by, said string
		var minute int
		_, err := fmt.Sscan(text, &by, &minute, &said)
		require.NoError(t, err)
		control, at, _ := strings.Cut(said, "=")
		orc := segment("ORC", map[int]string{1: control, 2: "P1^CPOE", 5: at})
		what, detail := "ORM^O01", segment("OBR", map[int]string{2: "P1^CPOE", 4: "CBC^^L"})
		if kind == records.MedicationOrder {
			what, detail = "RDE^O11", segment("RXE", map[int]string{2: "AMOX^^L", 3: "1", 5: "TAB"})
		}
		if kind == records.NutritionOrder {
			what, detail = "OMD^O03", segment("ODS", map[int]string{1: "D", 3: "REG^^L"})
		}
		if kind == records.SupplyRequest {
			what, detail = "OMS^O05", segment("RQD", map[int]string{1: "1", 2: "GLV^^L", 5: "1"})
		}
		msh := strings.Replace(header(what, minute), "ADT1", by, 1)
		if r := of(f.send(msh, segment("PID", person()), orc, detail), kind); r != nil {
			var n struct{ Status string }
			require.NoError(t, json.Unmarshal(r.Resource, &n))
			state, status = r.State, n.Status
		}
	}
	return state, status
}

// What a filler refuses (UC, UD, UH, UM, UR) is not done: the order is what it was
// before it was asked for, in whatever order the messages come.
func TestRefusedRequests(t *testing.T) {
	for _, c := range []struct{ messages, order, medication string }{
		{"A 1 NW; A 3 CA; A 4 UC", "active", "active"},
		{"A 1 NW; A 2 SC=CM; A 3 CA; A 4 UC", "completed", "completed"},
		{"A 1 NW; A 2 HD; A 3 CA; A 4 UC", "on-hold", "on-hold"},
		{"A 1 NW; A 2 OC; A 3 CA; A 4 UC", "revoked", "cancelled"}, // it was cancelled already
		{"A 1 NW; A 2 CA; A 3 CA; A 4 UC", "active", "active"},     // asked twice
		{"A 1 NW; A 2 CA; A 3 UC; A 4 CA", "revoked", "cancelled"}, // and again
		{"A 1 NW; A 2 CA; A 3 UC; A 4 OC", "revoked", "cancelled"},
		{"A 1 NW; A 2 CA; A 3 UC=CM", "completed", "completed"},
		{"A 1 NW; A 2 DC; A 3 UD", "active", "active"},
		{"A 1 NW; A 2 SC=CM; A 3 DC; A 4 UD", "completed", "completed"},
		{"A 1 NW; A 2 HD; A 3 UH", "active", "active"},
		{"A 1 NW; A 2 RP; A 3 UM", "active", "active"},
		{"A 1 NW; A 2 HD; A 3 RL; A 4 UR", "on-hold", "on-hold"},
		{"A 1 NW; A 2 CA; A 3 UH", "revoked", "cancelled"}, // another one
		{"A 3 CA; A 4 UC", "active", "active"},
		// by two, whose clocks are not compared
		{"A 9 NW; A 9 CA; B 1 UC", "active", "active"},
		{"A 9 NW; B 2 SC=CM; A 19 CA; B 4 UC", "completed", "completed"},
		{"A 9 NW; B 1 OK; C 2 SC=CM; A 19 CA; B 4 UC", "completed", "completed"},
		{"A 9 NW; A 10 CA; B 1 UC; A 12 CA", "revoked", "cancelled"},
		{"A 9 NW; B 1 UC; A 10 CA", "active", "active"}, // the refusal is there first
		{"A 9 NW; B 1 SC=CM; B 2 UC; A 10 CA", "completed", "completed"},
		{"A 9 NW; B 1 UC; A 10 CA; A 11 CA", "revoked", "cancelled"},
		{"B 2 SC=CM; A 1 NW", "completed", "completed"}, // the order behind its result
	} {
		list := strings.Split(c.messages, "; ")
		orders := [][]string{list}
		if !strings.ContainsAny(c.messages, "BC") || strings.Count(c.messages, "A ") == len(list) {
			orders = orderings(list)
		}
		for kind, want := range map[records.Kind]string{records.Order: c.order, records.MedicationOrder: c.medication} {
			for _, order := range orders {
				state, status := orderAfter(t, kind, order)
				require.Equal(t, want, state, "%s: %v", kind, order)
				if kind == records.MedicationOrder || state == "completed" || strings.Contains(c.messages, " U") && state != "revoked" {
					require.Equal(t, want, status, "%s's status: %v", kind, order)
				}
			}
		}
	}
}

// A diet and a supply whose cancellation is refused are delivered.
func TestRefusedForDietsAndSupplies(t *testing.T) {
	for _, kind := range []records.Kind{records.NutritionOrder, records.SupplyRequest} {
		for messages, want := range map[string]string{
			"A 1 NW; B 1 OK; A 3 CA; B 4 UC":    "active",
			"A 1 NW; A 3 CA; A 4 UC":            "active",
			"A 1 NW; A 3 CA; A 4 OC":            map[records.Kind]string{records.NutritionOrder: "revoked", records.SupplyRequest: "cancelled"}[kind],
			"A 1 NW; A 2 HD; A 3 RL; A 4 UR":    map[records.Kind]string{records.NutritionOrder: "on-hold", records.SupplyRequest: "suspended"}[kind],
			"A 1 NW; A 2 SC=CM; A 3 DC; A 4 UD": "completed",
		} {
			state, status := orderAfter(t, kind, strings.Split(messages, "; "))
			require.Equal(t, want, state, "%s: %s", kind, messages)
			require.Equal(t, want, status, "%s: %s", kind, messages)
		}
	}
}

func orderings(list []string) [][]string {
	if len(list) == 0 {
		return [][]string{nil}
	}
	var out [][]string
	for _, p := range orderings(list[1:]) {
		for at := 0; at <= len(p); at++ {
			out = append(out, slices.Insert(slices.Clone(p), at, list[0]))
		}
	}
	return out
}

// One sender's requests and refusals end in one state, whatever order they come in.
func TestRequestsInAnyOrder(t *testing.T) {
	controls := []string{"NW", "SC=CM", "SC=IP", "CA", "CA", "UC", "UC=CM", "DC", "UD", "HD", "UH", "RL", "UR", "OC", "XO", "RP", "UM"}
	rapid.Check(t, func(rt *rapid.T) {
		kind := rapid.SampledFrom([]records.Kind{records.Order, records.MedicationOrder}).Draw(rt, "kind")
		var list []string
		for i := range rapid.IntRange(2, 7).Draw(rt, "messages") {
			list = append(list, fmt.Sprint("A ", i+1, " ", rapid.SampledFrom(controls).Draw(rt, "control")))
		}
		state, _ := orderAfter(t, kind, list)
		other, _ := orderAfter(t, kind, rapid.Permutation(list).Draw(rt, "order"))
		if state != other {
			rt.Fatalf("%s, and in another order %s: %v", state, other, list)
		}
	})
}
