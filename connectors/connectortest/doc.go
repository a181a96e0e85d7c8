// Package connectortest holds one conformance suite per contract of package
// pipelines. Every connector runs the suite of its contract in its own tests,
// the embedded twin and the real server alike:
//
//	func TestConformance(t *testing.T) {
//		connectortest.Source(t, connectortest.SourceHarness{Format: pipelines.HL7v2, Open: open})
//	}
//
// A harness says how one kind of connector is opened and talked to, nothing of
// its transport; what is checked is what the rest of Liaison relies on: a
// positive answer only after Accept has returned, order, unchanged bytes,
// errors that can be told apart, and an end without leftovers.
package connectortest
