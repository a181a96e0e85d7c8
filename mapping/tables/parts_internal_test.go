package tables

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
)

func newTrace() *trace { return &trace{source: map[string]bool{}, made: map[string]bool{}} }

// made is the Bundle and the report of a message, "" where it is none.
func made(t *testing.T, m *Mapper, raw []byte, c Context, tr *trace) string {
	t.Helper()
	var msg hl7v2.Message
	if msg.Parse(raw) != nil {
		return ""
	}
	result, err := m.mapTraced(&msg, c, tr)
	if err != nil {
		return err.Error()
	}
	defer m.Release(result)
	report, err := json.Marshal(result.Report)
	require.NoError(t, err)
	return string(result.AppendBundle(nil)) + "\n" + string(report)
}

// message joins segments behind an MSH.
func message(event string, segments ...string) []byte {
	msh := `MSH|^~\&|APP|FAC|REC|RF|20260310044000||` + event
	return []byte(strings.Join(append([]string{msh}, segments...), "\r") + "\r")
}

// What is remembered of other messages, and of the same one, changes neither a
// Bundle nor its report: a traced mapping remembers nothing.
func TestRememberedParts(t *testing.T) {
	mapper, err := Load(fhir.NewSchema())
	require.NoError(t, err)
	zone, err := hl7v2.LoadLocation("America/New_York")
	require.NoError(t, err)
	var messages [][]byte
	require.NoError(t, filepath.WalkDir("../../testdata", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".hl7" {
			return err
		}
		raw, err := os.ReadFile(path)
		raw = bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\r")), []byte("\n"), []byte("\r"))
		for i, m := range bytes.Split(raw, []byte("MSH|")) {
			if i > 0 {
				messages = append(messages, append([]byte("MSH|"), bytes.TrimSpace(m)...))
			}
		}
		return err
	}))
	require.Greater(t, len(messages), 500)
	c := Context{Source: "adt", Location: zone}
	for range 2 {
		for _, raw := range messages {
			require.Equal(t, made(t, mapper, raw, c, newTrace()), made(t, mapper, raw, c, nil))
		}
	}
	require.Greater(t, len(mapper.parts.young), 400)
}

// A resource that is remembered refers to others, which may have something else
// already in another message: what finds no place in them there is not taken for
// found because it once was.
func TestRememberedMarks(t *testing.T) {
	mapper, err := Load(fhir.NewSchema())
	require.NoError(t, err)
	for _, raw := range [][]byte{
		message("ADT^A01^ADT_A01", "PID|||9^^^A^MR", "PV1|||||||1^Fam^^^^^^^X&goo&bar"),
		message("ADT^A01^ADT_A01", "PID|||9^^^A^MR", "PV1|||||||2^Fam^^^^^^^X&foo&bar|1^Fam^^^^^^^X&goo&bar"),
		message("ADT^A01^ADT_A01", "PID|||2^^^FAC^PI^CLINIC&1.2.9&ISO"),
		message("ADT^A01^ADT_A01", "PID|||1^^^FAC^MR^CLINIC&1.2.3&ISO~2^^^FAC^PI^CLINIC&1.2.9&ISO"),
	} {
		require.Equal(t, made(t, mapper, raw, Context{}, newTrace()), made(t, mapper, raw, Context{}, nil))
	}
}

// A key that counts for some messages only is no key of what is remembered.
func TestRememberedKey(t *testing.T) {
	mapper, err := Load(fhir.NewSchema(), Overlay{Name: "site.yaml", Data: []byte(
		"XON to Organization: |\n  key XON.1 if trigger in (A01)\n  key XON.3\n  XON.1 -> name\n  XON.3 -> identifier[id].value\n")})
	require.NoError(t, err)
	for _, event := range []string{"ADT^A01^ADT_A01", "ADT^A04^ADT_A01", "ADT^A01^ADT_A01"} {
		raw := message(event, "PID|||1^^^A^MR", "PD1|||Clinic^^77")
		require.Equal(t, made(t, mapper, raw, Context{}, newTrace()), made(t, mapper, raw, Context{}, nil))
	}
}

// A resource that says nothing is left out with every reference to it, in
// whatever order they are looked at.
func TestNothingSaid(t *testing.T) {
	mapper, err := Load(fhir.NewSchema())
	require.NoError(t, err)
	raw := message("ORM^O01^ORM_O01", "PID|||1^^^FAC^MR", "ORC|NW|1||||||||||||||||||||||^^^^^^^^^^^^N/A")
	for range 100 {
		require.NotContains(t, made(t, mapper, raw, Context{}, nil), "PractitionerRole")
	}
}
