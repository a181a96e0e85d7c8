package offline_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/offline"
	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/testdata"
)

// goldens are the messages of the triggers that a day need not have.
func goldens(t *testing.T) [][]byte {
	t.Helper()
	files, err := filepath.Glob("../../../testdata/mapping/*.hl7")
	require.NoError(t, err)
	var out [][]byte
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), "ORU_R01") { // the day has its results
			continue
		}
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		out = append(out, bytes.ReplaceAll(bytes.TrimSpace(raw), []byte("\n"), []byte("\r")))
	}
	return out
}

// Every record of a hospital's day, and of what it lacks, is as the schema has it: each member
// declared, none empty. No message makes two versions of one record, versions
// are gap-free, and a message that comes again with another control id makes
// none.
func TestRecordsOfADay(t *testing.T) {
	check := recordstest.New(t)
	mapper, err := tables.Load(fhir.NewSchema())
	require.NoError(t, err)
	location, err := hl7v2.LoadLocation("America/New_York")
	require.NoError(t, err)
	p := offline.New(&engine.Pipeline{Source: "hospital", Mapper: mapper, Location: location, DefaultCharset: "8859/1"}, nil)
	messages, err := testdata.Day()
	require.NoError(t, err)
	versions := map[string]uint64{}
	kinds := map[records.Kind]bool{}
	history := recordstest.History{}
	raws := make([][]byte, 0, len(messages))
	for i := range messages {
		raws = append(raws, messages[i].Raw)
	}
	for _, raw := range append(raws, goldens(t)...) {
		if !bytes.HasPrefix(raw, []byte("MSH")) {
			continue
		}
		made, err := p.Records(raw)
		if err != nil {
			continue // the day has its poison
		}
		seen := map[string]bool{}
		for _, payload := range made {
			check.Valid(t, payload)
			r, err := records.Decode(payload)
			require.NoError(t, err)
			require.NoError(t, history.Follows(r))
			kinds[r.Kind] = true
			name := string(r.Kind) + "/" + r.Key.String()
			require.False(t, seen[name], "two versions of %s by %s", name, r.Source.ControlID)
			seen[name] = true
			require.Equal(t, versions[name]+1, r.Version, name)
			versions[name] = r.Version
			if r.PreviousState == "" {
				require.Empty(t, r.Changed, "a first version has no change")
			}
			for _, c := range r.Changed {
				require.True(t, c.Old != nil || c.New != nil, c.Path)
			}
			var resource struct {
				ResourceType string `json:"resourceType"`
			}
			require.NoError(t, json.Unmarshal(r.Resource, &resource))
			require.Equal(t, records.Kinds()[r.Kind], resource.ResourceType)
		}
		again, err := p.Records(bytes.Replace(raw, []byte("|P|2."), []byte("X|P|2."), 1))
		require.NoError(t, err)
		for _, payload := range again {
			r, err := records.Decode(payload)
			require.NoError(t, err)
			require.NoError(t, history.Follows(r))
			if r.Key.Type != "message" && !strings.Contains(r.Key.ID, r.Source.ControlID) { // without a business key, another message is another thing
				require.Equal(t, "late", r.Transition, "%s again: %s %s", r.Source.ControlID, r.EventType, payload)
			}
			versions[string(r.Kind)+"/"+r.Key.String()] = r.Version
		}
	}
	for k := range records.Kinds() {
		require.True(t, kinds[k], "neither the day nor a golden message has a %s", k)
	}
}
