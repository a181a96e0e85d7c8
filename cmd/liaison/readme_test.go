package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/mapping/records"
)

// blocks gives the fenced blocks of a language in a README.
func blocks(t *testing.T, file, language string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var out []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	require.NotEmpty(t, out)
	return out
}

func TestReadme(t *testing.T) {
	for _, text := range blocks(t, "../../README.md", "yaml") {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "adt.yaml"), nil, 0o600))
		cfg, err := config.Parse(filepath.Join(dir, "liaison.yaml"), []byte(text))
		require.NoError(t, err)
		require.Len(t, cfg.Sources, 3)
	}
	data, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	text := string(data)
	root := newRoot()
	for _, c := range root.Commands() {
		if c.Name() != "help" && c.Name() != "completion" {
			require.Contains(t, text, "`liaison "+c.Name()+"`", "the table of commands")
		}
	}
	for _, name := range regexp.MustCompile("`liaison ([a-z]+)").FindAllStringSubmatch(text, -1) {
		c, _, err := root.Find([]string{name[1]})
		require.NoError(t, err)
		require.Equal(t, name[1], c.Name())
	}
	for _, topic := range records.Topics() {
		require.Contains(t, text, "`"+topic+"`")
	}
	def := config.Default()
	for _, address := range []string{def.Sources[0].MLLP.Listen, def.Sources[1].FHIR.Listen, def.Operations.Listen, def.Kafka.Listen} {
		require.Contains(t, text, address)
	}
	places := text[strings.Index(text, "## Add something"):]
	for _, m := range regexp.MustCompile("`((?:cmd|connectors|mapping|pipelines|testdata|\\.ci)[A-Za-z0-9_./]*)`").FindAllStringSubmatch(places, -1) {
		if filepath.Ext(m[1]) != "" && !strings.Contains(m[1], "/") { // a Go name
			continue
		}
		_, err := os.Stat(filepath.Join("../..", m[1]))
		require.NoError(t, err)
	}
}

// The worked example of mapping/README.md: the overlay, the message, what comes of it.
func TestMappingReadme(t *testing.T) {
	const file = "../../mapping/README.md"
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	write("alder.yaml", blocks(t, file, "yaml")[0])
	write("wards.csv", blocks(t, file, "csv")[0])
	cfg := write("liaison.yaml", "sources:\n  - {name: adt, mllp: {listen: \"127.0.0.1:0\"}, overlays: [alder.yaml, wards.csv]}\n")
	message := write("message.hl7", strings.ReplaceAll(blocks(t, file, "hl7")[0], "\n", "\r"))
	code, out, errs := liaison(t, "check", "--config", cfg)
	require.Equal(t, exitDone, code, out+errs)
	code, out, errs = liaison(t, "map", "--config", cfg, message)
	require.Equal(t, exitDone, code, errs)
	var bundle struct {
		Entry []struct{ Resource map[string]any }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &bundle))
	var want map[string]any
	require.NoError(t, json.Unmarshal([]byte(blocks(t, file, "json")[0]), &want))
	byType := map[string]map[string]any{}
	for _, e := range bundle.Entry {
		byType[e.Resource["resourceType"].(string)] = e.Resource
	}
	for name, value := range want {
		require.Equal(t, value, byType["Patient"][name], name)
	}
	encounter, err := json.Marshal(byType["Encounter"])
	require.NoError(t, err)
	require.Contains(t, string(encounter), `"Ward 7 East"`)
	require.Contains(t, string(encounter), `"value":"CC12"`)
	other := write("other.hl7", strings.NewReplacer("\n", "\r", "|W7E|", "|W8E|", "CC12", "CC12").Replace(strings.Replace(blocks(t, file, "hl7")[0], "|W7E||||||", "|W7E||||||P105", 1)))
	code, out, errs = liaison(t, "map", "--config", cfg, other)
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, `"Ward 8 East"`)
	require.NotContains(t, out, "specialCourtesy")
	require.Contains(t, out, `"P105"`)
	code, out, errs = liaison(t, "map", "--output", "report", message)
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, `"Place":"ZPD-3.1","Kept":true`)
	require.Contains(t, out[strings.LastIndex(strings.TrimSpace(out), "\n"):], `{"summary":{"messages":1,"refused":0,`)
}
