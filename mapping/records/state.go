package records

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// Keys under the View: r/ records, and other identifiers of a record, m/ merge
// edges by the retired key, n/ the same by the survivor's, l/ links between
// patients, s/ the records of a patient as messages name him, x/ the records that
// refer to an account or a visit, o/ the patients that those were moved to, j/
// whether any were merged or moved, w/ edges that wait for a resource, f/
// resources by type and id, hf/ who said last what they are, t/ each sender's
// newest message, g/ the appointments of a series, e/ its discontinuations, c/
// charges by what a reversal may know of them, b/ the times that bookings and
// blocked slots take of a resource, v/ the appointments of a visit, a/ what
// registrations implied of them, as/ the senders that tell of appointments, i/
// resources by identifier, k/ the numbers of a record that has several, d/ the
// records that share a number, dh/ whether some of them inherited it, q/ what shows
// an observation, u/ what waits for its patient.
func recordKey(kind Kind, key string) []byte { return []byte("r/" + string(kind) + "/" + key) }
func mergeKey(kind Kind, key string) []byte  { return []byte("m/" + string(kind) + "/" + key) }
func subjectKey(subject string) []byte       { return []byte("s/" + subject + "\x00") }
func incomingKey(kind Kind, key string) []byte {
	return []byte("n/" + string(kind) + "/" + key + "\x00")
}

func linkKey(kind Kind, key string) []byte  { return []byte("l/" + string(kind) + "/" + key + "\x00") }
func referrerKey(ref string) []byte         { return []byte("x/" + ref + "\x00") }
func awaitedKey(ref string) []byte          { return []byte("w/" + ref + "\x00") }
func ownerKey(kind Kind, key string) []byte { return []byte("o/" + string(kind) + "/" + key) }
func seriesKey(series string) []byte        { return []byte("g/" + series + "\x00") }
func chargeKey(print string) []byte         { return []byte("c/" + print) }
func resourceKey(ref string) []byte         { return []byte("f/" + ref) }

// aliasTo is what stands under another identifier of a record: its key.
func aliasTo(key string) []byte { return append([]byte{0}, key...) }

// aliasOf reads what aliasTo wrote; "" where the record itself stands.
func aliasOf(data []byte) string {
	if len(data) == 0 || data[0] != 0 {
		return ""
	}
	return string(data[1:])
}

// A state is what is held of one record.
type state struct {
	kind     Kind
	key      Key
	version  uint64
	journal  uint64 // position of the message that made the version
	state    string
	by       string // the sender whose messages decided the state
	owner    string // the patient that messages name, merged or not
	subject  string // the patient the record belongs to now: the owner's survivor
	born     string // the patient it was born under: the Kafka key's input
	ties     *ties  // nil: none
	stamps   []sender
	once     []once    // of a visit: what its messages said of what cancels bring back
	marks    []mark    // of what it carries that is no record, by reference
	findings *findings // of a report: who told which part of its list
	resource *fhir.Node
	apart    *state // what only its own messages said, where a merge shows more; nil: the same
	raw      []byte // FHIR intake: the resource's bytes, until a change touches it
	stored   []byte // what it was decoded from
}

// A sender is what one sender's messages have set: for each element the order
// of the message that did.
type sender struct {
	name, last string // last: the newest message seen
	at         []stamp
}

type stamp struct{ element, order string }

// decodeState reads what encode wrote.
func decodeState(data []byte) (*state, error) {
	n, err := fhir.ParseJSON(data)
	if err != nil {
		return nil, fmt.Errorf("read record state: %w", err)
	}
	s := &state{
		kind: Kind(n.Str("kind")), key: Key{Type: n.Str("type"), Assigner: n.Str("assigner"), ID: n.Str("id")},
		state: n.Str("state"), by: n.Str("by"), owner: n.Str("owner"), subject: n.Str("subject"), born: n.Str("born"),
		resource: n.Get("resource"), stored: data,
	}
	s.version, err = strconv.ParseUint(n.Str("version"), 10, 64)
	if err != nil || s.kind == "" {
		return nil, fmt.Errorf("read record state: no version or kind")
	}
	if s.journal, err = strconv.ParseUint(n.Str("journal"), 10, 64); err != nil {
		return nil, fmt.Errorf("read record state: no position")
	}
	if s.owner == "" {
		s.owner = s.subject
	}
	if text := n.Str("ties"); text != "" {
		s.ties = &ties{}
		if err := json.Unmarshal([]byte(text), s.ties); err != nil {
			return nil, fmt.Errorf("read record state: %w", err)
		}
	}
	s.once = decodeOnce(n.Str("once"))
	if text := n.Str("apart"); text != "" {
		if s.apart, err = decodeState([]byte(text)); err != nil {
			return nil, err
		}
	}
	if s.findings, err = readFindings(n.Str("findings")); err != nil {
		return nil, fmt.Errorf("read record state: %w", err)
	}
	if s.marks, err = decodeMarks(n.Str("marks")); err != nil {
		return nil, fmt.Errorf("read record state: %w", err)
	}
	if raw := n.Str("raw"); raw != "" {
		s.raw = []byte(raw)
	}
	for _, list := range n.Get("stamps").Items() {
		if len(list.Kids) < 2 {
			return nil, fmt.Errorf("read record state: a stamp without sender")
		}
		from := sender{name: list.Kids[0].Text, last: list.Kids[1].Text}
		for _, k := range list.Kids[2:] {
			order, elements, _ := strings.Cut(k.Text, "\t")
			for more := true; more; {
				var element string
				element, elements, more = strings.Cut(elements, "\t")
				from.at = append(from.at, stamp{element: element, order: order})
			}
		}
		s.stamps = append(s.stamps, from)
	}
	if s.resource != nil {
		s.resource.Name = ""
		trace(s.resource, n.Str("origins"))
	}
	return s, nil
}

// encode appends the state; text is its resource's JSON, shown whether that is
// what consumers see.
func (s *state) encode(dst, text []byte, shown bool) []byte {
	field := func(name, value string) {
		if value != "" {
			dst = append(dst, '"')
			dst = append(dst, name...)
			dst = append(dst, '"', ':')
			dst = fhir.AppendQuoted(dst, value)
			dst = append(dst, ',')
		}
	}
	if shown {
		dst = append(dst, asStored...)
	} else {
		dst = append(dst, '{')
	}
	field("kind", string(s.kind))
	field("type", s.key.Type)
	field("assigner", s.key.Assigner)
	field("id", s.key.ID)
	field("state", s.state)
	field("by", s.by)
	if s.owner != s.subject {
		field("owner", s.owner)
	}
	field("subject", s.subject)
	field("born", s.born)
	field("raw", string(s.raw))
	field("ties", s.ties.text())
	field("once", encodeOnce(s.once))
	field("findings", s.findings.text())
	if s.apart != nil {
		field("apart", string(s.apart.encode(nil, s.apart.resource.JSON(), false)))
	}
	dst = append(dst, `"marks":"`...)
	dst = append(appendMarks(dst, s.marks), '"', ',')
	dst = append(dst, `"origins":"`...)
	dst = append(appendOrigins(dst, s.resource), '"', ',') // which need no escapes
	slices.SortFunc(s.stamps, func(a, b sender) int { return strings.Compare(a.name, b.name) })
	dst = append(dst, `"stamps":[`...)
	for i := range s.stamps {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.stamps[i].encode(dst)
	}
	dst = append(dst, `],"version":`...)
	dst = strconv.AppendUint(dst, s.version, 10)
	dst = append(dst, `,"journal":`...)
	dst = strconv.AppendUint(dst, s.journal, 10)
	if s.resource != nil {
		dst = append(dst, `,"resource":`...)
		dst = append(dst, text...)
	}
	return append(dst, '}')
}

// shownText is the resource's JSON in what encode wrote, where consumers see it
// as it stands there; nil where they do not.
func shownText(data []byte) []byte {
	if !bytes.HasPrefix(data, []byte(asStored)) {
		return nil
	}
	_, text, ok := bytes.Cut(data, []byte(`,"resource":`)) // in a text the quotes are escaped
	if !ok {
		return nil
	}
	return text[:len(text)-1]
}

// asStored is what a state begins with whose resource is shown as it is stored.
const asStored = `{"shown":"stored",`

// encodeOnce writes a line for each value, and the values behind them, each once.
func encodeOnce(list []once) string {
	if len(list) == 0 {
		return ""
	}
	var lines []byte
	var values []string
	for i := range list {
		o := &list[i]
		n := slices.Index(values, o.value)
		if n < 0 {
			n, values = len(values), append(values, o.value)
		}
		for _, part := range [...]string{o.element, o.sender, o.order, o.trigger, strings.Join(o.cancels, ",")} {
			if strings.ContainsAny(part, "\t\n") {
				part = strings.NewReplacer("\t", " ", "\n", " ").Replace(part)
			}
			lines = append(append(lines, part...), '\t')
		}
		lines = append(strconv.AppendInt(lines, int64(n), 10), '\n')
	}
	return string(lines) + "\n" + strings.Join(values, "\n")
}

func decodeOnce(text string) []once {
	lines, values, ok := strings.Cut(text, "\n\n")
	if !ok {
		return nil
	}
	value := strings.Split(values, "\n")
	var out []once
	for line := range strings.SplitSeq(lines, "\n") {
		part := strings.Split(line, "\t")
		if len(part) != 6 {
			continue
		}
		o := once{element: part[0], sender: part[1], order: part[2], trigger: part[3]}
		if part[4] != "" {
			o.cancels = strings.Split(part[4], ",")
		}
		if n, err := strconv.Atoi(part[5]); err == nil && n < len(value) {
			o.value = value[n]
		}
		out = append(out, o)
	}
	return out
}

// encode writes ["sender","newest","order\telement\telement…",…].
func (s *sender) encode(dst []byte) []byte {
	slices.SortFunc(s.at, func(a, b stamp) int {
		return cmp.Or(strings.Compare(a.order, b.order), strings.Compare(a.element, b.element))
	})
	dst = append(dst, '[')
	dst = fhir.AppendQuoted(dst, s.name)
	dst = append(dst, ',')
	dst = fhir.AppendQuoted(dst, s.last)
	for i, at := range s.at {
		if i == 0 || at.order != s.at[i-1].order {
			if i > 0 {
				dst = append(dst, '"')
			}
			dst = appendUnquoted(append(dst, ',', '"'), at.order)
		}
		dst = appendUnquoted(append(dst, '\\', 't'), strings.ReplaceAll(at.element, "\t", " "))
	}
	if len(s.at) > 0 {
		dst = append(dst, '"')
	}
	return append(dst, ']')
}

// appendUnquoted appends a part of a JSON string.
func appendUnquoted(dst []byte, text string) []byte {
	at := len(dst)
	dst = fhir.AppendQuoted(dst, text)
	copy(dst[at:], dst[at+1:])
	return dst[:len(dst)-2]
}

// sender gives the stamps of a sender, made when they are not there.
func (s *state) sender(name string) *sender {
	if from := s.heard(name); from != nil {
		return from
	}
	s.stamps = append(s.stamps, sender{name: name})
	return &s.stamps[len(s.stamps)-1]
}

// newer says whether a sender's message of this order may set an element, and
// notes that it did.
func (s *state) newer(st Stamp, element string) bool {
	if !s.may(st, element) {
		return false
	}
	s.note(st, element)
	return true
}

// may says whether nothing newer of the same sender has set an element, or a
// part of the resource that it lies in.
func (s *state) may(st Stamp, element string) bool {
	from := s.heard(st.Sender)
	if from == nil {
		return true
	}
	for i := range from.at {
		if at := &from.at[i]; st.Order < at.order && (at.element == element || covers(at.element, element)) {
			return false
		}
	}
	return true
}

// heard gives the stamps of a sender, nil where it has said nothing.
func (s *state) heard(name string) *sender {
	for i := range s.stamps {
		if s.stamps[i].name == name {
			return &s.stamps[i]
		}
	}
	return nil
}

// wholeResource is the element that a snapshot sets.
const wholeResource = "*"

func covers(whole, part string) bool {
	if whole == wholeResource {
		return part[0] != '@'
	}
	if part[0] == '_' { // what extends a primitive goes with it
		return part[1:] == whole
	}
	return len(part) > len(whole) && (part[len(whole)] == '.' || part[len(whole)] == ':') && part[:len(whole)] == whole
}

func (s *state) note(st Stamp, element string) {
	from := s.sender(st.Sender)
	for i := range from.at {
		if at := &from.at[i]; at.element == element {
			at.order = st.Order
			return
		}
	}
	from.at = append(from.at, stamp{element: element, order: st.Order})
}

// late says whether a newer message of the same sender has been seen.
func (s *state) late(st Stamp) bool {
	from := s.heard(st.Sender)
	return from != nil && st.Order < from.last
}

func (s *state) seen(st Stamp) {
	if from := s.sender(st.Sender); from.last < st.Order {
		from.last = st.Order
	}
}
