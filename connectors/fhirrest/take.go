package fhirrest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/pipelines"
)

// maxIssues is how many findings an answer lists.
const maxIssues = 100

// mediaType is FHIR's JSON.
const mediaType = "application/fhir+json; charset=utf-8"

// take takes a resource or Bundle in.
func (s *Server) take(w http.ResponseWriter, r *http.Request, q Request) {
	if !s.speaksJSON(w, r) {
		return
	}
	body, leave, ok := s.body(w, r)
	defer leave()
	if !ok {
		return
	}
	node, err := fhir.ParseJSON(body)
	if err != nil {
		place, reason := "", "not JSON as FHIR has it"
		var bad *fhir.JSONError
		if errors.As(err, &bad) {
			place, reason = bad.Path, fmt.Sprintf("at byte %d: %s", bad.Offset, bad.Reason)
		}
		s.fail(w, http.StatusBadRequest, "structure", place, reason)
		return
	}
	if !s.fits(w, q, node) {
		return
	}
	if s.cfg.Check != nil {
		if issues := s.cfg.Check(node); len(issues) > 0 {
			s.outcome(w, http.StatusUnprocessableEntity, issues[:min(len(issues), maxIssues)]...)
			return
		}
	}
	if base := r.Host + s.cfg.Base; bytes.Contains(body, []byte(base+"/")) || bytes.Contains(body, []byte(`\/`)) || bytes.Contains(body, []byte(`\u`)) {
		q.Base = base
	}
	refs, err := s.cfg.Identify(q, body)
	if err != nil {
		s.fail(w, http.StatusUnprocessableEntity, "invalid", "", "the resources cannot be identified")
		return
	}
	receipt, refs, exists, ok := s.journal(w, r, q, node, body, refs)
	if !ok {
		return
	}
	position := receipt.Position
	if s.cfg.Processed {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.cfg.Timeout)
		defer cancel()
		if position, ok = s.settled(ctx, w, position); !ok {
			return
		}
	}
	s.taken(w, r, q, node, body, refs, position, exists)
}

// journal puts a request into the journal when its conditions hold, with what
// they have found; false when it is answered.
func (s *Server) journal(w http.ResponseWriter, r *http.Request, q Request, node *fhir.Node, body []byte, refs []string) (receipt pipelines.Receipt, names []string, exists map[int]*resource, ok bool) {
	var err error
	if conditional(r, q, node) {
		s.order.Lock()
		defer s.order.Unlock()
		d := s.decide(w, r, q, node, refs)
		if d.failed {
			return receipt, nil, nil, false
		}
		if found := d.exists[0]; found != nil && q.Type != "" {
			s.located(w, r, found.ref, found.etag())
			s.answered(w, r, http.StatusOK, found.text)
			return receipt, nil, nil, false
		}
		q.Found = d.found
		if exists = d.exists; len(exists) > 0 || len(q.Found) > 0 {
			q.Exists = map[int]string{}
			for i, found := range exists {
				q.Exists[i] = found.ref
			}
			if refs, err = s.cfg.Identify(q, body); err != nil {
				s.fail(w, http.StatusUnprocessableEntity, "invalid", "", "the resources cannot be identified")
				return receipt, nil, nil, false
			}
		}
	} else {
		s.order.RLock()
		defer s.order.RUnlock()
	}
	meta, err := json.Marshal(q)
	if err != nil {
		s.fail(w, http.StatusInternalServerError, "exception", "", "the request failed")
		return receipt, nil, nil, false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.cfg.Timeout)
	defer cancel()
	receipt, err = s.in.Accept(ctx, &pipelines.Message{
		Source: s.cfg.Name, Format: pipelines.FHIR, Peer: r.RemoteAddr, Raw: body, Meta: meta,
	})
	if err != nil {
		s.refuse(w, err)
		return receipt, nil, nil, false
	}
	s.reached(receipt.Position)
	return receipt, refs, exists, true
}

// taken answers a request whose bytes are in the journal.
func (s *Server) taken(w http.ResponseWriter, r *http.Request, q Request, node *fhir.Node, body []byte, refs []string, position uint64, exists map[int]*resource) {
	switch {
	case q.Type == "" && (node.Str("type") == "transaction" || node.Str("type") == "batch"):
		s.send(w, http.StatusOK, response(node, refs, position, exists).JSON())
	case q.Type == "":
		s.outcome(w, http.StatusOK, fhir.Issue{Severity: "information", Code: "informational", Diagnostics: "resources taken: " + strconv.Itoa(len(refs))})
	case q.Method == http.MethodPut:
		s.located(w, r, refs[0], etag(position))
		s.answered(w, r, http.StatusOK, body)
	default:
		s.located(w, r, refs[0], etag(position))
		s.answered(w, r, http.StatusCreated, body)
	}
}

// reached notes the newest position, which reads wait for.
func (s *Server) reached(position uint64) {
	for {
		last := s.accepted.Load()
		if position <= last || s.accepted.CompareAndSwap(last, position) {
			return
		}
	}
}

// settled waits for the outcome, and gives the position of the message that it
// is of: of a duplicate the first one's. Quarantine is the client's error.
func (s *Server) settled(ctx context.Context, w http.ResponseWriter, position uint64) (of uint64, ok bool) {
	for range 8 {
		o, err := s.cfg.Outcomes.Wait(ctx, position)
		switch {
		case err != nil:
			w.Header().Set("Retry-After", "5")
			s.fail(w, http.StatusServiceUnavailable, "timeout", "", "stored, but its outcome is not known yet")
			return 0, false
		case o.Status == pipelines.Quarantined:
			s.fail(w, http.StatusUnprocessableEntity, "processing", o.Place, o.Reason)
			return 0, false
		case o.Status != pipelines.Duplicate || o.Of == 0:
			return position, true
		}
		position = o.Of
	}
	return position, true
}

// fits checks that body and address speak of the same thing.
func (s *Server) fits(w http.ResponseWriter, q Request, node *fhir.Node) bool {
	typ := node.ResourceType()
	switch {
	case typ == "":
		s.fail(w, http.StatusBadRequest, "structure", "", "resourceType is missing")
	case q.Type == "" && typ != "Bundle":
		s.fail(w, http.StatusBadRequest, "invalid", "", "the base takes Bundles; a resource goes to [base]/[type]")
	case q.Type == "" && !bundleType(node.Str("type")):
		s.fail(w, http.StatusUnprocessableEntity, "not-supported", "Bundle.type", "a Bundle here is a transaction, batch, message, collection or history")
	case q.Type != "" && q.Type != typ:
		s.fail(w, http.StatusBadRequest, "invalid", "resourceType", "the resource is of another type than the address")
	case q.ID != "" && node.ID() != q.ID:
		s.fail(w, http.StatusBadRequest, "invalid", typ+".id", "the resource's id is not the one of the address")
	case typ == "Bundle" && len(node.Get("entry").Items()) > s.cfg.MaxEntries:
		s.fail(w, http.StatusRequestEntityTooLarge, "too-costly", "Bundle.entry", "a Bundle here has up to "+strconv.Itoa(s.cfg.MaxEntries)+" entries; send it in parts")
	case q.Type != "" && (typ == "Bundle" || typ == "MessageHeader" || typ == "Provenance"):
		s.fail(w, http.StatusUnprocessableEntity, "not-supported", "resourceType", "a "+typ+" is taken within a Bundle at the base only")
	case fhir.NoWrite(node) != "":
		s.fail(w, http.StatusUnprocessableEntity, "not-supported", fhir.NoWrite(node), "an entry is a POST or a PUT of a resource; what is deleted is sent as such, with the status entered-in-error")
	default:
		return s.addressed(w, node)
	}
	return false
}

// addressed checks that each entry of a transaction or batch is sent to where
// its resource goes (R4 §3.1.0.11.1): Type, or for an update Type/id, which a
// transaction has once (R4 §3.1.0.11.2).
func (s *Server) addressed(w http.ResponseWriter, node *fhir.Node) bool {
	t := node.Str("type")
	if node.ResourceType() != "Bundle" || t != "transaction" && t != "batch" {
		return true
	}
	updated := map[string]bool{}
	for i, e := range node.Get("entry").Items() {
		typ, id := e.Str("resource.resourceType"), e.Str("resource.id")
		want := typ
		if e.Str("request.method") == http.MethodPut {
			want += "/" + id
		}
		if url := e.Str("request.url"); typ == "" || url != want || e.Str("request.method") == http.MethodPut && id == "" {
			s.fail(w, http.StatusBadRequest, "invalid", "Bundle.entry["+strconv.Itoa(i)+"].request.url", "the url of an update is Type/id, of a create Type, both as the resource says; no other is supported")
			return false
		}
		if e.Str("request.method") != http.MethodPut {
			continue
		}
		if t == "transaction" && updated[want] {
			s.fail(w, http.StatusBadRequest, "invalid", "Bundle.entry["+strconv.Itoa(i)+"].request.url", "a transaction updates a resource once")
			return false
		}
		updated[want] = true
	}
	return true
}

func bundleType(t string) bool {
	switch t {
	case "transaction", "batch", "message", "collection", "history":
		return true
	}
	return false
}

// body reads the whole body, decompressed, up to the cap. A large one waits for
// room as it grows; leave gives the room back.
func (s *Server) body(w http.ResponseWriter, r *http.Request) (body []byte, leave func(), ok bool) {
	leave = func() {}
	var from io.Reader = http.MaxBytesReader(w, r.Body, s.cfg.MaxBody)
	switch strings.ToLower(r.Header.Get("Content-Encoding")) {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(from)
		if err != nil {
			s.fail(w, http.StatusBadRequest, "structure", "", "the body is not gzip")
			return nil, leave, false
		}
		from = z
	default:
		s.fail(w, http.StatusUnsupportedMediaType, "not-supported", "", "a body is plain or gzip")
		return nil, leave, false
	}
	share := s.cfg.Room.Enter(s.cfg.MaxBody)
	leave = share.Leave
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout/2)
	defer cancel()
	into := bytes.Buffer{}
	var err error
	for more := true; more && err == nil; {
		var n int64
		n, err = io.Copy(&into, io.LimitReader(from, min(s.cfg.MaxBody+1-int64(into.Len()), pipelines.LargeMessage)))
		if more = n == pipelines.LargeMessage; more && err == nil {
			if _, full := share.Grow(ctx, int64(into.Len())+1); full != nil {
				w.Header().Set("Retry-After", "5")
				s.fail(w, http.StatusServiceUnavailable, "throttled", "", "too many large requests at once; send it again")
				return nil, leave, false
			}
		}
	}
	body = into.Bytes()
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig) || int64(len(body)) > s.cfg.MaxBody:
		w.Header().Set("Connection", "close")
		s.fail(w, http.StatusRequestEntityTooLarge, "too-long", "", "the body is above "+strconv.FormatInt(s.cfg.MaxBody, 10)+" bytes")
		return nil, leave, false
	case err != nil:
		s.fail(w, http.StatusBadRequest, "structure", "", "the body ended early")
		return nil, leave, false
	}
	return body, leave, true
}

// speaksJSON refuses what is not JSON, coming or going.
func (s *Server) speaksJSON(w http.ResponseWriter, r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/fhir+json" && kind != "application/json" {
		s.fail(w, http.StatusUnsupportedMediaType, "not-supported", "", "this takes JSON: set Content-Type to application/fhir+json")
		return false
	}
	if !answersJSON(r) {
		s.notAcceptable(w)
		return false
	}
	return true
}

// refuse answers a request whose bytes were not taken.
func (s *Server) refuse(w http.ResponseWriter, err error) {
	var refused *pipelines.Refused
	switch {
	case errors.As(err, &refused):
		s.fail(w, http.StatusUnprocessableEntity, "processing", refused.Place, refused.Reason)
	case errors.Is(err, pipelines.ErrFull):
		w.Header().Set("Retry-After", "30")
		s.fail(w, http.StatusServiceUnavailable, "no-store", "", "no room to store it; send it again later")
	case errors.Is(err, pipelines.ErrClosed):
		w.Header().Set("Retry-After", "5")
		s.fail(w, http.StatusServiceUnavailable, "transient", "", "stopping; send it again")
	default:
		s.cfg.Log.Error("request not taken", "source", s.cfg.Name, "error", err.Error())
		s.fail(w, http.StatusServiceUnavailable, "transient", "", "not stored; send it again")
	}
}

// response answers a transaction or batch entry by entry (R4 §3.1.0.11.3).
func response(bundle *fhir.Node, refs []string, position uint64, exists map[int]*resource) *fhir.Node {
	out := fhir.NewResource("Bundle")
	out.Set("type", fhir.NewString(bundle.Str("type")+"-response"))
	i := 0
	for _, e := range bundle.Get("entry").Items() {
		if e.Get("resource") == nil || i >= len(refs) {
			continue
		}
		status, tag := "201 Created", etag(position)
		if found := exists[i]; found != nil {
			status, tag = "200 OK", found.etag()
		} else if e.Str("request.method") == http.MethodPut {
			status = "200 OK"
		}
		answer := fhir.NewObject()
		answer.Set("status", fhir.NewString(status))
		answer.Set("location", fhir.NewString(refs[i]+"/_history/"+versionOf(tag)))
		answer.Set("etag", fhir.NewString(tag))
		entry := fhir.NewObject()
		entry.Set("response", answer)
		out.Append("entry", entry)
		i++
	}
	return out
}

// versionOf is the version id that an entity tag carries.
func versionOf(tag string) string { return strings.Trim(strings.TrimPrefix(tag, "W/"), `"`) }

func (s *Server) located(w http.ResponseWriter, r *http.Request, ref, tag string) {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	w.Header().Set("Location", scheme+"://"+r.Host+s.cfg.Base+"/"+ref+"/_history/"+versionOf(tag))
	w.Header().Set("ETag", tag)
}

// answered answers a create or update as Prefer asks (R4 §3.1.0.1.6).
func (s *Server) answered(w http.ResponseWriter, r *http.Request, status int, resource []byte) {
	switch prefer := strings.ToLower(r.Header.Get("Prefer")); {
	case strings.Contains(prefer, "return=representation"):
		s.send(w, status, resource)
	case strings.Contains(prefer, "return=operationoutcome"):
		s.outcome(w, status, fhir.Issue{Severity: "information", Code: "informational", Diagnostics: "taken"})
	default:
		s.cfg.Answered(s.cfg.Name, strconv.Itoa(status))
		w.WriteHeader(status)
	}
}

func (s *Server) send(w http.ResponseWriter, status int, body []byte) {
	s.cfg.Answered(s.cfg.Name, strconv.Itoa(status))
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (s *Server) fail(w http.ResponseWriter, status int, code, expression, text string) {
	s.outcome(w, status, fhir.Issue{Severity: "error", Code: code, Expression: expression, Diagnostics: text})
}

func (s *Server) outcome(w http.ResponseWriter, status int, issues ...fhir.Issue) {
	s.send(w, status, fhir.OperationOutcome(issues...).JSON())
}
