package records

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// A mergeEdge is what a retired patient's key leads to; without To it is the
// trace of a merge that was undone.
type mergeEdge struct {
	To      string `json:"to,omitempty"`
	Key     Key    `json:"key"`
	Sender  string `json:"sender"`
	Order   string `json:"order"`
	Journal uint64 `json:"journal"`
	Same    bool   `json:"same,omitempty"` // both keys are of one and the same: the number changed
}

// older orders edges: of one sender by its stamps, else as they came.
func (e *mergeEdge) older(than *mergeEdge) bool {
	if e.Sender == than.Sender && e.Order != than.Order {
		return e.Order < than.Order
	}
	return e.Journal < than.Journal
}

func (f *fold) edgeOf(kind Kind, key string) (*mergeEdge, error) {
	data, err := f.get(mergeKey(kind, key))
	if err != nil || data == nil {
		return nil, err
	}
	var e mergeEdge
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("read merge: %w", err)
	}
	return &e, nil
}

func (f *fold) putJSON(key []byte, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	f.put(key, data)
	return nil
}

// resolve follows merge edges to the surviving key. Each patient has one edge,
// the newest; where edges close a ring, the oldest of the ring does not count.
// So the survivor depends on what the messages say, not on when they came.
func (f *fold) resolve(kind Kind, key string) (string, error) {
	type hop struct {
		key  string
		edge *mergeEdge
	}
	var path []hop
	for {
		e, err := f.edgeOf(kind, key)
		if err != nil || e == nil || e.To == "" {
			return key, err
		}
		for i := range path {
			if path[i].key != key {
				continue
			}
			ring := path[i:]
			sort.Slice(ring, func(a, b int) bool { return ring[a].key < ring[b].key })
			oldest := ring[0]
			for _, h := range ring[1:] {
				if h.edge.older(oldest.edge) {
					oldest = h
				}
			}
			return oldest.key, nil
		}
		path = append(path, hop{key, e})
		key = e.To
	}
}

// upstream gives a key and all whose edges lead to it, in their order; with
// counting only edges that count.
func (f *fold) upstream(kind Kind, key string, counting bool) ([]string, error) {
	seen := map[string]bool{key: true}
	queue := []string{key}
	for i := 0; i < len(queue); i++ {
		prefix := incomingKey(kind, queue[i])
		found, err := f.scan(prefix, nil, -1)
		if err != nil {
			return nil, err
		}
		for _, k := range found {
			from := string(k[len(prefix):])
			if seen[from] {
				continue
			}
			if counting {
				root, err := f.resolve(kind, from)
				if err != nil {
					return nil, err
				}
				if root == from {
					continue
				}
			}
			seen[from] = true
			queue = append(queue, from)
		}
	}
	return queue, nil
}

// downstream gives the keys on the way from a key to its survivor.
func (f *fold) downstream(kind Kind, key string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	for !seen[key] {
		seen[key] = true
		out = append(out, key)
		e, err := f.edgeOf(kind, key)
		if err != nil {
			return nil, err
		}
		if e == nil || e.To == "" {
			break
		}
		key = e.To
	}
	return out, nil
}

// scan gives up to limit keys (-1: all) with a prefix, those written by this
// very message among them, in order.
func (f *fold) scan(prefix, after []byte, limit int) ([][]byte, error) {
	const step = 512
	var out [][]byte
	from := after
	for {
		pairs, err := f.view.Scan(prefix, from, step)
		if err != nil {
			return nil, fmt.Errorf("read state: %w", err)
		}
		for _, kv := range pairs {
			if v, ok := f.written[string(kv.Key)]; !ok || v != nil {
				out = append(out, kv.Key)
			}
			from = kv.Key
		}
		if len(pairs) < step || limit >= 0 && len(out) >= limit {
			break
		}
	}
	seen := make(map[string]bool, len(out))
	for _, k := range out {
		seen[string(k)] = true
	}
	f.begun(string(prefix), func(k string) {
		if f.written[k] != nil && !seen[k] && (after == nil || k > string(after)) {
			out = append(out, []byte(k))
		}
	})
	sort.Slice(out, func(i, j int) bool { return string(out[i]) < string(out[j]) })
	if limit >= 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}

// begun visits the keys that the fold wrote and that begin with a prefix. They are put
// in order where they are asked for again: a message may have many parts that each ask.
func (f *fold) begun(prefix string, visit func(string)) {
	again := f.asked == len(f.out.Writes)
	if f.asked = len(f.out.Writes); !again {
		f.inOrder = nil
		for k := range f.written {
			if strings.HasPrefix(k, prefix) {
				visit(k)
			}
		}
		return
	}
	if f.inOrder == nil {
		f.inOrder = slices.Sorted(maps.Keys(f.written))
	}
	from, _ := slices.BinarySearch(f.inOrder, prefix)
	for _, k := range f.inOrder[from:] {
		if !strings.HasPrefix(k, prefix) {
			return
		}
		visit(k)
	}
}

// canonical gives the key of the patient that one of his identifiers names.
func (f *fold) canonical(kind Kind, k Key) (string, error) {
	key := k.String()
	data, err := f.get(recordKey(kind, key))
	if alias := aliasOf(data); alias != "" {
		key = alias
	}
	return key, err
}

// Merged says whether a patient, account or visit of this key is retired by a
// merge, or was moved, which can be undone.
func Merged(v View, kind Kind, retired Key) (bool, error) {
	f := (&Folder{}).fold(v, &Change{})
	key, err := f.canonical(kind, retired)
	if err != nil {
		return false, err
	}
	e, err := f.edgeOf(kind, key)
	if err == nil && (e == nil || e.To == "") && kind != Patient {
		e, err = f.ownerOf(kind, key)
	}
	return e != nil && e.To != "", err
}
