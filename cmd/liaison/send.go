package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/connectors/mllp"
	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// tlsFlags are how a command connects over TLS.
type tlsFlags struct {
	on                         bool
	ca, certificate, key, name string
}

func (t *tlsFlags) register(f *pflag.FlagSet) {
	f.BoolVar(&t.on, "tls", false, "connect over TLS")
	f.StringVar(&t.ca, "tls-ca", "", "authority of the server's certificate (PEM)")
	f.StringVar(&t.certificate, "tls-certificate", "", "our certificate (PEM)")
	f.StringVar(&t.key, "tls-key", "", "its key (PEM)")
	f.StringVar(&t.name, "tls-server-name", "", "the name that the server's certificate is for")
}

func (t *tlsFlags) config() *config.ClientTLS {
	if !t.on && t.ca == "" && t.certificate == "" {
		return nil
	}
	return &config.ClientTLS{CA: t.ca, Certificate: t.certificate, Key: t.key, ServerName: t.name}
}

func sendCommand() *cobra.Command {
	var flags tlsFlags
	var asJSON bool
	var timeout time.Duration
	c := &cobra.Command{
		Use: "send HOST:PORT FILE…", Short: "Send messages over MLLP and print each answer", Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := config.Default().Client(flags.config())
			if err != nil {
				return fmt.Errorf("tls: %w", err)
			}
			client, err := mllp.Dial(c.Context(), args[0], t, timeout)
			if err != nil {
				return fmt.Errorf("send: %w", err)
			}
			defer func() { _ = client.Close() }()
			s := sender{client: client, out: c.OutOrStdout(), json: asJSON}
			negative := 0
			for _, name := range args[1:] {
				n, err := s.file(c.Context(), name)
				negative += n
				if err != nil {
					return err
				}
			}
			if negative > 0 {
				fmt.Fprintf(c.ErrOrStderr(), "liaison: %d negative answers\n", negative)
				return errReported
			}
			return nil
		},
	}
	flags.register(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	c.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "for connecting and for each answer")
	return c
}

type sender struct {
	client *mllp.Client
	out    io.Writer
	json   bool
}

// file sends every message of a file and counts the negative answers.
func (s *sender) file(ctx context.Context, name string) (negative int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	defer func() { _ = f.Close() }()
	split := hl7v2.NewSplitter(f)
	for n := 1; ; n++ {
		item, err := split.Next()
		if errors.Is(err, io.EOF) {
			return negative, nil
		}
		if err != nil {
			return negative, fmt.Errorf("%s: %w", name, err)
		}
		answers, err := s.client.Answers(ctx, item.Raw)
		for _, raw := range answers {
			positive, err := s.print(name, n, raw)
			if err != nil {
				return negative, err
			}
			if !positive {
				negative++
			}
		}
		if err != nil {
			return negative, fmt.Errorf("%s message %d: %w", name, n, err)
		}
	}
}

func (s *sender) print(name string, n int, raw []byte) (bool, error) {
	ack, err := hl7v2.ParseAck(raw)
	if err != nil {
		return false, fmt.Errorf("read answer: %w", err)
	}
	type answer struct {
		File      string   `json:"file"`
		Message   int      `json:"message"`
		Code      string   `json:"code"`
		ControlID string   `json:"control_id"`
		Text      string   `json:"text,omitempty"`
		Errors    []string `json:"errors,omitempty"`
	}
	a := answer{File: name, Message: n, Code: string(ack.Code), ControlID: ack.ControlID, Text: ack.Text}
	for _, e := range ack.Errors {
		a.Errors = append(a.Errors, fmt.Sprintf("%s %s %s", e.Code, e.Location, e.Text))
	}
	if s.json {
		err = json.NewEncoder(s.out).Encode(a)
	} else {
		_, err = fmt.Fprintf(s.out, "%s %s %s", a.Code, a.ControlID, a.Text)
		for _, e := range a.Errors {
			_, _ = fmt.Fprintf(s.out, " [%s]", e)
		}
		_, _ = fmt.Fprintln(s.out)
	}
	if err != nil {
		return false, fmt.Errorf("write: %w", err)
	}
	return ack.Code.Positive(), nil
}
