package records

import "strings"

// Keys of what waits for its patient: u/ with the reference to him, then the
// record's name. FHIR clients send what is about a patient before the patient
// too.
func waitingKey(ref string) []byte { return []byte("u/" + ref + "\x00") }

// waitKey is there once a record waited: before that nothing is looked up.
const waitKey = "u/"

// unknown notes that a record is of a patient who is not known yet.
func (f *fold) unknown(it *Item, s *state, v *version) {
	if it.awaits == "" || s.subject != s.key.String() {
		return
	}
	v.warnings = append(v.warnings, "patient-unknown")
	f.put([]byte(waitKey), []byte{1})
	f.put(append(waitingKey(it.awaits), recordKey(s.kind, s.key.String())...), []byte{1})
}

// adopts asks for what waited for the patients of the message.
func (f *fold) adopts() error {
	if !f.c.Sought {
		return nil
	}
	if waits, err := f.get([]byte(waitKey)); err != nil || waits == nil {
		return err
	}
	for i := range f.c.Items {
		it := &f.c.Items[i]
		if it.Kind != Patient {
			continue
		}
		owner, err := f.canonical(Patient, it.Key)
		if err != nil {
			return err
		}
		ref := "Patient/" + it.Resource.ID()
		waiting, err := f.scan(waitingKey(ref), nil, 1)
		if err != nil {
			return err
		}
		if len(waiting) > 0 {
			f.moves = append(f.moves, move{Owner: owner, Waiting: ref})
		}
	}
	return nil
}

// adopt puts a record that waited under its patient, where it still names him.
func (f *fold) adopt(name []byte, m move) error {
	f.put(append(waitingKey(m.Waiting), name...), nil)
	kind, key, _ := strings.Cut(strings.TrimPrefix(string(name), "r/"), "/")
	s, err := f.load(Kind(kind), key)
	if err != nil || s == nil {
		return err
	}
	if s.subject != s.key.String() || patientOf(s.resource) != m.Waiting {
		f.unchanged(s)
		return nil
	}
	v := version{it: &Item{Kind: s.kind, Key: s.key}, before: s.shown(), previous: s.label(), event: kind + ".moved"}
	s.owner = m.Owner
	f.put(append(subjectKey(s.owner), name...), []byte{1})
	if s.subject, err = f.resolve(Patient, s.owner); err != nil {
		return err
	}
	if err := f.settle(s, s.resource, false); err != nil {
		return err
	}
	if s.kind == Charge { // a credit may be the same patient's
		if err := f.listPrints(s); err != nil {
			return err
		}
	}
	f.pend(s, v)
	return nil
}
