package engine_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// heldMemory is what is in use once what can go is gone.
func heldMemory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// While Kafka is away what is taken waits on disk: of 75 MB of scanned reports
// next to nothing stays in memory.
func TestMemoryWhileKafkaIsAway(t *testing.T) {
	h := newHouse(t)
	h.fs, h.cache = vfs.Default, 6<<20
	t.Chdir(t.TempDir())
	h.log.stop()
	h.open().run()
	h.outcomeOf(adt("C1", "4100300", "Abbott"))
	before := heldMemory()
	const messages, size = 250, 300_000
	scan := strings.Repeat("QUJD", size/4)
	for n := range messages {
		h.send(fmt.Appendf(nil, "MSH|^~\\&|LAB|ALDER|||20260310120000-0400||ORU^R01^ORU_R01|L%[1]d|P|2.5.1\rPID|1||4100300^^^ALDER^MR||Abbott^Anna\r"+
			"OBR|1|P%[1]d^CPOE|F%[1]d^LAB|11526-1^Pathology study^LN|||20260310110000-0400|||||||||||||||20260310115900-0400||PAT|F\r"+
			"OBX|1|ED|11526-1^Pathology study^LN||LAB^application^pdf^Base64^%[2]s||||||F\r", n, scan))
	}
	require.Eventually(t, func() bool { tail, done, _, _ := h.engine.Progress(); return tail == done }, 6*patience, 10*time.Millisecond) // 75 MB to a disk that may be slow
	_, _, events, published := h.engine.Progress()
	require.GreaterOrEqual(t, events-published, uint64(messages))
	after := heldMemory()
	t.Logf("%d MB held before, %d MB after", before>>20, after>>20)
	require.Less(t, int64(after)-int64(before), int64(messages*size/2))
}
