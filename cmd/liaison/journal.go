package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/pipelines/engine"
)

func journalCommand() *cobra.Command {
	var o operator
	c := &cobra.Command{Use: "journal", Short: "Look at accepted messages and what became of them", Args: cobra.NoArgs, RunE: help}
	o.register(c)
	c.AddCommand(journalList(&o), journalShow(&o), journalReplay(&o), journalUnmerge(&o))
	return c
}

func journalList(o *operator) *cobra.Command {
	var from uint64
	var limit int
	var outcome string
	outcomes := []string{"pending", "published", "unchanged", "duplicate", "quarantined"}
	c := &cobra.Command{
		Use: "list", Short: "List entries in the order of the journal", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if outcome != "" && !slices.Contains(outcomes, outcome) {
				return usageError{fmt.Errorf("--outcome is one of %s", strings.Join(outcomes, ", "))}
			}
			q := url.Values{"from": {strconv.FormatUint(from, 10)}, "limit": {strconv.Itoa(limit)}, "outcome": {outcome}}
			return o.call(c, http.MethodGet, "/journal?"+q.Encode(), nil, printLines(c, o.json, func(f *engine.Fate) string {
				line := fmt.Sprintf("%8d  %s  %-10s %-10s %-12s %s", f.Sequence, f.Received.Format("2006-01-02T15:04:05.000Z"), f.Source, f.Message, f.ControlID, f.Outcome)
				if f.Reason != "" {
					line += " (" + f.Reason + " " + f.Place + ")"
				}
				if f.About != 0 {
					line += fmt.Sprintf("  about %d", f.About)
				}
				for _, flag := range f.Flags {
					line += "  " + flag
				}
				return line + fmt.Sprintf("  %d events", len(f.Events))
			}))
		},
	}
	c.Flags().Uint64Var(&from, "from", 0, "first entry")
	c.Flags().IntVar(&limit, "limit", 0, "at most so many")
	c.Flags().StringVar(&outcome, "outcome", "", "only these: "+strings.Join(outcomes, ", "))
	return c
}

// printLines prints JSON lines as they are, or each as text.
func printLines[T any](c *cobra.Command, asJSON bool, text func(*T) string) func(io.Reader) error {
	return func(answer io.Reader) error {
		out := bufio.NewWriter(c.OutOrStdout())
		lines := json.NewDecoder(answer)
		for {
			var one json.RawMessage
			if err := lines.Decode(&one); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return fmt.Errorf("read answer: %w", errors.Join(err, out.Flush()))
			}
			line := string(one)
			if !asJSON {
				var v T
				if err := json.Unmarshal(one, &v); err != nil {
					return fmt.Errorf("read answer: %w", err)
				}
				line = text(&v)
			}
			if _, err := fmt.Fprintln(out, line); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	}
}

// printAnswer prints an answer as it is.
func printAnswer(c *cobra.Command) func(io.Reader) error {
	return func(answer io.Reader) error {
		if _, err := io.Copy(c.OutOrStdout(), answer); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	}
}

func journalShow(o *operator) *cobra.Command {
	var raw bool
	c := &cobra.Command{
		Use: "show SEQUENCE", Short: "Show one entry, or with --raw its bytes", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := sequence(args[0])
			if err != nil {
				return err
			}
			path := "/journal/" + n
			if raw {
				path += "/raw"
			}
			return o.call(c, http.MethodGet, path, nil, printAnswer(c))
		},
	}
	c.Flags().BoolVar(&raw, "raw", false, "the bytes as received")
	return c
}
