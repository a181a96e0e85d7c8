package tables_test

import (
	"os"
	"runtime/debug"
	"testing"
)

// TestMain has the garbage collected less often: the tests compile the tables a
// hundred times, and keep little of it.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}
