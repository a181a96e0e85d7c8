package hl7v2

import (
	"strconv"
	"strings"
)

// A SequenceVerdict is what the sequence number protocol (HL7 v2.5.1 §2.10.1)
// makes of one message.
type SequenceVerdict struct {
	// Accept: the message may be processed. Not so where Error is set, and not
	// so for 0 and -1, which talk about the link and carry no content.
	Accept bool
	// Next is the number expected after this message, to be stored before the
	// answer leaves: -1 takes any.
	Next int64
	// Expected is the answer's MSA-4, "" where the message has no number.
	Expected string
	// Error explains the AE that a wrong number is answered with, else nil.
	Error *AckError
}

// CheckSequence judges MSH-13 of a message, given the number that its receiver
// expects (-1: none yet, any will do).
//
//	empty     the link has no sequence numbers: accepted, nothing expected
//	0         the link restarts: answered with the expected number
//	-1        the link resynchronises: answered with -1, the next number is taken
//	expected  accepted, expected rises by one
//	else      AE with the expected number; by the standard people look into it
func CheckSequence(expected int64, number string) SequenceVerdict {
	number = strings.TrimSpace(number)
	v := SequenceVerdict{Next: expected, Expected: strconv.FormatInt(expected, 10)}
	if number == "" {
		v.Accept, v.Expected = true, ""
		return v
	}
	n, err := strconv.ParseInt(number, 10, 63)
	switch {
	case err != nil || n < -1:
		v.Error = sequenceError("102", "a sequence number is a whole number")
	case n == 0:
	case n == -1:
		v.Next, v.Expected = -1, "-1"
	case expected == -1 || n == expected:
		v.Accept, v.Next = true, n+1
		v.Expected = strconv.FormatInt(n+1, 10)
	default:
		v.Error = sequenceError("207", "not the sequence number that is expected")
	}
	return v
}

func sequenceError(code, text string) *AckError {
	return &AckError{Location: Place{Segment: "MSH", Occurrence: 1, Field: 13}, Code: code, Severity: "E", Text: text}
}
