package records_test

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/records/recordstest"
)

// A said is what one message says of a record, in plain words.
type said struct {
	values   map[string]string // by element group
	fields   map[string]string // of an identifier: the field that it stands in
	deletes  []string
	snapshot bool
	state    string // by its trigger
	status   string // by the resource; "" none
}

// A plain is the reference: what messages in their right order amount to.
type plain struct {
	values        map[string]string
	fields        map[string]string
	state, status string
	told          bool // a message told the state
}

func (p *plain) take(kind records.Kind, m said) {
	if m.snapshot {
		p.values, p.fields = map[string]string{}, map[string]string{}
	}
	for name, value := range m.values {
		p.values[name], p.fields[name] = value, m.fields[name]
	}
	for _, name := range m.deletes {
		for have := range p.values {
			list, field, _ := strings.Cut(name, ":")
			if have == name || strings.HasPrefix(have, name+":") || strings.HasPrefix(have, list+":") && p.fields[have] == field && field != "" {
				delete(p.values, have)
			}
		}
	}
	silent := m.state == "" && !m.snapshot && (kind == records.Encounter || kind == records.Patient || kind == records.Account)
	asked := m.state
	if asked == "" {
		if asked = m.status; kind == records.Patient || told(kind) {
			asked = "active"
		}
	}
	if m.status != "" && (!silent || !p.told) {
		p.status = m.status
	}
	switch {
	case asked == "" || silent && p.told:
	case asked == "noshow" && (p.state == "arrived" || p.state == "fulfilled"):
		p.told = true
	default:
		p.state = asked
		p.told = p.told || !silent
	}
}

func (m said) item(kind records.Kind) records.Item {
	typ := records.Kinds()[kind]
	k := records.Key{Type: "X", Assigner: "urn:oid:1.2.9", ID: "R1"}
	if kind == records.Patient {
		k = patientKey(1)
	}
	n := fhir.NewResource(typ).SetString("id", fhir.ID(typ, k.Assigner, k.ID))
	names := make([]string, 0, len(m.values))
	for name := range m.values {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		value := m.values[name]
		list, part, parted := strings.Cut(name, ":")
		outer, inner, nested := strings.Cut(name, ".")
		switch {
		case list == "participant" && parted:
			who := "Practitioner/" + value
			if part == "patient" {
				who = "Patient/" + value
			}
			n.Append(list, fhir.NewObject().Set("actor", fhir.NewObject().SetString("reference", who)))
		case parted:
			entry := fhir.NewObject().SetString("use", value).SetString("system", "urn:x").SetString("value", part)
			entry.From = fhir.ParseOrigin(m.fields[name])
			if list != "identifier" {
				entry.From = fhir.ParseOrigin(part)
			}
			n.Append(list, entry)
		case nested:
			if n.Get(outer) == nil {
				n.Set(outer, fhir.NewObject())
			}
			n.Get(outer).SetString(inner, value)
		default:
			n.SetString(name, value)
		}
	}
	n.SetString("status", m.status)
	it := records.Item{Kind: kind, Key: k, Resource: n, State: m.state, Deletes: m.deletes, Action: records.Upsert}
	if m.snapshot {
		it.Action = records.Snapshot
	}
	return it
}

// told says of which kinds the state is not the element status.
func told(kind records.Kind) bool {
	return kind == records.Practitioner || kind == records.Problem || kind == records.Goal
}

func draw(t *rapid.T, kind records.Kind, i int) said {
	m := said{values: map[string]string{}, fields: map[string]string{}}
	names := []string{"one", "two", "period.start", "period.end", "identifier:i1", "identifier:i2", "meta.versionTag", "telecom:PID-13", "telecom:PID-14"}
	if kind == records.Appointment {
		names = append(names, "participant:patient", "participant:others")
	}
	for _, name := range names {
		switch rapid.IntRange(0, 3).Draw(t, name) {
		case 0, 1:
			m.values[name] = fmt.Sprintf("v%d", i)
			if strings.HasPrefix(name, "identifier") {
				m.fields[name] = rapid.SampledFrom([]string{"PID-3", "PID-4"}).Draw(t, "field")
			}
		case 2:
			if strings.HasPrefix(name, "telecom") {
				m.deletes = append(m.deletes, name)
			} else if name, _, _ := strings.Cut(name, ":"); !strings.HasPrefix(name, "meta") && rapid.Bool().Draw(t, "delete") {
				m.deletes = append(m.deletes, name)
			}
		}
	}
	for _, field := range []string{"PID-3", "PID-4"} {
		if rapid.IntRange(0, 3).Draw(t, field) == 0 {
			m.deletes = append(m.deletes, "identifier:"+field)
		}
	}
	for _, name := range m.deletes { // a message does not both give and delete
		for have := range m.values {
			if _, field, _ := strings.Cut(name, ":"); have == name || strings.HasPrefix(have, name+":") || m.fields[have] == field && field != "" {
				delete(m.values, have)
			}
		}
	}
	m.snapshot = rapid.IntRange(0, 5).Draw(t, "snapshot") == 0
	states := map[records.Kind][]string{
		records.Appointment: {"booked", "cancelled", "arrived", "noshow", "fulfilled", ""},
		records.Encounter:   {"planned", "arrived", "in-progress", "finished", "cancelled", "", ""},
		records.Account:     {"active", "inactive", "", ""},
	}[kind]
	if states != nil {
		m.state = rapid.SampledFrom(states).Draw(t, "state")
	}
	if kind != records.Patient && !told(kind) {
		m.status = rapid.SampledFrom([]string{"draft", "active", "final"}).Draw(t, "status")
		if kind == records.Appointment { // by SCH-25
			m.status = rapid.SampledFrom([]string{"booked", "noshow", "arrived"}).Draw(t, "status")
			if m.state != "" {
				m.status = m.state
			}
		}
	}
	return m
}

// flat reads a resource back into plain words.
func flat(resource map[string]any) map[string]string {
	out := map[string]string{}
	for name, v := range resource {
		switch v := v.(type) {
		case string:
			if name != "resourceType" && name != "id" && name != "status" {
				out[name] = v
			}
		case map[string]any:
			for sub, text := range v {
				out[name+"."+sub] = fmt.Sprint(text)
			}
		case []any:
			for _, item := range v {
				entry := item.(map[string]any)
				if actor, ok := entry["actor"].(map[string]any); ok {
					typ, id, _ := strings.Cut(actor["reference"].(string), "/")
					part := "others"
					if typ == "Patient" {
						part = "patient"
					}
					out[name+":"+part] = id
					continue
				}
				out[name+":"+fmt.Sprint(entry["value"])] = fmt.Sprint(entry["use"])
			}
		}
	}
	return out
}

// One sender's messages end in one resource and one state, in whatever order
// they come: every kind, deletes and snapshots among them, against a plain
// reference that takes them in their right order.
func TestOrderDoesNotCount(t *testing.T) {
	kinds := make([]string, 0, len(records.Kinds()))
	for k := range records.Kinds() {
		kinds = append(kinds, string(k))
	}
	sort.Strings(kinds)
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		kind := records.Kind(rapid.SampledFrom(kinds).Draw(t, "kind"))
		want := plain{values: map[string]string{}, fields: map[string]string{}}
		var changes []*records.Change
		for i := range rapid.IntRange(1, 6).Draw(t, "messages") {
			m := draw(t, kind, i)
			want.take(kind, m)
			changes = append(changes, change(i+1, "a", i+1, 1, m.item(kind)))
		}
		w := newWorldWith(t, check)
		for _, c := range rapid.Permutation(changes).Draw(t, "order") {
			w.fold(c)
		}
		w.holds()
		r := w.last(kind)
		require.Equal(t, want.state, r.State)
		got := map[string]any{}
		require.NoError(t, json.Unmarshal(r.Resource, &got))
		require.Equal(t, want.values, flat(got))
		if told(kind) {
			return
		}
		switch kind {
		case records.Patient:
		case records.Appointment, records.Encounter, records.Account: // the state decides
			require.Equal(t, want.state, got["status"])
		default:
			require.Equal(t, want.status, got["status"])
		}
	})
}

// Two senders: what only one speaks of ends as its messages have it, whatever
// the other sends; what both speak of is as the last message that was not late
// in its own stream has it.
func TestTwoSenders(t *testing.T) {
	check := recordstest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		type sent struct {
			sender string
			order  int
			own    string
			both   string
		}
		n := rapid.IntRange(2, 8).Draw(t, "messages")
		streams := map[string][]sent{}
		var senders []string
		for i := range n {
			sender := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "sender")
			senders = append(senders, sender)
			m := sent{sender: sender, order: len(streams[sender]) + 1, own: fmt.Sprint("own ", i)}
			if rapid.Bool().Draw(t, "both") {
				m.both = fmt.Sprint("both ", i)
			}
			streams[sender] = append(streams[sender], m)
		}
		want := map[string]string{}
		for sender, list := range streams {
			want["own"+sender] = list[len(list)-1].own
			streams[sender] = rapid.Permutation(list).Draw(t, "order of "+sender)
		}
		newest := map[string]int{}
		w := newWorldWith(t, check)
		for i, sender := range senders {
			m := streams[sender][0]
			streams[sender] = streams[sender][1:]
			values := map[string]string{"own" + sender: m.own}
			if m.both != "" {
				values["both"] = m.both
				if m.order >= newest[sender] {
					want["both"], newest[sender] = m.both, m.order
				}
			}
			w.fold(change(i+1, sender, m.order, 1, said{values: values}.item(records.Order)))
		}
		w.holds()
		got := map[string]any{}
		require.NoError(t, json.Unmarshal(w.last(records.Order).Resource, &got))
		require.Equal(t, want, flat(got))
	})
}
