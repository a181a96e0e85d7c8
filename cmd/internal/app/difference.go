package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/pipelines/engine"
	"github.com/liaison-health/liaison/pipelines/store"
)

// A Difference is one event that is not made again as it was published.
type Difference struct {
	Sequence uint64 `json:"sequence"` // the journal entry that made it
	EventID  string `json:"event_id"`
	Kind     string `json:"kind"`
	Version  uint64 `json:"version"`
	What     string `json:"what"` // changed, published only, or made now only
	Paths    []Path `json:"paths,omitempty"`

	key records.Key
}

// A Path is one place in a record; a side that has nothing there is empty.
type Path struct {
	Path      string          `json:"path"`
	Published json.RawMessage `json:"published,omitempty"`
	Now       json.RawMessage `json:"now,omitempty"`
}

// mostPaths is how many places of one event are told.
const mostPaths = 200

// told is what of a record names its event.
type told struct {
	Kind    string      `json:"kind"`
	Key     records.Key `json:"key"`
	Version uint64      `json:"version"`
	Source  struct {
		Journal uint64 `json:"journal"`
	} `json:"source"`
}

// differences compares event by event, by their ids: today's tables may make
// more of a message, or less.
func differences(old, again *store.Store, from, to uint64, out *Replayed, tell func(*Difference) error) error {
	made := map[string]uint64{}
	err := again.Outbox(0, func(n uint64, stored []byte) (bool, error) {
		id, err := engine.EventID(stored)
		made[id] = n
		return true, err
	})
	if err != nil {
		return fmt.Errorf("compare events: %w", err)
	}
	err = old.Outbox(0, func(n uint64, stored []byte) (bool, error) {
		id, published, what, err := readEvent(stored)
		if err != nil {
			return false, err
		}
		number := made[id]
		delete(made, id)
		if what.Source.Journal < from || to > 0 && what.Source.Journal > to {
			return true, nil
		}
		out.Events++
		d := &Difference{Sequence: what.Source.Journal, EventID: id, Kind: what.Kind, Version: what.Version, key: what.Key, What: "published only"}
		if number > 0 {
			other, err := again.Event(number)
			if err != nil {
				return false, err
			}
			_, now, _, err := readEvent(other)
			if err != nil {
				return false, err
			}
			if bytes.Equal(published, now) {
				out.Same++
				return true, nil
			}
			d.What = "changed"
			if d.Paths, err = comparePaths(published, now); err != nil {
				return false, err
			}
		}
		if out.First == 0 {
			out.First, out.ID = int(n), id
		}
		return true, tell(d)
	})
	if err != nil {
		return fmt.Errorf("compare events: %w", err)
	}
	for _, number := range slices.Sorted(maps.Values(made)) {
		stored, err := again.Event(number)
		if err != nil {
			return fmt.Errorf("compare events: %w", err)
		}
		id, _, what, err := readEvent(stored)
		if err != nil {
			return err
		}
		if what.Source.Journal < from || to > 0 && what.Source.Journal > to {
			continue
		}
		out.Events++
		if err := tell(&Difference{Sequence: what.Source.Journal, EventID: id, Kind: what.Kind, Version: what.Version, key: what.Key, What: "made now only"}); err != nil {
			return err
		}
	}
	return nil
}

func readEvent(stored []byte) (id string, value []byte, what told, err error) {
	id, value, err = engine.EventValue(stored)
	if err == nil {
		err = json.Unmarshal(value, &what)
	}
	if err != nil {
		return "", nil, what, fmt.Errorf("read event: %w", err)
	}
	return id, value, what, nil
}

// comparePaths lists where two JSON texts differ.
func comparePaths(published, now []byte) (out []Path, err error) {
	read := func(text []byte) (v any) {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if e := d.Decode(&v); e != nil && err == nil {
			err = fmt.Errorf("read event: %w", e)
		}
		return v
	}
	a, b := read(published), read(now)
	if err != nil {
		return nil, err
	}
	walkPaths("", a, b, true, true, &out)
	return out, nil
}

// walkPaths goes down both values together; in and with say whether they are
// there.
func walkPaths(path string, a, b any, in, with bool, out *[]Path) {
	if len(*out) >= mostPaths {
		return
	}
	x, isObject := a.(map[string]any)
	y, other := b.(map[string]any)
	if isObject && other {
		names := slices.Sorted(maps.Keys(x))
		for _, name := range slices.Sorted(maps.Keys(y)) {
			if _, both := x[name]; !both {
				names = append(names, name)
			}
		}
		for _, name := range names {
			left, has := x[name]
			right, too := y[name]
			to := name
			if path != "" {
				to = path + "." + name
			}
			walkPaths(to, left, right, has, too, out)
		}
		return
	}
	l, isList := a.([]any)
	r, other := b.([]any)
	if isList && other {
		at := func(list []any, i int) (any, bool) {
			if i < len(list) {
				return list[i], true
			}
			return nil, false
		}
		for i := range max(len(l), len(r)) {
			left, has := at(l, i)
			right, too := at(r, i)
			walkPaths(path+"["+strconv.Itoa(i)+"]", left, right, has, too, out)
		}
		return
	}
	p := Path{Path: path, Published: asJSON(a, in), Now: asJSON(b, with)}
	if !bytes.Equal(p.Published, p.Now) {
		*out = append(*out, p)
	}
}

func asJSON(v any, there bool) json.RawMessage {
	if !there {
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return text
}
