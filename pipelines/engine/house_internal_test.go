package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A volume that can make no more files has no room, however much is free; one
// that does not count its files (btrfs) has what is free.
func TestInodesAreRoomToo(t *testing.T) {
	require.Equal(t, uint64(4096_000), available(&unix.Statfs_t{Bavail: 1000, Bsize: 4096, Files: 5000, Ffree: 128}))
	require.Zero(t, available(&unix.Statfs_t{Bavail: 1000, Bsize: 4096, Files: 5000, Ffree: 127}))
	require.Equal(t, uint64(4096_000), available(&unix.Statfs_t{Bavail: 1000, Bsize: 4096}))
}
