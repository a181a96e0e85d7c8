package fhirrest

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/pipelines"
)

// A Request describes one interaction beyond its body.
type Request struct {
	Method      string `json:"method"`
	Type        string `json:"type"` // "" for a Bundle at the base
	ID          string `json:"id,omitempty"`
	IfNoneExist string `json:"ifNoneExist,omitempty"`
	// Exists are the resources that conditions have found, Type/id, by the place
	// of the resource in the request.
	Exists map[int]string `json:"exists,omitempty"`
	// Found are the resources that references which are searches have found,
	// Type/id, by the text of the reference.
	Found map[string]string `json:"found,omitempty"`
	// Base is the base as the client called it, without its scheme, where the body
	// may refer to it.
	Base string `json:"base,omitempty"`
}

// Config says how a server listens, and what it asks of the rest of Liaison.
type Config struct {
	Name        string
	Listen      string
	TLS         *tls.Config
	Base        string   // path of the FHIR base; "": /fhir
	Tokens      []string // bearer tokens that may call; none: anybody who gets here
	MaxBody     int64    // bytes, after decompression; 0: 32 MiB
	MaxEntries  int      // of a Bundle; 0: 10,000
	Connections int      // at once; 0: 256
	Timeout     time.Duration
	Drain       time.Duration
	Processed   bool // answer after the outcome instead of after the journal

	// Check is the gate: what is wrong with a resource, no value in it.
	Check func(*fhir.Node) []fhir.Issue
	// Identify gives Type/id of each resource of a request, in its order.
	Identify func(r Request, body []byte) ([]string, error)
	// Read gives a held resource, nil where there is none, and the position of
	// the message that made it what it is, 0 where that is not known.
	Read func(ctx context.Context, resourceType, id string) ([]byte, uint64, error)
	// Search finds held resources: Type/id, two at most.
	Search func(ctx context.Context, resourceType string, c fhir.Condition) ([]string, error)
	// Brought gives the position of the message that brought a resource: the
	// message at this position, or of a duplicate the first one; 0 where it did
	// not, or, of a resource whose version Read does not know, brought another
	// content than is held.
	Brought func(ctx context.Context, position uint64, ref string) (uint64, error)
	// Types are the resource types there are; Held says which of them are kept
	// for reading, nil: all.
	Types       []string
	Held        func(resourceType string) bool
	Room        *pipelines.Room        // shared by all sources; nil: no bound
	Descriptors *pipelines.Descriptors // shared by all sources; nil: no bound
	Outcomes    pipelines.Outcomes
	Answered    func(source, code string)
	Log         *slog.Logger
}

// maxEntries is how many entries a Bundle may have: what it costs to check and
// to keep a resource is not bounded by the bytes of the Bundle.
const maxEntries = 10_000

// A Server is a source of FHIR resources.
type Server struct {
	cfg      Config
	listener net.Listener
	started  time.Time
	types    map[string]bool
	in       pipelines.Intake
	accepted atomic.Uint64 // the newest position that this server has had from the journal
	order    sync.RWMutex  // held alone from a condition's look to the journal
}

// Listen opens the port; Run serves it.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	cfg.Base = "/" + strings.Trim(orElse(cfg.Base, "/fhir"), "/")
	cfg.MaxBody = orElse(cfg.MaxBody, 32<<20)
	cfg.MaxEntries = orElse(cfg.MaxEntries, maxEntries)
	cfg.Connections = orElse(cfg.Connections, 256)
	cfg.Timeout = orElse(cfg.Timeout, time.Minute)
	cfg.Drain = orElse(cfg.Drain, 10*time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Answered == nil {
		cfg.Answered = func(string, string) {}
	}
	lc := net.ListenConfig{KeepAlive: time.Minute}
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("source %s: listen: %w", cfg.Name, err)
	}
	s := &Server{cfg: cfg, started: time.Now().UTC(), types: map[string]bool{}}
	for _, t := range cfg.Types {
		s.types[t] = true
	}
	s.listener = netutil.LimitListener(cfg.Descriptors.Listener(l, cfg.Name), cfg.Connections)
	if cfg.TLS != nil {
		s.listener = tls.NewListener(s.listener, cfg.TLS)
	}
	return s, nil
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Name implements pipelines.Source.
func (s *Server) Name() string { return s.cfg.Name }

// Addr is where the server listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close gives the port back when Run was never called.
func (s *Server) Close() error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close listener: %w", err)
	}
	return nil
}

// Run implements pipelines.Source: it serves until ctx is done, then answers
// what it has read.
func (s *Server) Run(ctx context.Context, in pipelines.Intake) error {
	s.in = in
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: s.cfg.Timeout, WriteTimeout: 2 * s.cfg.Timeout,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("source %s: %w", s.cfg.Name, err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Drain)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		_ = server.Close()
	}
	<-served
	return nil
}

func (s *Server) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if failure := recover(); failure != nil { // one request never ends the server
				s.cfg.Log.Error("request failed", "source", s.cfg.Name, "stack", string(debug.Stack()))
				s.fail(w, http.StatusInternalServerError, "exception", "", "the request failed")
			}
		}()
		if !s.known(r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			s.fail(w, http.StatusUnauthorized, "login", "", "a bearer token is needed")
			return
		}
		s.route(w, r)
	})
}

func (s *Server) known(r *http.Request) bool {
	if len(s.cfg.Tokens) == 0 {
		return true
	}
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	for _, t := range s.cfg.Tokens {
		if subtle.ConstantTimeCompare([]byte(t), []byte(given)) == 1 {
			return true
		}
	}
	return false
}

// route finds the interaction (R4 §3.1.0.1).
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, s.cfg.Base)
	if !ok || rest != "" && rest[0] != '/' {
		s.fail(w, http.StatusNotFound, "not-found", "", "the FHIR base is "+s.cfg.Base)
		return
	}
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	if parts[0] == "" {
		parts = nil
	}
	if len(parts) > 0 && parts[0] != "metadata" && !s.types[parts[0]] {
		s.fail(w, http.StatusNotFound, "not-supported", "", "no such resource type in R4")
		return
	}
	version := ""
	if len(parts) == 4 && parts[2] == "_history" && isID(parts[3]) {
		version, parts = parts[3], parts[:2]
	}
	if len(parts) > 2 || len(parts) == 2 && !isID(parts[1]) {
		s.fail(w, http.StatusNotFound, "not-found", "", "[base]/[type]/[id] and its /_history/[vid] are what there is; an id has 1 to 64 of A-Z a-z 0-9 - .")
		return
	}
	get := func(w http.ResponseWriter, r *http.Request) { s.read(w, r, parts[0], parts[1], version) }
	switch {
	case len(parts) == 1 && parts[0] == "metadata":
		s.only(w, r, s.metadata, http.MethodGet, http.MethodHead)
	case len(parts) == 0:
		s.only(w, r, func(w http.ResponseWriter, r *http.Request) { s.take(w, r, Request{Method: http.MethodPost}) }, http.MethodPost)
	case len(parts) == 1:
		s.only(w, r, func(w http.ResponseWriter, r *http.Request) {
			s.take(w, r, Request{Method: http.MethodPost, Type: parts[0], IfNoneExist: r.Header.Get("If-None-Exist")})
		}, http.MethodPost)
	case version != "":
		s.only(w, r, get, http.MethodGet, http.MethodHead)
	case r.Method == http.MethodPut:
		s.take(w, r, Request{Method: http.MethodPut, Type: parts[0], ID: parts[1]})
	default:
		s.only(w, r, get, http.MethodGet, http.MethodHead, http.MethodPut)
	}
}

func (s *Server) only(w http.ResponseWriter, r *http.Request, do http.HandlerFunc, methods ...string) {
	for _, m := range methods {
		if r.Method == m {
			do(w, r)
			return
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	s.fail(w, http.StatusMethodNotAllowed, "not-supported", "", "this interaction is not offered")
}

func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	scheme := "http"
	if s.cfg.TLS != nil {
		scheme = "https"
	}
	if !answersJSON(r) {
		s.notAcceptable(w)
		return
	}
	s.send(w, http.StatusOK, fhir.Capability(scheme+"://"+r.Host+s.cfg.Base, s.started, s.cfg.Types, s.cfg.Held).JSON())
}

// isID checks an id (R4 §2.24.0.1).
func isID(id string) bool {
	for _, c := range id {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return id != "" && len(id) <= 64
}
