package faulttest_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines/faulttest"
	"github.com/liaison-health/liaison/pipelines/store"
)

// certificate makes one that nobody else has signed.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	own, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{own}, PrivateKey: key}, nil
}

// 12. What a connection costs that was served once and then says nothing, plain
// and with TLS.
func TestIdleConnections(t *testing.T) {
	for name, most := range map[string]float64{"plain": 64, "TLS": 128} {
		t.Run(name, func(t *testing.T) {
			connections := howMany(200, 10_000)
			each(t, faulttest.Scale{Senders: connections, Messages: 2}, func(w *world) {
				w.onDisk()
				secured := name == "TLS"
				p, err := w.spawn(orders{Connections: connections + 10, TLS: secured})
				require.NoError(w.t, err)
				address, err := w.where(w.t.Context(), 0)
				require.NoError(w.t, err)
				ctx, cancel := context.WithTimeout(w.t.Context(), patience())
				defer cancel()
				connect := func() *line {
					l := &line{w: w}
					conn, err := dial(ctx, address)
					if err != nil {
						return l
					}
					l.conn = conn
					if secured {
						l.conn = tls.Client(l.conn, &tls.Config{InsecureSkipVerify: true})
					}
					l.r = bufio.NewReader(l.conn)
					return l
				}
				first := connect()
				for _, sent := range w.feed.Senders { // as much work as behind the connections
					first.deliver(ctx, sent[0])
				}
				before := residentOf(w.t, p.cmd.Process.Pid)
				lines := make([]*line, connections)
				var callers sync.WaitGroup
				for n := range 20 {
					callers.Go(func() {
						for i := n; i < connections; i += 20 {
							l := connect()
							made := l.conn
							l.deliver(ctx, w.feed.Senders[i][1])
							if l.conn == made {
								lines[i] = l
							}
						}
					})
				}
				callers.Wait()
				open := 0
				for _, l := range append(lines, first) {
					if l != nil {
						defer l.close()
						open++
					}
				}
				require.Equal(w.t, connections+1, open, "each is served on the connection that it made: %s", p.errs.String())
				used := float64(residentOf(w.t, p.cmd.Process.Pid)-before) / float64(connections) / 1024
				w.figure(faulttest.Figure{Name: fmt.Sprintf("memory of each of %d idle connections, %s", connections, name), Value: used, Unit: " KiB", AtMost: most})
				require.NoError(w.t, p.input.Close())
				require.NoError(w.t, w.gone(p), p.errs.String())
				w.start()
				w.holds()
			})
		})
	}
}

// residentOf is the memory of a process.
func residentOf(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "VmRSS:")
	require.True(t, ok)
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(t, err)
	return kib << 10
}

// A filling makes messages long: a segment of the site's own behind each, of
// text that does not compress to nothing.
type filling struct {
	text   string
	length int
}

func newFilling(seed uint64, length int) *filling {
	noise := make([]byte, length+1<<20)
	random := mathrand.New(mathrand.NewPCG(seed, 7))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	return &filling{text: base64.RawStdEncoding.EncodeToString(noise), length: length}
}

// of gives a message with its filling, the same each time.
func (f *filling) of(m *faulttest.Message) []byte {
	h := fnv.New32a()
	h.Write([]byte(m.Control))
	from := int(h.Sum32() % uint32(len(f.text)-f.length))
	return []byte(string(m.Raw) + "ZFL|1|" + f.text[from:from+f.length] + "\r")
}

// 1. Killed behind a large journal, it answers again soon: what is kept does not
// have to be read. What fills the journal cannot be mapped, so that the topics,
// which stand in this process' memory, do not grow with it.
func TestRestart(t *testing.T) {
	const length = 128 << 10
	size := int64(howMany(16<<20, 5<<30))
	each(t, faulttest.Scale{Senders: 16, Messages: 2*int(size/length/16) + 2, Poison: 2}, func(w *world) {
		w.onDisk()
		fill := newFilling(w.seed, length)
		for _, sent := range w.feed.Senders {
			for _, m := range sent {
				if m.Poison != "" {
					m.Fill = fill.of
				}
			}
		}
		p, err := w.spawn(orders{})
		require.NoError(w.t, err)
		require.NoError(w.t, w.driveFrom(0, 0.99, nil))
		require.NoError(w.t, p.cmd.Process.Kill())
		_ = w.gone(p)
		w.fault()
		kept, err := store.Open(w.plan.Dir, store.Options{ReadOnly: true})
		require.NoError(w.t, err)
		journal := kept.JournalBytes()
		require.NoError(w.t, kept.Close())
		w.ledger.Phase("after")
		driven := make(chan error, 1)
		go func() { driven <- w.driveFrom(0.99, 1, nil) }()
		began := time.Now()
		w.ledger.OnAnswer(func() { w.recovered(began) })
		p, err = w.spawn(orders{})
		require.NoError(w.t, err)
		require.NoError(w.t, <-driven)
		w.figure(faulttest.Figure{
			Name: fmt.Sprintf("restart to the first answer, %.1f GB of journal", float64(journal)/1e9), Value: w.recovery.Seconds(), Unit: " s", AtMost: 10,
		})
		require.NoError(w.t, p.input.Close())
		require.NoError(w.t, w.gone(p), p.errs.String())
		w.start()
		w.holds()
	})
}

// A source gone wild is held to its rate, and another one's answers come as
// before.
func TestNoisyNeighbour(t *testing.T) {
	const quiet, rate = 4, 250
	each(t, scale(faulttest.Scale{Senders: 12, Messages: 20}, faulttest.Scale{Senders: 68, Messages: 1000}), func(w *world) {
		w.onDisk()
		p, err := w.spawn(orders{Rate: rate, Tuned: true}) // a process of its own, whose pauses are not the checker's
		require.NoError(w.t, err)
		ctx, cancel := context.WithTimeout(w.t.Context(), 2*patience())
		defer cancel()
		send := func(senders [][]*faulttest.Message, source int, every time.Duration) *sync.WaitGroup {
			var work sync.WaitGroup
			for _, sent := range senders {
				work.Go(func() {
					l := &line{w: w, source: source}
					defer l.close()
					tick := time.NewTicker(every)
					defer tick.Stop()
					for _, m := range sent {
						<-tick.C
						l.deliver(ctx, m)
					}
				})
			}
			return &work
		}
		half := func(n int) (out [][]*faulttest.Message) {
			for _, sent := range w.feed.Senders[:quiet] {
				out = append(out, sent[n*len(sent)/2:(n+1)*len(sent)/2])
			}
			return out
		}
		send(half(0), 0, 20*time.Millisecond).Wait()
		w.fault()
		wild := w.feed.Senders[quiet:]
		for i := range wild { // as much as its rate lets through meanwhile
			wild[i] = wild[i][:len(wild[i])/20]
		}
		w.ledger.Aside(func(m *faulttest.Message) bool { return m.Sender >= wild[0][0].Sender })
		w.ledger.Phase("during")
		noise := send(wild, 1, time.Nanosecond)
		send(half(1), 0, 20*time.Millisecond).Wait()
		w.ledger.Phase("after")
		noise.Wait()
		require.NoError(w.t, ctx.Err(), "not everything was answered")
		w.figure(faulttest.Figure{
			Name: fmt.Sprintf("p99 of a source beside one that sends without a pause and is held to %d a second, to before", rate), Value: w.slower(), AtMost: 2,
		})
		require.NoError(w.t, p.input.Close())
		require.NoError(w.t, w.gone(p), p.errs.String())
		w.start()
		w.holds()
	})
}
