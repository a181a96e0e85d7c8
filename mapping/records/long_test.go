package records_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
)

// A sorted state scans as a store does, without a look at all its keys.
type sorted struct {
	records.Memory
	names []string
}

func (o *sorted) Scan(prefix, after []byte, limit int) ([]records.KV, error) {
	some := records.Memory{}
	at, _ := slices.BinarySearch(o.names, string(prefix))
	for _, k := range o.names[at:] {
		if !strings.HasPrefix(k, string(prefix)) || len(some) == limit {
			break
		}
		some[k] = o.Memory[k]
	}
	return some.Scan(prefix, after, limit)
}

// Folds of many parts: one of eight times as many takes about eight times as long, not
// sixty.
func BenchmarkLongFolds(b *testing.B) {
	bundle := func(journal uint64, entries ...string) *records.Change {
		c, err := records.FromFHIR(records.FHIRRequest{
			Method: "POST", Body: []byte(`{"resourceType":"Bundle","type":"transaction","entry":[` + strings.Join(entries, ",") + `]}`),
			Origin: records.Origin{Source: "portal", Journal: journal}, Received: time.Date(2026, 3, 10, 7, int(journal), 0, 0, time.UTC),
		})
		require.NoError(b, err)
		return c
	}
	entry := func(typ, id, more string) string {
		return fmt.Sprintf(`{"resource":{"resourceType":%q,"id":%q%s},"request":{"method":"PUT","url":"%s/%s"}}`, typ, id, more, typ, id)
	}
	observations := func(size int, value string) (list []string, refs string) {
		for i := range size {
			id := fmt.Sprint("o", i)
			list = append(list, entry("Observation", id, `,"valueString":"`+value+`"`))
			refs += `,{"reference":"Observation/` + id + `"}`
		}
		return list, `,"result":[` + refs[1:] + `]`
	}
	for name, changes := range map[string]func(size int) []*records.Change{
		"observations that are put right": func(size int) []*records.Change {
			first, refs := observations(size, "1")
			then, _ := observations(size, "2")
			report := entry("DiagnosticReport", "r", refs)
			return []*records.Change{bundle(1, append(first, report)...), bundle(2, append(then, report)...)}
		},
		"a report of what is held": func(size int) []*records.Change {
			first, refs := observations(size, "1")
			return []*records.Change{bundle(1, first...), bundle(2, entry("DiagnosticReport", "r", refs))}
		},
		"a text of many lines": func(size int) []*records.Change {
			var out []*records.Change
			for minute, status := range []string{"preliminary", "final"} {
				var related, refs []string
				for i := range size {
					related = append(related, fmt.Sprintf(`{"resourceType":"Observation","id":"o%d","code":{"coding":[{"code":"TXT"}]}}`, i))
					refs = append(refs, fmt.Sprintf(`{"reference":"Observation/o%d"}`, i))
				}
				report := node(b, fmt.Sprintf(`{"resourceType":"DiagnosticReport","id":"r","status":%q,"result":[%s]}`, status, strings.Join(refs, ",")))
				c := &records.Change{
					Stamp: records.Stamp{Sender: "LAB", Order: fmt.Sprint(minute)}, Origin: records.Origin{Source: "lab", Journal: uint64(minute + 1)},
					Received: time.Date(2026, 3, 10, 7, minute, 0, 0, time.UTC),
					Items:    []records.Item{{Kind: records.Result, Key: records.Key{ID: "r"}, Trigger: "R01", Resource: report}},
				}
				for _, text := range related {
					c.Related = append(c.Related, node(b, text))
				}
				out = append(out, c)
			}
			return out
		},
	} {
		for _, size := range []int{500, 4000} {
			b.Run(fmt.Sprint(name, "/", size), func(b *testing.B) {
				list := changes(size)
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					folder, state := records.NewFolder(0, 0), &sorted{Memory: records.Memory{}}
					for i, c := range list {
						if i == len(list)-1 {
							b.StartTimer()
						}
						effects, err := folder.Fold(state, c)
						require.NoError(b, err)
						state.Apply(effects)
						state.names = slices.Sorted(maps.Keys(state.Memory))
					}
				}
			})
		}
	}
}

func node(b testing.TB, text string) *fhir.Node {
	n, err := fhir.ParseJSON([]byte(text))
	require.NoError(b, err)
	return n
}
