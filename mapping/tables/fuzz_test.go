package tables_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/tables"
)

// Whatever a message holds: mapped twice it gives the same Bundle, every leaf is
// accounted for, and no failure is a panic of ours.
func FuzzMap(f *testing.F) {
	files, err := filepath.Glob("../../testdata/mapping/*.hl7")
	require.NoError(f, err)
	for _, name := range files {
		raw, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add([]byte(strings.ReplaceAll(string(raw), "\n", "\r")))
	}
	mapper, err := tables.Load(fhir.NewSchema())
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 64<<10 {
			return
		}
		var first string
		for range 2 {
			msg, err := hl7v2.Parse(raw)
			if err != nil {
				return
			}
			r, err := mapper.Map(msg, tables.Context{Source: "fuzz", Received: time.Unix(0, 0), Journal: 1})
			if err != nil {
				require.NotContains(t, err.Error(), "the mapping of this segment failed")
				return
			}
			require.Equal(t, r.Report.Leaves, r.Report.Found+r.Report.Structural+len(r.Report.Unmapped))
			bundle := string(r.AppendBundle(nil))
			mapper.Release(r)
			if first == "" {
				first = bundle
			}
			require.Equal(t, first, bundle)
			_, err = fhir.ParseJSON([]byte(bundle))
			require.NoError(t, err)
		}
	})
}

// Whatever an overlay holds: tables or an error with file and line.
func FuzzLoad(f *testing.F) {
	f.Add("add PID to Patient: |\n  warn w \"t\" if differ(PID-7, earliest(AIS-4)) and unread(PID-8)\n  key PID-3.1 if PID-8 = \"F\"\n  finish(AIS-4, \"x\", SCH-9) -> birthDate if differ")
	f.Add("PID to Patient: |\n  PID-5 -> name as XPN\n")
	f.Add("add: ADT_*\nmake: |\n  ZPD -> patient\n---\nZPD to Patient: |\n  ZPD-1 -> extension(x).valueString if valued(ZPD-1) and not (ZPD-2 in (\"a\", \"b\"))\n")
	f.Add("structure: X\nsyntax: \"MSH [{PID}]\"\ntriggers: |\n  X^Y\n")
	f.Add("T:\n  to: x\n  codes: |\n    a -> b \"c\"\n")
	schema := fhir.NewSchema()
	f.Fuzz(func(t *testing.T, overlay string) {
		if len(overlay) > 4096 {
			return
		}
		if _, err := tables.Load(schema, tables.Overlay{Name: "fuzz.yaml", Data: []byte(overlay)}); err != nil {
			require.Contains(t, err.Error(), "fuzz.yaml:")
		}
	})
}
