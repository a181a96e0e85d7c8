package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/cmd/internal/app"
	"github.com/liaison-health/liaison/cmd/internal/offline"
	"github.com/liaison-health/liaison/mapping/hl7v2"
)

func mapCommand() *cobra.Command {
	var file, source, output, out string
	c := &cobra.Command{
		Use: "map FILE…|-", Short: "Map messages to FHIR, records or a report, without serving", Args: cobra.MinimumNArgs(1),
		Long: "Maps every message of the files as in service. The time of receipt, which a message's own time counts\nagainst, is the message's MSH-7 here, so that a second run gives the same output.\n\nreport: a line a message with what became of its values, then a line of the summary: how much of what was sent\nis found, how much of what came out is explained, what the gate finds, which references lead nowhere.",
		RunE: func(c *cobra.Command, args []string) error {
			if output != "bundle" && output != "records" && output != "report" {
				return usageError{fmt.Errorf("--output is bundle, records or report")}
			}
			m, err := newMapping(file, source)
			if err != nil {
				return err
			}
			m.output, m.dir, m.to, m.errs = output, out, c.OutOrStdout(), c.ErrOrStderr()
			m.progress = newProgress(m.errs, m.to, "messages mapped")
			if out != "" {
				m.progress = newProgress(m.errs, nil, "messages mapped")
			}
			defer m.progress.end()
			failed := false
			for _, name := range args {
				ok, err := m.file(name, c.InOrStdin())
				if err != nil {
					return err
				}
				failed = failed || !ok
			}
			if err := m.sum(); err != nil {
				return err
			}
			if failed {
				return errReported
			}
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "liaison.yaml")
	c.Flags().StringVar(&source, "source", "", "the source whose settings apply (default: the first)")
	c.Flags().StringVar(&output, "output", "bundle", "bundle, records or report")
	c.Flags().StringVar(&out, "out", "", "directory for one file a message, named after the input")
	return c
}

// mapping is one run of the map command.
type mapping struct {
	line     *offline.Pipeline
	output   string
	dir      string
	summary  offline.Summary // of the reports
	to, errs io.Writer
	progress *progress
}

func newMapping(file, source string) (*mapping, error) {
	cfg, err := loadConfig(file, "")
	if err != nil {
		return nil, err
	}
	lines, check, err := app.Pipelines(cfg)
	if err != nil {
		return nil, fmt.Errorf("tables: %w", err)
	}
	for _, l := range lines {
		if source == "" || l.Source == source {
			return &mapping{line: offline.New(l, check)}, nil
		}
	}
	return nil, usageError{fmt.Errorf("no source is named %s", source)}
}

// file maps one file; false when a message was refused.
func (m *mapping) file(name string, in io.Reader) (bool, error) {
	var data []byte
	var err error
	if name == "-" {
		data, err = io.ReadAll(in)
		name = "stdin"
	} else {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return false, fmt.Errorf("read: %w", err)
	}
	items, err := hl7v2.SplitAll(data)
	good := true
	if err != nil {
		fmt.Fprintf(m.errs, "%s: %v\n", name, err)
		good = false
	}
	if len(items) == 0 && good {
		fmt.Fprintf(m.errs, "%s: no message in it\n", name)
		good = false
	}
	for i, item := range items {
		suffix := ""
		if len(items) > 1 {
			suffix = fmt.Sprintf("-%04d", i+1)
		}
		made, wrong, err := m.message(item.Raw)
		m.progress.step()
		for _, w := range wrong {
			fmt.Fprintf(m.errs, "%s message %d: gate: %s\n", name, i+1, w)
			good = false
		}
		if err != nil {
			fmt.Fprintf(m.errs, "%s message %d: %v\n", name, i+1, err)
			m.summary.Refused++
			good = false
			continue
		}
		if err := m.write(name, suffix, made); err != nil {
			return false, err
		}
	}
	return good, nil
}

func (m *mapping) message(raw []byte) (made []byte, wrong []string, err error) {
	switch m.output {
	case "records":
		list, err := m.line.Records(raw)
		return bytes.Join(list, []byte("\n")), nil, err
	case "report":
		report, err := m.line.Report(raw)
		if err != nil {
			return nil, nil, err
		}
		m.summary.Add(report)
		made, err := json.Marshal(report)
		if err != nil {
			return nil, nil, fmt.Errorf("write report: %w", err)
		}
		return made, report.Gate, nil
	}
	return m.line.Bundle(raw)
}

// sum prints the summary of the reports, as the last line.
func (m *mapping) sum() error {
	if m.output != "report" {
		return nil
	}
	line, err := json.Marshal(map[string]*offline.Summary{"summary": &m.summary})
	if err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	if _, err := m.to.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func (m *mapping) write(name, suffix string, made []byte) error {
	if m.dir == "" {
		if len(made) == 0 {
			return nil
		}
		if _, err := m.to.Write(append(made, '\n')); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	base := filepath.Base(name)
	base = strings.TrimSuffix(base, filepath.Ext(base))
	if err := os.WriteFile(filepath.Join(m.dir, base+suffix+".json"), append(made, '\n'), 0o644); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
