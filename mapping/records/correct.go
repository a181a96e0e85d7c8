package records

import (
	"bytes"
	"fmt"
	"slices"
)

// A Correction is a part of the state as another run over the whole journal has
// it, with other tables: it takes the place of what is held. The keys and values
// are those of the View.
type Correction struct {
	Beside []KV `json:"beside,omitempty"` // what the records stand beside: resources, indexes
	States []KV `json:"states,omitempty"` // records
}

const (
	correctionRecords = 256
	correctionBytes   = 1 << 20
)

// Corrections compares what is published with what another run has now, and
// gives what differs, a part at a time; of the records only those that wanted
// names. What the other run does not have stays as it is.
func Corrections(published, now View, wanted func(kind Kind, key Key) bool, give func(*Correction) error) error {
	next, size := &Correction{}, 0
	hand := func() error {
		if len(next.Beside)+len(next.States) == 0 {
			return nil
		}
		part := next
		next, size = &Correction{}, 0
		return give(part)
	}
	for _, ofRecords := range []bool{false, true} { // first what the records are shown with
		var after []byte
		for {
			list, err := now.Scan(nil, after, 512)
			if err != nil {
				return fmt.Errorf("read the other state: %w", err)
			}
			if len(list) == 0 {
				break
			}
			after = list[len(list)-1].Key
			for _, kv := range list {
				if isRecord(kv) != ofRecords {
					continue
				}
				differs, err := differing(published, kv, wanted)
				if err != nil {
					return err
				}
				if !differs {
					continue
				}
				if ofRecords {
					next.States = append(next.States, kv)
				} else {
					next.Beside = append(next.Beside, kv)
				}
				if size += len(kv.Key) + len(kv.Value); size >= correctionBytes || len(next.States) >= correctionRecords {
					if err := hand(); err != nil {
						return err
					}
				}
			}
		}
	}
	return hand()
}

// isRecord tells a record from another identifier of one.
func isRecord(kv KV) bool { return bytes.HasPrefix(kv.Key, []byte("r/")) && aliasOf(kv.Value) == "" }

func differing(published View, kv KV, wanted func(Kind, Key) bool) (bool, error) {
	held, err := published.Get(kv.Key)
	if err != nil {
		return false, fmt.Errorf("read the state: %w", err)
	}
	if bytes.Equal(held, kv.Value) {
		return false, nil
	}
	if !isRecord(kv) {
		return true, nil
	}
	s, err := decodeState(kv.Value)
	if err != nil || !wanted(s.kind, s.key) {
		return false, err
	}
	if held == nil || aliasOf(held) != "" {
		return true, nil
	}
	old, err := decodeState(held)
	if err != nil {
		return false, err
	}
	return !s.says(old), nil
}

// says: both say the same of their record, whatever their versions.
func (s *state) says(o *state) bool {
	a, b := *s, *o
	a.version, a.journal = b.version, b.journal
	return bytes.Equal(a.encode(nil, a.resource.JSON(), false), b.encode(nil, b.resource.JSON(), false))
}

// Correct puts a correction in the place of what is held. Each record of it
// that says something else to consumers gets its next version, with the
// transition correction; one that says the same already gets none.
func (f *Folder) Correct(v View, c *Change, x *Correction) (*Effects, error) {
	run := f.fold(v, c)
	for _, kv := range x.Beside {
		held, err := run.get(kv.Key)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(held, kv.Value) {
			run.put(kv.Key, kv.Value)
		}
	}
	for _, kv := range x.States {
		if err := run.correct(kv); err != nil {
			return nil, err
		}
	}
	if err := run.flush(); err != nil {
		return nil, err
	}
	for key, s := range run.states {
		f.keep(key, s)
	}
	return run.out, nil
}

func (f *fold) correct(kv KV) error {
	s, err := decodeState(kv.Value)
	if err != nil {
		return err
	}
	it := &Item{Kind: s.kind, Key: s.key, Resource: s.resource}
	v := version{it: it, transition: "correction"}
	held, err := f.get(kv.Key)
	switch {
	case err != nil:
		return err
	case held == nil || aliasOf(held) != "":
		v.born, s.version = true, 0
	default:
		old, err := decodeState(held)
		if err != nil {
			return err
		}
		if s.says(old) {
			return nil
		}
		s.version, s.journal, s.born = old.version, old.journal, old.born
		v.before, v.previous, v.told = old.shown(), old.label(), !slices.Equal(old.marks, s.marks)
	}
	s.stored = nil
	f.pend(s, v)
	return nil
}
