package tables

import (
	"fmt"
	"slices"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
)

// change says what the message means for records.
func (r *run) change(st *structure, groups []*instance) *records.Change {
	h := r.header
	c := &records.Change{
		Origin: records.Origin{
			Source: r.ctx.Source, Application: h.SendingApplication, Facility: h.SendingFacility, ControlID: h.ControlID, Sequence: h.Sequence,
			Message: h.Type(), SHA256: r.ctx.SHA256, Journal: r.ctx.Journal,
		},
		Received: r.ctx.Received, Pipeline: r.ctx.Source, Version: "1",
	}
	c.Occurred, c.ZoneSource = r.occurred()
	c.Stamp = records.Stamp{Sender: r.ctx.Source + "|" + h.SendingApplication + "|" + h.SendingFacility, Order: r.order()}
	rows := st.triggers[h.Type()]
	c.Items, c.Related = r.items[:0], r.related[:0]
	f := r.frame()
	defer r.free(f)
	for _, e := range r.entries {
		if !e.record {
			c.Related = append(c.Related, e.node)
			continue
		}
		kind := records.KindOf(e.typ)
		it := records.Item{Kind: kind, Key: e.key, Alternate: e.keys, Action: records.Upsert, Trigger: h.Event, Resource: e.node, Deletes: e.cleared(), Defaulted: e.filled}
		for _, row := range rows {
			if row.kind != kind {
				continue
			}
			if *f = (frame{run: r, segment: e.segment, group: e.group}); row.cond == nil || row.cond(f) {
				it.State, it.Event, it.Cancels, it.Request = row.state, row.event, row.cancels, row.request
				it.Otherwise = row.otherwise
				if row.unsaid && !slices.Contains(e.filled, "status") {
					it.State, it.Otherwise = "", false
				}
				if it.Action = records.Upsert; row.action != "" {
					it.Action = row.action
				}
			}
		}
		c.Items = append(c.Items, it)
		if kind == records.Patient && c.Subject == nil {
			c.Subject = &records.Subject{Key: e.key, IDs: e.node.Get("identifier").Items()}
		}
	}
	r.imply(c, rows, groups)
	r.place(c)
	r.edges(c, st, groups)
	r.items, r.related = c.Items, c.Related
	for _, w := range r.report.Warnings {
		c.Warnings = append(c.Warnings, w.Code+" "+w.Place)
	}
	for _, d := range r.report.Defaulted {
		c.Defaulted = append(c.Defaulted, d.Code+" "+d.Place)
	}
	for _, u := range r.report.Unmapped {
		c.Unmapped = append(c.Unmapped, u.Place)
	}
	return c
}

// imply says what the trigger asks of appointments that the message has none of.
func (r *run) imply(c *records.Change, rows []triggerRow, groups []*instance) {
	for _, it := range c.Items {
		if it.Kind == records.Appointment {
			return
		}
	}
	for _, row := range rows {
		if row.kind == records.Appointment && (row.cond == nil || row.cond(&frame{run: r, segment: r.msg.Segment(0), group: groups[0]})) {
			if c.Implied = nil; row.state != "" {
				c.Implied = []records.Implied{{Kind: row.kind, State: row.state, Event: row.event}}
			}
		}
	}
}

// edges reads merges and links, one for each segment that the retired key
// stands in.
func (r *run) edges(c *records.Change, st *structure, groups []*instance) {
	for i := range st.edges {
		e := &st.edges[i]
		first := records.Key{}
		for k := range r.msg.Len() {
			s := r.msg.Segment(k)
			if !s.Is(e.retired.ref.segment) {
				continue
			}
			f := frame{run: r, segment: s, group: groups[k]}
			if e.cond != nil && !e.cond(&f) {
				continue
			}
			retired, survivor := e.retired.eval(&f), first
			if !e.between {
				survivor = e.survivor.eval(&f)
			} else if first.Zero() {
				first = retired
			}
			if retired.Zero() || survivor.Zero() || retired.String() == survivor.String() {
				continue
			}
			c.Edges = append(c.Edges, records.Edge{Op: e.op, Kind: e.kind, Survivor: survivor, Retired: retired})
		}
	}
}

// occurred is when the event happened: EVN-6, EVN-2, else MSH-7.
func (r *run) occurred() (at, zone string) {
	for _, place := range [...]struct {
		segment string
		field   int
	}{{"EVN", 6}, {"EVN", 2}, {"MSH", 7}} {
		s, ok := r.msg.Find(place.segment, 0)
		if !ok {
			continue
		}
		v := s.Field(place.field).Component(1)
		if !v.Valued() {
			continue
		}
		t, err := hl7v2.ParseTime(r.text(v), r.ctx.Location)
		if err == nil {
			return t.DateTime(), t.Zone.String()
		}
	}
	return r.ctx.Received.UTC().Format(time.RFC3339), "none"
}

// Tree gives the result's resources as one Bundle tree, for checks.
func (r *Result) Tree() (*fhir.Node, error) {
	n, err := fhir.ParseJSON(r.AppendBundle(nil))
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	return n, nil
}
