package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"runtime/debug"
	"time"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines/engine"
)

// settings are what of the configuration bears on records, as the journal
// keeps it: listed one by one, so that no secret gets among them.
type settings struct {
	Program     string            `json:"program,omitempty"` // its revision
	Tables      string            `json:"tables"`            // hash of the tables in the program
	Window      time.Duration     `json:"window"`
	RecordBytes config.Bytes      `json:"record_bytes"`
	Gate        config.Gate       `json:"gate"`
	Sources     []sourceSettings  `json:"sources"`
	Overlays    map[string]string `json:"overlays,omitempty"` // name: text
}

type sourceSettings struct {
	Name            string            `json:"name"`
	TimeZone        string            `json:"time_zone,omitempty"`
	DefaultCharset  string            `json:"default_charset,omitempty"`
	DefaultAssigner string            `json:"default_assigner,omitempty"`
	Systems         map[string]string `json:"systems,omitempty"`
	ProcessingID    []string          `json:"processing_id,omitempty"`
	Receiver        config.Receiver   `json:"receiver,omitzero"`
	Ack             string            `json:"ack,omitempty"`
	Overlays        []string          `json:"overlays,omitempty"`
}

// settingsOf writes the settings down, the same configuration always alike.
func settingsOf(cfg *config.Config) ([]byte, error) {
	s := settings{Window: cfg.Redis.Window, RecordBytes: cfg.Kafka.RecordBytes, Gate: cfg.Gate}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, b := range build.Settings {
			if b.Key == "vcs.revision" {
				s.Program = b.Value
			}
		}
	}
	var err error
	if s.Tables, err = tables.Version(); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	read := overlayFiles(cfg)
	for i := range cfg.Sources {
		c := &cfg.Sources[i]
		s.Sources = append(s.Sources, sourceSettings{
			Name: c.Name, TimeZone: c.TimeZone, DefaultCharset: c.DefaultCharset, DefaultAssigner: c.DefaultAssigner, Systems: c.Systems,
			ProcessingID: c.ProcessingID, Receiver: c.Receiver, Ack: c.Ack, Overlays: c.Overlays,
		})
		for _, name := range c.Overlays {
			text, err := read(name)
			if err != nil {
				return nil, fmt.Errorf("settings: overlay: %w", err)
			}
			if s.Overlays == nil {
				s.Overlays = map[string]string{}
			}
			s.Overlays[name] = string(text)
		}
	}
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	return out, nil
}

// A line is what maps: pipelines, and the configuration behind them.
type line struct {
	cfg       *config.Config
	pipelines []*engine.Pipeline
}

// settled makes the line that settings from a journal describe.
func settled(text []byte) (*line, error) {
	var s settings
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return nil, fmt.Errorf("read the journal's settings: %w", err)
	}
	cfg := config.Default()
	cfg.Redis.Window, cfg.Kafka.RecordBytes, cfg.Gate, cfg.Sources = s.Window, s.RecordBytes, s.Gate, nil
	for _, c := range s.Sources {
		cfg.Sources = append(cfg.Sources, config.Source{
			Name: c.Name, TimeZone: c.TimeZone, DefaultCharset: c.DefaultCharset, DefaultAssigner: c.DefaultAssigner, Systems: c.Systems,
			ProcessingID: c.ProcessingID, Receiver: c.Receiver, Ack: c.Ack, Overlays: c.Overlays,
		})
	}
	lines, _, err := pipelinesWith(cfg, func(name string) ([]byte, error) {
		text, ok := s.Overlays[name]
		if !ok {
			return nil, fmt.Errorf("overlay %s: %w", name, fs.ErrNotExist)
		}
		return []byte(text), nil
	})
	if err != nil {
		return nil, fmt.Errorf("the journal's settings: %w", err)
	}
	return &line{cfg: cfg, pipelines: lines}, nil
}

// configured makes the line of a configuration.
func configured(cfg *config.Config) (*line, error) {
	lines, _, err := Pipelines(cfg)
	if err != nil {
		return nil, err
	}
	return &line{cfg: cfg, pipelines: lines}, nil
}
