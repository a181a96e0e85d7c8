package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/pipelines/engine"
)

func quarantineCommand() *cobra.Command {
	var o operator
	c := &cobra.Command{Use: "quarantine", Short: "Look at messages that could not go on; retry or drop them", Args: cobra.NoArgs, RunE: help}
	o.register(c)
	c.AddCommand(quarantineList(&o), quarantineShow(&o), quarantineRetry(&o), quarantineDrop(&o))
	return c
}

func quarantineList(o *operator) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List quarantined messages, oldest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.call(c, http.MethodGet, "/quarantine", nil, printLines(c, o.json, func(h *engine.Held) string {
				return fmt.Sprintf("%8d  %s  %-10s %-10s %-12s %s %s: %s (%d attempts)",
					h.Position, h.Received.Format(time.RFC3339), h.Source, h.Message, h.ControlID, h.Reason, h.Place, h.Text, h.Attempts)
			}))
		},
	}
}

func quarantineShow(o *operator) *cobra.Command {
	return &cobra.Command{
		Use: "show SEQUENCE", Short: "Show one message with its bytes (base64 in raw)", Args: cobra.ExactArgs(1),
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
	var edited string
	c := &cobra.Command{
		Use: "retry SEQUENCE", Short: "Put a message on its way again, as it is or with --with FILE instead", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
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
			return o.call(c, http.MethodPost, "/quarantine/"+n+"/retry", body, printAnswer(c))
		},
	}
	c.Flags().StringVar(&edited, "with", "", "file with the bytes to take instead")
	return c
}

func quarantineDrop(o *operator) *cobra.Command {
	var why string
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
			return o.call(c, http.MethodPost, "/quarantine/"+n+"/drop?why="+url.QueryEscape(why), nil, printAnswer(c))
		},
	}
	c.Flags().StringVar(&why, "why", "", "the reason; no patient's data")
	return c
}
