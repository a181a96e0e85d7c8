package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/engine"
)

func quarantineCommand() *cobra.Command {
	var o operator
	c := &cobra.Command{Use: "quarantine", Short: "Look at messages that could not go on; retry or drop them", Args: cobra.NoArgs, RunE: help}
	o.register(c)
	c.AddCommand(quarantineList(&o), quarantineShow(&o), quarantineRetry(&o), quarantineDrop(&o))
	return c
}

// choice says which messages in quarantine a command is about.
type choice struct{ reason, source, place, message string }

func (q *choice) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&q.reason, "reason", "", "only those of this reason")
	f.StringVar(&q.source, "source", "", "only those of this source")
	f.StringVar(&q.place, "place", "", "only those with this place, such as PID-5.1")
	f.StringVar(&q.message, "message", "", "only those of this type, such as ADT^A01")
}

func (q *choice) takes(h *engine.Held) bool {
	has := func(want, have string) bool { return want == "" || want == have }
	return has(q.reason, string(h.Reason)) && has(q.source, h.Source) && has(q.place, h.Place) && has(q.message, h.Message)
}

// held reads what is in quarantine.
func (o *operator) held(c *cobra.Command, q *choice) (out []*engine.Held, err error) {
	err = o.call(c, http.MethodGet, "/quarantine", nil, func(answer io.Reader) error {
		lines := json.NewDecoder(answer)
		for {
			h := &engine.Held{}
			if err := lines.Decode(h); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return fmt.Errorf("read answer: %w", err)
			}
			if q.takes(h) {
				out = append(out, h)
			}
		}
	})
	return out, err
}

// A heldGroup is how many messages are in quarantine alike.
type heldGroup struct {
	Count   int              `json:"count"`
	Reason  pipelines.Reason `json:"reason"`
	Place   string           `json:"place,omitempty"`
	Source  string           `json:"source"`
	Message string           `json:"message,omitempty"`
	First   uint64           `json:"first"`
	Last    uint64           `json:"last"`
	Advice  string           `json:"advice"`
}

// quarantineGroups prints what is in quarantine by reason, place, source and
// type, the most first.
func quarantineGroups(c *cobra.Command, asJSON bool, list []*engine.Held) error {
	groups := map[heldGroup]*heldGroup{}
	for _, h := range list {
		alike := heldGroup{Reason: h.Reason, Place: h.Place, Source: h.Source, Message: h.Message}
		g := groups[alike]
		if g == nil {
			g = &heldGroup{Reason: h.Reason, Place: h.Place, Source: h.Source, Message: h.Message, First: h.Position, Advice: pipelines.Reasons()[h.Reason]}
			groups[alike] = g
		}
		g.Count++
		g.Last = h.Position
	}
	sorted := slices.SortedFunc(maps.Values(groups), func(a, b *heldGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.First, b.First))
	})
	for _, g := range sorted {
		line := fmt.Sprintf("%8d  %s %s  %s %s  %d to %d: %s", g.Count, g.Reason, g.Place, g.Source, g.Message, g.First, g.Last, g.Advice)
		if asJSON {
			text, err := json.Marshal(g)
			if err != nil {
				return fmt.Errorf("write: %w", err)
			}
			line = string(text)
		}
		if _, err := fmt.Fprintln(c.OutOrStdout(), line); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

func quarantineList(o *operator) *cobra.Command {
	var group bool
	c := &cobra.Command{
		Use: "list", Short: "List quarantined messages, oldest first, or with --group how many there are of each kind", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if group {
				list, err := o.held(c, &choice{})
				if err != nil {
					return err
				}
				return quarantineGroups(c, o.json, list)
			}
			return o.call(c, http.MethodGet, "/quarantine", nil, printLines(c, o.json, func(h *engine.Held) string {
				return fmt.Sprintf("%8d  %s  %-10s %-10s %-12s %s %s: %s (%d attempts)",
					h.Position, h.Received.Format(time.RFC3339), h.Source, h.Message, h.ControlID, h.Reason, h.Place, h.Text, h.Attempts)
			}))
		},
	}
	c.Flags().BoolVar(&group, "group", false, "count by reason, place, source and type")
	return c
}

func quarantineShow(o *operator) *cobra.Command {
	return &cobra.Command{
		Use: "show SEQUENCE", Short: "Show one message with its bytes (base64 in raw), its edits, and what today's tables make of it", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := sequence(args[0])
			if err != nil {
				return err
			}
			return o.call(c, http.MethodGet, "/quarantine/"+n, nil, printAnswer(c))
		},
	}
}

func quarantineRetry(o *operator) *cobra.Command {
	var edited, by string
	var all bool
	var which choice
	c := &cobra.Command{
		Use: "retry SEQUENCE | --all", Short: "Put a message on its way again, as it is or with --with FILE instead; or all of them, or all of a kind", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			bulk := all || which != (choice{})
			if bulk == (len(args) == 1) || bulk && edited != "" {
				return usageError{fmt.Errorf("one SEQUENCE, or --all, or what they have in common (--reason, --source, --place, --message)")}
			}
			if bulk {
				return o.retryAll(c, &which, by)
			}
			n, err := sequence(args[0])
			if err != nil {
				return err
			}
			var body []byte
			if edited != "" {
				if body, err = os.ReadFile(edited); err != nil {
					return fmt.Errorf("edited message: %w", err)
				}
			}
			position, err := o.retry(c, n, by, body)
			if err != nil {
				return err
			}
			fate, err := o.became(c, position)
			if err != nil {
				return err
			}
			return printFate(c, o.json, fate)
		},
	}
	c.Flags().StringVar(&edited, "with", "", "file with the bytes to take instead; the original is kept")
	c.Flags().BoolVar(&all, "all", false, "every message in quarantine")
	c.Flags().StringVar(&by, "by", "", "who retries; it stays in the journal")
	which.register(c)
	return c
}

// retry puts one message on its way again, and gives the retry's place in the
// journal.
func (o *operator) retry(c *cobra.Command, n, by string, body []byte) (position uint64, err error) {
	err = o.call(c, http.MethodPost, "/quarantine/"+n+"/retry?by="+url.QueryEscape(by), body, func(answer io.Reader) error {
		var given struct {
			Sequence uint64 `json:"sequence"`
		}
		if err := json.NewDecoder(answer).Decode(&given); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		position = given.Sequence
		return nil
	})
	return position, err
}

// patience is how long a retry's outcome is waited for.
const patience = 10 * time.Second

// became waits for what a command's entry became: nothing yet, where the engine
// is stopped or Kafka does not take its events.
func (o *operator) became(c *cobra.Command, position uint64) (*engine.Fate, error) {
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		fate := &engine.Fate{}
		err := o.call(c, http.MethodGet, fmt.Sprintf("/journal/%d", position), nil, func(answer io.Reader) error {
			return json.NewDecoder(answer).Decode(fate)
		})
		if err != nil {
			return nil, fmt.Errorf("what became of %d: %w", position, err)
		}
		if fate.Outcome != "pending" || o.data != "" {
			return fate, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fate, c.Context().Err()
		}
	}
}

func printFate(c *cobra.Command, asJSON bool, f *engine.Fate) error {
	line := fmt.Sprintf("%d: %s", f.Sequence, f.Outcome)
	switch {
	case f.Reason != "":
		line += fmt.Sprintf(" again, %s %s: %s", f.Reason, f.Place, pipelines.Reasons()[pipelines.Reason(f.Reason)])
	case len(f.Events) > 0:
		line += fmt.Sprintf(", %d events", len(f.Events))
	}
	if asJSON {
		text, err := json.Marshal(f)
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		line = string(text)
	}
	if _, err := fmt.Fprintln(c.OutOrStdout(), line); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// retryAll puts the chosen messages on their way again, oldest first, and says
// how many became what.
func (o *operator) retryAll(c *cobra.Command, which *choice, by string) error {
	list, err := o.held(c, which)
	if err != nil {
		return err
	}
	var positions []uint64
	for _, h := range list {
		position, err := o.retry(c, strconv.FormatUint(h.Position, 10), by, nil)
		if err != nil {
			return fmt.Errorf("%d of %d are on their way; retry %d: %w", len(positions), len(list), h.Position, err)
		}
		positions = append(positions, position)
	}
	counts := map[string]int{}
	for _, position := range slices.Backward(positions) { // the last one's outcome is the last to come
		fate, err := o.became(c, position)
		if err != nil {
			return err
		}
		counts[fate.Outcome]++
	}
	line := fmt.Sprintf("%d retried", len(list))
	sign := ": "
	for _, outcome := range slices.Sorted(maps.Keys(counts)) {
		line += fmt.Sprintf("%s%d %s", sign, counts[outcome], outcome)
		sign = ", "
	}
	if _, err := fmt.Fprintln(c.OutOrStdout(), line); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func quarantineDrop(o *operator) *cobra.Command {
	var why, by string
	c := &cobra.Command{
		Use: "drop SEQUENCE --why TEXT", Short: "Take a message out for good", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if why == "" {
				return usageError{fmt.Errorf("--why is needed: it stays in the journal")}
			}
			n, err := sequence(args[0])
			if err != nil {
				return err
			}
			return o.call(c, http.MethodPost, "/quarantine/"+n+"/drop?why="+url.QueryEscape(why)+"&by="+url.QueryEscape(by), nil, printAnswer(c))
		},
	}
	c.Flags().StringVar(&why, "why", "", "the reason; no patient's data")
	c.Flags().StringVar(&by, "by", "", "who drops it; it stays in the journal")
	return c
}
