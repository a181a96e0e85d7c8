package tables_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/gate"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/tables"
)

// A number that FHIR's decimal does not hold (R4 §2.24.0.1, as the gate reads it),
// or that is none, is not bent into one: it stays the sender's text.
func TestNumbersBeyondRange(t *testing.T) {
	mapper, err := loaded()
	require.NoError(t, err)
	check, err := gate.New(fhir.NewSchema())
	require.NoError(t, err)
	for _, row := range []struct{ typ, value, want, not string }{
		{"NM", "12345678.12345678", `"value":12345678.12345678`, "valueString"},
		{"NM", "007", `"value":7`, "valueString"},
		{"NM", "+1.50", `"value":1.50`, "valueString"},
		{"NM", ".5", `"value":0.5`, "valueString"},
		{"NM", "1e400", `"valueString":"1e400"`, "valueQuantity"},
		{"NM", "0x1F", `"valueString":"0x1F"`, "valueQuantity"},
		{"NM", "NaN", `"valueString":"NaN"`, "valueQuantity"},
		{"NM", "-Infinity", `"valueString":"-Infinity"`, "valueQuantity"},
		{"NM", strings.Repeat("9", 5000), strings.Repeat("9", 5000), ""},
		{"SN", ">^1e9999", `"valueString":"1e9999"`, `"value":1e`},
		{"SI", "99999999999999999999", "99999999999999999999", ""},
	} {
		raw := "MSH|^~\\&|L|A|||20260310080000+0000||ORU^R01^ORU_R01|1|P|2.5.1\rPID|1||1^^^A^MR\rOBR|1|P1|F1|A^B^L\r" +
			"OBX|1|" + row.typ + "|C^D^L||" + row.value + "|mg|||||F\r"
		msg, err := hl7v2.Parse([]byte(raw))
		require.NoError(t, err)
		r, err := mapper.Map(msg, tables.Context{Source: "lab", Received: time.Unix(1773129600, 0), Journal: 1})
		require.NoError(t, err, row.value)
		bundle := r.AppendBundle(nil)
		var made string
		for _, e := range r.Entries {
			if e.Resource.ResourceType() == "Observation" {
				made = string(e.Resource.JSON())
			}
		}
		require.Contains(t, made, row.want)
		if row.not != "" {
			require.NotContains(t, made, row.not, row.value)
		}
		require.True(t, json.Valid(bundle))
		require.Empty(t, check.CheckJSON(bundle), row.value)
		mapper.Release(r)
	}
}
