package config_test

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/config"
)

// cmd/README.md lists every setting that a file may have, none that it may not,
// and each with the default that counts.
func TestEverySettingIsListed(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (?:`([^`]+)` )?\\|").FindAllStringSubmatch(string(text), -1) {
		require.NotContains(t, listed, row[1], "twice")
		listed[row[1]] = row[2]
	}
	cfg, err := config.Parse("liaison.yaml", []byte("sources:\n- {name: a, mllp: {listen: \"127.0.0.1:1\"}}\n- {name: b, fhir: {listen: \"127.0.0.1:2\"}}\n- {name: c, files: {directory: in}}\n"))
	require.NoError(t, err)
	for i := range cfg.Sources[1:] { // each kind's defaults
		cfg.Sources[0].FHIR, cfg.Sources[0].Files = orThere(cfg.Sources[0].FHIR, cfg.Sources[i+1].FHIR), orThere(cfg.Sources[0].Files, cfg.Sources[i+1].Files)
	}
	cfg.Sources[0].Name, cfg.Sources[0].MLLP.Listen, cfg.Sources[0].FHIR.Listen, cfg.Sources[0].Files.Directory = "", "", "", "" // which have none
	want := map[string]string{}
	settings(reflect.ValueOf(*cfg), "", want)
	require.Equal(t, want, listed)
}

func orThere[T any](have, other *T) *T {
	if have == nil {
		return other
	}
	return have
}

// settings gathers the keys below a value, each with the value as a file has it.
func settings(v reflect.Value, at string, out map[string]string) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v = reflect.New(v.Type().Elem())
		}
		settings(v.Elem(), at, out)
	case reflect.Struct:
		for i := range v.NumField() {
			if key := v.Type().Field(i).Tag.Get("yaml"); key != "" {
				settings(v.Field(i), strings.TrimPrefix(at+"."+key, "."), out)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			settings(v.Index(0), at+"[]", out)
			return
		}
		out[at] = strings.ReplaceAll(fmt.Sprint(v.Interface()), "[]", "")
	case reflect.Map:
		out[at] = ""
	default:
		out[at] = written(v.Interface())
	}
}

func written(v any) string {
	switch v := v.(type) {
	case time.Duration:
		text := v.String()
		for _, zero := range []string{"m0s", "h0m"} {
			if strings.HasSuffix(text, zero) {
				text = text[:len(text)-2]
			}
		}
		return text
	case config.Bytes:
		i := slices.IndexFunc([]config.Bytes{1 << 30, 1 << 20, 1 << 10}, func(u config.Bytes) bool { return v%u == 0 })
		return fmt.Sprintf("%d%s", v/[]config.Bytes{1 << 30, 1 << 20, 1 << 10}[i], []string{"GiB", "MiB", "KiB"}[i])
	}
	return fmt.Sprint(v)
}
