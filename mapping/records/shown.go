package records

import (
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// Keys of what shows an observation: q/ with its reference, then the reference to
// the observation that it is a part of, or the name of the report. FHIR sends the
// parts of a report one by one; a v2 message brings a report with all of them. The
// index may name what is not so any more.
func shownKey(ref string) []byte { return []byte("q/" + ref + "\x00") }

// mostShowing is how many reports and observations show one.
const mostShowing = 256

func observed(ref string) bool { return strings.HasPrefix(ref, "Observation/") }

// retell gives a version to each report that shows an observation of the
// message which is another than was held, whether or not the message has the
// report too.
func (f *fold) retell() error {
	if !f.c.Sought {
		return nil
	}
	for _, p := range f.pending {
		if p.s.kind != Result || p.v.it.Resource == nil {
			continue
		}
		if err := f.shows(p.s.resource.AppendReferences(nil), string(p.name)); err != nil {
			return err
		}
	}
	for _, r := range f.related {
		if observed(r.ref) && f.nodes[r.ref] == r {
			if err := f.shows(r.refers(), r.ref); err != nil {
				return err
			}
		}
	}
	refs := map[string]map[string]bool{} // of the reports, by name
	for _, r := range f.related {
		if !r.news || f.nodes[r.ref] != r {
			continue
		}
		if err := f.showing(r, refs); err != nil {
			return err
		}
	}
	return nil
}

// learnHeld notes what a report shows of observations that came before it.
func (f *fold) learnHeld(p *pending) error {
	if !f.c.Sought || p.s.kind != Result {
		return nil
	}
	var known map[uint64]bool
	for _, ref := range p.s.resource.AppendReferences(nil) {
		if !observed(ref) || f.nodes[ref] != nil {
			continue
		}
		r, err := f.held(ref)
		if err != nil {
			return err
		}
		if known == nil {
			known = make(map[uint64]bool, len(p.s.marks))
			for _, m := range p.s.marks {
				known[m.ref] = true
			}
		}
		if now := checksum([]byte(ref)); r != nil && !known[now] {
			known[now] = true
			p.s.marks = append(p.s.marks, digest(ref, f.text(r)))
		}
	}
	return nil
}

// shows lists what refers to observations under each of them.
func (f *fold) shows(refs []string, name string) error {
	for _, ref := range refs {
		if !observed(ref) || ref == name {
			continue
		}
		key := append(shownKey(ref), name...)
		have, err := f.get(key)
		if err != nil {
			return err
		}
		if have == nil {
			f.put(key, []byte{1})
		}
	}
	return nil
}

// showing finds the reports that show an observation, in as many steps as it
// takes.
func (f *fold) showing(r *resource, refs map[string]map[string]bool) error {
	queue, seen := []string{r.ref}, map[string]bool{r.ref: true}
	for i := 0; i < len(queue); i++ {
		prefix := shownKey(queue[i])
		names, err := f.scan(prefix, nil, mostShowing)
		if err != nil {
			return err
		}
		for _, key := range names {
			name := string(key[len(prefix):])
			if seen[name] || len(seen) > mostShowing {
				continue
			}
			seen[name] = true
			if observed(name) {
				if is, err := f.parts(name, queue[i]); err != nil {
					return err
				} else if is {
					queue = append(queue, name)
				}
				continue
			}
			if err := f.retold(name, queue[i], r, refs); err != nil {
				return err
			}
		}
	}
	return nil
}

// parts says whether an observation refers to another.
func (f *fold) parts(whole, part string) (bool, error) {
	n := f.nodes[whole]
	if n == nil {
		var err error
		if n, err = f.held(whole); err != nil || n == nil {
			return false, err
		}
	}
	return slices.Contains(n.refers(), part), nil
}

// retold lets a report tell of an observation, where it or what it refers to
// still does.
func (f *fold) retold(name, ref string, r *resource, refs map[string]map[string]bool) error {
	shown, known := refs[name]
	if known && !shown[ref] {
		return nil
	}
	p := f.changes[name]
	var s *state
	if p != nil {
		s = p.s
	} else {
		_, key, _ := strings.Cut(strings.TrimPrefix(name, "r/"), "/")
		var err error
		if s, err = f.load(Result, key); err != nil || s == nil {
			return err
		}
	}
	if !known {
		shown = referred(s.shown())
		refs[name] = shown
	}
	if p == nil && !shown[ref] {
		f.unchanged(s)
	}
	if !shown[ref] {
		return nil
	}
	if p == nil {
		f.pend(s, version{it: &Item{Kind: Result, Key: s.key}, before: s.shown(), previous: s.label()})
		p = f.changes[string(recordKey(Result, s.key.String()))]
	}
	p.shows = append(p.shows, r.ref)
	return nil
}

// referred are the references of a resource.
func referred(n *fhir.Node) map[string]bool {
	if n == nil {
		return nil
	}
	refs := map[string]bool{}
	for _, ref := range n.AppendReferences(nil) {
		refs[ref] = true
	}
	return refs
}
