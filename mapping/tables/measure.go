package tables

import (
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// Origins says where the leaves of a Bundle come from: each counts once, in the
// first of these that fits.
type Origins struct {
	Leaves   int      // of all resources: texts, numbers, booleans
	Source   int      // a value of the message, as it was sent
	Table    int      // a constant or the row of a code table
	Computed int      // made of values of the message by a rule: a time, a URI, an id, a reference
	Unknown  []string // the paths of leaves that no rule and no table explains
}

// A trace notes what a traced mapping reads and what its rules make of it.
type trace struct {
	source, made map[string]bool
}

func (t *trace) read(text string) {
	if t != nil {
		t.source[text] = true
	}
}

func (t *trace) make(text string) {
	if t != nil {
		t.made[text] = true
	}
}

// Origins maps a message once more, with nothing remembered of others, and
// explains each leaf of what comes out. It is slow: for reports and tests.
func (m *Mapper) Origins(msg *hl7v2.Message, ctx Context) (Origins, error) {
	t := &trace{source: map[string]bool{}, made: map[string]bool{}}
	result, err := m.mapTraced(msg, ctx, t)
	if err != nil {
		return Origins{}, err
	}
	defer m.Release(result)
	m.constantsOnce.Do(func() { m.constants = m.allConstants() })
	for _, e := range result.Entries {
		t.made[e.ID], t.made[e.Type+"/"+e.ID] = true, true
	}
	for _, u := range result.Report.Unmapped {
		t.made[u.Place] = true
	}
	var out Origins
	for _, e := range result.Entries {
		out.explain(m, t, e.Type, e.Resource)
	}
	return out, nil
}

func (o *Origins) explain(m *Mapper, t *trace, path string, n *fhir.Node) {
	if n.Kind == fhir.Object || n.Kind == fhir.Array {
		for _, k := range n.Kids {
			to := path
			if k.Name != "" {
				to += "." + k.Name
			}
			o.explain(m, t, to, k)
		}
		return
	}
	if n.Name == "resourceType" || n.Kind == fhir.Null {
		return
	}
	o.Leaves++
	switch {
	case t.source[n.Text]:
		o.Source++
	case m.constants[n.Text]:
		o.Table++
	case t.made[n.Text]:
		o.Computed++
	default:
		o.Unknown = append(o.Unknown, path)
	}
}

// allConstants gathers every text that the tables can write of themselves.
func (m *Mapper) allConstants() map[string]bool {
	out := map[string]bool{FieldExtension: true, "place": true, "value": true}
	for _, s := range m.sections {
		for i := range s.rules {
			constantsOf(&s.rules[i], out)
		}
	}
	for _, table := range m.codes {
		rows := make([]coding, 0, len(table.rows)+1)
		for _, row := range table.rows {
			rows = append(rows, row)
		}
		if table.rest != nil {
			rows = append(rows, *table.rest)
		}
		for _, c := range append(rows, coding{system: table.from}, coding{system: table.to}) {
			for _, text := range [...]string{c.system, c.code, c.display} {
				out[text] = true
			}
		}
	}
	for _, uri := range m.systems {
		out[uri] = true
	}
	return out
}

func constantsOf(c *crule, out map[string]bool) {
	for i := range c.source.terms {
		if t := &c.source.terms[i]; t.kind == termText || t.kind == termCoding {
			out[t.text], out[t.display] = true, true
		}
	}
	if c.constantNode != nil {
		gather(c.constantNode, out)
	}
	for i := range c.steps {
		out[c.steps[i].url] = true
	}
	for i := range c.with {
		constantsOf(&c.with[i], out)
	}
}

func gather(n *fhir.Node, out map[string]bool) {
	if n.Kind != fhir.Object && n.Kind != fhir.Array {
		out[n.Text] = true
	}
	for _, k := range n.Kids {
		gather(k, out)
	}
}

// Unresolved lists the references in a result that mean none of its resources,
// and no other place: an absolute URL, an identifier alone.
func (r *Result) Unresolved() []string {
	here := map[string]bool{}
	for _, e := range r.Entries {
		here[e.Type+"/"+e.ID] = true
	}
	var out []string
	for _, e := range r.Entries {
		for _, ref := range e.Resource.AppendReferences(nil) {
			if !here[ref] && !strings.Contains(ref, ":") {
				out = append(out, ref)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
