package gate

import (
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A scope is a resource with those that it contains (R4 §2.26.3): dom-2 to
// dom-5, ref-1, and references inside Bundles.
type scope struct {
	ids         map[string]bool // of contained resources
	used        map[string]bool // referenced as #id
	pointsUp    map[string]bool // contained resources that refer to their container, or to whatever
	inContained bool
	current     string
}

func newScope(n *fhir.Node) *scope {
	s := &scope{}
	for _, k := range n.Get("contained").Items() {
		if id := k.Get("id"); id != nil && id.Kind == fhir.String {
			if s.ids == nil {
				s.ids, s.used, s.pointsUp = map[string]bool{}, map[string]bool{}, map[string]bool{}
			}
			s.ids[id.Text] = true
		}
	}
	return s
}

// use notes a fragment that is referred to.
func (s *scope) use(id string) {
	if s == nil || s.used == nil {
		return
	}
	if id == "" {
		s.pointsUp[s.current] = true
		return
	}
	s.used[id] = true
}

// contained checks one contained resource.
func (s *scope) contained(c *checker, n *fhir.Node) {
	if s.inContained {
		c.fail("dom-2", "a contained resource contains no other")
		return
	}
	if n.Get("id") == nil {
		c.fail("dom-3", "a contained resource needs an id to be referred to")
	}
	if meta := n.Get("meta"); meta != nil {
		if meta.Get("versionId") != nil || meta.Get("lastUpdated") != nil {
			c.failAt("meta", "dom-4", "a contained resource has no version of its own")
		}
		if meta.Get("security") != nil {
			c.failAt("meta", "dom-5", "a contained resource has no security label of its own")
		}
	}
	s.inContained, s.current = true, n.ID()
	c.resource(n)
	s.inContained, s.current = false, ""
}

// leave checks that each contained resource is referred to.
func (s *scope) leave(c *checker) {
	if s.ids == nil {
		return
	}
	for id := range s.ids {
		if !s.used[id] && !s.pointsUp[id] {
			c.failAt("contained", "dom-3", "a contained resource that nothing refers to")
			return
		}
	}
}

// fullURLs gives the types of a Bundle's entries by their fullUrls.
func fullURLs(bundle *fhir.Node) map[string]string {
	urls := map[string]string{}
	for _, e := range bundle.Get("entry").Items() {
		if full := e.Get("fullUrl"); full != nil && full.Kind == fhir.String {
			urls[full.Text] = e.Str("resource.resourceType")
		}
	}
	return urls
}

// reference checks a Reference's literal reference (R4 §2.3.0.1): its form, and
// that fragments and URNs resolve.
func (c *checker) reference(n *fhir.Node) {
	r := n.Get("reference")
	if r == nil || r.Kind != fhir.String || r.Text == "" {
		return
	}
	ref := r.Text
	switch {
	case ref[0] == '#':
		if ref != "#" && (c.scope == nil || !c.scope.ids[ref[1:]]) || ref == "#" && (c.scope == nil || !c.scope.inContained) {
			c.failAt("reference", "ref-1", "no contained resource has this id")
		}
	case strings.HasPrefix(ref, "urn:uuid:") && !isUUID(ref), strings.HasPrefix(ref, "urn:oid:") && !isOID(ref):
		c.failAt("reference", "format", "not the form of a URN")
	case strings.HasPrefix(ref, "urn:uuid:"), strings.HasPrefix(ref, "urn:oid:"):
		c.resolves(ref)
	case !c.literal(ref):
		c.failAt("reference", "reference", "not Type/id, Type?search, #id or an absolute URL")
	}
}

// resolves: a URN inside a Bundle means one of its entries.
func (c *checker) resolves(ref string) {
	if len(c.bundles) == 0 {
		return
	}
	for _, urls := range c.bundles {
		if _, ok := urls[ref]; ok {
			return
		}
	}
	c.failAt("reference", "reference", "no entry of the Bundle has this fullUrl")
}

// typeOf gives the type of the resource that a reference means, where the
// reference or its Bundle says it, else "".
func (c *checker) typeOf(reference *fhir.Node) string {
	ref := reference.Str("reference")
	for _, urls := range c.bundles {
		if typ := urls[ref]; typ != "" {
			return typ
		}
	}
	if typ, _, ok := strings.Cut(ref, "/"); ok && c.gate.isResource(typ) {
		return typ
	}
	return ""
}

// literal: an absolute URL, or Type/id with or without a version, or a
// conditional reference.
func (c *checker) literal(ref string) bool {
	for i := range len(ref) {
		if ref[i] <= ' ' {
			return false
		}
	}
	if absolute(ref) {
		return true
	}
	if typ, query, ok := strings.Cut(ref, "?"); ok {
		return c.gate.isResource(typ) && query != ""
	}
	parts := strings.Split(ref, "/")
	switch len(parts) {
	case 2:
		return c.gate.isResource(parts[0]) && isID(parts[1])
	case 4:
		return c.gate.isResource(parts[0]) && isID(parts[1]) && parts[2] == "_history" && isID(parts[3])
	}
	return false
}

func (g *Gate) isResource(name string) bool {
	t := g.types[name]
	return t != nil && t.typ.Resource
}

// absolute says whether a URI has a scheme.
func absolute(uri string) bool {
	scheme, rest, ok := strings.Cut(uri, ":")
	return ok && rest != "" && isScheme(scheme)
}

// isScheme: a letter, then letters, digits, + - . (RFC 3986 §3.1).
func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (i == 0 || (s[i] < '0' || s[i] > '9') && s[i] != '+' && s[i] != '-' && s[i] != '.') {
			return false
		}
	}
	return s != ""
}
