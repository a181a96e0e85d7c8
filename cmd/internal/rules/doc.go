// Package rules holds the rules of this repository as tests: who may import
// whom, how large a file or function may grow, that every package and every
// exported name says what it promises, and that no library leaves the package
// it was let into. It has no code of its own to run.
package rules
