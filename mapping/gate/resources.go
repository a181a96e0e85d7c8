package gate

import (
	"slices"
	"strings"

	"github.com/liaison-health/liaison/mapping/fhir"
)

const terminology = "http://terminology.hl7.org/CodeSystem/"

// bound is the required binding of a CodeableConcept: one of its codings is of
// the value set.
func bound(name, system string, codes ...string) func(*checker, *fhir.Node) {
	return func(c *checker, n *fhir.Node) {
		concept := n.Get(name)
		if concept == nil || concept.Get("coding") == nil && concept.Get("extension") != nil || coded(concept, system, codes...) {
			return
		}
		c.failAt(name, "code", "none of its codings is of the required value set")
	}
}

// languages: one of the codings of a language is of BCP 47, the largest value set
// that the element allows.
func languages(name string) func(*checker, *fhir.Node) {
	return func(c *checker, n *fhir.Node) {
		list := n.Get(name).Items()
		if list == nil && n.Get(name) != nil {
			list = []*fhir.Node{n.Get(name)}
		}
		for _, concept := range list {
			codings := concept.Get("coding").Items()
			if len(codings) > 0 && !slices.ContainsFunc(codings, func(coding *fhir.Node) bool { return coding.Str("system") == "urn:ietf:bcp:47" }) {
				c.failAt(name, "code", "none of its codings is of BCP 47")
			}
		}
	}
}

func clinical() map[string]func(*checker, *fhir.Node) {
	allergy, condition := terminology+"allergyintolerance-verification", terminology+"condition-ver-status"
	return map[string]func(*checker, *fhir.Node){
		"AllergyIntolerance": both(rules(
			rule{"ait-1", "clinicalStatus is required unless entered in error", func(n *fhir.Node) bool {
				return !coded(n.Get("verificationStatus"), allergy, "entered-in-error") && !has(n, "clinicalStatus")
			}},
			rule{"ait-2", "what was entered in error has no clinicalStatus", func(n *fhir.Node) bool {
				return coded(n.Get("verificationStatus"), allergy, "entered-in-error") && has(n, "clinicalStatus")
			}},
		), both(
			bound("clinicalStatus", terminology+"allergyintolerance-clinical", "active", "inactive", "resolved"),
			bound("verificationStatus", allergy, "unconfirmed", "confirmed", "refuted", "entered-in-error"),
		)),
		"Condition": both(rules(
			rule{"con-4", "what has abated is inactive, in remission or resolved", func(n *fhir.Node) bool {
				return hasChoice(n, "abatement") && !coded(n.Get("clinicalStatus"), terminology+"condition-clinical", "resolved", "remission", "inactive")
			}},
			rule{"con-5", "what was entered in error has no clinicalStatus", func(n *fhir.Node) bool {
				return coded(n.Get("verificationStatus"), condition, "entered-in-error") && has(n, "clinicalStatus")
			}},
		), both(
			bound("clinicalStatus", terminology+"condition-clinical", "active", "recurrence", "relapse", "inactive", "remission", "resolved"),
			bound("verificationStatus", condition, "unconfirmed", "provisional", "differential", "confirmed", "refuted", "entered-in-error"),
		)),
		"ConditionStage":     oneOf("con-1", "summary", "assessment"),
		"ConditionEvidence":  oneOf("con-2", "code", "detail"),
		"CarePlanActivity":   notBoth("cpl-3", "detail", "reference"),
		"CompositionSection": both(oneOf("cmp-1", "text", "entry", "section"), notBoth("cmp-2", "emptyReason", "entry")),
		"FamilyMemberHistory": rules(
			rule{"fhs-1", "age or born, not both", func(n *fhir.Node) bool { return hasChoice(n, "age") && hasChoice(n, "born") }},
			rule{"fhs-2", "estimatedAge needs an age", func(n *fhir.Node) bool { return has(n, "estimatedAge") && !hasChoice(n, "age") }},
		),
		"GoalTarget":            rules(rule{"gol-1", "a detail needs its measure", func(n *fhir.Node) bool { return hasChoice(n, "detail") && !has(n, "measure") }}),
		"ImmunizationEducation": oneOf("imm-1", "documentType", "reference"),
		"ImmunizationRecommendationRecommendation": oneOf("imr-1", "vaccineCode", "targetDisease"),
		"List": rules(
			rule{"lst-1", "emptyReason only without entries", func(n *fhir.Node) bool { return has(n, "emptyReason") && has(n, "entry") }},
			rule{"lst-2", "a deleted entry only in a list of changes", func(n *fhir.Node) bool { return n.Str("mode") != "changes" && anyEntry(n, "deleted") }},
			rule{"lst-3", "an entry's date only in a working list", func(n *fhir.Node) bool { return n.Str("mode") != "working" && anyEntry(n, "date") }},
		),
		"MedicationAdministrationDosage": rules(rule{"mad-1", "a dose or a rate", func(n *fhir.Node) bool { return !has(n, "dose") && !hasChoice(n, "rate") }}),
		"MedicationDispense": rules(rule{"mdd-1", "handed over before it was prepared", func(n *fhir.Node) bool {
			return after(n.Str("whenPrepared"), n.Str("whenHandedOver"))
		}}),
		"Observation": rules(
			rule{"obs-6", "dataAbsentReason only without a value", func(n *fhir.Node) bool { return has(n, "dataAbsentReason") && hasChoice(n, "value") }},
			rule{"obs-7", "a component has the Observation's own code, and so a value of its own", sameCode},
		),
		"ObservationReferenceRange": oneOf("obs-3", "low", "high", "text"),
		"QuestionnaireResponseItem": notBoth("qrs-1", "answer", "item"),
		"ServiceRequest":            rules(rule{"prr-1", "orderDetail needs a code", func(n *fhir.Node) bool { return has(n, "orderDetail") && !has(n, "code") }}),
		"Task":                      rules(rule{"inv-1", "modified before it was authored", func(n *fhir.Node) bool { return after(n.Str("authoredOn"), n.Str("lastModified")) }}),
	}
}

func administrative() map[string]func(*checker, *fhir.Node) {
	return map[string]func(*checker, *fhir.Node){
		"Appointment": rules(
			rule{"app-2", "start and end together, or neither", func(n *fhir.Node) bool { return has(n, "start") != has(n, "end") }},
			rule{"app-3", "only proposed, cancelled and waitlisted ones have no start and end", func(n *fhir.Node) bool {
				switch n.Str("status") {
				case "proposed", "cancelled", "waitlist":
					return false
				}
				return !has(n, "start") || !has(n, "end")
			}},
			rule{"app-4", "cancelationReason only of cancelled ones and no-shows", func(n *fhir.Node) bool {
				return has(n, "cancelationReason") && n.Str("status") != "cancelled" && n.Str("status") != "noshow" && n.Str("status") != "no-show"
			}},
		),
		"AppointmentParticipant": oneOf("app-1", "type", "actor"),
		"AppointmentResponse":    oneOf("apr-1", "participantType", "actor"),
		"AuditEventEntity":       notBoth("sev-1", "name", "query"),
		"BundleEntry": rules(
			rule{"bdl-5", "a resource, a request or a response", func(n *fhir.Node) bool { return !hasAny(n, "resource", "request", "response") }},
			rule{"fullUrl", "an absolute URI: urn:uuid:, urn:oid: or http(s)", func(n *fhir.Node) bool {
				full := n.Str("fullUrl")
				return full != "" && !absolute(full)
			}},
			rule{"bdl-8", "fullUrl names no version", func(n *fhir.Node) bool { return strings.Contains(n.Str("fullUrl"), "/_history/") }},
		),
		"Consent": oneOf("ppc-1", "policy", "policyRule"),
		"CoverageEligibilityResponseInsuranceItem": rules(rule{"ces-1", "either category or productOrService", func(n *fhir.Node) bool {
			return has(n, "category") == has(n, "productOrService")
		}}),
		"Group":         rules(rule{"grp-1", "only an actual group has members", func(n *fhir.Node) bool { return has(n, "member") && n.Str("actual") != "true" }}),
		"InsurancePlan": oneOf("ipn-1", "identifier", "name"),
		"Linkage":       rules(rule{"lnk-1", "two items or more", func(n *fhir.Node) bool { return len(n.Get("item").Items()) < 2 }}),
		"Organization": rules(
			rule{"org-1", "an identifier or a name", func(n *fhir.Node) bool { return !hasAny(n, "identifier", "name") }},
			rule{"org-2", "an organization has no home address", func(n *fhir.Node) bool { return home(n.Get("address")) }},
			rule{"org-3", "an organization has no home telephone", func(n *fhir.Node) bool { return home(n.Get("telecom")) }},
		),
		"ParametersParameter": rules(rule{"inv-1", "one of value, resource and parts", func(n *fhir.Node) bool {
			kinds := 0
			for _, there := range []bool{has(n, "part"), hasChoice(n, "value"), has(n, "resource")} {
				if there {
					kinds++
				}
			}
			return kinds != 1
		}}),
		"PatientCommunication":       languages("language"),
		"RelatedPersonCommunication": languages("language"),
		"Practitioner":               languages("communication"),
		"RequestGroupAction":         rules(rule{"rqg-1", "a resource or actions", func(n *fhir.Node) bool { return has(n, "resource") == has(n, "action") }}),
		"PatientContact":             oneOf("pat-1", "name", "telecom", "address", "organization"),
		"SupplyDelivery":             bound("type", terminology+"supply-item-type", "medication", "device"),
	}
}

// oneOf: at least one of the elements.
func oneOf(key string, names ...string) func(*checker, *fhir.Node) {
	text := "one of " + names[0]
	for _, name := range names[1:] {
		text += ", " + name
	}
	return rules(rule{key, text, func(n *fhir.Node) bool { return !hasAny(n, names...) }})
}

// notBoth: one of two elements at most.
func notBoth(key, a, b string) func(*checker, *fhir.Node) {
	return rules(rule{key, a + " or " + b + ", not both", func(n *fhir.Node) bool { return has(n, a) && has(n, b) }})
}

func anyEntry(n *fhir.Node, name string) bool {
	for _, e := range n.Get("entry").Items() {
		if has(e, name) {
			return true
		}
	}
	return false
}

func home(list *fhir.Node) bool {
	for _, item := range list.Items() {
		if item.Str("use") == "home" {
			return true
		}
	}
	return false
}

// sameCode: a component's code shares a coding with the Observation's, which
// has a value (obs-7).
func sameCode(n *fhir.Node) bool {
	if !hasChoice(n, "value") {
		return false
	}
	for _, component := range n.Get("component").Items() {
		for _, a := range component.Get("code").Get("coding").Items() {
			for _, b := range n.Get("code").Get("coding").Items() {
				if fhir.Equal(a, b) {
					return true
				}
			}
		}
	}
	return false
}

// bundle checks a Bundle's invariants, bdl-1 to bdl-12.
func bundle(c *checker, n *fhir.Node) {
	typ := n.Str("type")
	history, searchset := typ == "history", typ == "searchset"
	if has(n, "total") && !searchset && !history {
		c.failAt("total", "bdl-1", "a total only of a search or a history")
	}
	asked := typ == "batch" || typ == "transaction" || history
	answered := typ == "batch-response" || typ == "transaction-response" || history
	seen := map[string]bool{}
	for i, e := range n.Get("entry").Items() {
		c.push("entry", i)
		if has(e, "search") && !searchset {
			c.fail("bdl-2", "search only in a searchset")
		}
		if has(e, "request") != asked {
			c.fail("bdl-3", "a request in each entry of a batch, transaction or history, and nowhere else")
		}
		if has(e, "response") != answered {
			c.fail("bdl-4", "a response in each entry of a response or history, and nowhere else")
		}
		if full := e.Str("fullUrl"); full != "" && !history {
			full += "|" + e.Str("resource.meta.versionId")
			if seen[full] {
				c.failAt("fullUrl", "bdl-7", "two entries with one fullUrl")
			}
			seen[full] = true
		}
		c.pop()
	}
	switch first := n.Get("entry").Items(); {
	case typ == "message" && (len(first) == 0 || first[0].Str("resource.resourceType") != "MessageHeader"):
		c.failAt("entry", "bdl-12", "a message begins with its MessageHeader")
	case typ == "document":
		if len(first) == 0 || first[0].Str("resource.resourceType") != "Composition" {
			c.failAt("entry", "bdl-11", "a document begins with its Composition")
		}
		if n.Str("timestamp") == "" {
			c.failAt("timestamp", "bdl-10", "a document has a date")
		}
		if n.Str("identifier.system") == "" || n.Str("identifier.value") == "" {
			c.failAt("identifier", "bdl-9", "a document has an identifier with system and value")
		}
	}
}
