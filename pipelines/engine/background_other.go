//go:build !linux

package engine

// background does nothing where a thread has no priority of its own.
func background() {}
