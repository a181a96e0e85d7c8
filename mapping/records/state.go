package records

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// Keys under the View: r/ records, a/ other identifiers of a record, m/ merge
// edges, s/ the records of a patient, f/ resources by type and id.
func recordKey(kind Kind, key string) []byte { return []byte("r/" + string(kind) + "/" + key) }
func aliasKey(kind Kind, key string) []byte  { return []byte("a/" + string(kind) + "/" + key) }
func mergeKey(kind Kind, key string) []byte  { return []byte("m/" + string(kind) + "/" + key) }
func subjectKey(subject string) []byte       { return []byte("s/" + subject + "\x00") }
func resourceKey(ref string) []byte          { return []byte("f/" + ref) }

// A state is what is held of one record.
type state struct {
	kind     Kind
	key      Key
	version  uint64
	state    string
	previous string            // state before the last change of state
	subject  string            // the patient the record belongs to now
	born     string            // the patient it was born under: the Kafka key's input
	stamps   map[string]string // "sender\x1felement" → order of the message that set it
	resource *fhir.Node
	raw      []byte // FHIR intake: the resource's bytes, until a change touches it
	stored   []byte // what it was decoded from
}

// decodeState reads what encode wrote.
func decodeState(data []byte) (*state, error) {
	n, err := fhir.ParseJSON(data)
	if err != nil {
		return nil, fmt.Errorf("read record state: %w", err)
	}
	s := &state{
		kind: Kind(n.Str("kind")), key: Key{Type: n.Str("type"), Assigner: n.Str("assigner"), ID: n.Str("id")},
		state: n.Str("state"), previous: n.Str("previous"), subject: n.Str("subject"), born: n.Str("born"),
		stamps: map[string]string{}, resource: n.Get("resource"), stored: data,
	}
	s.version, err = strconv.ParseUint(n.Str("version"), 10, 64)
	if err != nil || s.kind == "" {
		return nil, fmt.Errorf("read record state: no version or kind")
	}
	if raw := n.Str("raw"); raw != "" {
		s.raw = []byte(raw)
	}
	for _, k := range n.Get("stamps").Items() {
		name, order, _ := strings.Cut(k.Text, "\x1e")
		s.stamps[name] = order
	}
	if s.resource != nil {
		s.resource.Name = ""
	}
	return s, nil
}

func (s *state) encode() []byte {
	dst := make([]byte, 0, 2048)
	field := func(name, value string) {
		if value != "" {
			dst = append(dst, '"')
			dst = append(dst, name...)
			dst = append(dst, '"', ':')
			dst = fhir.AppendQuoted(dst, value)
			dst = append(dst, ',')
		}
	}
	dst = append(dst, '{')
	field("kind", string(s.kind))
	field("type", s.key.Type)
	field("assigner", s.key.Assigner)
	field("id", s.key.ID)
	field("state", s.state)
	field("previous", s.previous)
	field("subject", s.subject)
	field("born", s.born)
	field("raw", string(s.raw))
	names := make([]string, 0, len(s.stamps))
	for name := range s.stamps {
		names = append(names, name)
	}
	sort.Strings(names)
	dst = append(dst, `"stamps":[`...)
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = fhir.AppendQuoted(dst, name+"\x1e"+s.stamps[name])
	}
	dst = append(dst, `],"version":`...)
	dst = strconv.AppendUint(dst, s.version, 10)
	if s.resource != nil {
		dst = append(dst, `,"resource":`...)
		dst = s.resource.AppendJSON(dst)
	}
	return append(dst, '}')
}

// newer says whether a sender's message of this order may set an element, and
// notes that it did.
func (s *state) newer(st Stamp, element string) bool {
	name := st.Sender + "\x1f" + element
	if have, ok := s.stamps[name]; ok && st.Order < have {
		return false
	}
	s.stamps[name] = st.Order
	return true
}

// late says whether a newer message of the same sender has been seen.
func (s *state) late(st Stamp) bool { return st.Order < s.stamps[st.Sender+"\x1f*"] }

func (s *state) seen(st Stamp) {
	if name := st.Sender + "\x1f*"; s.stamps[name] < st.Order {
		s.stamps[name] = st.Order
	}
}
