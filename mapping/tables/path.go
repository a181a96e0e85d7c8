package tables

import (
	"fmt"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A cstep is one compiled step of a path. What decides about most steps stands
// in it, the rest is shared by those that are alike: the tables have some ten
// thousand steps, and mapping walks through them.
type cstep struct {
	*stepKind
	name      string
	from      fhir.Origin // of the rule that makes the entries of its label
	label     int32
	order     uint16 // of the element in its type
	shared    bool
	repeats   bool // the last list step: it takes the source's repetition
	list      bool
	primitive bool
	chooses   bool // it is an alternative of a choice
}

// A stepKind is what steps to the same element share.
type stepKind struct {
	stepName
	choice   string   // value of value[x], or ""
	others   []string // its other alternatives
	codes    []string // of a required binding
	excludes string   // the element that this one cannot stand beside, or ""
}

// A stepName tells one stepKind from another.
type stepName struct {
	owner, element string
	typ            string // of the element, or the format that the rule asks for
	url            string // of an extension
	resource       string // that a reference leads to
	labelName      string // the label as ids have it, whatever tables are loaded
	by             ref    // the label is one for each value of this
}

// compilePath checks each step against the schema. entry is the type that a
// `with` clause starts from: of the last list entry that is no extension, else of the
// last object.
func (l *loader) compilePath(path []step, typ *fhir.Type, format string) (out []cstep, entry *fhir.Type, err error) {
	entry = typ
	foundEntry := false
	out = make([]cstep, 0, len(path))
	for i := range path {
		st, next, err := l.compileStep(path[i:], typ, format)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, st)
		switch opens := st.list && st.url == ""; {
		case st.typ == "Element" && st.name[0] == '_': // what extends a primitive
		case st.primitive:
			if !foundEntry {
				entry = typ
			}
		case opens || !foundEntry:
			entry = next
			if st.resource != "" {
				entry, _ = l.m.schema.Type("Reference")
			}
			foundEntry = foundEntry || opens
		}
		typ = next
	}
	for i := len(out) - 1; i >= 0; i-- {
		if out[i].list {
			out[i].repeats = true
			break
		}
	}
	return out, entry, nil
}

// compileStep checks the first of these steps, and gives the type that the next
// one is in.
func (l *loader) compileStep(path []step, typ *fhir.Type, format string) (cstep, *fhir.Type, error) {
	s, last := &path[0], len(path) == 1
	st := cstep{name: s.name, order: typ.Order(s.name)}
	by, err := labelledBy(s)
	if err != nil {
		return st, nil, err
	}
	kind := stepKind{stepName: stepName{owner: typ.Name, element: s.name, resource: s.resource, by: by}}
	e, ok := typ.Element(s.name)
	if !ok {
		if s.extension == "" && typ.Name != "Extension" {
			return st, nil, fmt.Errorf("%s has no element %s%s", typ.Name, s.name, meant(typ, s.name))
		}
		return st, nil, fmt.Errorf("%s takes no %s", typ.Name, s.name)
	}
	kind.typ, kind.codes, kind.excludes = e.Type, e.Codes, excluded(typ.Name, s.name)
	st.list, st.primitive = e.List, e.Primitive()
	if st.primitive && !last { // an extension of a primitive
		if path[1].extension == "" {
			return st, nil, fmt.Errorf("%s.%s is a %s and has no %s", typ.Name, s.name, e.Type, path[1].name)
		}
		st.name, st.primitive, kind.typ = "_"+s.name, false, "Element"
		st.order, st.stepKind = typ.Order(st.name), l.stepKind(&kind)
		next, _ := l.m.schema.Type("Period") // any type that carries extensions
		return st, next, nil
	}
	if st.primitive && format != "" {
		kind.typ = format
	}
	if err := l.extend(&kind, s, typ); err != nil {
		return st, nil, err
	}
	st.shared = strings.HasPrefix(s.label, "=")
	if s.label != "" || st.list && !last {
		kind.labelName = s.name + "(" + s.extension + ")[" + s.label + "]"
		st.label = l.label(kind.labelName)
	}
	if kind.choice = e.Choice; e.Choice != "" {
		for k := range typ.Elements {
			if o := &typ.Elements[k]; o.Choice == e.Choice && o.Name != e.Name {
				kind.others = append(kind.others, o.Name)
			}
		}
	}
	st.stepKind, st.chooses = l.stepKind(&kind), len(kind.others) > 0
	next := e.Type
	switch {
	case s.resource != "" && e.Type != "Reference":
		return st, nil, fmt.Errorf("%s.%s is a %s, not a Reference", typ.Name, s.name, e.Type)
	case s.resource != "":
		next = s.resource
	case st.primitive:
		return st, typ, nil
	}
	following, ok := l.m.schema.Type(next)
	if !ok {
		return st, nil, fmt.Errorf("%s is no FHIR type", next)
	}
	return st, following, nil
}

// extend finds the URL of a step that is an extension.
func (l *loader) extend(kind *stepKind, s *step, typ *fhir.Type) (err error) {
	if s.extension == "" {
		return nil
	}
	if kind.url, err = l.extension(s.extension); err != nil {
		return err
	}
	if part := !strings.Contains(kind.url, ":"); part && typ.Name != "Extension" {
		return fmt.Errorf("extension %s is a part of others: its URL is relative", s.extension)
	}
	return nil
}

// stepKind gives the one of its name.
func (l *loader) stepKind(k *stepKind) *stepKind {
	have := l.kinds[k.stepName]
	if have == nil {
		have = k
		l.kinds[k.stepName] = k
	}
	return have
}

// meant names the element that differs in the letters' case, or a choice's
// alternatives.
func meant(typ *fhir.Type, name string) string {
	var choices []string
	for i := range typ.Elements {
		e := &typ.Elements[i]
		if strings.EqualFold(e.Name, name) {
			return "; it has " + e.Name + ", a " + e.Type
		}
		if e.Choice == name && len(choices) < 12 {
			choices = append(choices, e.Name)
		}
	}
	if len(choices) > 0 {
		return "; it has " + strings.Join(choices, ", ")
	}
	return ""
}

func (l *loader) extension(name string) (string, error) {
	if strings.Contains(name, ":") {
		return name, nil
	}
	url, ok := l.m.extensions[name]
	if !ok {
		return "", fmt.Errorf("no extension %q in extensions.yaml", name)
	}
	return url, nil
}

// labelledBy reads the reference of a label such as =vis:OBX-4.
func labelledBy(s *step) (ref, error) {
	label, by, ok := strings.Cut(s.label, ":")
	if !ok || s.label == s.extension {
		return ref{}, nil
	}
	r, err := parseRef(by, "")
	if err != nil || r.segment == "" || len(label) < 2 || label[0] != '=' {
		return ref{}, fmt.Errorf("[%s]: a label for each value of a field is written as [=name:OBX-4]", s.label)
	}
	return r, nil
}

func (l *loader) label(name string) int32 {
	if name == "" {
		return 0
	}
	n, ok := l.m.labels[name]
	if !ok {
		n = int32(len(l.m.labels)) + 1
		l.m.labels[name] = n
	}
	return n
}
