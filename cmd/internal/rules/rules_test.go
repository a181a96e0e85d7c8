package rules_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/liaison-health/liaison"

// A source is one parsed Go file of the repository.
type source struct {
	path string // slash-separated, from the repository's root
	dir  string
	test bool
	file *ast.File
	text string
}

// load parses every Go file in this process; a test that asked `go list`
// instead would be cached and pass wrongly.
func load(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	root := repositoryRoot(t)
	set := token.NewFileSet()
	var sources []source
	require.NoError(t, filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && name != root && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(set, name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		sources = append(sources, source{
			path: rel, dir: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), file: file, text: string(text),
		})
		return nil
	}))
	require.NotEmpty(t, sources)
	return set, sources
}

func repositoryRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		require.NotEqual(t, dir, parent, "no go.mod above the test")
		dir = parent
	}
}

func imports(s source) []string {
	var out []string
	for _, spec := range s.file.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			out = append(out, name)
		}
	}
	return out
}

// inside says whether a repository path is folder or lies below it.
func inside(p, folder string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }

// TestImportsRunOneWay holds cmd → connectors → pipelines → mapping.
func TestImportsRunOneWay(t *testing.T) {
	_, sources := load(t)
	forbidden := map[string][]string{
		"mapping":    {"pipelines", "connectors", "cmd"},
		"pipelines":  {"connectors", "cmd"},
		"connectors": {"cmd", "mapping/tables", "mapping/records", "mapping/gate"},
		"testdata":   {"cmd", "connectors", "pipelines"},
	}
	for _, s := range sources {
		if s.test {
			continue // a test may stand on what is above it
		}
		for _, name := range imports(s) {
			own, ok := strings.CutPrefix(name, module+"/")
			if !ok {
				continue
			}
			for from, targets := range forbidden {
				for _, target := range targets {
					if inside(s.dir, from) && inside(own, target) {
						t.Errorf("%s imports %s: %s must not know %s", s.path, own, from, target)
					}
				}
			}
			if inside(s.dir, "connectors") && inside(own, "connectors") && connector(s.dir) != connector(own) && connector(s.dir) != "connectortest" {
				t.Errorf("%s imports %s: connectors never import each other", s.path, own)
			}
		}
	}
}

func connector(dir string) string {
	parts := strings.Split(dir, "/")
	if len(parts) < 2 {
		return ""
	}
	return parts[1]
}

// TestLibrariesStayInTheirPackage keeps each heavy library behind one door.
func TestLibrariesStayInTheirPackage(t *testing.T) {
	_, sources := load(t)
	doors := map[string][]string{
		"github.com/google/fhir/go":           {"mapping/gate"},
		"github.com/samply/":                  {"mapping/fhir"},
		"github.com/segmentio/kafka-go":       {"connectors/kafka"},
		"github.com/twmb/franz-go":            {"connectors/kafka"},
		"github.com/redis/go-redis":           {"connectors/redis"},
		"github.com/alicebob/miniredis":       {"connectors/redis"},
		"github.com/cockroachdb/pebble":       {"pipelines"},
		"github.com/spf13/cobra":              {"cmd"},
		"github.com/goccy/go-yaml":            {"cmd/internal/config", "mapping/tables"},
		"github.com/prometheus/client_golang": {"cmd", "pipelines", "connectors"},
	}
	for _, s := range sources {
		if s.test {
			continue
		}
		for _, name := range imports(s) {
			for library, folders := range doors {
				if strings.HasPrefix(name, library) && !slices.ContainsFunc(folders, func(f string) bool { return inside(s.dir, f) }) {
					t.Errorf("%s imports %s, which belongs to %v", s.path, name, folders)
				}
			}
		}
	}
}

// TestNoInitPanicOrUnsafe keeps start-up visible and input unable to end the process.
func TestNoInitPanicOrUnsafe(t *testing.T) {
	set, sources := load(t)
	for _, s := range sources {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s: init()", set.Position(n.Pos()))
				}
			case *ast.CallExpr:
				if id, ok := n.Fun.(*ast.Ident); ok && id.Name == "panic" {
					t.Errorf("%s: panic", set.Position(n.Pos()))
				}
			}
			return true
		})
		for _, name := range imports(s) {
			if name == "C" || name == "plugin" || name == "encoding/gob" || name == "os/exec" {
				t.Errorf("%s imports %s", s.path, name)
			}
		}
	}
}

// TestNoPackageState allows package-level variables only as read-only values:
// nothing in the package assigns to one of them.
func TestNoPackageState(t *testing.T) {
	set, sources := load(t)
	vars := map[string]map[string]bool{}
	for _, s := range sources {
		if s.test {
			continue
		}
		for _, decl := range s.file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if vars[s.dir] == nil {
						vars[s.dir] = map[string]bool{}
					}
					vars[s.dir][name.Name] = true
				}
			}
		}
	}
	for _, s := range sources {
		if s.test {
			continue
		}
		local := localNames(s.file)
		ast.Inspect(s.file, func(n ast.Node) bool {
			assign, ok := n.(*ast.AssignStmt)
			if !ok || assign.Tok == token.DEFINE {
				return true
			}
			for _, left := range assign.Lhs {
				id := rootIdent(left)
				// A name that the file declares in a function too may be that one.
				if id != nil && vars[s.dir][id.Name] && !local[id.Name] {
					t.Errorf("%s: assigns package variable %s", set.Position(assign.Pos()), id.Name)
				}
			}
			return true
		})
	}
}

// localNames are the names that functions of a file declare: parameters,
// results, and what := and var make.
func localNames(f *ast.File) map[string]bool {
	names := map[string]bool{}
	add := func(list ...*ast.Ident) {
		for _, id := range list {
			names[id.Name] = true
		}
	}
	for _, decl := range f.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.Field:
				add(x.Names...)
			case *ast.ValueSpec:
				add(x.Names...)
			case *ast.AssignStmt:
				if x.Tok == token.DEFINE {
					for _, left := range x.Lhs {
						if id, ok := left.(*ast.Ident); ok {
							add(id)
						}
					}
				}
			}
			return true
		})
	}
	return names
}

func rootIdent(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			if x.Name == "_" {
				return nil
			}
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// TestSizes holds the size budget: a file over 800 lines or a function over
// 120 is a design question, whoever wrote it.
func TestSizes(t *testing.T) {
	set, sources := load(t)
	var lines []int
	for _, s := range sources {
		if s.test || generated(s.text) {
			continue
		}
		n := strings.Count(s.text, "\n")
		lines = append(lines, n)
		if n > 800 {
			t.Errorf("%s has %d lines", s.path, n)
		}
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				if n := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; n > 120 {
					t.Errorf("%s: %s has %d lines", s.path, f.Name.Name, n)
				}
			}
		}
	}
	sort.Ints(lines)
	require.LessOrEqual(t, lines[len(lines)*95/100], 600, "the 95th percentile of file lengths")
}

func generated(text string) bool {
	return regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`).MatchString(text)
}

// TestDocs wants a comment on every package and on every exported name.
func TestDocs(t *testing.T) {
	set, sources := load(t)
	documented := map[string]bool{}
	packages := map[string]bool{}
	for _, s := range sources {
		if s.test {
			continue
		}
		packages[s.dir] = true
		if s.file.Doc != nil {
			documented[s.dir] = true
		}
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) && !wellKnown(d) {
					t.Errorf("%s: %s has no comment", set.Position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				checkSpecs(t, set, d)
			}
		}
	}
	for dir := range packages {
		if !documented[dir] {
			t.Errorf("package %s has no comment", dir)
		}
	}
}

func checkSpecs(t *testing.T, set *token.FileSet, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		switch sp := spec.(type) {
		case *ast.TypeSpec:
			if sp.Name.IsExported() && d.Doc == nil && sp.Doc == nil {
				t.Errorf("%s: type %s has no comment", set.Position(sp.Pos()), sp.Name.Name)
			}
		case *ast.ValueSpec:
			if sp.Names[0].IsExported() && d.Doc == nil && sp.Doc == nil && sp.Comment == nil {
				t.Errorf("%s: %s has no comment", set.Position(sp.Pos()), sp.Names[0].Name)
			}
		}
	}
}

// wellKnown are methods whose meaning an interface of the standard library fixes.
func wellKnown(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"Error", "Unwrap", "String", "Is", "Len", "Less", "Swap", "Close", "MarshalJSON", "UnmarshalJSON"}, d.Name.Name)
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if index, ok := typ.(*ast.IndexExpr); ok {
		typ = index.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

// TestTestsDoNotSleepOrSkip: a test that waits by the clock fails on a busy
// machine, and one that skips cannot fail at all.
func TestTestsDoNotSleepOrSkip(t *testing.T) {
	set, sources := load(t)
	for _, s := range sources {
		if !s.test || inside(s.dir, "cmd/internal/rules") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, _ := sel.X.(*ast.Ident)
			switch {
			case x != nil && x.Name == "time" && sel.Sel.Name == "Sleep":
				t.Errorf("%s: time.Sleep", set.Position(call.Pos()))
			case strings.HasPrefix(sel.Sel.Name, "Skip") && x != nil && (x.Name == "t" || x.Name == "b"):
				t.Errorf("%s: %s", set.Position(call.Pos()), sel.Sel.Name)
			}
			return true
		})
	}
}

// TestTopLevel keeps the first thing a newcomer sees small.
func TestTopLevel(t *testing.T) {
	root := repositoryRoot(t)
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	allowed := []string{
		"cmd", "connectors", "mapping", "pipelines", "testdata", "go.mod", "go.sum", "README.md", ".gitignore", ".ci", ".git",
		"liaison", "liaison-data", // what `go build` and `liaison run` leave, both ignored
	}
	for _, entry := range entries {
		if !slices.Contains(allowed, entry.Name()) {
			t.Errorf("%s at the top level", entry.Name())
		}
	}
}
