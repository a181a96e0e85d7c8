package tables_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
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
	f.Add([]byte("MSH|^!\"|||||||^^PEX_P07!\rEVN|\rPEO|||||||||0"))
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

// few are tables enough for overlays to add to, replace and switch off, which
// load in the time of a message.
func few(f *testing.F) fs.FS {
	known, err := os.ReadFile("codesystems.txt")
	require.NoError(f, err)
	out := fstest.MapFS{"codesystems.txt": {Data: known}}
	for name, text := range map[string]string{
		"systems.yaml":         "local: https://example.org/local\n",
		"extensions.yaml":      "note: https://example.org/note\n",
		"defaults.yaml":        "default Encounter: |\n  \"unknown\" -> status\n",
		"codes/Sex.yaml":       "Sex:\n  to: http://hl7.org/fhir/administrative-gender\n  codes: |\n    F -> female \"Female\"\n    M -> male\n",
		"datatypes/CX.yaml":    "CX to Identifier: |\n  CX.1 -> value\n  CX.4 -> assigner(Organization) as HD\nHD to Organization: |\n  key HD.1\n  HD.1 -> name\n",
		"datatypes/XPN.yaml":   "XPN to HumanName: |\n  XPN.1.1 -> family\n  XPN.2 -> given\n",
		"segments/PID.yaml":    "PID to Patient: |\n  key cx(PID-3)\n  PID-3 -> identifier as CX\n  PID-5 -> name as XPN\n  PID-7 -> birthDate\n  PID-8 -> gender code Sex\n",
		"segments/PV1.yaml":    "PV1 to Encounter: |\n  key cx(PV1-19)\n  PV1-19 -> identifier as CX\n  PV1-44 -> period.start if valued(PV1-44)\n",
		"messages/common.yaml": "lines: patient\nmake: |\n  PID -> Patient patient record\n",
		"messages/ADT_A01.yaml": "structure: ADT_A01\nsyntax: \"MSH [EVN] PID [PV1] [{OBX}]\"\ntriggers: |\n  A01 encounter in-progress admitted\nmake: |\n  use patient\n" +
			"  PV1 -> Encounter encounter record ; subject = patient\n",
	} {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

// Whatever an overlay holds: tables or an error with file and line.
func FuzzLoad(f *testing.F) {
	f.Add("add PID to Patient: |\n  warn w \"t\" if differ(PID-7, earliest(AIS-4)) and unread(PID-8)\n  key PID-3.1 if PID-8 = \"F\"\n  finish(AIS-4, \"x\", SCH-9) -> birthDate if differ")
	f.Add("PID to Patient: |\n  PID-5 -> name as XPN\n")
	f.Add("replace PID to Patient: |\n  PID-8 -> gender code Sex if PID-5 contains \"x\"\n---\noff PV1 to Encounter: |\n  PV1-44 -> period.start if valued(PV1-44)\n")
	f.Add("add: ADT_*\nmake: |\n  ZPD -> patient\n---\nZPD to Patient: |\n  ZPD-1 -> extension(x).valueString if valued(ZPD-1) and not (ZPD-2 in (\"a\", \"b\"))\n")
	f.Add("structure: X\nsyntax: \"MSH [{PID}]\"\ntriggers: |\n  X^Y\n")
	f.Add("T:\n  to: x\n  codes: |\n    a -> b \"c\"\n")
	schema, own := fhir.NewSchema(), few(f)
	_, err := tables.LoadFrom(own, schema)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, overlay string) {
		if len(overlay) > 4096 {
			return
		}
		if _, err := tables.LoadFrom(own, schema, tables.Overlay{Name: "fuzz.yaml", Data: []byte(overlay)}); err != nil {
			require.Contains(t, err.Error(), "fuzz.yaml:")
		}
	})
}
