package records

import (
	"encoding/json"
	"fmt"
)

// A linkEdge says that two patients are one person, or no longer.
type linkEdge struct {
	On     bool   `json:"on"`
	Sender string `json:"sender"`
	Order  string `json:"order"`
}

// link ties two patients together (A24) or apart (A37). Each keeps his records.
func (f *fold) link(e *Edge, one, other string) error {
	name := append(linkKey(e.Kind, one), other...)
	data, err := f.get(name)
	if err != nil {
		return err
	}
	next := linkEdge{On: e.Op == "link", Sender: f.c.Stamp.Sender, Order: f.c.Stamp.Order}
	var old linkEdge
	if data != nil {
		if err := json.Unmarshal(data, &old); err != nil {
			return fmt.Errorf("read link: %w", err)
		}
		if old.Sender == next.Sender && next.Order < old.Order {
			f.out.Flags = append(f.out.Flags, "link-late")
			return nil
		}
	}
	if err := f.known(e); err != nil {
		return err
	}
	for _, way := range [...][2]string{{one, other}, {other, one}} {
		if err := f.putJSON(append(linkKey(e.Kind, way[0]), way[1]...), &next); err != nil {
			return err
		}
	}
	if old.On == next.On {
		f.out.Flags = append(f.out.Flags, e.Op+"-repeated")
		return nil
	}
	event := "patient.linked"
	if !next.On {
		event = "patient.unlinked"
	}
	for _, key := range [...]string{one, other} {
		if err := f.retie(Patient, key, version{transition: "normal", event: event}); err != nil {
			return err
		}
	}
	return nil
}

// links gives the patients that one is linked with, in order.
func (f *fold) links(key string) ([]string, error) {
	prefix := linkKey(Patient, key)
	names, err := f.scan(prefix, nil, -1)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		data, err := f.get(name)
		if err != nil {
			return nil, err
		}
		var e linkEdge
		if err := json.Unmarshal(data, &e); err != nil {
			return nil, fmt.Errorf("read link: %w", err)
		}
		if e.On {
			out = append(out, string(name[len(prefix):]))
		}
	}
	return out, nil
}

// awaitKey is there once an edge waited: before that nothing is looked up.
const awaitKey = "w/"

// await keeps an edge until the resource that it refers to is known.
func (f *fold) await(ref string, e *Edge) error {
	f.put([]byte(awaitKey), []byte{1})
	own := e.Retired
	if ref == e.RetiredRef {
		own = e.Survivor
	}
	return f.putJSON(append(awaitedKey(ref), own.String()...), e)
}

// awaited gives the edges that waited for patients of whom this message is the
// first to tell.
func (f *fold) awaited() error {
	if waits, err := f.get([]byte(awaitKey)); err != nil || waits == nil {
		return err
	}
	for _, p := range f.pending {
		if p.s.kind != Patient || !p.v.born {
			continue
		}
		prefix := awaitedKey("Patient/" + p.s.resource.ID())
		names, err := f.scan(prefix, nil, -1)
		if err != nil {
			return err
		}
		for _, name := range names {
			data, err := f.get(name)
			if err != nil {
				return err
			}
			var e Edge
			if err := json.Unmarshal(data, &e); err != nil {
				return fmt.Errorf("read awaited edge: %w", err)
			}
			f.put(name, nil)
			f.c.Edges = append(f.c.Edges, e)
		}
	}
	return nil
}
