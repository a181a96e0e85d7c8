package records

import (
	"cmp"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// belongs gives the visit and the account that a record is of: as the message
// has it, where the message is about the record; else as its resource has it,
// which is also what counts once accounts or visits were merged.
func (f *fold) belongs(s *state, v *version, shown *resource) (visit, account *Key, err error) {
	told := v.it.Resource != nil
	if told {
		if told, err = f.joined(); err != nil {
			return nil, nil, err
		}
		visit, account = cmp.Or(v.it.Visit, f.c.Visit), cmp.Or(v.it.Account, f.c.Account)
		if told = !told; told && visit != nil && account != nil {
			return visit, account, nil
		}
	}
	at, err := f.only(Encounter, s, shown)
	if err != nil {
		return nil, nil, err
	}
	of, err := f.only(Account, s, shown)
	if of == nil && at != nil && err == nil {
		of, err = f.only(Account, nil, at)
	}
	if err != nil {
		return nil, nil, err
	}
	if !told || visit == nil {
		visit = cmp.Or(at.key(), visit)
	}
	if !told || account == nil {
		account = cmp.Or(of.key(), account)
	}
	return visit, account, nil
}

// only gives the visit or the account that a record is, or the only one that its
// resource refers to.
func (f *fold) only(kind Kind, s *state, shown *resource) (*resource, error) {
	if s != nil && s.kind == kind {
		return shown, nil
	}
	prefix, found := "Encounter/", ""
	if kind == Account {
		prefix = "Account/"
	}
	for _, ref := range shown.refers() {
		if !strings.HasPrefix(ref, prefix) || ref == found {
			continue
		}
		if found != "" {
			return nil, nil
		}
		found = ref
	}
	if found == "" {
		return nil, nil
	}
	if r := f.nodes[found]; r != nil {
		return r, nil
	}
	_, key, err := f.recordOf(found)
	if err != nil {
		return nil, err
	}
	if key == "" {
		return f.held(found)
	}
	s, err = f.peek(kind, key)
	if err != nil || s == nil {
		return nil, err
	}
	r := s.carried()
	r.record = &pending{s: s}
	return r, nil
}

// key gives the key of a visit or an account: its record's, else the identifier
// that its id is made of; nil where there is none.
func (r *resource) key() *Key {
	if r == nil {
		return nil
	}
	if r.record != nil {
		return &r.record.s.key
	}
	n := r.node
	if n == nil {
		var err error
		if n, err = fhir.ParseJSON(r.json); err != nil {
			return nil
		}
	}
	for _, id := range n.Get("identifier").Items() {
		k := Key{Type: id.Str("type.coding[0].code"), Assigner: id.Str("system"), ID: id.Str("value")}
		if n.ID() == fhir.ID(n.ResourceType(), k.Assigner, k.ID) {
			return &k
		}
	}
	return nil
}
