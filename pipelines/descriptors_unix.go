//go:build unix

package pipelines

import (
	"math"
	"syscall"
)

// OpenFiles is how many files the process may have open.
func OpenFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return uint64(limit.Cur) //nolint:unconvert // signed on some systems
}
