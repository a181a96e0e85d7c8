package fhir

import "strings"

// primitiveOf names the primitive type of a text element, which the samply
// model gives as a plain string: by the choice's suffix, else by this table of
// the elements that are not strings (R4, each resource's definition).
func primitiveOf(owner, name string) string {
	for _, stem := range choiceStems() {
		if isChoice(name, stem) {
			if t := typeSuffix(name[len(stem):]); t != "" && t[0] >= 'a' && t[0] <= 'z' {
				return t
			}
		}
	}
	switch name {
	case "id":
		return "id"
	case "start", "end":
		if owner == "Period" {
			return "dateTime"
		}
		return "instant" // Appointment, Slot, Attachment has creation only
	case "birthDate", "expirationDate", "approvalDate", "lastReviewDate":
		return "date"
	case "issued", "recorded", "lastUpdated", "lastModified", "timestamp", "received":
		return instantOr(owner, name)
	case "authoredOn", "recordedDate", "assertedDate", "enteredDate", "created", "sent", "lastOccurrence", "receivedTime", "date", "requestedOn",
		"whenPrepared", "whenHandedOver", "manufactureDate", "time", "occurredDateTime", "dateTime", "paymentDate", "servicedDate", "dateAsserted", "authored":
		return dateTimeOr(owner, name)
	case "url", "system", "reference", "type", "implicitRules", "fullUrl", "endpoint", "uri":
		return uriOr(owner, name)
	case "code", "language", "currency", "contentType", "mode", "use", "comparator":
		return "code"
	case "data", "hash":
		return "base64Binary"
	case "div":
		return "xhtml"
	}
	return "string"
}

func instantOr(owner, name string) string {
	if name == "received" || owner == "Consent" {
		return "dateTime"
	}
	return "instant"
}

func dateTimeOr(owner, name string) string {
	switch {
	case name == "date" && (owner == "DocumentReference" || owner == "AuditEvent"):
		return "instant"
	case name == "time" && owner != "Annotation":
		return "time"
	case owner == "Immunization" && name == "expirationDate", name == "paymentDate":
		return "date"
	}
	return "dateTime"
}

func uriOr(owner, name string) string {
	switch {
	case name == "reference":
		return "string"
	case name == "type" && owner != "Reference":
		return "string"
	case name == "system" && strings.HasSuffix(owner, "ContactPoint"):
		return "code"
	case name == "url" && (owner == "Attachment"):
		return "url"
	}
	return "uri"
}
