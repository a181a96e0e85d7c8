package records

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// joinKey is there once accounts or visits were merged or moved: before that no
// reference leads elsewhere, and nothing is looked up.
const joinKey = "j/"

func (f *fold) join() { f.put([]byte(joinKey), []byte{1}) }

func (f *fold) joined() (bool, error) {
	data, err := f.get([]byte(joinKey))
	return data != nil, err
}

// joins says whether a reference names what edges join beside patients.
func joins(ref string) bool {
	return strings.HasPrefix(ref, "Account/") || strings.HasPrefix(ref, "Encounter/")
}

// refers lists a record under the accounts and visits that it refers to, as its
// messages name them; before is the resource that is listed already.
func (f *fold) refers(s *state, before *fhir.Node) {
	if s.resource == before || s.resource == nil {
		return
	}
	var had []string
	if before != nil {
		had = before.AppendReferences(nil)
	}
	who := patientOf(s.resource)
	for _, ref := range s.resource.AppendReferences(nil) {
		second := ref != who && strings.HasPrefix(ref, "Patient/") // the first one's are listed under the owner
		if (joins(ref) || second) && !slices.Contains(had, ref) {
			f.put(append(referrerKey(ref), recordKey(s.kind, s.key.String())...), []byte{1})
		}
	}
}

// settle finds the patient that a record is under: its owner, as messages name
// him, or the one that its account or visit was moved to; and where its
// references lead. Where nothing was moved or merged, it is the owner's survivor.
func (f *fold) settle(s *state, before *fhir.Node, whole bool) error {
	if s.kind == Patient {
		return nil
	}
	f.refers(s, before)
	joined, err := f.joined()
	if err != nil || !joined && !whole && !f.retired && (s.ties == nil || s.ties.Leads == nil) {
		return err
	}
	owner := s.owner
	var leads []lead
	if joined {
		if owner, leads, err = f.placed(s); err != nil {
			return err
		}
		if owner != s.owner {
			f.put(append(subjectKey(owner), recordKey(s.kind, s.key.String())...), []byte{1})
		}
	}
	if s.subject, err = f.resolve(Patient, owner); err != nil {
		return err
	}
	if owner != s.owner {
		from, err := f.reference(Patient, s.owner)
		if err != nil {
			return err
		}
		to, err := f.reference(Patient, s.subject)
		if err != nil {
			return err
		}
		if from != to {
			leads = append(leads, lead{From: from, To: to})
		}
	}
	if leads, err = f.survivors(s, leads); err != nil {
		return err
	}
	switch {
	case s.ties == nil && leads == nil:
		return nil
	case s.ties == nil:
		s.ties = &ties{}
	default:
		s.ties = new(*s.ties)
	}
	if s.ties.Leads = leads; s.ties.empty() {
		s.ties = nil
	}
	return nil
}

// survivors adds where a record's references to patients lead who were merged.
// What messages name stays in the record, so that a merge can be undone.
func (f *fold) survivors(s *state, leads []lead) ([]lead, error) {
	for _, ref := range s.resource.AppendReferences(nil) {
		if !strings.HasPrefix(ref, "Patient/") || slices.ContainsFunc(leads, func(l lead) bool { return l.From == ref }) {
			continue
		}
		kind, key, err := f.recordOf(ref)
		if err != nil {
			return nil, err
		}
		if key == "" {
			continue
		}
		root, err := f.resolve(kind, key)
		if err != nil {
			return nil, err
		}
		to, err := f.reference(kind, root)
		if err != nil {
			return nil, err
		}
		if to != ref {
			leads = append(leads, lead{From: ref, To: to})
		}
	}
	slices.SortFunc(leads, func(a, b lead) int { return strings.Compare(a.From, b.From) })
	return leads, nil
}

// placed gives the owner that moves make of a record's, and where its references
// to accounts and visits lead.
func (f *fold) placed(s *state) (owner string, leads []lead, err error) {
	if s.kind == Patient {
		return s.owner, nil, nil
	}
	var newest *mergeEdge
	consider := func(kind Kind, key string) error {
		e, err := f.ownerOf(kind, key)
		if err == nil && e != nil && e.To != "" && !s.named(e) && (newest == nil || newest.older(e)) {
			newest = e
		}
		return err
	}
	if s.kind == Account || s.kind == Encounter {
		on, err := f.downstream(s.kind, s.key.String())
		if err != nil {
			return "", nil, err
		}
		for _, k := range on {
			if err = consider(s.kind, k); err != nil {
				return "", nil, err
			}
		}
	}
	seen := map[string]bool{}
	for _, ref := range s.resource.AppendReferences(nil) {
		if !joins(ref) || seen[ref] {
			continue
		}
		seen[ref] = true
		to, err := f.lead(ref, consider)
		if err != nil {
			return "", nil, err
		}
		if to != ref {
			leads = append(leads, lead{From: ref, To: to})
		}
	}
	slices.SortFunc(leads, func(a, b lead) int { return strings.Compare(a.From, b.From) })
	if owner = s.owner; newest != nil {
		owner = newest.To
	}
	return owner, leads, nil
}

// lead follows one reference to an account or a visit, and asks who owns what
// stands on the way: of a visit its account too.
func (f *fold) lead(ref string, consider func(Kind, string) error) (string, error) {
	kind, key, err := f.recordOf(ref)
	if err != nil || key == "" {
		return ref, err
	}
	on, err := f.downstream(kind, key)
	if err != nil {
		return "", err
	}
	root, err := f.resolve(kind, key)
	if err != nil {
		return "", err
	}
	for _, k := range on {
		if err := consider(kind, k); err != nil {
			return "", err
		}
	}
	if kind == Encounter {
		visit, err := f.peek(Encounter, root)
		if err != nil {
			return "", err
		}
		if visit != nil {
			for _, account := range visit.resource.Get("account").Items() {
				if _, err := f.lead(account.Str("reference"), consider); err != nil {
					return "", err
				}
			}
		}
	}
	return f.reference(kind, root)
}

// recordOf finds the record that a reference names: "" where it is none.
func (f *fold) recordOf(ref string) (Kind, string, error) {
	for _, p := range f.pending { // not written yet
		if p.s.resource != nil && p.s.resource.ResourceType()+"/"+p.s.resource.ID() == ref {
			return p.s.kind, p.s.key.String(), nil
		}
	}
	data, err := f.get(resourceKey(ref))
	name, ok := strings.CutPrefix(string(data), "\x00r/")
	if err != nil || !ok {
		return "", "", err
	}
	kind, key, _ := strings.Cut(name, "/")
	return Kind(kind), key, nil
}

// named says whether messages named the owner after a move of the same sender.
func (s *state) named(e *mergeEdge) bool {
	from := s.heard(e.Sender)
	if from == nil {
		return false
	}
	for _, at := range from.at {
		if at.element == "@owner" && at.order > e.Order {
			return true
		}
	}
	return false
}

// ownerOf gives the patient that an account or a visit was moved to.
func (f *fold) ownerOf(kind Kind, key string) (*mergeEdge, error) {
	data, err := f.get(ownerKey(kind, key))
	if err != nil || data == nil {
		return nil, err
	}
	var e mergeEdge
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("read move: %w", err)
	}
	return &e, nil
}

// owns puts an account or a visit, and all that belongs to it, under another
// patient (A44, A45). Of two moves of one sender the newer counts.
func (f *fold) owns(e *Edge) error {
	key, err := f.canonical(e.Kind, e.Retired)
	if err != nil {
		return err
	}
	to, err := f.canonical(Patient, e.Survivor)
	if err != nil {
		return err
	}
	next := &mergeEdge{To: to, Key: e.Survivor, Sender: f.c.Stamp.Sender, Order: f.c.Stamp.Order, Journal: f.c.Origin.Journal}
	old, err := f.ownerOf(e.Kind, key)
	if err != nil {
		return err
	}
	if old != nil && old.Sender == next.Sender && (next.Order < old.Order || old.To == "" && next.Order == old.Order) {
		flag := "move-late"
		if old.To == "" {
			flag = "move-undone"
		}
		f.out.Flags = append(f.out.Flags, flag)
		return nil
	}
	s, err := f.load(e.Kind, key)
	if err != nil {
		return err
	}
	if s == nil {
		if err := f.bear(e.Kind, e.Retired); err != nil {
			return err
		}
	} else {
		f.unchanged(s)
	}
	if err := f.putJSON(ownerKey(e.Kind, key), next); err != nil {
		return err
	}
	f.join()
	return f.follow(e, key, "normal")
}

// unmoves takes the move of an account or a visit to another patient back, where
// no merge of it is there to be undone.
func (f *fold) unmoves(e *Edge) (bool, error) {
	if e.Kind == Patient {
		return false, nil
	}
	key, err := f.canonical(e.Kind, e.Retired)
	if err != nil {
		return false, err
	}
	merged, err := f.edgeOf(e.Kind, key)
	if err != nil || merged != nil && merged.To != "" {
		return false, err
	}
	old, err := f.ownerOf(e.Kind, key)
	if err != nil || old == nil || old.To == "" {
		return false, err
	}
	undone := *old
	undone.To = ""
	if err := f.putJSON(ownerKey(e.Kind, key), &undone); err != nil {
		return false, err
	}
	return true, f.follow(e, key, "correction")
}

// follow gives an account or a visit, and all that belongs to it, the patient
// that it is under now.
func (f *fold) follow(e *Edge, key, transition string) error {
	name := recordKey(e.Kind, key)
	if err := f.moved(name, move{Transition: transition}); err != nil {
		return err
	}
	if p := f.changes[string(name)]; p != nil && p.v.event == "" && p.v.before != nil && patientOf(p.v.before) != patientOf(p.s.shown()) {
		p.v.event = string(e.Kind) + ".moved"
	}
	return f.belongings(e.Kind, key, transition)
}

// belongings notes what moves with an account or a visit: what refers to it, and
// to the visits of the account.
func (f *fold) belongings(kind Kind, key, transition string) error {
	keys, err := f.upstream(kind, key, false)
	if err != nil {
		return err
	}
	for _, k := range keys {
		ref, err := f.reference(kind, k)
		if err != nil {
			return err
		}
		f.moves = append(f.moves, move{Reference: ref, Transition: transition})
		if k != key { // what it was merged from
			if err := f.moved(recordKey(kind, k), move{Transition: transition}); err != nil {
				return err
			}
		}
		if kind != Account {
			continue
		}
		prefix := referrerKey(ref)
		names, err := f.scan(prefix, nil, -1)
		if err != nil {
			return err
		}
		for _, name := range names {
			if visit, ok := strings.CutPrefix(string(name[len(prefix):]), string(recordKey(Encounter, ""))); ok {
				if err := f.belongings(Encounter, visit, transition); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// named finds the keys of an edge that has references, and says whether both are
// known.
func (f *fold) named(e *Edge) (bool, error) {
	for _, side := range [...]struct {
		ref string
		key *Key
	}{{e.SurvivorRef, &e.Survivor}, {e.RetiredRef, &e.Retired}} {
		if side.ref == "" {
			continue
		}
		kind, key, err := f.recordOf(side.ref)
		if err != nil {
			return false, err
		}
		if kind != e.Kind {
			f.out.Flags = append(f.out.Flags, e.Op+"-awaited")
			return false, f.await(side.ref, e)
		}
		*side.key = keyFrom(key)
	}
	return true, nil
}
