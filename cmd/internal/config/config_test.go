package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/config"
)

// Every mistake is named with its place, and says what would be right.
func TestMistakes(t *testing.T) {
	rows := []struct{ name, text, want string }{
		{"an unknown key", "data: x\nnonsense: 1\n", `2:1: unknown field "nonsense"`},
		{"an unknown key deep down", "sources:\n  - name: a\n    mllp:\n      listen: \"127.0.0.1:1\"\n      colour: red\n", `5:7: unknown field "colour"`},
		{"a key twice", "data: x\ndata: y\n", "2:1: "},
		{"not YAML", "data: [x\n", "1:7: "},
		{"hostile nesting", "data: " + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "\n", "1:71: nested more than 64 deep"},
		{"text for a number", "kafka: {partitions: many}\n", "1:21: "},
		{"no time span", "redis: {window: 7 days}\n", "1:17: "},
		{"no size", "free_space: much\n", "1:13: "},
		{"beyond loopback without TLS", "sources:\n  - {name: a, mllp: {listen: \":2575\"}}\n", "2:30: beyond loopback a listener needs tls"},
		{"beyond loopback without a known caller", "sources:\n  - {name: a, mllp: {listen: \":2575\", tls: {certificate: c, key: k}}}\n", "the caller must be known"},
		{"half a certificate", "sources:\n  - {name: a, mllp: {listen: \"127.0.0.1:1\", tls: {certificate: c}}}\n", "tls needs certificate and key"},
		{"no address", "sources:\n  - {name: a, mllp: {listen: here}}\n", `2:30: "here" is no address`},
		{"an address twice", "sources:\n  - {name: a, mllp: {listen: \"127.0.0.1:9\"}}\n  - {name: b, mllp: {listen: \"127.0.0.1:9\"}}\n", "3:30: 127.0.0.1:9 is used by sources[0].mllp already"},
		{"a directory twice", "sources:\n  - {name: a, files: {directory: in}}\n  - {name: b, files: {directory: in}}\n", "is used by source a already"},
		{"two sources of a name", "sources:\n  - {name: a, files: {directory: in}}\n  - {name: a, files: {directory: in2}}\n", "3:12: two sources are named a"},
		{"no name", "sources:\n  - {files: {directory: in}}\n", "a source needs a name"},
		{"no kind", "sources:\n  - {name: a}\n", "one of mllp, fhir and files"},
		{"two kinds", "sources:\n  - {name: a, mllp: {listen: \"127.0.0.1:1\"}, files: {directory: in}}\n", "one of mllp, fhir and files"},
		{"no time zone", "sources:\n  - {name: a, files: {directory: in}, time_zone: Mars/Base}\n", "2:50: no IANA time zone"},
		{"no character set", "sources:\n  - {name: a, files: {directory: in}, default_charset: EBCDIC}\n", "2:56: no character set"},
		{"no overlay", "sources:\n  - {name: a, files: {directory: in}, overlays: [gone.yaml]}\n", "2:50: no file"},
		{"another answer", "sources:\n  - {name: a, files: {directory: in}, ack: maybe}\n", "none of stored, processed"},
		{"another processing id", "sources:\n  - {name: a, files: {directory: in}, processing_id: [X]}\n", "none of P, T, D"},
		{"the gate", "gate: {inbound: maybe}\n", "1:17: \"maybe\" is none of strict, off"},
		{"the sample", "gate: {outbound: sample, sample: 0}\n", "1:34: "},
		{"the log", "log_level: loud\n", "1:12: "},
		{"compression", "kafka: {compression: zip}\n", "1:22: "},
		{"the mechanism", "kafka: {brokers: [\"localhost:1\"], sasl: {mechanism: GSSAPI}}\n", "1:53: "},
		{"brokers beyond loopback without TLS", "kafka: {brokers: [\"k:1\"], sasl: {mechanism: PLAIN}}\n", "1:19: beyond loopback a connection needs tls"},
		{"Redis beyond loopback without TLS", "redis: {address: \"r:1\"}\n", "1:18: beyond loopback a connection needs tls"},
		{"a broker without port", "kafka: {brokers: [kafka1]}\n", `1:19: "kafka1" is no address`},
		{"the embedded broker for everybody", "kafka: {listen: \":9092\"}\n", "loopback only"},
		{"no partitions", "kafka: {partitions: 0}\n", "1:21: 0 is not between 1 and 1000"},
		{"a short window", "redis: {window: 1s}\n", "1:17: 1s is too short"},
		{"a negative span", "retention: {journal: -1h}\n", "1:22: -1h0m0s is too short"},
		{"a negative time-out", "sources:\n  - {name: a, mllp: {listen: \"127.0.0.1:1\", frame_timeout: -1s}}\n", "2:60: "},
		{"a negative rate", "sources:\n  - {name: a, files: {directory: in}, rate: -1}\n", "2:45: -1 is not between"},
		{"no entries", "sources:\n  - {name: a, fhir: {listen: \"127.0.0.1:1\", max_entries: -1}}\n", "2:58: -1 is not between"},
		{"no room", "in_flight: 1KiB\n", "1:12: 1024 is not between"},
		{"a word for a number", "sources:\n  - {name: a, files: {directory: in}, rate: fast}\n", "2:45: a whole number belongs here, not text"},
		{"half a message a second", "sources:\n  - {name: a, files: {directory: in}, rate: 0.5}\n", "2:45: a whole number belongs here, not 0.5"},
		{"half a partition", "kafka: {partitions: 1.5}\n", "1:21: a whole number belongs here, not 1.5"},
		{"a number beyond range", "sources:\n  - {name: a, files: {directory: in}, rate: 99999999999999999999}\n", "2:45: a number is too large: a smaller one belongs here"},
		{"a size beyond range", "in_flight: 99999999999999999999GiB\n", "1:12: \"99999999999999999999GiB\" is no size such as 512MiB"},
		{"a span beyond range", "retention: {journal: 9999999999999h}\n", "1:22: \"9999999999999h\" is no time span"},
		{"a value for a list", "sources:\n  - {name: a, files: {directory: in}, processing_id: P}\n", "a list such as [a, b] belongs here, not text"},
		{"a word for yes or no", "sources:\n  - {name: a, mllp: {listen: \"127.0.0.1:1\", insecure: maybe}}\n", "true or false belongs here, not text"},
		{"a value for settings", "sources:\n  - {name: a, mllp: \"127.0.0.1:2575\"}\n", "settings such as {key: value} belong here, not text"},
		{"a number for settings", "sources:\n  - {name: a, mllp: 2575}\n", "settings such as {key: value} belong here, not a whole number"},
		{"settings for a list", "sources: {name: a}\n", "a list such as [a, b] belongs here, not settings"},
		{"no port", "sources:\n  - {name: a, mllp: {listen: \"127.0.0.1:99999\"}}\n", `2:30: "127.0.0.1:99999" is no address such as 127.0.0.1:2575`},
		{"a port by name", "operations: {listen: \"127.0.0.1:mllp\"}\n", "is no address such as 127.0.0.1:2575"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := config.Parse("liaison.yaml", []byte(row.text))
			require.Error(t, err)
			require.Contains(t, err.Error(), row.want)
			require.True(t, strings.HasPrefix(err.Error(), "liaison.yaml:"), err.Error())
			var at *config.Error
			require.True(t, errors.As(err, &at))
			require.Positive(t, at.Line)
			require.Positive(t, at.Column)
		})
	}
}

// A file that says nothing leaves everything as it is without one.
func TestNothingConfigured(t *testing.T) {
	for _, text := range []string{"", "\n", "\ufeff# nothing yet\n", "\ufeffgate: {inbound: strict}\n", "# nothing yet\n", "---\n"} {
		cfg, err := config.Parse("liaison.yaml", []byte(text))
		require.NoError(t, err, "%q", text)
		require.Equal(t, config.Default().Sources, cfg.Sources)
		require.Equal(t, config.Default().Kafka, cfg.Kafka)
	}
}

// A source without a time zone is no mistake, but the operator hears of it.
func TestAdvice(t *testing.T) {
	cfg, err := config.Parse("liaison.yaml", []byte("sources:\n  - {name: a, files: {directory: in}}\n  - {name: b, mllp: {listen: \"127.0.0.1:1\"}, time_zone: Europe/Vienna}\n  - {name: c, fhir: {listen: \"127.0.0.1:2\"}}\n"))
	require.NoError(t, err)
	require.Equal(t, []string{"source a has no time_zone: of a time without an offset only the day is taken over"}, cfg.Advice())
}

// What the configuration names has to be there, and an empty file of tokens is
// no file of tokens.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "liaison.yaml")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "empty"), []byte("\n"), 0o600))
	for text, want := range map[string]string{
		"operations: {token_file: gone}\n":                                                                                      ":1:26: open ",
		"operations: {token_file: empty}\n":                                                                                     ":1:26: there is nothing in ",
		"redis: {address: \"localhost:1\", password_file: gone}\n":                                                              ":1:48: open ",
		"kafka: {brokers: [\"k:1\"], tls: {ca: empty}}\n":                                                                       "no certificate in the file",
		"sources:\n  - {name: a, fhir: {listen: \"127.0.0.1:1\", token_file: empty}}\n":                                         ":2:57: there is nothing in ",
		"sources:\n  - {name: a, mllp: {listen: \"127.0.0.1:1\", tls: {certificate: gone.pem, key: gone.key}}}\n":               "tls certificate: open ",
		"kafka: {brokers: [\"localhost:1\"], sasl: {mechanism: PLAIN, username: u, password_file: gone}, record_bytes: 8MiB}\n": ":1:88: open ",
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := config.Load(file)
		require.Error(t, err, text)
		require.Contains(t, err.Error(), want)
		require.Contains(t, err.Error(), "liaison.yaml:")
	}
}

// FuzzParse: any text is a configuration or an error that names the file.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "data: x\n", "sources:\n  - {name: a, mllp: {listen: \"127.0.0.1:1\", max_frame: 1MiB}}\n", "a: &x [*x]\n", "- 1\n", "\x00", "sources: [null]\n", "kafka: null\ngate:\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := config.Parse("liaison.yaml", text)
		if err != nil && !strings.HasPrefix(err.Error(), "liaison.yaml") {
			t.Fatalf("an error that does not name the file: %v", err)
		}
		if err == nil && (c.Data == "" || len(c.Sources) == 0 && !strings.Contains(string(text), "sources")) {
			t.Fatal("defaults are missing")
		}
	})
}
