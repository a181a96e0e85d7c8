package records

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A FHIRRequest is what a FHIR client sent.
type FHIRRequest struct {
	Method      string `json:"method"` // POST, PUT
	Type        string `json:"type"`   // "" for a Bundle at the base
	ID          string `json:"id,omitempty"`
	IfNoneExist string `json:"ifNoneExist,omitempty"`
	// Exists are the resources that conditions have found, Type/id, by the place
	// of the resource in the request: they stay as they are.
	Exists map[int]string `json:"exists,omitempty"`
	// Found are the resources that conditional references have found, Type/id, by
	// the text of the reference (R4 §3.1.0.11.2).
	Found map[string]string `json:"found,omitempty"`
	// Base is our own FHIR base as the client called it, without its scheme, where
	// references may name it; "" where they do not.
	Base     string    `json:"base,omitempty"`
	Body     []byte    `json:"-"`
	Origin   Origin    `json:"-"`
	Received time.Time `json:"-"`
}

// Identify gives the type and id under which each resource of a request is
// held, in the order of the request: deterministic, so that a repeated POST
// finds what the first one made.
func Identify(req FHIRRequest) ([]string, error) {
	entries, _, err := req.entries()
	if err != nil {
		return nil, err
	}
	out := make([]string, len(entries))
	for i, e := range entries {
		out[i] = e.ref
	}
	return out, nil
}

// Updates says whether a request puts a resource in the place of what is held
// (PUT, or a Bundle with such an entry): sent again it counts again where
// another content came in between, whoever it was from.
func (req FHIRRequest) Updates() bool {
	if req.Method == "PUT" {
		return true
	}
	if req.Type != "" || !bytes.Contains(req.Body, []byte("PUT")) && !bytes.Contains(req.Body, []byte(`\u`)) {
		return false
	}
	entries, _, err := req.entries()
	return err == nil && slices.ContainsFunc(entries, func(e intakeEntry) bool { return e.put })
}

type intakeEntry struct {
	node *fhir.Node
	ref  string // Type/id
	put  bool
	same bool // the bytes are carried unchanged: a lone resource with its id
	new  bool // only where nothing is held yet
	past bool // a history has a newer version of it

	names []string // how relative references call it at its sender
}

// entries reads the resources and resolves the references among them, by URL,
// urn:uuid or relative to the sender's server.
func (req FHIRRequest) entries() ([]intakeEntry, string, error) {
	root, err := fhir.ParseJSON(req.Body)
	if err != nil {
		return nil, "", fmt.Errorf("read FHIR: %w", err)
	}
	typ := root.ResourceType()
	if typ == "" {
		return nil, "", fmt.Errorf("read FHIR: no resourceType")
	}
	if typ != "Bundle" || req.Type == "Bundle" {
		e := intakeEntry{node: root, put: req.Method == "PUT", new: req.IfNoneExist != ""}
		e.ref = typ + "/" + req.identity(root, req.ID, req.IfNoneExist)
		moved := map[string]string{}
		req.lead(root, moved)
		e.same = !redirect(root, moved) && root.ID() != "" && e.ref == typ+"/"+root.ID()
		return []intakeEntry{e}, typ, nil
	}
	var out []intakeEntry
	moved := map[string]string{}
	history := root.Str("type") == "history"
	for _, item := range root.Get("entry").Items() {
		n := item.Get("resource")
		if n == nil {
			continue
		}
		n.Name = ""
		method, url := item.Str("request.method"), item.Str("request.url")
		id := ""
		if method == "PUT" && !history {
			_, id, _ = strings.Cut(url, "/")
		} else if method == "" || history || fhir.IsUUID(strings.TrimPrefix(item.Str("fullUrl"), "urn:uuid:")) {
			id = n.ID()
		}
		e := intakeEntry{node: n, put: method == "PUT" || history, new: item.Str("request.ifNoneExist") != ""}
		e.ref = n.ResourceType() + "/" + req.identity(n, id, item.Str("request.ifNoneExist"))
		if found := req.Exists[len(out)]; found != "" {
			e.ref = found
		}
		if full := item.Str("fullUrl"); full != "" {
			moved[full] = e.ref
		}
		e.names = namesOf(n, item.Str("fullUrl"))
		out = append(out, e)
	}
	if history {
		supersede(out)
	}
	for i := range out { // a resource that has the name here is the one that is meant
		moved[out[i].ref] = out[i].ref
	}
	for i := range out {
		for _, name := range out[i].names {
			if _, taken := moved[name]; !taken {
				moved[name] = out[i].ref
			}
		}
	}
	for i := range out {
		req.lead(out[i].node, moved)
	}
	for i := range out {
		redirect(out[i].node, moved)
		_, id, _ := strings.Cut(out[i].ref, "/")
		out[i].node.Set("id", fhir.NewString(id))
	}
	return out, typ, nil
}

// lead adds where a resource's references lead that are searches, or URLs of our
// own server: a client may use the Location that it was answered.
func (req FHIRRequest) lead(n *fhir.Node, moved map[string]string) {
	if req.Base == "" && len(req.Found) == 0 {
		return
	}
	for _, text := range n.AppendReferences(nil) {
		if _, known := moved[text]; known {
			continue
		}
		if to, found := req.Found[text]; found {
			moved[text] = to
			continue
		}
		_, rest, _ := strings.Cut(text, "://")
		if rest, own := strings.CutPrefix(rest, req.Base+"/"); own && req.Base != "" {
			rest, _, _ = strings.Cut(rest, "/_history/")
			if strings.Count(rest, "/") == 1 {
				moved[text] = rest
			}
		}
	}
}

// supersede marks the versions of a history that are not the newest of their
// resource. The oldest stand last (R4 RESTful API, history), unless the versions
// themselves say otherwise when they came about.
func supersede(entries []intakeEntry) {
	newest := map[string]int{}
	for i := range entries {
		at, known := newest[entries[i].ref]
		if known {
			this, err := instant(entries[i].node.Str("meta.lastUpdated"))
			other, failed := instant(entries[at].node.Str("meta.lastUpdated"))
			known = err != nil || failed != nil || !this.After(other)
		}
		if !known {
			newest[entries[i].ref] = i
		}
	}
	for i := range entries {
		entries[i].past = newest[entries[i].ref] != i
	}
}

// namesOf gives the relative references to a resource at its sender: the end of
// its entry's URL, where that is of a server (R4 Bundle.entry.fullUrl), and its
// id.
func namesOf(n *fhir.Node, full string) []string {
	var names []string
	typ := n.ResourceType() + "/"
	if at := strings.LastIndex(full, "/"+typ); at >= 0 {
		names = append(names, full[at+1:])
	}
	if n.ID() != "" {
		names = append(names, typ+n.ID())
	}
	return names
}

// identity is the id of a resource: its own, else made of its business
// identifier, of the condition it was created under, or of its content.
func (req FHIRRequest) identity(n *fhir.Node, id, condition string) string {
	typ := n.ResourceType()
	if id != "" {
		return id
	}
	if condition != "" {
		if c, err := fhir.ParseCondition(condition); err == nil {
			condition = c.String()
		}
		return fhir.ID(typ, "if-none-exist", req.Origin.Source, condition)
	}
	if k := keyOf(n, req.Origin.Source); k.Type != "id" && KindOf(typ) != "" && n.Get("identifier") != nil {
		return fhir.ID(typ, k.Assigner, k.ID)
	}
	return fhir.ID(typ, "content", req.Origin.Source, string(n.JSON()))
}

// keyOf is the business key of a resource: its first identifier with a system,
// a medical record number before others, else its id at the source.
func keyOf(n *fhir.Node, source string) Key {
	best := Key{}
	for _, id := range n.Get("identifier").Items() {
		k := Key{Type: id.Str("type.coding[0].code"), Assigner: id.Str("system"), ID: id.Str("value")}
		if k.ID == "" || k.Assigner == "" {
			continue
		}
		if best.Zero() || k.Type == "MR" && best.Type != "MR" {
			best = k
		}
	}
	if best.Zero() {
		return Key{Type: "id", Assigner: "urn:x-liaison:source:" + source, ID: n.ID()}
	}
	return best
}

// FromFHIR makes a change of FHIR resources, on the same way as v2's. A Bundle
// without entries changes nothing.
func FromFHIR(req FHIRRequest) (*Change, error) {
	entries, typ, err := req.entries()
	if err != nil {
		return nil, err
	}
	c := &Change{Origin: req.Origin, Received: req.Received, ZoneSource: "explicit", Sought: true, Pipeline: req.Origin.Source, Version: "1"}
	c.Origin.Message = "FHIR " + typ
	c.Occurred = req.Received.UTC().Format(time.RFC3339)
	c.Stamp = Stamp{Sender: "fhir|" + req.Origin.Source, Order: "t" + req.Received.UTC().Format("20060102150405.0000") + fmt.Sprintf("%020d", req.Origin.Journal)}
	for i := range entries {
		e := &entries[i]
		if e.past {
			continue
		}
		_, id, _ := strings.Cut(e.ref, "/")
		if e.new {
			c.OnlyNew = append(c.OnlyNew, e.ref)
		}
		raw := []byte(nil)
		if e.same {
			raw = req.Body
		} else {
			e.node.Set("id", fhir.NewString(id))
		}
		kind := KindOf(e.node.ResourceType())
		if kind == "" {
			c.Related = append(c.Related, e.node)
			continue
		}
		it := Item{
			Kind: kind, Key: keyOf(e.node, req.Origin.Source), Action: Snapshot, State: statusOf(kind, e.node), Resource: e.node, Raw: raw, byID: e.put,
		}
		if !e.put && req.Method != "PUT" {
			it.Action = Upsert
		}
		if kind == Patient {
			if c.Subject == nil {
				c.Subject = &Subject{Key: it.Key, IDs: e.node.Get("identifier").Items()}
			}
			c.Edges = append(c.Edges, linked(e.node, it.Key)...)
		}
		c.Items = append(c.Items, it)
	}
	return c, nil
}

// linked reads the merges that a Patient tells of (R4 Patient.link): this one was
// replaced by another, or replaces him.
func linked(n *fhir.Node, own Key) []Edge {
	var out []Edge
	for _, link := range n.Get("link").Items() {
		kind, other := link.Str("type"), link.Get("other")
		if kind != "replaced-by" && kind != "replaces" {
			continue
		}
		key := Key{Assigner: other.Str("identifier.system"), ID: other.Str("identifier.value")}
		ref := other.Str("reference")
		if at := strings.LastIndex(ref, "Patient/"); at > 0 { // an absolute URL
			ref = ref[at:]
		}
		e := Edge{Op: "merge", Kind: Patient, Survivor: key, Retired: own, SurvivorRef: ref}
		if kind == "replaces" {
			e = Edge{Op: "merge", Kind: Patient, Survivor: own, Retired: key, RetiredRef: ref}
		}
		if ref != "" || !key.Zero() && key.Assigner != "" {
			out = append(out, e)
		}
	}
	return out
}
