package faulttest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines/faulttest"
)

// Values that would begin or end a frame, a segment or a header where they are
// written: whatever becomes of the message, its answer is one frame that names
// it, and what comes off the topics is JSON without a raw control character,
// under headers of one line.
func TestControlCharactersInValues(t *testing.T) {
	each(t, faulttest.Scale{Senders: 1, Messages: 1}, func(w *world) {
		w.start()
		c := w.call()
		values := []string{`\X0D\MSA|AA|other`, `\X0B\`, `\X1C0D\`, `\X0A\`, `\X00\`, `\X1B\[2J`, `\X7F\`, `\X0D0A\X-Injected: 1`}
		for n, v := range values {
			v = strings.ReplaceAll(v, "|", `\F\`)
			id := fmt.Sprintf("X%d%s", n, v)
			raw := fmt.Sprintf("MSH|^~\\&|S%[1]s|ALDER%[1]s|||20260105080000+0000||ADT^A08^ADT_A01|%[2]s|P|2.5.1\rEVN|A08|20260105080000+0000\r"+
				"PID|1||P%[3]d%[1]s^^^ALDER%[1]s^MR||a%[1]sb^Anna||19700101|F\rPV1|1|O||||||||||||||||V%[3]d%[1]s\r", v, id, n)
			c.say(frame([]byte(raw)))
			code, names, err := readAnswer(c.r)
			require.NoError(w.t, err)
			require.Equal(w.t, id, names)
			require.Equal(w.t, "AA", code)
		}
		require.Zero(w.t, c.r.Buffered(), "more was answered than was asked")
		w.settle()
		seen := map[string]bool{}
		for _, d := range w.sink() {
			require.True(w.t, json.Valid(d.Value))
			require.False(w.t, bytes.ContainsFunc(d.Value, func(r rune) bool { return r < ' ' }), "%q", d.Value)
			var r struct {
				Source struct {
					ControlID string `json:"control_id"`
				}
			}
			require.NoError(w.t, json.Unmarshal(d.Value, &r))
			seen[r.Source.ControlID] = true
		}
		for _, h := range w.held() {
			seen[h.Control] = true
		}
		require.Len(w.t, seen, len(values), "each became a record, or is held with its reason")
	})
}
