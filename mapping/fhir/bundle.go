package fhir

import "strconv"

// NoWrite gives the place in a transaction, batch or history of the first entry
// that is neither a create nor an update of a resource, "" where there is none.
func NoWrite(bundle *Node) string {
	t := bundle.Str("type")
	if bundle.ResourceType() != "Bundle" || t != "transaction" && t != "batch" && t != "history" {
		return ""
	}
	for i, e := range bundle.Get("entry").Items() {
		switch method := e.Str("request.method"); {
		case method == "POST" || method == "PUT" || method == "" && t == "history":
		default:
			return "Bundle.entry[" + strconv.Itoa(i) + "].request.method"
		}
		if t == "history" && e.Get("resource") == nil {
			return "Bundle.entry[" + strconv.Itoa(i) + "].resource"
		}
	}
	return ""
}
