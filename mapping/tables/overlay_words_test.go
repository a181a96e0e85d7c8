package tables_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/tables"
)

// What a table says wrongly is told with its line and what to do.
func TestWordsOfTables(t *testing.T) {
	schema := fhir.NewSchema()
	for name, c := range map[string]struct{ overlay, want string }{
		"warn without a condition": {"add PID to Patient: |\n  warn odd \"text\"\n", `warn CODE "TEXT" if COND`},
		"differ without a bracket": {"add PID to Patient: |\n  warn odd \"text\" if differ\n", "expected differ(TIME, TIME)"},
		"differ not closed":        {"add PID to Patient: |\n  warn odd \"text\" if differ(PID-7\n", ""},
		"differ of a function":     {"add PID to Patient: |\n  warn odd \"text\" if differ(PID-7, nothing(PID-8))\n", "no function nothing()"},
		"earliest of a constant":   {"add SCH to Appointment: |\n  earliest(\"x\") -> start\n", "takes fields such as AIS-4"},
		"finish of two":            {"add SCH to Appointment: |\n  finish(AIS-4, AIS-7) -> end\n", "a start, an amount and a unit"},
		"a key's condition":        {"add PID to Patient: |\n  key PID-3.1 if PID-8\n", "expected"},
		"an action nobody knows":   {"add: SIU_S12\ntriggers: |\n  S14 appointment - - often\n", "an action is upsert, delta or removal"},
		"before nothing":           {"before XYZ to Appointment: |\n  SCH-1 -> comment\n", "no section of this name to before"},
		"any without a field":      {"add SCH to Appointment: |\n  \"x\" -> comment  if any AIS-2\n", "expected ( REF )"},
		"a trigger's condition":    {"add: SIU_S12\ntriggers: |\n  S12 appointment - -  if nonsense\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tables.Load(schema, tables.Overlay{Name: "site.yaml", Data: []byte(c.overlay)})
			require.ErrorContains(t, err, "site.yaml:")
			require.ErrorContains(t, err, c.want)
		})
	}
}
