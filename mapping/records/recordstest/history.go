package recordstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/records"
)

// A History follows the records of one feed and checks what each says that it
// changed: `old` stands in the version before, `new` in this one.
type History map[string]*records.Record

// Follows says what is wrong with the changes of the next version of a record.
func (h History) Follows(next *records.Record) error {
	name := string(next.Kind) + "/" + next.Key.String()
	before := h[name]
	h[name] = next
	if before == nil || before.Version+1 != next.Version {
		return nil
	}
	for i := range next.Changed {
		if err := stands(&next.Changed[i], before, next); err != nil {
			return fmt.Errorf("version %d of %s: %w", next.Version, name, err)
		}
	}
	return nil
}

// stands says whether a change is one between these versions.
func stands(c *records.RecordChange, before, next *records.Record) error {
	carried := strings.HasPrefix(c.Path, "related[")
	if c.Old != nil && !carried { // a record does not carry all that is held
		if err := same(before, c.Path, c.Old); err != nil {
			return fmt.Errorf("old: %w", err)
		}
	}
	path := c.Path
	switch {
	case c.New == nil:
		return nil
	case c.NewPath == c.Path, c.NewPath != "" && c.Old == nil:
		return fmt.Errorf("%s: new_path %s says nothing", c.Path, c.NewPath)
	case c.NewPath != "":
		path = c.NewPath
	}
	if err := same(next, path, c.New); err != nil {
		return fmt.Errorf("new: %w", err)
	}
	return nil
}

// same says whether a value stands at a path of a record.
func same(r *records.Record, path string, value json.RawMessage) error {
	at, rest := r.Resource, path
	if ref, after, ok := strings.Cut(strings.TrimPrefix(path, "related["), "]"); ok && strings.HasPrefix(path, "related[") {
		at, rest = related(r, ref), strings.TrimPrefix(after, ".")
	}
	have, err := decode(at)
	if err != nil {
		return err
	}
	want, err := decode(value)
	if err != nil {
		return err
	}
	for _, step := range strings.FieldsFunc(rest, func(c rune) bool { return c == '.' || c == '[' || c == ']' }) {
		switch v := have.(type) {
		case map[string]any:
			have = v[step]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n >= len(v) {
				return fmt.Errorf("%s: no entry %s", path, step)
			}
			have = v[n]
		default:
			return fmt.Errorf("%s: nothing at %s", path, step)
		}
	}
	if !reflect.DeepEqual(have, want) {
		return fmt.Errorf("%s: is %v, not %v", path, have, want)
	}
	return nil
}

// related gives the resource that a record carries under a reference.
func related(r *records.Record, ref string) json.RawMessage {
	for _, text := range r.Related {
		var n struct{ ResourceType, ID string }
		if json.Unmarshal(text, &n) == nil && n.ResourceType+"/"+n.ID == ref {
			return text
		}
	}
	return nil
}

func decode(text json.RawMessage) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("read value: %w", err)
	}
	return v, nil
}
