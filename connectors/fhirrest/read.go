package fhirrest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// settling is how long a read waits for what this server has accepted before
// it: a client that has its 201 finds the resource at the Location.
const settling = 2 * time.Second

// A resource is one that is held. Its version is the journal's position of the
// message that made it what it is, so that the ETag of an answer to a create or
// update, the position of that message, is the tag of what is held from then
// on. 0: what is held does not know its message; its tag is its content's, and
// the position of a message names it as long as it is what that message said.
type resource struct {
	text    []byte
	version uint64
	ref     string
	brought func(position uint64) uint64
}

func (r *resource) etag() string {
	if r.version == 0 {
		sum := sha256.Sum256(r.text)
		return `W/"` + hex.EncodeToString(sum[:8]) + `"`
	}
	return etag(r.version)
}

func etag(version uint64) string { return `W/"` + strconv.FormatUint(version, 10) + `"` }

// is says whether a list of entity tags names what is held. A number names what
// was held once the message at that position had its effect, where it brought
// this resource: it still does when nothing has changed the resource since. That
// of a duplicate names what the first one's does.
func (r *resource) is(tags string) bool {
	for tag := range strings.SplitSeq(tags, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || tag == r.etag() {
			return true
		}
		at, err := strconv.ParseUint(strings.Trim(strings.TrimPrefix(tag, "W/"), `"`), 10, 64)
		if err != nil || at == 0 || at < r.version {
			continue
		}
		if at == r.version {
			return true
		}
		if first := r.brought(at); first > 0 && first >= r.version {
			return true
		}
	}
	return false
}

// held reads a resource, nil where there is none, once what this server has
// accepted so far has its outcome; settled is false when that takes too long.
func (s *Server) held(ctx context.Context, typ, id string) (found *resource, settled bool, err error) {
	settled = s.done(ctx)
	text, version, err := s.cfg.Read(ctx, typ, id)
	if err != nil || text == nil {
		return nil, settled, err
	}
	ref := typ + "/" + id
	return &resource{text: text, version: version, ref: ref, brought: func(position uint64) uint64 {
		first, err := s.cfg.Brought(ctx, position, ref)
		if err != nil {
			return 0
		}
		return first
	}}, settled, nil
}

// done waits until what this server has accepted so far has its outcome; false
// when that takes too long.
func (s *Server) done(ctx context.Context) bool {
	if last := s.accepted.Load(); last > 0 && s.cfg.Outcomes != nil {
		patience, cancel := context.WithTimeout(ctx, settling)
		defer cancel()
		_, err := s.cfg.Outcomes.Wait(patience, last)
		return err == nil
	}
	return true
}

// read gives what is held (R4 §3.1.0.1.5, §3.1.0.2), with a version only when
// that is the current one; a Binary as its own content when the client does not
// ask for FHIR (R4 §2.32.4).
func (s *Server) read(w http.ResponseWriter, r *http.Request, typ, id, version string) {
	if !answersJSON(r) && typ != "Binary" {
		s.notAcceptable(w)
		return
	}
	found, _, err := s.held(r.Context(), typ, id)
	switch {
	case err != nil:
		s.fail(w, http.StatusInternalServerError, "exception", "", "the resource cannot be read")
		return
	case found == nil:
		s.fail(w, http.StatusNotFound, "not-found", "", "no such resource is held")
		return
	case version != "" && !found.is(`W/"`+version+`"`):
		s.fail(w, http.StatusNotFound, "not-found", "", "this version is not held any more: the current one is, and the records of all are on Kafka")
		return
	}
	w.Header().Set("ETag", found.etag())
	if match := r.Header.Get("If-None-Match"); match != "" && found.is(match) {
		s.cfg.Answered(s.cfg.Name, "304")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if typ == "Binary" && !wantsFHIR(r) && s.content(w, found.text) {
		return
	}
	s.send(w, http.StatusOK, found.text)
}

// content answers with a Binary's own bytes; false when it has none.
func (s *Server) content(w http.ResponseWriter, binary []byte) bool {
	n, err := fhir.ParseJSON(binary)
	if err != nil {
		return false
	}
	raw, err := base64.StdEncoding.DecodeString(n.Str("data"))
	if err != nil {
		return false
	}
	s.cfg.Answered(s.cfg.Name, "200")
	w.Header().Set("Content-Type", orElse(n.Str("contentType"), "application/octet-stream"))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "sandbox")
	_, _ = w.Write(raw)
	return true
}

// wantsFHIR says whether a client asks for FHIR's own formats.
func wantsFHIR(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "json") || r.URL.Query().Get("_format") != ""
}

// answersJSON says whether a client takes FHIR's JSON: by _format, which goes
// before Accept (R4 §3.1.0.1.11).
func answersJSON(r *http.Request) bool {
	if f := r.URL.Query().Get("_format"); f != "" {
		return strings.Contains(f, "json")
	}
	a := r.Header.Get("Accept")
	return a == "" || strings.Contains(a, "json") || strings.Contains(a, "*/*") || strings.Contains(a, "application/*")
}

func (s *Server) notAcceptable(w http.ResponseWriter) {
	s.fail(w, http.StatusNotAcceptable, "not-supported", "", "answers are application/fhir+json")
}
