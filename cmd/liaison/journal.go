package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/cmd/internal/app"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/pipelines/store"
)

// operator is where the operator's commands go: a running engine, or the data
// of a stopped one.
type operator struct {
	server, data, tokenFile string
	json                    bool
}

func (o *operator) register(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&o.server, "server", "127.0.0.1:8081", "operations address of the running engine")
	f.StringVar(&o.data, "data", "", "data directory of a stopped engine, instead")
	f.StringVar(&o.tokenFile, "token-file", "", "file with the token that the server asks for")
	f.BoolVar(&o.json, "json", false, "one JSON object a line")
}

// call makes one request and gives the answer's body.
func (o *operator) call(c *cobra.Command, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(c.Context(), method, "http://"+o.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, usageError{err}
	}
	if o.data != "" {
		return o.offline(request)
	}
	if o.tokenFile != "" {
		token, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no engine answers (use --data for a stopped one): %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(answer)))
	}
	return answer, nil
}

// offline answers a request from the data itself.
func (o *operator) offline(request *http.Request) (answer []byte, err error) {
	if _, err := os.Stat(o.data); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	s, err := store.Open(o.data, store.Options{})
	if err != nil {
		return nil, fmt.Errorf("open the data (is the engine running?): %w", err)
	}
	defer func() {
		if closed := s.Close(); err == nil && closed != nil {
			err = closed
		}
	}()
	e, err := engine.New(engine.Config{Dir: o.data}, s, nil, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("open the data: %w", err)
	}
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	app.Operator(e).ServeHTTP(w, request)
	if w.status >= http.StatusBadRequest {
		return nil, fmt.Errorf("%d: %s", w.status, strings.TrimSpace(w.body.String()))
	}
	return w.body.Bytes(), nil
}

// A recorder keeps an answer in memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

func journalCommand() *cobra.Command {
	var o operator
	c := &cobra.Command{Use: "journal", Short: "Look at accepted messages and what became of them", Args: cobra.NoArgs}
	o.register(c)
	c.AddCommand(journalList(&o), journalShow(&o), journalReplay(&o), journalUnmerge(&o))
	return c
}

func journalList(o *operator) *cobra.Command {
	var from uint64
	var limit int
	var outcome string
	c := &cobra.Command{
		Use: "list", Short: "List entries in the order of the journal", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{"from": {strconv.FormatUint(from, 10)}, "limit": {strconv.Itoa(limit)}, "outcome": {outcome}}
			answer, err := o.call(c, http.MethodGet, "/journal?"+q.Encode(), nil)
			if err != nil {
				return err
			}
			return printLines(c, answer, o.json, func(f *engine.Fate) string {
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
			})
		},
	}
	c.Flags().Uint64Var(&from, "from", 0, "first entry")
	c.Flags().IntVar(&limit, "limit", 0, "at most so many")
	c.Flags().StringVar(&outcome, "outcome", "", "only these: pending, published, unchanged, duplicate, quarantined")
	return c
}

// printLines prints JSON lines as they are, or each as text.
func printLines[T any](c *cobra.Command, answer []byte, asJSON bool, text func(*T) string) error {
	lines := bufio.NewScanner(bytes.NewReader(answer))
	lines.Buffer(nil, 256<<20)
	for lines.Scan() {
		line := lines.Text()
		if !asJSON {
			var v T
			if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
				return fmt.Errorf("read answer: %w", err)
			}
			line = text(&v)
		}
		if _, err := fmt.Fprintln(c.OutOrStdout(), line); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

func journalShow(o *operator) *cobra.Command {
	var raw bool
	c := &cobra.Command{
		Use: "show SEQUENCE", Short: "Show one entry, or with --raw its bytes", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path := "/journal/" + url.PathEscape(args[0])
			if raw {
				path += "/raw"
			}
			answer, err := o.call(c, http.MethodGet, path, nil)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(answer)
			if err != nil {
				return fmt.Errorf("write: %w", err)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&raw, "raw", false, "the bytes as received")
	return c
}
