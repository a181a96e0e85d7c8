package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/cmd/internal/app"
	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/pipelines/store"
)

// operator is where the operator's commands go: a running engine, or the data
// of a stopped one.
type operator struct {
	server, data, tokenFile string
	json                    bool
	tls                     tlsFlags
}

func (o *operator) register(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&o.server, "server", "127.0.0.1:8081", "operations address of the running engine")
	f.StringVar(&o.data, "data", "", "data directory of a stopped engine, instead")
	f.StringVar(&o.tokenFile, "token-file", "", "file with the token that the server asks for")
	f.BoolVar(&o.json, "json", false, "one JSON object a line")
	o.tls.register(f)
}

// sequence reads a place in the journal from the command line.
func sequence(arg string) (string, error) {
	if n, err := strconv.ParseUint(arg, 10, 64); err != nil || n == 0 {
		return "", usageError{fmt.Errorf("%q is no SEQUENCE: the number that list prints first", arg)}
	}
	return arg, nil
}

// call makes one request and hands the answer's body over as it comes.
func (o *operator) call(c *cobra.Command, method, path string, body []byte, use func(io.Reader) error) error {
	t, err := config.Default().Client(o.tls.config())
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	scheme := "http://"
	if t != nil {
		scheme = "https://"
	}
	request, err := http.NewRequestWithContext(c.Context(), method, scheme+o.server+path, bytes.NewReader(body))
	if err != nil {
		return usageError{err}
	}
	if o.data != "" {
		return o.offline(request, use)
	}
	return o.online(request, t, use)
}

func (o *operator) online(request *http.Request, t *tls.Config, use func(io.Reader) error) error {
	if o.tokenFile != "" {
		token, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return fmt.Errorf("token: %w", err)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(token)), "\n")
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(first))
	}
	transport := &http.Transport{TLSClientConfig: t}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("no engine answers (use --data for a stopped one): %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusBadRequest {
		why, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
		return refusedBy(response.StatusCode, why)
	}
	return use(response.Body)
}

func refusedBy(status int, why []byte) error {
	return fmt.Errorf("%s (%d)", strings.TrimSpace(string(why)), status)
}

// offline answers a request from the data itself.
func (o *operator) offline(request *http.Request, use func(io.Reader) error) (err error) {
	if _, err := os.Stat(filepath.Join(o.data, "store")); err != nil { // opening would make one
		return fmt.Errorf("no data of Liaison: %w", err)
	}
	s, err := store.Open(o.data, store.Options{})
	if err != nil {
		return fmt.Errorf("open the data (is the engine running?): %w", err)
	}
	defer func() {
		if closed := s.Close(); err == nil && closed != nil {
			err = closed
		}
	}()
	e, err := engine.New(engine.Config{Dir: o.data}, s, nil, nil, nil)
	if err != nil {
		return fmt.Errorf("open the data: %w", err)
	}
	answer, write := io.Pipe()
	w := &recorder{header: http.Header{}, to: write}
	served := make(chan struct{})
	go func() {
		defer close(served)
		app.Operator(e).ServeHTTP(w, request)
		_ = write.Close()
	}()
	err = use(answer)
	_ = answer.Close()
	<-served // nothing reads the store any more
	if w.status >= http.StatusBadRequest {
		return refusedBy(w.status, w.why.Bytes())
	}
	return err
}

// A recorder hands an answer on, and keeps a refusal.
type recorder struct {
	header http.Header
	status int
	to     io.Writer
	why    bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status >= http.StatusBadRequest {
		return r.why.Write(b)
	}
	return r.to.Write(b) //nolint:wrapcheck // the handler's own error
}
