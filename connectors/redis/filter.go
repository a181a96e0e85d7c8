// Package redis is the early filter of resent messages: which identities were
// accepted lately, asked before the journal is written. It holds digests only,
// never a patient's data, and whatever it says wrongly, slowly or not at all
// changes the speed, not a result.
package redis

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/liaison-health/liaison/pipelines"
)

// Config says which server the filter asks.
type Config struct {
	Address  string // host:port
	Username string
	Password string
	Database int
	TLS      *tls.Config
	Window   time.Duration // how long an identity is kept; 0: 7 days
	Key      []byte        // the site's key: values without its mark are not believed
	Timeout  time.Duration // of one question; 0: 50 ms
	// Pause is how long nothing is asked after Failures failures in a row
	// (0: 1 s after 5): a server that is gone costs nothing.
	Pause    time.Duration
	Failures int32
}

// A Filter implements pipelines.EarlyFilter. It is safe for concurrent use.
type Filter struct {
	cfg      Config
	client   *goredis.Client
	failures atomic.Int32
	until    atomic.Int64 // Unix nanoseconds before which nothing is asked

	mu      sync.Mutex
	pending []question // asked while an earlier round trip is under way
	asking  bool
}

// A question is one look-up that waits for its answer.
type question struct {
	key    string
	answer chan answer
}

type answer struct {
	value []byte // nil: not there
	err   error
}

// ErrPaused: the server failed lately and is not asked at the moment.
var ErrPaused = errors.New("redis: paused after failures")

// Quiet keeps the client library's own lines off stderr, in the whole process:
// its main calls it, once.
func Quiet() { logging.Disable() }

// New makes a filter; it does not connect.
func New(cfg Config) (*Filter, error) {
	if len(cfg.Key) == 0 {
		return nil, errors.New("redis: the filter needs the site's key")
	}
	if cfg.Window <= 0 {
		cfg.Window = 7 * 24 * time.Hour
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 50 * time.Millisecond
	}
	if cfg.Pause <= 0 {
		cfg.Pause = time.Second
	}
	if cfg.Failures <= 0 {
		cfg.Failures = 5
	}
	client := goredis.NewClient(&goredis.Options{
		Addr: cfg.Address, Username: cfg.Username, Password: cfg.Password, DB: cfg.Database, TLSConfig: cfg.TLS,
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second, ContextTimeoutEnabled: true,
		MaxRetries: -1, PoolSize: 16,
	})
	return &Filter{cfg: cfg, client: client}, nil
}

// Close ends the connections.
func (f *Filter) Close() error {
	if err := f.client.Close(); err != nil {
		return fmt.Errorf("redis: close: %w", err)
	}
	return nil
}

// Lookup implements pipelines.EarlyFilter: where the first message of this
// identity stands. Every failure and every value without the site's mark is
// "not known".
func (f *Filter) Lookup(ctx context.Context, digest [32]byte) (uint64, bool, error) {
	if f.paused() {
		return 0, false, ErrPaused
	}
	if err := ctx.Err(); err != nil {
		return 0, false, fmt.Errorf("redis: look up: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	value, err := f.ask(within, f.key(digest))
	if err != nil {
		f.failed(ctx)
		return 0, false, fmt.Errorf("redis: look up: %w", err)
	}
	f.failures.Store(0)
	if len(value) != 8+sha256.Size {
		return 0, false, nil
	}
	position := binary.BigEndian.Uint64(value)
	if !hmac.Equal(value[8:], f.mark(digest, position)) {
		return 0, false, nil
	}
	return position, true, nil
}

// ask reads one key. Look-ups that come while one is under way share the next
// round trip.
func (f *Filter) ask(ctx context.Context, key string) ([]byte, error) {
	q := question{key: key, answer: make(chan answer, 1)}
	f.mu.Lock()
	f.pending = append(f.pending, q)
	first := !f.asking
	f.asking = true
	f.mu.Unlock()
	if first {
		go f.answer()
	}
	select {
	case a := <-q.answer:
		return a.value, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for an answer: %w", ctx.Err())
	}
}

// answer asks the server until nobody waits.
func (f *Filter) answer() {
	for {
		f.mu.Lock()
		batch := f.pending
		f.pending = nil
		f.asking = len(batch) > 0
		f.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		keys := make([]string, len(batch))
		for i, q := range batch {
			keys[i] = q.key
		}
		ctx, cancel := context.WithTimeout(context.Background(), f.cfg.Timeout)
		values, err := f.client.MGet(ctx, keys...).Result()
		cancel()
		for i, q := range batch {
			a := answer{err: err}
			if err == nil && i < len(values) {
				if text, ok := values[i].(string); ok {
					a.value = []byte(text)
				}
			}
			q.answer <- a
		}
	}
}

// Remember implements pipelines.EarlyFilter, all entries in one round trip. An
// identity that is there already keeps its first position.
func (f *Filter) Remember(ctx context.Context, entries []pipelines.FilterEntry) error {
	if f.paused() {
		return ErrPaused
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("redis: remember: %w", err)
	}
	_, err := f.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for _, e := range entries {
			value := binary.BigEndian.AppendUint64(nil, e.Position)
			p.SetNX(ctx, f.key(e.Digest), append(value, f.mark(e.Digest, e.Position)...), f.cfg.Window)
		}
		return nil
	})
	if err != nil {
		f.failed(ctx)
		return fmt.Errorf("redis: remember: %w", err)
	}
	f.failures.Store(0)
	return nil
}

// key names an identity so that nobody without the site's key can tell which
// message it stands for.
func (f *Filter) key(digest [32]byte) string {
	m := hmac.New(sha256.New, f.cfg.Key)
	m.Write([]byte("key"))
	m.Write(digest[:])
	return "liaison:d:" + hex.EncodeToString(m.Sum(nil)[:20])
}

// mark shows that a value is this site's own.
func (f *Filter) mark(digest [32]byte, position uint64) []byte {
	m := hmac.New(sha256.New, f.cfg.Key)
	m.Write([]byte("mark"))
	m.Write(digest[:])
	m.Write(binary.BigEndian.AppendUint64(nil, position))
	return m.Sum(nil)
}

func (f *Filter) paused() bool { return time.Now().UnixNano() < f.until.Load() }

// failed counts a failure of the server. A caller that gave its question up
// says nothing about the server.
func (f *Filter) failed(asked context.Context) {
	if errors.Is(asked.Err(), context.Canceled) {
		return
	}
	if f.failures.Add(1) >= f.cfg.Failures {
		f.failures.Store(0)
		f.until.Store(time.Now().Add(f.cfg.Pause).UnixNano())
	}
}
