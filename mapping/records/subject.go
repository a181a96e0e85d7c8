package records

import (
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// rekey finds the patient that each item is about, and puts what speaks of a
// retired patient under the survivor. A message that is older than the merge
// still tells the retired patient as he was; his records go with the survivor
// all the same.
func (f *fold) rekey() error {
	named, err := f.owners()
	if err != nil {
		return err
	}
	moved := map[string]string{}
	survivors := map[string]*state{}
	for ref, key := range named {
		to, err := f.resolve(Patient, key)
		if err != nil {
			return err
		}
		if to == key {
			continue
		}
		survivor, err := f.peek(Patient, to)
		if err != nil {
			return err
		}
		if survivor != nil {
			moved[ref], survivors[ref] = "Patient/"+survivor.resource.ID(), survivor
		}
	}
	if f.retired = len(moved) > 0; !f.retired {
		return nil
	}
	for i := range f.c.Items {
		it := &f.c.Items[i]
		if it.Kind != Patient {
			continue
		}
		survivor := survivors["Patient/"+it.Resource.ID()]
		if survivor == nil {
			continue
		}
		e, err := f.edgeOf(Patient, it.Key.String())
		if err != nil {
			return err
		}
		if !e.Same && e.Sender == f.c.Stamp.Sender && f.c.Stamp.Order < e.Order {
			continue
		}
		it.onto(survivor, e)
	}
	f.c.Related = slices.Clone(f.c.Related)
	for i, n := range f.c.Related {
		n = n.Clone()
		redirect(n, moved)
		f.c.Related[i] = n
	}
	return nil
}

// renumber puts what speaks of an account or a visit that was merged under the
// survivor. What is older than a merge still tells the retired one as it was;
// where only the number changed, both are one.
func (f *fold) renumber() error {
	joined, err := f.joined()
	if err != nil || !joined {
		return err
	}
	moved := map[string]string{}
	for i := range f.c.Items {
		it := &f.c.Items[i]
		if it.Kind != Account && it.Kind != Encounter {
			continue
		}
		key, err := f.canonical(it.Kind, it.Key)
		if err != nil {
			return err
		}
		root, err := f.resolve(it.Kind, key)
		if err != nil || root == key {
			if err != nil {
				return err
			}
			continue
		}
		e, err := f.edgeOf(it.Kind, key)
		if err != nil {
			return err
		}
		survivor, err := f.peek(it.Kind, root)
		if err != nil {
			return err
		}
		if survivor == nil || !e.Same && e.Sender == f.c.Stamp.Sender && f.c.Stamp.Order < e.Order {
			continue
		}
		for _, named := range [...]**Key{&f.c.Visit, &f.c.Account} {
			if *named != nil && (*named).String() == it.Key.String() {
				*named = new(survivor.key)
			}
		}
		from := it.Resource.ResourceType() + "/" + it.Resource.ID()
		it.onto(survivor, e)
		moved[from] = it.Resource.ResourceType() + "/" + it.Resource.ID()
	}
	f.redirectRelated(moved)
	return nil
}

// redirectRelated lets the message's other resources refer to what its records are.
func (f *fold) redirectRelated(moved map[string]string) {
	if len(moved) == 0 {
		return
	}
	f.c.Related = slices.Clone(f.c.Related)
	for i, n := range f.c.Related {
		n = n.Clone()
		redirect(n, moved)
		f.c.Related[i] = n
	}
}

// onto makes an item that names a retired one an item of the survivor; the
// retired one's identifiers stay its own.
func (it *Item) onto(survivor *state, e *mergeEdge) {
	if !e.Same {
		it.of = new(*it)
	}
	n := it.Resource.Clone()
	n.Set("id", fhir.NewString(survivor.resource.ID()))
	put(n, "identifier:"+it.Key.Assigner+"|"+it.Key.ID, nil)
	if survivor.ties != nil {
		for i := range survivor.ties.From {
			for _, text := range survivor.ties.From[i].Identifiers {
				if id, err := fhir.ParseJSON([]byte(text)); err == nil {
					put(n, about("identifier", id).path("identifier"), nil)
				}
			}
		}
	}
	it.Resource, it.Key, it.Raw, it.Alternate = n, survivor.key, nil, nil
}

// owners notes for each item the patient that the message names, and gives the
// key of each patient that the message refers to.
func (f *fold) owners() (map[string]string, error) {
	c := f.c
	named := map[string]string{}
	only := ""
	for i := range c.Items {
		if it := &c.Items[i]; it.Kind == Patient {
			only = it.Key.String()
			named["Patient/"+it.Resource.ID()] = only
		}
	}
	switch {
	case len(named) > 1:
		only = ""
	case only == "" && c.Subject != nil:
		only = c.Subject.Key.String()
	}
	for i := range c.Items {
		it := &c.Items[i]
		if it.Kind == Patient {
			continue
		}
		ref := patientOf(it.Resource)
		if ref != "" && named[ref] == "" {
			data, err := f.get(resourceKey(ref))
			if err != nil {
				return nil, err
			}
			if name, ok := strings.CutPrefix(string(data), "\x00"+string(recordKey(Patient, ""))); ok {
				named[ref] = name
			}
		}
		if it.owner = named[ref]; it.owner == "" && c.Sought {
			var err error
			if it.owner, err = f.identified(it.Resource); err != nil {
				return nil, err
			}
		}
		if it.owner == "" {
			it.owner = only
		}
		if it.owner == "" && c.Sought {
			it.awaits = ref
		}
	}
	return named, nil
}

// patientOf gives the reference to the patient that a resource is about, or "".
func patientOf(n *fhir.Node) string {
	for _, path := range [...]string{"subject", "patient", "beneficiary", "for"} {
		for _, item := range n.Get(path).Items() {
			if ref := item.Str("reference"); strings.HasPrefix(ref, "Patient/") {
				return ref
			}
		}
	}
	for _, item := range n.Get("participant").Items() {
		if ref := item.Str("actor.reference"); strings.HasPrefix(ref, "Patient/") {
			return ref
		}
	}
	return ""
}

// identified gives the patient whom a resource names by an identifier instead of
// a reference that is known (R4 §2.3.0.1.3), "" where it does not.
func (f *fold) identified(n *fhir.Node) (string, error) {
	var named []*fhir.Node
	for _, path := range [...]string{"subject", "patient", "beneficiary", "for"} {
		named = append(named, n.Get(path).Items()...)
	}
	for _, item := range n.Get("participant").Items() {
		if actor := item.Get("actor"); actor != nil {
			named = append(named, actor)
		}
	}
	for _, who := range named {
		k := Key{Assigner: who.Str("identifier.system"), ID: who.Str("identifier.value")}
		typ := who.Str("type")
		if k.Assigner == "" || k.ID == "" || typ != "" && typ != "Patient" {
			continue
		}
		key, err := f.patientWith(k)
		if err != nil || key != "" {
			return key, err
		}
		if typ == "Patient" {
			return k.String(), nil
		}
	}
	return "", nil
}

// patientWith finds the record of the only patient who has an identifier, ""
// where there is none.
func (f *fold) patientWith(k Key) (string, error) {
	condition := fhir.Condition{{{System: k.Assigner, Value: k.ID}}}
	for i := range f.c.Items {
		if it := &f.c.Items[i]; it.Kind == Patient && condition.Matches(it.Resource) {
			return it.Key.String(), nil
		}
	}
	key, err := f.canonical(Patient, k)
	if err != nil {
		return "", err
	}
	if known, err := f.peek(Patient, key); err != nil || known != nil {
		return key, err
	}
	refs, err := Search(f.view, "Patient", condition)
	if err != nil || len(refs) != 1 {
		return "", err
	}
	_, key, err = f.recordOf(refs[0])
	return key, err
}

// belong puts a record under the patient that the newest message names, and
// that is under his survivor: a record goes back with him when a merge is
// undone only if messages named him.
func (f *fold) belong(it *Item, s *state, born bool) (other bool, err error) {
	if it.Kind == Patient {
		if born {
			s.owner = it.Key.String()
			s.subject, s.born = s.owner, s.owner
		}
		return false, nil
	}
	name := recordKey(s.kind, s.key.String())
	switch {
	case born:
		if s.owner = it.owner; s.owner == "" {
			s.owner = it.Key.String()
		} else {
			s.note(f.c.Stamp, "@owner")
		}
	case it.owner == "" || !s.newer(f.c.Stamp, "@owner") || it.owner == s.owner:
		return false, nil
	default:
		f.put(append(subjectKey(s.owner), name...), nil)
		s.owner = it.owner
	}
	subject, err := f.resolve(Patient, s.owner)
	if err != nil {
		return false, err
	}
	other = !born && subject != s.subject
	s.subject = subject
	if born {
		s.born = subject
	}
	f.put(append(subjectKey(s.owner), name...), []byte{1})
	return other, nil
}

// peek reads a record that is not going to change.
func (f *fold) peek(kind Kind, key string) (*state, error) {
	name, changed, data, err := f.look(kind, key)
	if err != nil || changed != nil || data == nil {
		return changed, err
	}
	if s := f.states[string(name)]; s != nil {
		return s, nil
	}
	if s := f.remembered(name, data); s != nil {
		return s, nil
	}
	return decodeState(data)
}

// subject writes the patient that a record is about: every identifier he has,
// and who was merged into him.
func (f *fold) subject(w *writer, s *state) error {
	who := s
	if s.kind != Patient {
		if s.subject == s.key.String() {
			return nil // of no patient
		}
		var err error
		if who, err = f.peek(Patient, s.subject); err != nil {
			return err
		}
	}
	var ids []*fhir.Node
	var merged []tie
	survivor := keyFrom(s.subject)
	switch {
	case who != nil:
		ids, survivor = who.shown().Get("identifier").Items(), who.key
		if who.ties != nil {
			merged = who.ties.From
		}
	case f.c.Subject != nil && f.c.Subject.Key.String() == s.subject:
		ids, survivor = f.c.Subject.IDs, f.c.Subject.Key
	}
	if s.kind == Patient {
		key, err := f.resolve(Patient, s.key.String())
		if err != nil {
			return err
		}
		if last, err := f.peek(Patient, key); err != nil {
			return err
		} else if last != nil {
			survivor = last.key
		}
	}
	w.object("subject", func() {
		w.list("ids", len(ids), func(i int) { w.dst = ids[i].AppendJSON(w.dst) })
		w.key("survivor", &survivor)
		w.list("merged_from", len(merged), func(i int) { w.key("", &merged[i].Key) })
	})
	return nil
}

// keyFrom reads Key.String.
func keyFrom(text string) Key {
	assigner, id, ok := strings.Cut(text, "|")
	if !ok {
		return Key{ID: text}
	}
	return Key{Assigner: strings.ReplaceAll(strings.ReplaceAll(assigner, "%7C", "|"), "%25", "%"), ID: id}
}
