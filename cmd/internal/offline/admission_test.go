package offline_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/offline"
	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/gate"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines/engine"
)

var update = flag.Bool("update", false, "rewrite what testdata/mapping/admission tells")

// What admission, billing and identity messages make of records: each file of
// testdata/mapping/admission is messages, an empty line between two, and a line
// for each version that they make.
func TestAdmission(t *testing.T) {
	schema := fhir.NewSchema()
	mapper, err := tables.Load(schema)
	require.NoError(t, err)
	check, err := gate.New(schema)
	require.NoError(t, err)
	files, err := filepath.Glob("../../../testdata/mapping/admission/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			input, want, _ := bytes.Cut(data, []byte("----\n"))
			made := admitted(t, mapper, check, string(input))
			if *update {
				require.NoError(t, os.WriteFile(file, append(append(bytes.TrimRight(input, "\n"), "\n----\n"...), made...), 0o644))
				return
			}
			require.Equal(t, string(want), made)
		})
	}
}

// admitted folds the messages and tells each version; its resource is valid.
func admitted(t *testing.T, mapper *tables.Mapper, check *gate.Gate, input string) string {
	t.Helper()
	location, err := hl7v2.LoadLocation("America/New_York")
	require.NoError(t, err)
	p := offline.New(&engine.Pipeline{Source: "hospital", Mapper: mapper, Location: location}, nil)
	valid, history := recordstest.New(t), recordstest.History{}
	var out strings.Builder
	for message := range strings.SplitSeq(input, "\n\n") {
		var segments []string
		for line := range strings.Lines(message) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				segments = append(segments, line)
			}
		}
		made, err := p.Records([]byte(strings.Join(segments, "\r") + "\r"))
		require.NoError(t, err)
		for _, payload := range made {
			valid.Valid(t, payload)
			r, err := records.Decode(payload)
			require.NoError(t, err)
			require.NoError(t, history.Follows(r))
			require.Empty(t, check.CheckJSON(r.Resource), "%s %s", r.EventType, r.Resource)
			fmt.Fprintln(&out, told(t, r))
		}
	}
	return out.String()
}

// told is a version in a line.
func told(t *testing.T, r *records.Record) string {
	t.Helper()
	names := map[string]string{} // of the resources that the record carries
	for _, text := range append(r.Related, r.Resource) {
		var n struct {
			ResourceType, ID string
			Identifier       []struct{ Value string }
			Name             json.RawMessage
		}
		require.NoError(t, json.Unmarshal(text, &n))
		if names[n.ResourceType+"/"+n.ID] = strings.Trim(string(n.Name), `"`); len(n.Identifier) > 0 && n.ResourceType != "Location" {
			names[n.ResourceType+"/"+n.ID] = n.Identifier[0].Value
		}
	}
	line := fmt.Sprintf("%s %s: %s %s v%d %s", r.Source.ControlID, r.EventType, r.Kind, r.Key.ID, r.Version, r.State)
	if r.PreviousState != "" && r.PreviousState != r.State {
		line += " from " + r.PreviousState
	}
	if r.Transition != "normal" {
		line += " (" + r.Transition + ")"
	}
	if r.Subject != nil && r.Kind != records.Patient {
		line += " of " + r.Subject.Survivor.ID
	}
	var n struct {
		Status   string
		Active   *bool
		Account  []struct{ Reference string }
		Location []struct {
			Status   string
			Location struct{ Reference string }
		}
		Participant []struct{ Individual struct{ Reference string } }
		Extension   []struct{ URL, ValueDateTime string }
	}
	require.NoError(t, json.Unmarshal(r.Resource, &n))
	for _, l := range n.Location {
		line += fmt.Sprintf(", %s %s", l.Status, names[l.Location.Reference])
	}
	for _, p := range n.Participant {
		line += ", doctor " + names[p.Individual.Reference]
	}
	for _, e := range n.Extension {
		if strings.HasSuffix(e.URL, "plannedEndDate") {
			line += ", expected until " + e.ValueDateTime
		}
	}
	for _, a := range n.Account {
		line += ", account " + names[a.Reference]
	}
	if n.Active != nil {
		line += fmt.Sprintf(", active %t", *n.Active)
	}
	if r.Merge != nil {
		line += fmt.Sprintf(", %s into %s with %d", r.Merge.Retired.ID, r.Merge.Survivor.ID, r.Merge.Moved)
	}
	if r.Quality != nil && len(r.Quality.Warnings) > 0 {
		line += ", warnings " + strings.Join(r.Quality.Warnings, "; ")
	}
	return line
}
