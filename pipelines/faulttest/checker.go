package faulttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The invariants.
const (
	NoLoss      = "I1 no acknowledged loss"
	NoInvention = "I2 no invention"
	OneEffect   = "I3 one effect"
	Order       = "I4 order"
	StateIsTrue = "I5 state"
	AnswerTruth = "I6 answers are true"
	Silence     = "I8 silence"
)

// A Violation is one thing that must not be.
type Violation struct{ Invariant, Text string }

func (v Violation) String() string { return v.Invariant + ": " + v.Text }

// A Delivery is one Kafka record as a consumer got it.
type Delivery struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       []byte
	EventID   string // header ce_id
	Value     []byte
}

// A Held is one message in quarantine.
type Held struct{ Control, Reason string }

// record is what the checker reads of a record: its own reading of the format.
type record struct {
	EventID string `json:"event_id"`
	Kind    string `json:"kind"`
	Key     struct {
		Type, Assigner, ID string
	} `json:"key"`
	Version uint64 `json:"version"`
	State   string `json:"state"`
	Source  struct {
		ControlID string `json:"control_id"`
	} `json:"source"`
	Subject struct {
		Survivor struct{ ID string } `json:"survivor"`
	} `json:"subject"`
	Resource json.RawMessage `json:"resource"`
}

// name is the record's key as text.
func (r *record) name() string {
	return strings.Join([]string{r.Kind, r.Key.Type, r.Key.Assigner, r.Key.ID}, "|")
}

// resource is what of the resources the model knows.
type resource struct {
	Name []struct {
		Family string `json:"family"`
	} `json:"name"`
	ServiceType struct {
		Coding []struct{ Code string } `json:"coding"`
	} `json:"serviceType"`
	Start      string                   `json:"start"`
	Identifier []struct{ Value string } `json:"identifier"`
	Price      struct {
		Value json.Number `json:"value"`
	} `json:"priceOverride"`
}

// observed gives what a record says in the model's terms, or "" for one of
// which the model says nothing.
func (r *record) observed() (name string, s State) {
	var x resource
	if json.Unmarshal(r.Resource, &x) != nil {
		return "", s
	}
	s = State{State: r.State, Patient: r.Subject.Survivor.ID}
	switch r.Kind {
	case "patient":
		if len(x.Name) > 0 && r.State != "merged" {
			s.Value = x.Name[0].Family
		}
		return "patient/" + r.Key.ID, s
	case "encounter":
		if len(x.ServiceType.Coding) > 0 {
			s.Value = x.ServiceType.Coding[0].Code
		}
		return "encounter/" + r.Key.ID, s
	case "appointment":
		s.Value = x.Start[:min(len(x.Start), len("2006-01-02T15:04"))]
		return "appointment/" + r.Key.ID, s
	case "charge":
		if len(x.Identifier) == 0 {
			return "", s
		}
		s.Value = x.Price.Value.String()
		whole, cents, ok := strings.Cut(s.Value, ".")
		if ok && len(cents) == 1 {
			s.Value = whole + "." + cents + "0"
		}
		kind := "charge/"
		if strings.HasPrefix(s.Value, "-") {
			kind = "credit/"
		}
		return kind + x.Identifier[0].Value, s
	}
	return "", s
}

// A check is one run of the checker.
type check struct {
	feed   *Feed
	ledger *Ledger
	out    []Violation
	counts Counts

	texts    map[string][]byte // by event id
	versions map[string]uint64 // by record: the last
	placed   map[string]string // by record: topic and partition
	effects  map[string]string // by message and record: the event
	by       map[string]bool   // control id and record, in the model's terms: it has an effect there
	last     map[string]*record
}

// Counts are how many of each there were.
type Counts struct{ Lost, Doubled, Disordered, Delivered, Again int }

// Check compares what the consumers got and what is in quarantine with what was
// sent and answered.
func Check(feed *Feed, ledger *Ledger, sink []Delivery, held []Held) ([]Violation, Counts) {
	c := &check{
		feed: feed, ledger: ledger, texts: map[string][]byte{}, versions: map[string]uint64{}, placed: map[string]string{},
		effects: map[string]string{}, by: map[string]bool{}, last: map[string]*record{},
	}
	for i := range sink {
		c.delivery(&sink[i])
	}
	c.acknowledged(held)
	c.state()
	for _, w := range ledger.wrong {
		c.fail(AnswerTruth, "%s", w)
	}
	return c.out, c.counts
}

func (c *check) fail(invariant, format string, args ...any) {
	c.out = append(c.out, Violation{Invariant: invariant, Text: fmt.Sprintf(format, args...)})
}

func (c *check) delivery(d *Delivery) {
	c.counts.Delivered++
	if text, ok := c.texts[d.EventID]; ok {
		c.counts.Again++
		if !bytes.Equal(text, d.Value) {
			c.counts.Doubled++
			c.fail(OneEffect, "event %s has two texts", d.EventID)
		}
		return
	}
	c.texts[d.EventID] = d.Value
	r := &record{}
	if err := json.Unmarshal(d.Value, r); err != nil {
		c.fail(NoInvention, "%s[%d] at %d is no record", d.Topic, d.Partition, d.Offset)
		return
	}
	if r.EventID != d.EventID {
		c.fail(OneEffect, "event %s is called %s in its header", r.EventID, d.EventID)
	}
	if bytes.Contains(d.Key, []byte(r.Key.ID)) {
		c.fail(Silence, "the key of event %s names its record", d.EventID)
	}
	name := r.name()
	if s := c.ledger.sent[r.Source.ControlID]; s == nil || s.Poison != "" {
		c.fail(NoInvention, "%s is from message %q, which nobody sent or which cannot be mapped", name, r.Source.ControlID)
	}
	if told, _ := r.observed(); told != "" {
		c.by[r.Source.ControlID+" "+told] = true
	}
	if other, ok := c.effects[r.Source.ControlID+" "+name]; ok {
		c.counts.Doubled++
		c.fail(OneEffect, "message %s made events %s and %s of %s", r.Source.ControlID, other, r.EventID, name)
	}
	c.effects[r.Source.ControlID+" "+name] = r.EventID
	if r.Version != c.versions[name]+1 {
		c.counts.Disordered++
		c.fail(Order, "%s has version %d behind %d", name, r.Version, c.versions[name])
	}
	c.versions[name] = r.Version
	place := fmt.Sprintf("%s[%d]", d.Topic, d.Partition)
	if was, ok := c.placed[name]; ok && was != place {
		c.fail(Order, "%s is on %s and on %s", name, was, place)
	}
	c.placed[name] = place
	c.last[name] = r
}

// acknowledged looks for what became of every message that was answered
// positively.
func (c *check) acknowledged(held []Held) {
	reasons := map[string][]string{}
	for _, h := range held {
		reasons[h.Control] = append(reasons[h.Control], h.Reason)
		if c.ledger.sent[h.Control] == nil {
			c.fail(NoInvention, "quarantine holds %q, which nobody sent", h.Control)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.ledger.sent)) {
		s, kept := c.ledger.sent[id], reasons[id]
		switch {
		case len(kept) > 1:
			c.counts.Doubled++
			c.fail(OneEffect, "message %s is in quarantine %d times", id, len(kept))
		case s.Poison == "" && len(kept) > 0:
			c.fail(StateIsTrue, "message %s is in quarantine as %s", id, kept[0])
		case s.Poison != "" && len(kept) > 0 && kept[0] != s.Poison:
			c.fail(StateIsTrue, "message %s is in quarantine as %s and not as %s", id, kept[0], s.Poison)
		case s.Code != "" && len(kept) == 0:
			if missing := c.missing(s.Message); len(missing) > 0 {
				c.counts.Lost++
				c.fail(NoLoss, "message %s was answered %s and is not in %s", id, s.Code, strings.Join(missing, ", "))
			}
		}
	}
}

// missing are the records that a message is about and that have no version from
// it: every message of a feed changes each of its records.
func (c *check) missing(m *Message) (out []string) {
	if m.Poison != "" {
		return []string{"quarantine"}
	}
	for _, name := range m.Records() {
		if !c.by[m.Control+" "+name] {
			out = append(out, name)
		}
	}
	return out
}

// state compares the newest version of each record with the model, where the
// whole feed was answered.
func (c *check) state() {
	for _, sent := range c.feed.Senders {
		for _, m := range sent {
			if s := c.ledger.sent[m.Control]; s == nil || s.Code == "" {
				return // what a message without an answer did is open
			}
		}
	}
	want := Reference(c.feed)
	have := map[string]State{}
	for _, r := range c.last {
		if name, s := r.observed(); name != "" {
			have[name] = s
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got, ok := have[name]; !ok {
			c.fail(StateIsTrue, "%s is missing", name)
		} else if got != want[name] {
			c.fail(StateIsTrue, "%s is %+v and should be %+v", name, got, want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[name]; !ok {
			c.fail(NoInvention, "%s is nobody's", name)
		}
	}
}
