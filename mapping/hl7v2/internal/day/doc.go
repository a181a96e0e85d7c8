// Package day holds, in its tests, the program that makes testdata/day: a day of
// invented patients in an invented hospital, as four systems would send it. The
// files are committed; the tests check that they are what the program makes and
// that they show what they are meant to show. `go test -update` writes them.
package day
