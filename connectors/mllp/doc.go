// Package mllp speaks the Minimal Lower Layer Protocol, release 1 (HL7
// "Transport Specification: MLLP"): 0x0B, message, 0x1C 0x0D. The server is a
// source: it answers a message positively only after the intake has it on disk.
// The client sends and reads the answers that belong to what it sent.
package mllp
