package tables_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/gate"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/tables"
)

// What scheduling messages leave open, and what is made of it: each file of
// testdata/mapping/scheduling is a message and what the record is told.
func TestScheduling(t *testing.T) {
	schema := fhir.NewSchema()
	mapper, err := compiled(schema)
	require.NoError(t, err)
	check, err := gate.New(schema)
	require.NoError(t, err)
	files, err := filepath.Glob("../../testdata/mapping/scheduling/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			input, want, _ := bytes.Cut(data, []byte("----\n"))
			of := mapper
			if site := overlay(input); site != "" {
				of, err = compiled(schema, tables.Overlay{Name: "site.yaml", Data: []byte(site)})
				require.NoError(t, err)
			}
			made := scheduled(t, of, check, input)
			if *update {
				require.NoError(t, os.WriteFile(file, append(append(bytes.TrimRight(input, "\n"), "\n----\n"...), made...), 0o644))
				return
			}
			require.Equal(t, string(want), made)
		})
	}
}

// overlay is what a case lays over the tables for its source: the lines that
// begin with "| ".
func overlay(input []byte) string {
	var out strings.Builder
	for line := range strings.Lines(string(input)) {
		if rest, ok := strings.CutPrefix(line, "| "); ok {
			out.WriteString(rest)
		}
	}
	return out.String()
}

// scheduled maps a message and tells what an engineer would look at. The source
// is in New York, or in the zone of a line time_zone.
func scheduled(t *testing.T, m *tables.Mapper, check *gate.Gate, input []byte) string {
	t.Helper()
	zone, err := newYork()
	require.NoError(t, err)
	var segments []string
	for line := range strings.Lines(string(input)) {
		name, configured := strings.CutPrefix(strings.TrimSpace(line), "time_zone: ")
		if configured {
			zone = nil
			if name != "none" {
				zone, err = hl7v2.LoadLocation(name)
				require.NoError(t, err)
			}
		} else if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "| ") {
			segments = append(segments, line)
		}
	}
	msg, err := hl7v2.Parse([]byte(strings.Join(segments, "\r") + "\r"))
	require.NoError(t, err)
	result, err := m.Map(msg, tables.Context{Source: "sched", Location: zone, Received: received()})
	require.NoError(t, err)
	defer m.Release(result)
	require.Empty(t, check.CheckJSON(result.AppendBundle(nil)))
	var out strings.Builder
	say := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&out, "%s: %s\n", name, value)
		}
	}
	for _, it := range result.Change.Items {
		if it.Kind == records.Patient {
			continue
		}
		say("record", string(it.Kind)+" "+it.Key.String())
		say("asked", strings.TrimSpace(it.State+" "+it.Event))
		if it.Action != records.Upsert {
			say("as", string(it.Action))
		}
		r := it.Resource
		for _, name := range []string{"status", "start", "end", "minutesDuration", "reasonCode", "appointmentType", "cancelationReason", "requestedPeriod", "comment"} {
			say(name, short(r.Get(name)))
		}
		for _, s := range r.Get("serviceType").Items() {
			say("service", short(s))
		}
		for _, p := range r.Get("participant").Items() {
			say("participant", short(p.Get("type"))+" "+actor(result, p.Get("actor"))+" "+p.Str("status")+" "+p.Str("period.start")+" "+p.Str("period.end"))
		}
		for _, e := range r.Get("extension").Items() {
			url := e.Str("url")
			say("extension "+url[strings.LastIndex(url, "/")+1:], short(e))
		}
	}
	for _, implied := range result.Change.Implied {
		say("implied", strings.TrimSpace(string(implied.Kind)+" "+implied.State+" "+implied.Event))
	}
	for _, e := range result.Entries {
		if e.Type == "AppointmentResponse" {
			say("response", e.Resource.Str("participantStatus")+" "+e.Resource.Str("comment"))
		}
		if e.Type == "Schedule" {
			for _, a := range e.Resource.Get("actor").Items() {
				say("of", actor(result, a))
			}
		}
		if e.Type == "Encounter" {
			say("encounter", short(e.Resource.Get("status"))+" of appointment "+fmt.Sprint(len(e.Resource.Get("appointment").Items()) == 1))
		}
	}
	say("order", result.Change.Stamp.Order)
	for _, w := range result.Report.Warnings {
		say("warning", w.Code+" "+w.Place)
	}
	for _, d := range result.Report.Defaulted {
		say("defaulted", d.Text)
	}
	for _, u := range result.Report.Unmapped {
		say("unread", u.Place)
	}
	return out.String()
}

// actor tells who or what takes part, by its own name.
func actor(result *tables.Result, at *fhir.Node) string {
	for _, e := range result.Entries {
		if at.Str("reference") == e.Type+"/"+e.ID {
			for _, path := range []string{"name[0].family", "name[0].text", "deviceName[0].name", "name"} {
				if s := e.Resource.Str(path); s != "" {
					return e.Type + " " + s
				}
			}
			return e.Type
		}
	}
	return short(at)
}

// short writes the leaves of a node in a line, without what names its lists.
func short(n *fhir.Node) string {
	if n == nil {
		return ""
	}
	if n.Kind != fhir.Object && n.Kind != fhir.Array {
		return n.Text
	}
	var parts []string
	for _, k := range n.Kids {
		if k.Name == "system" || k.Name == "url" {
			continue
		}
		if s := short(k); s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " ")
}
