// Package records turns changes into coordination records: the facts that a
// hospital's medical coordinators work from, as versioned JSON objects. Fold is
// pure: the same state and the same change give the same bytes; nothing here
// reads a clock, a random number or a network.
package records

import (
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
)

// A Kind names what a record is about, in the singular.
type Kind string

// The kinds of records.
const (
	Patient     Kind = "patient"
	Encounter   Kind = "encounter"
	Appointment Kind = "appointment"
	Order       Kind = "order"
	Result      Kind = "result"
	Charge      Kind = "charge"
	Coverage    Kind = "coverage"
	Account     Kind = "account"

	Document Kind = "document"
	Slot     Kind = "slot"

	Problem      Kind = "problem"
	Goal         Kind = "goal"
	CarePlan     Kind = "care-plan"
	AdverseEvent Kind = "adverse-event"
	Eligibility  Kind = "eligibility" // a request for insurance information

	Practitioner    Kind = "practitioner"
	Device          Kind = "device"
	CatalogItem     Kind = "item"        // of a catalogue: what can be ordered and used
	MasterFile      Kind = "master-file" // an entry of any other
	ResearchSubject Kind = "research-subject"
	Location        Kind = "location" // a bed, a room, a ward
	Allergy         Kind = "allergy"

	MedicationOrder Kind = "medication-order"
	Dispense        Kind = "dispense"
	Administration  Kind = "administration"
	Immunization    Kind = "immunization"
	NutritionOrder  Kind = "nutrition-order"
	SupplyRequest   Kind = "supply-request"
)

// A Key is what makes a record unique: never a bare id.
type Key struct {
	Type     string `json:"type,omitempty"` // kind of identifier: MR, VN, filler …; informative
	Assigner string `json:"assigner,omitempty"`
	ID       string `json:"id"`

	// Role says which of a thing's numbers it is, where the thing has several: two
	// of one role and assigner that differ are two things. Records do not show it.
	Role string `json:"-"`
	// Number is the thing's number where the ID is longer, because other things of
	// the message have it too; "" where it is the ID.
	Number string `json:"-"`
	// Own tells an order that inherits the number of another one, its parent's or that
	// of what it replaces (Replaces), from that and from others that do; the ID ends in it.
	Own      string `json:"-"`
	Replaces bool   `json:"-"`
	// Bare says that the message names no assigner: another patient may have the number.
	Bare bool `json:"-"`
	// Line is what tells a line of a bill from others of its number, whether or not
	// the message has any: "#", its service, "#" and the rest.
	Line string `json:"-"`

	patient string // behind the number, where another patient has it too
}

// Zero says whether there is no key.
func (k Key) Zero() bool { return k.ID == "" }

// String is the key's canonical form; the Type does not take part, because
// feeds send the same number with and without it.
func (k Key) String() string {
	assigner := k.Assigner
	if strings.ContainsAny(assigner, "%|") {
		assigner = strings.ReplaceAll(strings.ReplaceAll(assigner, "%", "%25"), "|", "%7C")
	}
	return assigner + "|" + k.ID
}

// An Action says how a change bears on a record.
type Action string

// The actions.
const (
	Upsert   Action = "upsert"   // elements that are there replace, absent ones stay
	Snapshot Action = "snapshot" // the resource as a whole: absent elements go
	Cancel   Action = "cancel"   // state only, besides what the message repeats
	Delta    Action = "delta"    // an appointment's services and resources one by one; else as Upsert
	Removal  Action = "removal"  // the same of what is taken out
)

// Origin says which message a change comes from.
type Origin struct {
	Source, Application, Facility string
	ControlID, Sequence           string
	Message                       string // "SIU^S13", or "FHIR Patient"
	SHA256                        string // of the message's bytes, hex
	Journal                       uint64
}

// A Stamp orders the changes of one sender: by the time that they were sent, by
// number where that is the same (MSH-7, MSH-13), else by arrival.
// Stamps of two senders are never compared.
type Stamp struct {
	Sender string
	Order  string // compared as text
}

// A Change is what one message says: the input of Fold.
type Change struct {
	Origin     Origin
	Received   time.Time
	Occurred   string // FHIR dateTime
	ZoneSource string // explicit, source or none
	Stamp      Stamp
	Subject    *Subject
	Visit      *Key // where the whole message is about one
	Account    *Key
	Items      []Item
	Edges      []Edge
	Implied    []Implied
	Related    []*fhir.Node // the message's other resources
	OnlyNew    []string     // type/id of what counts only where nothing is held under it (R4 §3.1.0.8.1)
	Sought     bool         // what it brings besides records can be found by identifiers too
	Warnings   []string     // codes and places, no values
	Unmapped   []string
	Defaulted  []string
	Pipeline   string
	Version    string
}

// A Subject is the patient a message is about.
type Subject struct {
	Key Key
	IDs []*fhir.Node // Identifier
}

// An Item is one record that a message bears on.
type Item struct {
	Kind      Kind
	Key       Key
	Alternate []Key // other identifiers of the same thing
	Visit     *Key  // that it belongs to, nil where that is not said
	Account   *Key
	Action    Action
	Trigger   string   // the trigger event, "S13"
	State     string   // asked for by the trigger; "" derives it from the resource
	Otherwise bool     // State counts only where no message has told of one
	Event     string   // asked for by the trigger; "" derives it
	Cancels   []string // the trigger events of which this one takes the newest back; of an order the requests that its filler refuses
	Request   string   // of an order: the State is asked for by this request (ORC-1 CA), and counts until the filler refuses it
	Resource  *fhir.Node
	Raw       []byte   // FHIR intake: the bytes to carry unchanged
	Deletes   []string // what the message sets to `""`: element paths, of a list the entries of a field ("telecom:PID-13")
	Defaulted []string // elements that the tables filled in for want of a value
	byID      bool     // FHIR intake: the resource's id is its client's
	owner     string   // the patient that the message names, merged or not
	awaits    string   // FHIR intake: the reference to a patient who is not known
	warnings  []string
	mild      bool  // asks for the state only where the record has not been completed
	of        *Item // as the message has it, where it names one that was merged
}

// An Edge joins two patients, accounts or visits: merge retires one in favour of
// the survivor (A40, A41, A42), unmerge takes that, a change or a move back (an
// operator's command; only Retired counts), change says that both keys are of one and the same (A47,
// A49, A50), link that two patients are one person and leaves each his records
// (A24), unlink takes that back (A37). move puts an account or a visit (Retired),
// and all that belongs to it, under the patient Survivor (A44, A45).
type Edge struct {
	Op                string // one of EdgeOps
	Kind              Kind
	Survivor, Retired Key
	SurvivorRef       string // instead of a key: the reference to a resource that is held
	RetiredRef        string
}

// EdgeOps lists what an edge can do.
func EdgeOps() []string { return []string{"merge", "unmerge", "change", "link", "unlink", "move"} }

// Joins says whether edges join records of a kind.
func (k Kind) Joins() bool { return k == Patient || k == Account || k == Encounter }

// A View reads the state that Fold works on.
type View interface {
	// Get gives the value of a key, nil where there is none. The caller does
	// not change it.
	Get(key []byte) ([]byte, error)
	// Scan gives up to limit pairs whose keys begin with prefix and come after
	// after (nil: from the first), in key order.
	Scan(prefix, after []byte, limit int) ([]KV, error)
}

// A Holder is a View that remembers some of the resources written last. Holds
// may say no of one that is held: that costs a write.
type Holder interface {
	Holds(key, value []byte) bool
}

// KV is one write; a nil Value deletes.
type KV struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

// An Event is one version of one record, ready to publish.
type Event struct {
	ID, Type  string
	Kind      Kind
	Topic     string
	Subject   string // what the Kafka key is an HMAC of; fixed at the record's birth
	Version   uint64
	Payload   []byte // the record, as stored and published
	Occurred  string
	RecordKey Key
}

// Effects are what a change does.
type Effects struct {
	Writes       []KV
	Events       []Event
	Continuation []byte // not nil: a merge goes on, call Resume
	Flags        []string
}

// Topic gives the Kafka topic of a kind.
func (k Kind) Topic() string {
	switch k {
	case Patient:
		return "liaison.identity"
	case Encounter:
		return "liaison.flow"
	case Appointment:
		return "liaison.scheduling"
	case Order, Result, Allergy:
		return "liaison.clinical"
	case Document, Problem, Goal, CarePlan, AdverseEvent, ResearchSubject:
		return "liaison.clinical"
	case MedicationOrder, Dispense, Administration, Immunization, NutritionOrder:
		return "liaison.clinical"
	case Slot:
		return "liaison.scheduling"
	case Practitioner, Location, Device, CatalogItem, MasterFile, SupplyRequest:
		return "liaison.operations"
	default:
		return "liaison.billing"
	}
}

// Topics lists every topic that records go to.
func Topics() []string {
	return []string{"liaison.identity", "liaison.flow", "liaison.scheduling", "liaison.clinical", "liaison.billing", "liaison.operations"}
}

// Kinds lists every kind of record with the resource type that carries it.
func Kinds() map[Kind]string {
	return map[Kind]string{
		Patient: "Patient", Encounter: "Encounter", Appointment: "Appointment", Order: "ServiceRequest", Result: "DiagnosticReport",
		Charge: "ChargeItem", Coverage: "Coverage", Account: "Account",
		Document: "DocumentReference", Slot: "Slot",
		Problem: "Condition", Goal: "Goal", CarePlan: "CarePlan", AdverseEvent: "AdverseEvent", Eligibility: "CoverageEligibilityRequest",
		Practitioner: "Practitioner", Device: "Device", CatalogItem: "DeviceDefinition", MasterFile: "Basic", ResearchSubject: "ResearchSubject",
		Location: "Location", Allergy: "AllergyIntolerance",
		MedicationOrder: "MedicationRequest", Dispense: "MedicationDispense", Administration: "MedicationAdministration",
		Immunization: "Immunization", NutritionOrder: "NutritionOrder", SupplyRequest: "SupplyRequest",
	}
}

// KindOf gives the kind that a resource type carries, or "".
func KindOf(resourceType string) Kind {
	switch resourceType {
	case "Patient":
		return Patient
	case "Encounter":
		return Encounter
	case "Appointment":
		return Appointment
	case "ServiceRequest":
		return Order
	case "DiagnosticReport":
		return Result
	case "ChargeItem":
		return Charge
	case "Coverage":
		return Coverage
	case "Account":
		return Account
	case "Location":
		return Location
	case "AllergyIntolerance":
		return Allergy
	case "MedicationRequest":
		return MedicationOrder
	case "MedicationDispense":
		return Dispense
	case "MedicationAdministration":
		return Administration
	case "Immunization":
		return Immunization
	case "NutritionOrder":
		return NutritionOrder
	case "SupplyRequest":
		return SupplyRequest
	default:
		return administrative(resourceType)
	}
}

// administrative is KindOf of what is neither identity, visit, order nor money.
func administrative(resourceType string) Kind {
	switch resourceType {
	case "DocumentReference":
		return Document
	case "Slot":
		return Slot
	case "Condition":
		return Problem
	case "Goal":
		return Goal
	case "CarePlan":
		return CarePlan
	case "AdverseEvent":
		return AdverseEvent
	case "CoverageEligibilityRequest":
		return Eligibility
	case "Practitioner":
		return Practitioner
	case "Device":
		return Device
	case "DeviceDefinition":
		return CatalogItem
	case "Basic":
		return MasterFile
	case "ResearchSubject":
		return ResearchSubject
	default:
		return ""
	}
}
