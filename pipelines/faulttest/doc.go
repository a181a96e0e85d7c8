// Package faulttest finds out whether what Liaison acknowledges survives
// faults. It sends a made-up hospital's messages, keeps a ledger of what was
// answered, breaks things, reads the topics back, and compares what stands
// there with a reference model that knows only what was sent. Nothing here but
// the tests imports another package of this repository, so that a fault of the
// engine is not a fault of its judge.
package faulttest
