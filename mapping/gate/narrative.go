package gate

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// narrative checks a Narrative's div (txt-1, txt-2; R4 §2.4.0): XHTML with
// formatting only, and something to read in it.
func (c *checker) narrative(n *fhir.Node) {
	if n.Kind != fhir.String {
		c.fail("type", "a JSON string belongs here")
		return
	}
	d := xml.NewDecoder(strings.NewReader(n.Text))
	d.Entity = xml.HTMLEntity
	depth, content := 0, false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			c.fail("txt-1", "not well-formed XHTML")
			return
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth == 0 && t.Name.Local != "div" || !allowedTag(t.Name.Local) {
				c.fail("txt-1", "a div with formatting elements only belongs here")
				return
			}
			if !allowedAttributes(t) {
				c.fail("txt-1", "an attribute that a narrative may not have")
				return
			}
			depth++
			content = content || t.Name.Local == "img"
		case xml.EndElement:
			depth--
		case xml.CharData:
			content = content || strings.TrimSpace(string(t)) != ""
		case xml.Directive:
			c.fail("txt-1", "a narrative has no document type")
			return
		}
	}
	if !content {
		c.fail("txt-2", "a narrative without anything to read")
	}
}

func allowedTag(name string) bool {
	switch name {
	case "a", "abbr", "acronym", "address", "b", "bdo", "big", "blockquote", "br", "caption", "cite", "code", "col", "colgroup", "dd", "del", "dfn",
		"div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "ol", "p", "pre", "q", "samp", "small",
		"span", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "tt", "ul", "var":
		return true
	}
	return false
}

// allowedAttributes: what formats or links; nothing that runs.
func allowedAttributes(t xml.StartElement) bool {
	for _, a := range t.Attr {
		name := strings.ToLower(a.Name.Local)
		if strings.HasPrefix(name, "on") || name == "srcdoc" || name == "formaction" {
			return false
		}
		value := strings.ToLower(strings.TrimSpace(a.Value))
		if (name == "href" || name == "src") && (strings.HasPrefix(value, "javascript:") || strings.HasPrefix(value, "vbscript:")) {
			return false
		}
	}
	return true
}
