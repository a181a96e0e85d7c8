package tables_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/gate"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/tables"
)

var (
	rounds = flag.Int("rounds", 1, "messages of each structure in TestAnyMessage")
	seed   = flag.Uint64("seed", 1, "of the messages of TestAnyMessage")
)

// Whatever a message of a structure holds, in whatever fields at once, its Bundle
// passes the gate, its references resolve, a second run is the same, and every
// leaf is found or reported.
func TestAnyMessage(t *testing.T) {
	schema := fhir.NewSchema()
	mapper, err := compiled(schema)
	require.NoError(t, err)
	check, err := gate.New(schema)
	require.NoError(t, err)
	samples, values := segmentSamples(t), fieldValues(t)
	files, err := filepath.Glob("messages/*.yaml")
	require.NoError(t, err)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			messages := messages(t, file, samples)
			for round := range *rounds {
				random := rand.New(rand.NewPCG(*seed+uint64(round), uint64(len(name))))
				triggers := slices.Sorted(maps.Keys(messages))
				segments := slices.Clone(messages[triggers[random.IntN(len(triggers))]])
				repeats := random.IntN(2) == 0 // in fields too that the standard does not repeat
				for i := range segments[1:] {
					segments[i+1] = filled(segments[i+1], i, values, random, repeats)
				}
				anyMessage(t, mapper, check, []byte(strings.Join(segments, "\r")+"\r"))
			}
		})
	}
}

func anyMessage(t *testing.T, mapper *tables.Mapper, check *gate.Gate, raw []byte) {
	t.Helper()
	bundle, report := mapOne(t, mapper, raw)
	require.Empty(t, check.CheckJSON(bundle), "%s", raw)
	again, _ := mapOne(t, mapper, raw)
	require.Equal(t, string(bundle), string(again), "%s", raw)
	require.Equal(t, report.Leaves, report.Found+report.Structural+len(report.Unmapped), "%s", raw)
	msg, err := hl7v2.Parse(raw)
	require.NoError(t, err)
	result, err := mapper.Map(msg, tables.Context{Source: "test", Received: received()})
	require.NoError(t, err)
	defer mapper.Release(result)
	require.Empty(t, result.Unresolved(), "%s", raw)
}

var wholeField = regexp.MustCompile(`^([A-Z][A-Z0-9]{2})-(\d+)$`)

// fieldValues are the values that the rows of testdata/mapping/fields set, by
// segment and field.
func fieldValues(t *testing.T) map[string]map[int][]string {
	t.Helper()
	files, err := filepath.Glob("../../testdata/mapping/fields/*.txt")
	require.NoError(t, err)
	out := map[string]map[int][]string{}
	for _, file := range files {
		for _, c := range fieldCases(t, file) {
			for _, s := range c.set {
				name, value, _ := strings.Cut(s, " = ")
				m := wholeField.FindStringSubmatch(strings.TrimSpace(name))
				if m == nil || m[1] == "MSH" {
					continue
				}
				n, err := strconv.Atoi(m[2])
				require.NoError(t, err, c.place)
				if out[m[1]] == nil {
					out[m[1]] = map[int][]string{}
				}
				out[m[1]][n] = append(out[m[1]][n], value)
			}
		}
	}
	return out
}

// numbered is a number that an authority gives: no two segments bear the same.
var numbered = regexp.MustCompile(`^V\d+\^`)

// filled values most fields of a segment with what some row has there, some of
// them twice.
func filled(segment string, position int, values map[string]map[int][]string, random *rand.Rand, repeats bool) string {
	fields := values[segment[:3]]
	for _, n := range slices.Sorted(maps.Keys(fields)) {
		choice := fields[n]
		if random.IntN(10) == 0 {
			continue
		}
		value := numbered.ReplaceAllString(choice[random.IntN(len(choice))], fmt.Sprintf("N%d$0", position))
		if repeats && random.IntN(4) == 0 {
			value += "~" + choice[random.IntN(len(choice))]
		}
		segment = put(segment, "|", n, func(string) string { return value })
	}
	return segment
}
