package app

import (
	"cmp"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines"
	"github.com/liaison-health/liaison/pipelines/engine"
)

// operations serves health, metrics, and the operator's commands.
type operations struct {
	server   *http.Server
	listener net.Listener
	ready    atomic.Bool
	work     sync.WaitGroup // requests being answered
}

// The bounds of the operations' server.
const (
	operationsConnections = 64
	operationsWrite       = 30 * time.Second // for a caller to take a part of an answer
	operationsDrain       = 2 * time.Second
)

func (a *App) listenOperations(ctx context.Context, reg *prometheus.Registry) (*operations, error) {
	cfg := &a.cfg.Operations
	t, err := a.cfg.Server(cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("operations: %w", err)
	}
	tokens, err := a.cfg.Secret(cfg.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("operations: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("operations: listen: %w", err)
	}
	l = netutil.LimitListener(l, operationsConnections)
	if t != nil {
		l = tls.NewListener(l, t)
	}
	o := &operations{listener: l}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
		if a.engine.Full() {
			fmt.Fprintln(w, "nothing is taken: too little space, or the volume is read-only")
		}
		for _, topic := range a.engine.Stuck() { // the process is well, and what it took is kept
			fmt.Fprintf(w, "kafka does not take the events of %s: they wait on disk\n", topic)
		}
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !o.ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", guarded(promhttp.HandlerFor(reg, promhttp.HandlerOpts{}), tokens))
	mux.Handle("/", guarded(Operator(a.engine), tokens))
	o.server = &http.Server{Handler: o.bounded(mux), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelWarn)}
	return o, nil
}

func (o *operations) addr() string { return o.listener.Addr().String() }

func (o *operations) serve() { _ = o.server.Serve(o.listener) }

func (o *operations) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), operationsDrain)
	defer cancel()
	err := o.server.Shutdown(ctx)
	_ = o.listener.Close()
	if errors.Is(err, context.DeadlineExceeded) { // a slow caller loses his answer
		err = o.server.Close()
	}
	o.work.Wait() // nothing reads the store any more
	if err != nil {
		return fmt.Errorf("operations: %w", err)
	}
	return nil
}

// bounded counts the requests and bounds the time for which a caller may take
// nothing of an answer, however long that is.
func (o *operations) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.work.Add(1)
		defer o.work.Done()
		next.ServeHTTP(&timedWriter{ResponseWriter: w, control: http.NewResponseController(w)}, r)
	})
}

// A timedWriter gives each part of an answer its time.
type timedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w *timedWriter) Write(b []byte) (int, error) {
	if err := w.control.SetWriteDeadline(time.Now().Add(operationsWrite)); err != nil {
		return 0, fmt.Errorf("answer: %w", err)
	}
	return w.ResponseWriter.Write(b) //nolint:wrapcheck // the server's own error
}

// Unwrap is for http.ResponseController.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// guarded asks for one of the tokens, where there are any. A caller with a
// client certificate was checked by TLS.
func guarded(next http.Handler, tokens string) http.Handler {
	if tokens == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		for _, t := range strings.Fields(tokens) {
			if subtle.ConstantTimeCompare([]byte(t), []byte(given)) == 1 {
				next.ServeHTTP(w, r)
				return
			}
		}
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "a token is needed", http.StatusUnauthorized)
	})
}

// Operator serves the operator's commands over an engine, running or not:
// GET /journal?from=&limit= and /quarantine are JSON lines; GET /journal/N one
// object, and /quarantine/N too, with advice and what the tables make of the
// message; GET /journal/N/raw the bytes; POST /quarantine/N/retry (with other
// bytes as body) and /quarantine/N/drop?why= are journal entries and answer
// {"sequence": N}, and so is POST /unmerge with {"assigner", "id", "why"} of the
// retired patient. by= says who gives a command.
func Operator(e *engine.Engine) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /journal", func(w http.ResponseWriter, r *http.Request) { listJournal(e, w, r) })
	mux.HandleFunc("GET /journal/{n}", func(w http.ResponseWriter, r *http.Request) {
		fate, _, err := e.Show(number(r))
		reply(w, fate, fate == nil, err)
	})
	mux.HandleFunc("GET /journal/{n}/raw", func(w http.ResponseWriter, r *http.Request) {
		fate, raw, err := e.Show(number(r))
		if err != nil || fate == nil {
			reply(w, nil, fate == nil, err)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(raw)
	})
	mux.HandleFunc("GET /quarantine", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		enc := json.NewEncoder(w)
		if err := e.Quarantined(func(h *engine.Held) error { return enc.Encode(h) }); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /quarantine/{n}", func(w http.ResponseWriter, r *http.Request) {
		held, err := e.ShowQuarantined(number(r))
		if err != nil || held == nil {
			reply(w, nil, held == nil, err)
			return
		}
		reply(w, Shown{Held: held, Advice: pipelines.Reasons()[held.Reason], Understood: e.Understand(held)}, false, nil)
	})
	mux.HandleFunc("POST /quarantine/{n}/retry", func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<20))
		if err != nil {
			http.Error(w, "the body cannot be read", http.StatusBadRequest)
			return
		}
		pos, err := e.Retry(number(r), raw, caller(r))
		commanded(w, pos, err)
	})
	mux.HandleFunc("POST /quarantine/{n}/drop", func(w http.ResponseWriter, r *http.Request) {
		why := r.URL.Query().Get("why")
		if why == "" {
			http.Error(w, "say why", http.StatusBadRequest)
			return
		}
		pos, err := e.Drop(number(r), caller(r), why)
		commanded(w, pos, err)
	})
	mux.HandleFunc("POST /unmerge", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Kind records.Kind `json:"kind"`
			records.Key
			Why string `json:"why"`
		}
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&body); err != nil || body.ID == "" || body.Assigner == "" || body.Why == "" || body.Kind != "" && !body.Kind.Joins() {
			http.Error(w, "the body is a JSON object with assigner, id, why, and of an account or an encounter kind", http.StatusBadRequest)
			return
		}
		pos, err := e.Unmerge(cmp.Or(body.Kind, records.Patient), body.Key, caller(r), body.Why)
		commanded(w, pos, err)
	})
	return mux
}

// A Shown is one message in quarantine as an operator sees it: what the reason
// asks for, and what today's tables make of the message.
type Shown struct {
	*engine.Held
	Advice     string                `json:"advice"`
	Understood *engine.Understanding `json:"understood,omitempty"`
}

// caller is who gives a command: the name given with it (by=), and from where.
func caller(r *http.Request) string {
	by := r.URL.Query().Get("by")
	switch {
	case by == "":
		return r.RemoteAddr
	case r.RemoteAddr == "":
		return by
	default:
		return by + " from " + r.RemoteAddr
	}
}

func number(r *http.Request) uint64 {
	n, err := strconv.ParseUint(r.PathValue("n"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

var errEnough = errors.New("enough")

func listJournal(e *engine.Engine, w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	from, _ := strconv.ParseUint(q.Get("from"), 10, 64)
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit <= 0 {
		limit = 1 << 30
	}
	outcome := q.Get("outcome")
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	err = e.Journal(from, func(f *engine.Fate) error {
		if outcome != "" && f.Outcome != outcome {
			return nil
		}
		if limit--; limit < 0 {
			return errEnough
		}
		return enc.Encode(f)
	})
	if err != nil && !errors.Is(err, errEnough) {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func reply(w http.ResponseWriter, v any, missing bool, err error) {
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case missing:
		http.Error(w, "no such entry", http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
}

func commanded(w http.ResponseWriter, pos uint64, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	reply(w, map[string]uint64{"sequence": pos}, false, nil)
}

// writeAddresses leaves in the data directory where everything listens, for
// who started it with ports of the system's choice.
func (a *App) writeAddresses() error {
	data, err := json.MarshalIndent(a.Addresses(), "", "  ")
	if err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	name := filepath.Join(a.cfg.Data, "addresses.json")
	if err := os.WriteFile(name+".new", append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	return nil
}
