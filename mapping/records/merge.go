package records

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A continuation is a merge that goes on: what is left, and the message that
// asked for it.
type continuation struct {
	Edge     Edge
	From, To string // references
	After    []byte
	Origin   Origin
	Received time.Time
	Occurred string
	Retired  string // whose records move: Edge.Retired, or whom it was merged into
	Zone     string
	Pipeline string
	Version  string
}

// edge applies a merge: the retired patient gets a last version, the survivor a
// link, and every record of the retired one moves.
func (f *fold) edge(e *Edge) error {
	switch e.Op {
	case "merge", "unmerge":
	default:
		f.out.Flags = append(f.out.Flags, "edge-"+e.Op)
		return nil
	}
	if e.Op == "unmerge" {
		f.put(mergeKey(e.Kind, e.Retired.String()), nil)
		return nil
	}
	survivor, err := f.resolve(e.Kind, e.Survivor.String())
	if err != nil {
		return err
	}
	retired, err := f.resolve(e.Kind, e.Retired.String())
	if err != nil {
		return err
	}
	if survivor == retired {
		f.out.Flags = append(f.out.Flags, "merge-cycle-or-repeat")
		return nil
	}
	old, err := f.load(e.Kind, retired)
	if err != nil {
		return err
	}
	now, err := f.load(e.Kind, survivor)
	if err != nil || now == nil {
		f.out.Flags = append(f.out.Flags, "merge-without-survivor")
		return err
	}
	f.put(mergeKey(e.Kind, retired), []byte(survivor))
	from := "Patient/" + fhir.ID("Patient", e.Retired.Assigner, e.Retired.ID)
	if old != nil {
		from = "Patient/" + old.resource.ID()
	}
	to := "Patient/" + now.resource.ID()
	if err := f.retire(e, old, now, from, to); err != nil {
		return err
	}
	return f.move(&continuation{
		Retired: retired, Edge: Edge{Op: e.Op, Kind: e.Kind, Survivor: now.key, Retired: e.Retired}, From: from, To: to,
		Origin: f.c.Origin, Received: f.c.Received, Occurred: f.c.Occurred, Zone: f.c.ZoneSource, Pipeline: f.c.Pipeline, Version: f.c.Version,
	})
}

// retire writes the last version of the retired patient, and the survivor's link.
func (f *fold) retire(e *Edge, old, now *state, from, to string) error {
	link := func(ref, kind string) *fhir.Node {
		return fhir.NewObject().Set("other", fhir.NewObject().SetString("reference", ref)).SetString("type", kind)
	}
	if old == nil {
		old = &state{kind: e.Kind, key: e.Retired, subject: e.Retired.String(), born: e.Retired.String()}
		old.resource = fhir.NewResource("Patient").SetString("id", from[len("Patient/"):])
	}
	v := version{it: &Item{Kind: e.Kind}, before: old.resource, previous: old.state, transition: "merge", event: string(e.Kind) + ".merged"}
	if old.version == 0 {
		v.before = nil
	}
	old.resource = old.resource.Clone()
	old.resource.Set("active", fhir.NewBool(false))
	old.resource.Append("link", link(to, "replaced-by"))
	old.previous, old.state, old.raw = old.state, "merged", nil
	v.changed = fhir.Diff(v.before, old.resource)
	if err := f.publish(old, &v); err != nil {
		return err
	}
	v = version{
		it: &Item{Kind: e.Kind}, before: now.resource, previous: now.state, transition: "merge", event: string(e.Kind) + ".merged",
		mergedFrom: []Key{e.Retired},
	}
	now.resource = now.resource.Clone()
	now.resource.Append("link", link(from, "replaces"))
	keepIdentifiers(now.resource, old.resource)
	now.raw = nil
	v.changed = fhir.Diff(v.before, now.resource)
	return f.publish(now, &v)
}

// move gives each record of the retired patient a version under the survivor,
// a chunk at a time.
func (f *fold) move(m *continuation) error {
	prefix := subjectKey(m.Retired)
	pairs, err := f.view.Scan(prefix, m.After, f.chunk)
	if err != nil {
		return fmt.Errorf("read the records of a patient: %w", err)
	}
	for _, kv := range pairs {
		m.After = kv.Key
		data, err := f.get(kv.Key[len(prefix):])
		if err != nil {
			return err
		}
		if current, err := f.get(kv.Key); err != nil || current == nil || data == nil {
			if err != nil {
				return err
			}
			continue
		}
		s, err := decodeState(data)
		if err != nil {
			return err
		}
		if s.kind == Patient {
			continue
		}
		v := version{
			it: &Item{Kind: s.kind}, before: s.resource, previous: s.state, transition: "merge", event: string(s.kind) + ".moved",
			mergedFrom: []Key{m.Edge.Retired},
		}
		s.resource = s.resource.Clone()
		redirect(s.resource, map[string]string{m.From: m.To})
		s.raw = nil
		v.changed = fhir.Diff(v.before, s.resource)
		if err := f.moveSubject(s, m.Edge.Survivor.String()); err != nil {
			return err
		}
		f.c.Subject = &Subject{Key: m.Edge.Survivor}
		if err := f.publish(s, &v); err != nil {
			return err
		}
	}
	if len(pairs) < f.chunk {
		return nil
	}
	next, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write merge continuation: %w", err)
	}
	f.out.Continuation = next
	return nil
}

// Resume goes on with a merge until Effects.Continuation is nil.
func (f *Folder) Resume(v View, token []byte) (*Effects, error) {
	var m continuation
	if err := json.Unmarshal(token, &m); err != nil {
		return nil, fmt.Errorf("read merge continuation: %w", err)
	}
	run := f.fold(v, &Change{Origin: m.Origin, Received: m.Received, Occurred: m.Occurred, ZoneSource: m.Zone, Pipeline: m.Pipeline, Version: m.Version})
	if err := run.move(&m); err != nil {
		return nil, err
	}
	return run.out, nil
}
