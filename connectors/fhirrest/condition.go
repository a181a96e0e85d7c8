package fhirrest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A decision is what a request's conditions come to.
type decision struct {
	exists map[int]*resource // by entry: what If-None-Exist has found
	found  map[string]string // Type/id by the text of the reference that is a search for it
	failed bool              // and was answered
}

// conditional says whether a request, or an entry of its Bundle, has a
// condition. Such a request is alone between its look and the journal: nothing
// else that this server takes can come between.
func conditional(r *http.Request, q Request, node *fhir.Node) bool {
	if q.IfNoneExist != "" || r.Header.Get("If-Match") != "" || q.Method == http.MethodPut && r.Header.Get("If-None-Match") != "" {
		return true
	}
	if slices.ContainsFunc(node.AppendReferences(nil), searches) {
		return true
	}
	if q.Type == "" {
		for _, e := range node.Get("entry").Items() {
			if e.Str("request.ifNoneExist") != "" || e.Str("request.ifMatch") != "" || e.Str("request.ifNoneMatch") != "" {
				return true
			}
		}
	}
	return false
}

// decide checks the conditions: If-None-Exist of a create (R4 §3.1.0.8.1),
// If-Match and If-None-Match of an update (R4 §3.1.0.5).
func (s *Server) decide(w http.ResponseWriter, r *http.Request, q Request, node *fhir.Node, refs []string) decision {
	d := decision{exists: map[int]*resource{}}
	if q.Type != "" {
		match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
		if q.Method != http.MethodPut {
			none = ""
		}
		d.failed = len(refs) == 0 || !s.holds(w, r, &d, 0, refs[0], "", q.IfNoneExist, match, none) || !s.seek(w, r, &d, q.Type, node, nil)
		return d
	}
	i := 0
	for at, e := range node.Get("entry").Items() {
		if e.Get("resource") == nil || i >= len(refs) {
			continue
		}
		place := "Bundle.entry[" + strconv.Itoa(at) + "].request"
		if !s.holds(w, r, &d, i, refs[i], place, e.Str("request.ifNoneExist"), e.Str("request.ifMatch"), e.Str("request.ifNoneMatch")) {
			d.failed = true
			return d
		}
		i++
	}
	within := members(node, refs, d.exists)
	for at, e := range node.Get("entry").Items() {
		if n := e.Get("resource"); n != nil && !s.seek(w, r, &d, "Bundle.entry["+strconv.Itoa(at)+"].resource", n, within) {
			d.failed = true
			return d
		}
	}
	return d
}

// searches says whether a reference is a search (R4 §3.1.0.11.2, conditional
// references).
func searches(ref string) bool { return strings.Contains(ref, "?") && !strings.Contains(ref, "://") }

// A member is a resource of a Bundle, and what it will be held as.
type member struct {
	node *fhir.Node
	ref  string
}

// members gives the resources of a Bundle.
func members(bundle *fhir.Node, refs []string, exists map[int]*resource) []member {
	var out []member
	for _, e := range bundle.Get("entry").Items() {
		n := e.Get("resource")
		if n == nil || len(out) >= len(refs) {
			continue
		}
		m := member{node: n, ref: refs[len(out)]}
		if found := exists[len(out)]; found != nil {
			m.ref = found.ref
		}
		out = append(out, m)
	}
	return out
}

// seek finds what a resource's references search for: in its Bundle, else among
// what is held. One that finds nothing, or several, fails the request.
func (s *Server) seek(w http.ResponseWriter, r *http.Request, d *decision, place string, n *fhir.Node, within []member) bool {
	for _, text := range n.AppendReferences(nil) {
		if !searches(text) || d.found[text] != "" {
			continue
		}
		typ, query, _ := strings.Cut(text, "?")
		condition, err := fhir.ParseCondition(query)
		if err != nil || !s.types[typ] {
			s.fail(w, http.StatusBadRequest, "not-supported", place, "a reference that is a search is Type?identifier=system|value")
			return false
		}
		var refs []string
		for _, m := range within {
			if m.node.ResourceType() == typ && condition.Matches(m.node) && !slices.Contains(refs, m.ref) {
				refs = append(refs, m.ref)
			}
		}
		if len(refs) == 0 {
			if !s.done(r.Context()) {
				w.Header().Set("Retry-After", "5")
				s.fail(w, http.StatusServiceUnavailable, "transient", place, "what was sent before is not done yet, so a reference that is a search cannot be followed; send it again")
				return false
			}
			if refs, err = s.cfg.Search(r.Context(), typ, condition); err != nil {
				s.fail(w, http.StatusInternalServerError, "exception", place, "the resources cannot be searched")
				return false
			}
		}
		switch len(refs) {
		case 0:
			s.fail(w, http.StatusPreconditionFailed, "not-found", place, "a reference that is a search finds nothing")
			return false
		case 1:
		default:
			s.fail(w, http.StatusPreconditionFailed, "multiple-matches", place, "a reference that is a search finds several resources")
			return false
		}
		if d.found == nil {
			d.found = map[string]string{}
		}
		d.found[text] = refs[0]
	}
	return true
}

// holds checks one resource's conditions; false when it has answered that they
// do not hold, or cannot be decided now.
func (s *Server) holds(w http.ResponseWriter, r *http.Request, d *decision, i int, ref, place, noneExist, match, noneMatch string) bool {
	if noneExist == "" && match == "" && noneMatch == "" {
		return true
	}
	typ, id, _ := strings.Cut(ref, "/")
	found, settled, err := s.held(r.Context(), typ, id)
	switch {
	case err != nil:
		s.fail(w, http.StatusInternalServerError, "exception", place, "the resource cannot be read")
	case !settled:
		w.Header().Set("Retry-After", "5")
		s.fail(w, http.StatusServiceUnavailable, "transient", place, "what was sent before is not done yet, so the condition cannot be decided; send it again")
	case match != "" && (found == nil || !found.is(match)):
		s.fail(w, http.StatusPreconditionFailed, "conflict", place, "If-Match names another version than the one that is held")
	case noneMatch != "" && found != nil && found.is(noneMatch):
		s.fail(w, http.StatusPreconditionFailed, "conflict", place, "If-None-Match names what is held")
	case noneExist != "":
		return s.alone(w, r, d, i, typ, place, noneExist, found)
	default:
		return true
	}
	return false
}

// alone looks whether something meets If-None-Exist: one that does is what the
// create comes to, several are an error. created is what a create under the same
// condition has made before.
func (s *Server) alone(w http.ResponseWriter, r *http.Request, d *decision, i int, typ, place, noneExist string, created *resource) bool {
	condition, err := fhir.ParseCondition(noneExist)
	if err != nil {
		s.fail(w, http.StatusBadRequest, "not-supported", place, "If-None-Exist: "+err.Error())
		return false
	}
	refs, err := s.cfg.Search(r.Context(), typ, condition)
	switch {
	case err != nil:
		s.fail(w, http.StatusInternalServerError, "exception", place, "the resources cannot be searched")
	case len(refs) > 1:
		s.fail(w, http.StatusPreconditionFailed, "multiple-matches", place, "If-None-Exist: several resources match")
	case len(refs) == 0 && created != nil:
		s.fail(w, http.StatusPreconditionFailed, "conflict", place, "If-None-Exist: what was created under this condition no longer meets it, and has the id; update it, or create without the condition")
	case len(refs) == 1:
		found, _, err := s.held(r.Context(), typ, strings.TrimPrefix(refs[0], typ+"/"))
		if err != nil || found == nil {
			s.fail(w, http.StatusInternalServerError, "exception", place, "the resource cannot be read")
			return false
		}
		d.exists[i] = found
		return true
	default:
		return true
	}
	return false
}
