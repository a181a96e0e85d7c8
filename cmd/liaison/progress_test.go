package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	p := &progress{to: &out, what: "messages mapped", began: now, now: func() time.Time { return now }}
	p.step()
	now = now.Add(time.Second)
	p.step()
	require.Empty(t, out.String(), "a short command says nothing")
	now = now.Add(2 * time.Second)
	p.step()
	p.step()
	require.Equal(t, "\r3 messages mapped in 3s, 1 a second\x1b[K", out.String(), "not at every step")
	p.end()
	require.True(t, bytes.HasSuffix(out.Bytes(), []byte("\r\x1b[K")))

	out.Reset()
	p = newProgress(&out, &out, "x") // not a terminal
	p.began = p.began.Add(-time.Hour)
	p.step()
	p.end()
	require.Empty(t, out.String())
}
