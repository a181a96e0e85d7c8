package gate_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each invariant and check finds the fault that is made for it, and only what
// belongs to it: testdata/faults.txt. A rule without a fault is not shown to work.
func TestEveryRule(t *testing.T) {
	g := newGate(t)
	data, err := os.ReadFile("testdata/faults.txt")
	require.NoError(t, err)
	shown := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		rule, resource, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		shown[rule] = true
		found := g.CheckJSON([]byte(resource))
		var rules []string
		for _, f := range found {
			rules = append(rules, f.Rule)
		}
		require.Contains(t, rules, rule, "%s: %v", resource, found)
		for _, other := range rules {
			require.True(t, other == rule || other == "app-3" && rule == "app-2", "%s: %v", resource, found)
		}
	}
	for _, rule := range written(t) {
		require.True(t, shown[rule], "no fault in testdata/faults.txt for %s", rule)
	}
}

// written gives the rules that the package's sources report.
func written(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var out []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`"([a-z]{3}-\d+|cardinality|choice|code|empty|extension|format|fullUrl|identifier|json|reference|required|type|unknown)"`).FindAllStringSubmatch(string(data), -1) {
			out = append(out, m[1])
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
