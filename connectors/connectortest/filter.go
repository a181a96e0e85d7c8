package connectortest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines"
)

// A FilterEndpoint is an early filter and what can happen to its server. A nil
// function: that is not checked.
type FilterEndpoint struct {
	Filter pipelines.EarlyFilter
	// Expire lets the window end for everything remembered so far.
	Expire func(t *testing.T)
	// Forget lets the server lose everything.
	Forget func(t *testing.T)
	// Stall lets the server take questions and answer none until resume.
	Stall func(t *testing.T) (resume func())
	// Again opens a second filter of the same site on the same server, as
	// another node has it.
	Again func(t *testing.T) pipelines.EarlyFilter
}

// A FilterHarness opens an early filter, empty, with a server or a name space
// of its own. What it opens it closes by t.Cleanup.
type FilterHarness struct {
	Open func(t *testing.T) FilterEndpoint
}

// EarlyFilter checks an early filter against pipelines.EarlyFilter.
func EarlyFilter(t *testing.T, h FilterHarness) {
	t.Helper()
	checks := []struct {
		name string
		run  func(*testing.T, FilterEndpoint)
	}{
		{"what is remembered is known", remembers},
		{"the first position stays", firstStays},
		{"many at a time", manyEntries},
		{"the window ends", expires},
		{"what the server lost is unknown", forgets},
		{"a context that ends", filterContext},
		{"a server that does not answer", stalls},
		{"another node knows", anotherNode},
		{"many callers", manyCallers},
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			leftovers(t)
			c.run(t, h.Open(t))
		})
	}
}

// identity is the n-th digest of a test.
func identity(n int) [32]byte {
	var d [32]byte
	copy(d[:], noise(32))
	copy(d[8:], fmt.Sprintf("%08d", n))
	return d
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func known(t *testing.T, f pipelines.EarlyFilter, n int, position uint64) {
	t.Helper()
	got, ok, err := f.Lookup(limited(t), identity(n))
	require.NoError(t, err)
	require.True(t, ok, "identity %d is not known", n)
	require.Equal(t, position, got)
}

func unknown(t *testing.T, f pipelines.EarlyFilter, n int) {
	t.Helper()
	got, ok, err := f.Lookup(limited(t), identity(n))
	require.NoError(t, err, "not to know an identity is no failure")
	require.False(t, ok)
	require.Zero(t, got)
}

func entry(n int, position uint64) pipelines.FilterEntry {
	return pipelines.FilterEntry{Digest: identity(n), Position: position}
}

func remembers(t *testing.T, e FilterEndpoint) {
	unknown(t, e.Filter, 1)
	require.NoError(t, e.Filter.Remember(limited(t), []pipelines.FilterEntry{entry(1, 41), entry(2, 1<<63)}))
	known(t, e.Filter, 1, 41)
	known(t, e.Filter, 2, 1<<63)
	unknown(t, e.Filter, 3)
	require.NoError(t, e.Filter.Remember(limited(t), nil), "nothing to remember")
}

func firstStays(t *testing.T, e FilterEndpoint) {
	require.NoError(t, e.Filter.Remember(limited(t), []pipelines.FilterEntry{entry(1, 7), entry(1, 9)}))
	known(t, e.Filter, 1, 7)
	require.NoError(t, e.Filter.Remember(limited(t), []pipelines.FilterEntry{entry(1, 11)}))
	known(t, e.Filter, 1, 7)
}

func manyEntries(t *testing.T, e FilterEndpoint) {
	const n = 2000
	var list []pipelines.FilterEntry
	for i := range n {
		list = append(list, entry(i, uint64(i)+1))
	}
	require.NoError(t, e.Filter.Remember(limited(t), list))
	for i := 0; i < n; i += 97 {
		known(t, e.Filter, i, uint64(i)+1)
	}
	unknown(t, e.Filter, n)
}

func expires(t *testing.T, e FilterEndpoint) {
	if e.Expire == nil {
		return
	}
	require.NoError(t, e.Filter.Remember(limited(t), []pipelines.FilterEntry{entry(1, 1)}))
	known(t, e.Filter, 1, 1)
	e.Expire(t)
	unknown(t, e.Filter, 1)
	require.NoError(t, e.Filter.Remember(limited(t), []pipelines.FilterEntry{entry(1, 2)}))
	known(t, e.Filter, 1, 2)
}

func forgets(t *testing.T, e FilterEndpoint) {
	if e.Forget == nil {
		return
	}
	require.NoError(t, e.Filter.Remember(limited(t), []pipelines.FilterEntry{entry(1, 1)}))
	e.Forget(t)
	unknown(t, e.Filter, 1)
}

func filterContext(t *testing.T, e FilterEndpoint) {
	require.NoError(t, e.Filter.Remember(limited(t), []pipelines.FilterEntry{entry(1, 1)}))
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for range 100 { // an answer that is there already must not win by chance
		position, ok, err := e.Filter.Lookup(ended, identity(1))
		require.ErrorIs(t, err, context.Canceled)
		require.False(t, ok)
		require.Zero(t, position)
		require.ErrorIs(t, e.Filter.Remember(ended, []pipelines.FilterEntry{entry(2, 2)}), context.Canceled)
	}
	known(t, e.Filter, 1, 1) // callers that give up do not make the server one that failed
	unknown(t, e.Filter, 2)
}

func stalls(t *testing.T, e FilterEndpoint) {
	if e.Stall == nil {
		return
	}
	require.NoError(t, e.Filter.Remember(limited(t), []pipelines.FilterEntry{entry(1, 1)}))
	resume := sync.OnceFunc(e.Stall(t))
	defer resume()
	ctx, cancel := context.WithTimeout(context.Background(), moment)
	defer cancel()
	began := time.Now()
	_, ok, err := e.Filter.Lookup(ctx, identity(1))
	require.Error(t, err)
	require.False(t, ok)
	require.Less(t, time.Since(began), patience/10, "the caller's deadline holds")
	began = time.Now()
	require.Error(t, e.Filter.Remember(ctx, []pipelines.FilterEntry{entry(2, 2)}))
	require.Less(t, time.Since(began), patience/10, "the caller's deadline holds")
	resume()
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		position, ok, err := e.Filter.Lookup(ctx, identity(1))
		return err == nil && ok && position == 1
	}, patience, moment, "the filter does not find back to its server")
}

func anotherNode(t *testing.T, e FilterEndpoint) {
	if e.Again == nil {
		return
	}
	other := e.Again(t)
	require.NoError(t, e.Filter.Remember(limited(t), []pipelines.FilterEntry{entry(1, 1)}))
	known(t, other, 1, 1)
	unknown(t, other, 2)
}

func manyCallers(t *testing.T, e FilterEndpoint) {
	const callers, each = 8, 25
	ctx := limited(t)
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				n := c*each + i
				if err := e.Filter.Remember(ctx, []pipelines.FilterEntry{entry(n, uint64(n)+1)}); err != nil {
					errs[c] = err
					return
				}
				position, ok, err := e.Filter.Lookup(ctx, identity(n))
				if err == nil && (!ok || position != uint64(n)+1) {
					err = fmt.Errorf("identity %d: position %d, known %t", n, position, ok)
				}
				if err != nil {
					errs[c] = err
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}
