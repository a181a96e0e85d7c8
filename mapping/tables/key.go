package tables

import (
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
)

// A keyRule is one alternative of a resource's business key.
type keyRule struct {
	fallback bool     // identifies only where no key does; never an alias
	cx       bool     // a CX field: the repetition by type
	types    []string // preferred CX.5, in order
	ref      ref
	parts    []expr
	kind     string // record key type
	suffix   *expr  // behind a cx or an ei, or nil
	role     string // which of the resource's numbers it is, where a section has several
	cond     cond   // nil, or when this alternative counts
	impure   bool   // cond reads more than the section's value
}

// parseKey reads `cx(PID-3, MR PI)`, `ei(SCH-2, FILL)` or `SRC, SRC …`.
func parseKey(text, own string) (keyRule, error) {
	var k keyRule
	for _, fn := range []string{"cx(", "ei("} {
		inner, ok := strings.CutPrefix(text, fn)
		if !ok {
			continue
		}
		if whole := splitOutside(text, '+'); len(whole) > 1 {
			e, err := parseExpr(strings.Join(whole[1:], " + "), own)
			if err != nil {
				return k, err
			}
			inner, k.suffix = strings.TrimPrefix(whole[0], fn), &e
		}
		name, types, _ := strings.Cut(strings.TrimSuffix(inner, ")"), ",")
		r, err := parseRef(strings.TrimSpace(name), own)
		k.cx, k.ref, k.types = fn == "cx(", r, strings.Fields(types)
		k.role = name
		if fn == "ei(" {
			k.kind = "ei"
			if len(k.types) > 0 {
				k.role = k.types[0]
			}
		}
		return k, err
	}
	k.role = text
	for _, part := range splitOutside(text, ',') {
		e, err := parseExpr(part, own)
		if err != nil {
			return k, err
		}
		k.parts = append(k.parts, e)
	}
	return k, nil
}

// roles leaves the keys their roles where there are several: one alone has
// nothing to be told from.
func (s *section) roles() {
	several := slices.ContainsFunc(s.keys, func(k keyRule) bool { return !k.fallback && k.role != s.keys[0].role })
	for i := range s.keys {
		if !several || s.keys[i].fallback {
			s.keys[i].role = ""
		}
	}
}

// key computes a business key: the first alternative whose first source is there.
func (s *section) key(f *frame) records.Key {
	for i := range s.keys {
		if k := s.keys[i].eval(f); !k.Zero() {
			return k
		}
	}
	return records.Key{}
}

func (k *keyRule) eval(f *frame) records.Key {
	if k.cond != nil && !k.cond(f) {
		return records.Key{}
	}
	key := k.value(f)
	key.Role = k.role
	f.run.used = f.run.used[:0]
	return key
}

func (k *keyRule) value(f *frame) records.Key {
	r := f.run
	if k.cx || k.kind == "ei" {
		v := f.resolve(k.ref)
		if !v.Valued() {
			return records.Key{}
		}
		key := r.identifier(k.pick(r, v), k)
		if k.suffix != nil && !key.Zero() {
			if end := k.suffix.text(f); end != "" {
				key.Number = key.ID
				end, own, _ := strings.Cut(end, ownMark)
				key.Own, key.Replaces = strings.CutPrefix(own, "RO=")
				if key.ID += end; key.Own != "" {
					key.ID += "#" + key.Own
				}
			}
		}
		return key
	}
	if len(k.parts) == 0 {
		return records.Key{}
	}
	id := r.scratch[:0]
	decided := false // the first source that is neither a resource nor a constant decides
	for i := range k.parts {
		t := &k.parts[i].terms[0]
		s := ""
		if t.kind == termNamed {
			if e := f.group.lookup(t.text); e != nil {
				s = e.id
			}
		} else {
			s = k.parts[i].text(f)
		}
		if s == "" && !decided {
			return records.Key{}
		}
		decided = decided || t.kind != termNamed && t.kind != termText
		if len(k.parts) == 1 {
			return records.Key{ID: s}
		}
		if i > 0 {
			id = append(id, '|')
		}
		id = append(id, s...)
	}
	r.scratch = id
	key := records.Key{ID: string(id)}
	if t := k.parts[len(k.parts)-1].last(); t.kind == termCall && t.text == "variant" {
		key.Line = r.line(f, t.args)
		if end := r.variant(f, t.args); end != "" {
			key.Number = strings.TrimSuffix(key.ID, end)
		}
	}
	return key
}

func (e *expr) last() *term { return &e.terms[len(e.terms)-1] }

// pick chooses the repetition of a CX by its type (CX.5), in the order of the
// rule, else the first that has an id.
func (k *keyRule) pick(r *run, v hl7v2.Value) hl7v2.Value {
	n := v.Repetitions()
	if v.Place().Component > 0 || n <= 1 {
		return v
	}
	for _, want := range k.types {
		for i := 1; i <= n; i++ {
			if rep := v.Repetition(i); rep.Component(1).Valued() && r.text(rep.Component(5)) == want {
				return rep
			}
		}
	}
	for i := 1; i <= n; i++ {
		if rep := v.Repetition(i); rep.Component(1).Valued() {
			return rep
		}
	}
	return v
}

// identifier reads CX (id, authority in .4, type in .5) or EI (id, namespace in
// .2 to .4) as a key. Without an authority the source's default one counts.
func (r *run) identifier(v hl7v2.Value, rule *keyRule) records.Key {
	k := records.Key{ID: r.text(v.Component(1).FirstLeaf())}
	if rule.cx {
		k.Assigner = r.assigner(v.Component(4), false)
		k.Type = r.text(v.Component(5))
	} else {
		ns, id := r.text(v.Component(2)), r.text(v.Component(3))
		switch {
		case fhir.IsOID(id):
			k.Assigner = "urn:oid:" + id
		case ns != "":
			if uri, ok := r.ctx.Systems[ns]; ok {
				k.Assigner = uri
			} else {
				k.Assigner = "urn:x-liaison:ns:" + escapeURN(ns)
			}
		case id != "":
			k.Assigner = "urn:x-liaison:ns:" + escapeURN(id)
		}
	}
	if k.Bare = k.Assigner == "" && k.ID != ""; k.Bare {
		k.Assigner = "urn:x-liaison:ns:" + escapeURN(r.ctx.defaultAssigner(r.header))
		if !rule.cx && len(rule.types) > 0 { // a placer's and a filler's numbers may be the same
			k.Assigner += ":" + rule.types[0]
		}
	}
	return k
}
