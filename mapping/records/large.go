package records

import (
	"crypto/sha1" //nolint:gosec // Attachment.hash is defined as SHA-1 (R4 §2.24.0.5); nothing is protected by it
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// ErrTooLarge says that a record is above the topic's limit even without its
// attachments.
var ErrTooLarge = errors.New("the record is larger than the topic takes")

// smallAttachment is the length of base64 that stays in a record of any size.
const smallAttachment = 4 << 10

// shorten writes a record that is too large again: with its attachments by
// reference (Attachment.url Binary/id, with size and hash; the Binary is held
// for GET), and if that is not enough without its related resources, which are
// held too. It says so among the warnings.
func (f *fold) shorten(s *state, v *version, id string, related *context) ([]byte, error) {
	small, short, change := *s, *v, *f.c
	small.resource, small.raw = f.detach(s.shown()), nil
	short.changed = slices.Clone(v.changed)
	for i := range short.changed {
		d := &short.changed[i]
		d.Old, d.New = f.detach(d.Old), f.detach(d.New)
	}
	shorter := &context{texts: make([][]byte, len(related.texts)), labels: related.labels}
	for i, text := range related.texts {
		shorter.texts[i] = text
		if len(text) <= smallAttachment {
			continue
		}
		if n, err := fhir.ParseJSON(text); err == nil {
			shorter.texts[i] = f.detach(n).JSON()
		}
	}
	change.Warnings = append(slices.Clone(f.c.Warnings), "attachment-by-reference")
	writer := *f
	writer.c = &change
	payload, err := writer.payload(&small, &short, id, small.resource.JSON(), shorter)
	if err == nil && len(payload) > f.limit {
		change.Warnings = append(change.Warnings, "related-by-reference")
		payload, err = writer.payload(&small, &short, id, small.resource.JSON(), &context{labels: related.labels})
	}
	if err != nil {
		return nil, err
	}
	if len(payload) > f.limit {
		return nil, ErrTooLarge
	}
	return payload, nil
}

// detach gives a copy whose attachments are references to Binaries.
func (f *fold) detach(n *fhir.Node) *fhir.Node {
	n = n.Clone()
	f.detachIn(n)
	return n
}

func (f *fold) detachIn(n *fhir.Node) {
	if n == nil {
		return
	}
	for _, k := range n.Kids {
		f.detachIn(k)
	}
	data, contentType := n.Get("data"), n.Str("contentType")
	if data == nil || data.Kind != fhir.String || len(data.Text) <= smallAttachment || contentType == "" || n.Get("resourceType") != nil || n.Get("url") != nil {
		return
	}
	content, err := base64.StdEncoding.DecodeString(data.Text)
	if err != nil {
		return
	}
	whole := sha256.Sum256(content)
	id := fhir.UUID("Binary", hex.EncodeToString(whole[:]))
	binary := fhir.NewResource("Binary").SetString("id", id).SetString("contentType", contentType).SetString("data", data.Text)
	f.put(resourceKey("Binary/"+id), binary.JSON())
	hash := sha1.Sum(content) //nolint:gosec // see above
	n.Delete("data")
	n.SetString("url", "Binary/"+id)
	n.Set("size", fhir.NewNumber(strconv.Itoa(len(content))))
	n.SetString("hash", base64.StdEncoding.EncodeToString(hash[:]))
}
