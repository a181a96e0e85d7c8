package tables

import (
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Tables are the program's own tables, read and not yet compiled.
type Tables struct {
	known codeSystems
	files []table
}

// A table is one YAML file as it was read.
type table struct {
	name      string
	documents [][]pair
	wrong     []error
}

// A pair is a key of a YAML map and its value: a scalar, with the line of its
// first content line, or a map of scalars.
type pair struct {
	key, text string
	line, at  int
	isMap     bool
	inner     []pair
}

// Read reads the built-in tables.
func Read() (*Tables, error) { return readFrom(builtin) }

func readFrom(own fs.FS) (*Tables, error) {
	t := &Tables{}
	known, err := fs.ReadFile(own, "codesystems.txt")
	if err == nil {
		t.known, err = loadCodeSystems(string(known))
	}
	if err != nil {
		return nil, fmt.Errorf("read tables: %w", err)
	}
	err = fs.WalkDir(own, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".yaml" {
			return err
		}
		data, err := fs.ReadFile(own, name)
		t.files = append(t.files, readTable(Overlay{Name: name, Data: data}))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read tables: %w", err)
	}
	// Systems and extensions first: the others name them.
	sort.SliceStable(t.files, func(i, j int) bool { return rank(t.files[i].name) < rank(t.files[j].name) })
	return t, nil
}

func rank(name string) int {
	switch {
	case !strings.Contains(name, "/"):
		return 0
	case strings.HasPrefix(name, "codes/"):
		return 1
	default:
		return 2
	}
}

// readTable reads one YAML file. What is wrong in it stands in the table.
func readTable(f Overlay) table {
	t := table{name: f.Name}
	fail := func(line int, format string, args ...any) {
		t.wrong = append(t.wrong, &Error{File: f.Name, Line: line, Text: fmt.Sprintf(format, args...)})
	}
	tokens := lexer.Tokenize(string(f.Data))
	if line := nested(tokens); line > 0 {
		fail(line, "nested more than %d deep", mostNested)
		return t
	}
	parsed, err := parser.Parse(tokens, 0)
	if err != nil {
		line, text := yamlError(err)
		fail(line, "no YAML: %s", text)
		return t
	}
	for _, doc := range parsed.Docs {
		switch body := doc.Body.(type) {
		case nil:
		case *ast.MappingNode:
			t.documents = append(t.documents, pairs(body.Values, true))
		case *ast.MappingValueNode:
			t.documents = append(t.documents, pairs([]*ast.MappingValueNode{body}, true))
		default:
			fail(1, "a table is a map of sections")
		}
	}
	return t
}

// pairs gives what a YAML map holds, and what the maps in it do.
func pairs(values []*ast.MappingValueNode, maps bool) []pair {
	list := make([]pair, 0, len(values))
	for _, v := range values {
		p := pair{key: strings.Trim(v.Key.String(), `"'`), line: v.Key.GetToken().Position.Line}
		if inner, ok := v.Value.(*ast.MappingNode); ok && maps {
			p.isMap, p.inner = true, pairs(inner.Values, false)
		} else {
			p.text, p.at = scalar(v.Value, p.line)
		}
		list = append(list, p)
	}
	return list
}

// scalar gives a scalar's text and the line of its first content line.
func scalar(n ast.Node, line int) (string, int) {
	if lit, ok := n.(*ast.LiteralNode); ok {
		return lit.Value.Value, line + 1
	}
	return strings.Trim(n.String(), `"'`), line
}

// mostNested is how many brackets of YAML may be open.
const mostNested = 64

// nested gives the line where too many brackets are open, 0 where none is: the
// YAML parser takes a time that grows with the square of them.
func nested(tokens token.Tokens) int {
	open := 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			if open++; open > mostNested {
				return t.Position.Line
			}
		case token.SequenceEndType, token.MappingEndType:
			open--
		}
	}
	return 0
}

// yamlError takes the line out of what the YAML parser says: "[3:1] text".
func yamlError(err error) (int, string) {
	text, _, _ := strings.Cut(err.Error(), "\n")
	line := 1
	if place, rest, ok := strings.Cut(strings.TrimPrefix(text, "["), "] "); ok {
		number, _, _ := strings.Cut(place, ":")
		if n, err := strconv.Atoi(number); err == nil {
			line, text = n, rest
		}
	}
	return line, text
}
