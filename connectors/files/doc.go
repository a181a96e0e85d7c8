// Package files takes messages from a directory: batch interfaces, exports,
// and what an operator sends again by hand.
//
//	in/             files arrive here
//	in/done/        every message of the file is in the journal
//	in/failed/      at least one is not; the report says which and why
//	in/.progress/   how far a file is that is being taken
//
// A file is taken when two looks in a row, Interval apart, see the same size
// and time of change, the oldest first; it is best written under another name
// (.x, x.tmp, x.part are left alone) and renamed. Symbolic links, directories
// and empty files are never taken. One that still grows does not hold up the
// others. HL7 v2 files hold MLLP frames, FHS/BHS batches or plain text; names
// that end in .json hold one FHIR resource or Bundle.
//
// A file is read twice. First it is checked as a whole: of one without a
// message, with a BTS-1 or FTS-1 that is not the number found, with a batch
// that has no trailer or an MLLP frame that has no end (it was cut short, most
// likely), nothing is taken. Then each message is accepted in its
// order. One that is refused does not stop the others. What may pass (a full
// journal, a stopping engine) is tried again, with the messages behind it
// waiting. At last the report is written to disk beside the file's new place
// and the file is moved.
//
// # What a crash does
//
// After each accepted message a line is added to the file's progress, which is
// tied to the file's sha256. A source that starts again passes over what has a
// line and goes on behind it. Between the engine's answer and the line lies one
// message: it is accepted a second time, the engine knows it as a duplicate,
// and it has one effect. Progress that was lost with the power only makes more
// of such duplicates. Nothing is skipped, because a line is never written
// before its message is in the journal.
//
// The same message twice in one file, byte for byte, is two messages to this
// package and one effect by the rules of the engine: the report marks the
// second as a duplicate. A file that comes again, under the same name or
// another, is a file of duplicates, and goes to done/ with a number added to
// its name.
package files
