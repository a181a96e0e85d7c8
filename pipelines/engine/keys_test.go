package engine

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/pipelines/store"
)

// TestKeys: a key that is stored, or was written since, is never said to be
// absent; of others most are, once the store has been read.
func TestKeys(t *testing.T) {
	s, err := store.Open("data", store.Options{FS: vfs.NewMem()})
	require.NoError(t, err)
	defer s.Close()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z]/[A-Za-z0-9/|\x00]{0,20}`)
		stored := rapid.SliceOfN(name, 0, 50).Draw(t, "stored")
		written := rapid.SliceOfN(name, 0, 50).Draw(t, "written")
		put := map[string][]byte{}
		for _, k := range stored {
			put[k] = []byte("v")
		}
		b := s.NewBatch()
		require.NoError(t, b.State(put))
		require.NoError(t, b.Commit())
		k := newKeys()
		for i, name := range written {
			if i == len(written)/2 {
				require.NoError(t, k.read(t.Context(), s))
			}
			k.add([]byte(name))
		}
		if len(written) == 0 {
			require.False(t, k.absent([]byte("r/new")), "nothing is absent before all is read")
			require.NoError(t, k.read(t.Context(), s))
		}
		for _, name := range append(stored, written...) {
			require.False(t, k.absent([]byte(name)), "%q", name)
		}
		absent := 0
		for i := range 1000 {
			if k.absent([]byte{'n', '/', byte(i), byte(i >> 8), 0xff}) {
				absent++
			}
		}
		require.Greater(t, absent, 990)
	})
}
