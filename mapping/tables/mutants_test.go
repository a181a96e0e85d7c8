package tables_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/tables"
)

var mutants = flag.String("mutants", "", "take each rule out of the tables whose file name matches this expression, and see the rows of testdata/mapping/fields go red")

// A rule of a table that no row notices the absence of is not shown to work.
// This is slow, one load of the tables a rule: -mutants '.' runs all.
func TestEveryRuleIsNoticed(t *testing.T) {
	if *mutants == "" {
		*mutants = `^(SFT|RGS|DR|PLN)\.yaml$` // a few, so that the test itself is tested
	}
	which, err := regexp.Compile(*mutants)
	require.NoError(t, err)
	schema := fhir.NewSchema()
	cases := map[string][]fieldCase{} // by the table that they are for
	files, err := filepath.Glob("../../testdata/mapping/fields/*.txt")
	require.NoError(t, err)
	for _, file := range files {
		cases[strings.TrimSuffix(filepath.Base(file), ".txt")] = fieldCases(t, file)
	}
	for _, folder := range []string{"segments", "datatypes"} {
		files, err := filepath.Glob(folder + "/*.yaml")
		require.NoError(t, err)
		for _, file := range files {
			if !which.MatchString(filepath.Base(file)) {
				continue
			}
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, m := range withoutOne(string(data)) {
				mapper, err := compiled(schema, tables.Overlay{Name: "mutant.yaml", Data: []byte(m.section)})
				if err != nil {
					continue // a rule that others need is noticed when the tables are loaded
				}
				if !noticed(t, mapper, cases, strings.TrimSuffix(filepath.Base(file), ".yaml")) {
					t.Errorf("%s: nobody notices the absence of %s", filepath.Base(file), m.rule)
				}
			}
		}
	}
}

type mutant struct{ rule, section string }

// withoutOne gives each section of a table without one of its rules.
func withoutOne(table string) []mutant {
	var out []mutant
	for _, text := range regexp.MustCompile(`(?m)^"?\w+ to [^\n]*\n(?:[ \t][^\n]*\n?|\n)*`).FindAllString(table, -1) {
		lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
		for i := 1; i < len(lines); i++ {
			rule := strings.TrimSpace(lines[i])
			if strings.Contains(rule, " -> ") && !strings.HasPrefix(rule, "#") || strings.HasPrefix(rule, "warn ") {
				rest := append(append([]string{}, lines[:i]...), lines[i+1:]...)
				out = append(out, mutant{rule: fmt.Sprintf("%s %s", lines[0], rule), section: strings.Join(rest, "\n") + "\n"})
			}
		}
	}
	return out
}

// noticed runs the rows of the table itself first, then all others.
func noticed(t *testing.T, m *tables.Mapper, cases map[string][]fieldCase, table string) bool {
	for _, c := range cases[table] {
		if len(c.check(t, m)) > 0 {
			return true
		}
	}
	for name, list := range cases {
		if name == table {
			continue
		}
		for _, c := range list {
			if len(c.check(t, m)) > 0 {
				return true
			}
		}
	}
	return false
}
