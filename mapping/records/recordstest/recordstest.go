// Package recordstest checks published records against the schema that
// consumers get: every member declared, nothing empty, no null.
package recordstest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// A Checker holds the compiled schema.
type Checker struct{ schema *jsonschema.Schema }

// New compiles the record's schema. It is closed: a member that the schema
// does not declare is an error here, while a consumer's copy lets it pass.
func New(t require.TestingT) *Checker {
	text, err := records.JSONSchema()
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	shut(document)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	require.NoError(t, c.AddResource("record.json", document))
	schema, err := c.Compile("record.json")
	require.NoError(t, err)
	return &Checker{schema: schema}
}

// shut closes every object that declares its members, but for FHIR's.
func shut(v any) {
	switch v := v.(type) {
	case map[string]any:
		members, declared := v["properties"].(map[string]any)
		if _, resource := members["resourceType"]; declared && !resource {
			v["additionalProperties"] = false
		}
		for _, k := range v {
			shut(k)
		}
	case []any:
		for _, k := range v {
			shut(k)
		}
	}
}

// Valid fails the test unless the payload is a record as the schema has it.
func (c *Checker) Valid(t require.TestingT, payload []byte) {
	require.NoError(t, c.Check(payload))
}

// Check says what is wrong with a record.
func (c *Checker) Check(payload []byte) error {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(payload))
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if err := c.schema.Validate(document); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return empty("", document)
}

// empty finds what FHIR and the record do not have: null, "", [] and {}.
func empty(path string, v any) error {
	switch v := v.(type) {
	case nil:
		if strings.HasSuffix(path, "]") { // a place holder beside a primitive's extensions (R4 §2.6.2)
			return nil
		}
		return fmt.Errorf("record: %s is null", path)
	case string:
		if v == "" {
			return fmt.Errorf("record: %s is empty", path)
		}
	case []any:
		if len(v) == 0 {
			return fmt.Errorf("record: %s is empty", path)
		}
		for i, k := range v {
			if err := empty(fmt.Sprintf("%s[%d]", path, i), k); err != nil {
				return err
			}
		}
	case map[string]any:
		if len(v) == 0 {
			return fmt.Errorf("record: %s is empty", path)
		}
		for name, k := range v {
			if err := empty(path+"."+name, k); err != nil {
				return err
			}
		}
	}
	return nil
}
