package pipelines

// A Reason says why a message is in quarantine. The list is closed: metrics,
// answers and operators' scripts may depend on it.
type Reason string

// The reasons.
const (
	Syntax             Reason = "syntax"              // not readable as the format that its source sends
	UnsupportedMessage Reason = "unsupported-message" // no table maps this message type
	Undecodable        Reason = "undecodable"         // bytes that the message's character set does not have
	TooManySegments    Reason = "too-many-segments"   // a message as long as this would hold up the others
	NoSequenceNumber   Reason = "no-sequence-number"  // its source's messages are ordered by MSH-13, which it lacks
	NothingMapped      Reason = "nothing-mapped"      // no segment became a resource
	Unmappable         Reason = "unmappable"          // a table refuses it for a reason of its own
	InvalidFHIR        Reason = "invalid-fhir"        // the gate, or the FHIR reader, found it invalid
	RecordTooLarge     Reason = "record-too-large"    // a record would be larger than kafka.record_bytes
	UnknownSource      Reason = "unknown-source"      // its source is no longer configured
	JournalDamaged     Reason = "journal-damaged"     // its journal entry is not as it was written
	Failed             Reason = "failed"              // the records' state refuses the change, or a merge stopped on its way
	Panicked           Reason = "panic"               // a fault in Liaison, kept to this message
	Dropped            Reason = "dropped"             // an operator took it out for good
)

// Reasons lists every reason, and what the operator can do about it.
func Reasons() map[Reason]string {
	return map[Reason]string{
		Syntax:             "have the sender mend it, or retry it edited",
		UnsupportedMessage: "add a message table or an overlay, then retry",
		Undecodable:        "set MSH-18 or the source's default_charset, then retry",
		TooManySegments:    "have the sender split it",
		NoSequenceNumber:   "have the sender number it, retry it edited, or order the source's messages otherwise in its overlay",
		NothingMapped:      "see which segments it has; add rules, then retry",
		Unmappable:         "see the place; mend the table or the message, then retry",
		InvalidFHIR:        "see the path; mend the table or the resource, then retry",
		RecordTooLarge:     "raise kafka.record_bytes and the topic's limit, then retry",
		UnknownSource:      "configure the source again, then retry",
		JournalDamaged:     "check the disk; have the sender send it again",
		Failed:             "read the log at that time and report it; retry after the program is mended",
		Panicked:           "report it with the message's shape; retry after the program is mended",
		Dropped:            "nothing: it was decided",
	}
}

// ReasonOf gives the reason of a code, Unmappable for one that is not listed.
func ReasonOf(code string) Reason {
	if _, ok := Reasons()[Reason(code)]; ok {
		return Reason(code)
	}
	return Unmappable
}

// Condition is the reason in an acknowledgement's words (HL7 table 0357).
func (r Reason) Condition() string {
	switch r {
	case Syntax:
		return "100" // segment sequence error
	case UnsupportedMessage:
		return "200" // unsupported message type
	case Undecodable:
		return "102" // data type error
	default:
		return "207" // application internal error
	}
}
