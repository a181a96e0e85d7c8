package records

import (
	"cmp"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// belongs gives the visit and the account that a record is of: as the message
// has it, where the message is about the record; else as its resource has it,
// which is also what counts once accounts or visits were merged.
func (f *fold) belongs(s *state, v *version) (visit, account *Key, err error) {
	if v.it.Resource != nil {
		visit, account = cmp.Or(v.it.Visit, f.c.Visit), cmp.Or(v.it.Account, f.c.Account)
		joined, err := f.joined()
		if err != nil || !joined && visit != nil && account != nil {
			return visit, account, err
		}
		if !joined {
			held, of, err := f.referred(s)
			return cmp.Or(visit, held), cmp.Or(account, of), err
		}
	}
	held, of, err := f.referred(s)
	return cmp.Or(held, visit), cmp.Or(of, account), err
}

// referred gives the visit and the account that a record's resource refers to,
// of the visit its account.
func (f *fold) referred(s *state) (visit, account *Key, err error) {
	shown := f.nodes[s.resource.ResourceType()+"/"+s.resource.ID()]
	at, visit, err := f.only(Encounter, s, shown)
	if err != nil {
		return nil, nil, err
	}
	if _, account, err = f.only(Account, s, shown); account != nil || at == nil || err != nil {
		return visit, account, err
	}
	_, account, err = f.only(Account, nil, at)
	return visit, account, err
}

// only gives the visit or the account that a record is, or the only one that its
// resource refers to.
func (f *fold) only(kind Kind, s *state, shown *resource) (*resource, *Key, error) {
	if s != nil && s.kind == kind {
		return shown, &s.key, nil
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
			return nil, nil, nil
		}
		found = ref
	}
	if found == "" {
		return nil, nil, nil
	}
	if r := f.nodes[found]; r != nil && r.record != nil {
		return r, &r.record.s.key, nil
	}
	_, key, err := f.recordOf(found)
	if err != nil {
		return nil, nil, err
	}
	if key != "" {
		held, err := f.peek(kind, key)
		if err != nil || held == nil {
			return nil, nil, err
		}
		return held.carried(), &held.key, nil
	}
	r, err := f.held(found)
	if err != nil || r == nil {
		return nil, nil, err
	}
	return r, keyIn(r.json), nil
}

// keyIn gives the key of a resource that no record was made of: the identifier
// that its id is made of, nil where there is none.
func keyIn(text []byte) *Key {
	n, err := fhir.ParseJSON(text)
	if err != nil {
		return nil
	}
	for _, id := range n.Get("identifier").Items() {
		k := Key{Type: id.Str("type.coding[0].code"), Assigner: id.Str("system"), ID: id.Str("value")}
		if n.ID() == fhir.ID(n.ResourceType(), k.Assigner, k.ID) {
			return &k
		}
	}
	return nil
}
