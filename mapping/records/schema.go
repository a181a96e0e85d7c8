package records

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strings"
)

// JSONSchema gives the JSON Schema (2020-12) of a record, made from the Go
// types. A consumer's copy stays good: within liaison.record/1 only optional
// members are added.
func JSONSchema() ([]byte, error) {
	schema := recordSchema()
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["$id"] = "https://liaison.health/schema/record/1"
	return indented(schema)
}

func recordSchema() map[string]any {
	schema := object(reflect.TypeFor[Record]())
	schema["title"] = "Coordination record"
	properties, _ := schema["properties"].(map[string]any)
	properties["spec"] = map[string]any{"const": Spec}
	kinds := kindNames(func(Kind) bool { return true })
	properties["kind"] = map[string]any{"enum": kinds, "description": "charge: " + balanceRule}
	for name, text := range map[string]string{
		"reverses": "the charge that this credit takes back", "reversed_by": "the first of credits", "credits": "all credits of this charge; its state is aborted once they come to its amount",
	} {
		describing(properties[name], text)
	}
	properties["event_type"] = map[string]any{"type": "string", "pattern": "^(" + strings.Join(kinds, "|") + ")\\.[a-z][a-z.-]*$"}
	properties["transition"] = map[string]any{"enum": []string{"normal", "inferred", "late", "correction", "merge"}}
	properties["event_id"] = map[string]any{"type": "string", "format": "uuid"}
	properties["time_zone_source"] = map[string]any{"enum": []string{"explicit", "source", "none"}}
	properties["received_at"] = map[string]any{"type": "string", "format": "date-time"}
	properties["occurred_at"] = map[string]any{
		"type": "string", "description": "a FHIR R4 dateTime: as precise as the source, with its offset where it has a time",
		"pattern": "^[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))?)?)?$",
	}
	properties["version"] = map[string]any{"type": "integer", "minimum": 1}
	resource := map[string]any{
		"type": "object", "description": "a FHIR R4 resource", "required": []string{"resourceType"},
		"properties": map[string]any{"resourceType": map[string]any{"type": "string"}},
	}
	properties["resource"] = resource
	if subject, ok := properties["subject"].(map[string]any)["properties"].(map[string]any); ok {
		subject["ids"] = map[string]any{"type": "array", "minItems": 1, "items": map[string]any{"type": "object", "description": "a FHIR R4 Identifier"}}
	}
	if changed, ok := properties["changed"].(map[string]any)["items"].(map[string]any); ok {
		describeChange(changed)
	}
	properties["related"] = map[string]any{"type": "array", "minItems": 1, "items": resource}
	return schema
}

// describeChange says what the paths of a change are paths of.
func describeChange(schema map[string]any) {
	schema["description"] = "one element that changed: without old it was added, without new it is gone"
	members, _ := schema["properties"].(map[string]any)
	for name, text := range map[string]string{
		"path":     "where old stands in the previous version's resource; without old, where new stands in this version's. [2] is the third entry of a list. related[Type/id] begins the path within a related resource",
		"new_path": "where new stands in this version's resource; left out where that is path",
	} {
		if member, ok := members[name].(map[string]any); ok {
			member["description"] = text
		}
	}
}

// balanceRule says how a consumer sums charges.
const balanceRule = "the balance of an account's charges is the sum over the newest version of each, in whatever state but entered-in-error: " +
	"resource.priceOverride (else the extension unit-price times quantity) as sent where the extension transaction-type is CG or absent, " +
	"less that of each CD, a credit, without its sign: senders write credits with and without one. " +
	"aborted says that credits have taken a charge back; each is a record of its own and carries the minus, so neither is left out. " +
	"PY, AJ and CO (payments, adjustments, co-payments: not-billable) are no charges; their amounts have the sign that was sent"

// describing adds a description to what describe made.
func describing(property any, text string) {
	if p, ok := property.(map[string]any); ok {
		p["description"] = text
	}
}

func kindNames(which func(Kind) bool) []string {
	var kinds []string
	for k := range Kinds() {
		if which(k) {
			kinds = append(kinds, string(k))
		}
	}
	sort.Strings(kinds)
	return kinds
}

// AsyncAPI gives the AsyncAPI 3.0 document of the topics.
func AsyncAPI() ([]byte, error) {
	channels, operations := map[string]any{}, map[string]any{}
	for _, topic := range Topics() {
		name := strings.TrimPrefix(topic, "liaison.")
		kinds := kindNames(func(k Kind) bool { return k.Topic() == topic })
		about := "Records of kind " + strings.Join(kinds, ", ") + ". Key: an HMAC of the patient at the record's birth. Delivered at least once: deduplicate by event_id (header ce_id)."
		if topic == Charge.Topic() {
			about += " Charges: " + balanceRule + "."
		}
		channels[name] = map[string]any{
			"address": topic, "description": about,
			"messages": map[string]any{"record": map[string]any{"$ref": "#/components/messages/record"}},
		}
		operations["send-"+name] = map[string]any{
			"action": "send", "channel": map[string]any{"$ref": "#/channels/" + name},
			"messages": []any{map[string]any{"$ref": "#/channels/" + name + "/messages/record"}},
		}
	}
	header := func(text string) map[string]any { return map[string]any{"type": "string", "description": text} }
	return indented(map[string]any{
		"asyncapi": "3.0.0", "info": map[string]any{"title": "Liaison coordination records", "version": "1"},
		"defaultContentType": "application/json", "channels": channels, "operations": operations,
		"components": map[string]any{"messages": map[string]any{"record": map[string]any{
			"name": "record", "contentType": "application/json", "payload": recordSchema(),
			"bindings": map[string]any{"kafka": map[string]any{"key": header("an HMAC, fixed for the record's life")}},
			"headers": map[string]any{"type": "object", "properties": map[string]any{
				"ce_specversion": header("CloudEvents 1.0"), "ce_id": header("event_id"), "ce_type": header("event_type"),
				"ce_source": header("liaison"), "ce_time": header("occurred_at, where it is a whole time"), "content-type": header("application/json"),
			}},
		}}},
	})
}

func indented(v any) ([]byte, error) {
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	return out, nil
}

// object describes a struct by its JSON members; those without omitempty are
// required.
func object(t reflect.Type) map[string]any {
	properties := map[string]any{}
	required := []string{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		properties[name] = describe(f.Type)
		if options != "omitempty" {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "properties": properties, "required": required}
}

func describe(t reflect.Type) map[string]any {
	if t == reflect.TypeFor[json.RawMessage]() { // any value but null
		return map[string]any{"type": []string{"object", "array", "string", "number", "boolean"}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return describe(t.Elem())
	case reflect.Struct:
		return object(t)
	case reflect.Slice:
		return map[string]any{"type": "array", "minItems": 1, "items": describe(t.Elem())}
	case reflect.Uint64, reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	default:
		return map[string]any{"type": "string", "minLength": 1}
	}
}
