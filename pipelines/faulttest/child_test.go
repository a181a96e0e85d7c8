package faulttest_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines/faulttest"
)

// asChild holds the orders of a child: the test's binary runs one subject then.
const asChild = "LIAISON_FAULTTEST_CHILD"

// orders are what a child is to do.
type orders struct {
	Dir, Kafka, Redis string
	Point             string // where it kills itself, the Hits-th time
	Hits              int64
	Bad               string // a file: once it is there the disk fails
	Fails             string // sync, once (the first sync only) or write
	Files             uint64 // limit of open files; 0: the system's
	Connections       int
	TLS               bool
	Rate              int  // messages a second of the second source; 0: no bound
	Tuned             bool // with liaison run's settings of the runtime
}

// child is the process of one subject. It prints where its sources listen and
// serves until its input ends.
func child(text string) int {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var hits atomic.Int64
	p := plan{Dir: o.Dir, Kafka: o.Kafka, Redis: o.Redis, Connections: o.Connections, Rate: o.Rate, FrameTimeout: time.Minute}
	p.Failpoint = func(name string) {
		if name == o.Point && hits.Add(1) == o.Hits {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
	if o.TLS {
		own, err := certificate()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		p.TLS = &tls.Config{Certificates: []tls.Certificate{own}}
	}
	if o.Bad != "" {
		p.FS = &badDisk{FS: vfs.Default, file: o.Bad, fails: o.Fails}
	}
	s, err := start(p, "a", "b")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if o.Files > 0 {
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
			limit.Cur = o.Files
			_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
		}
	}
	fmt.Println(s.address(0), s.address(1))
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A badDisk fails from the moment that a file is there: a write, or an fsync,
// which then takes away what the file had got since its last one, as a kernel
// may that could not write it.
type badDisk struct {
	vfs.FS
	file, fails string
	failed      atomic.Bool
}

var errDisk = errors.New("the disk failed")

// strikes says whether it is time to fail.
func (d *badDisk) strikes() bool {
	if _, err := os.Stat(d.file); err != nil {
		return false
	}
	return d.failed.CompareAndSwap(false, true) || d.fails != "once"
}

func (d *badDisk) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &badFile{File: f, disk: d, name: name}, nil
}

// Create implements vfs.FS.
func (d *badDisk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	return d.wrap(name, f, err)
}

// ReuseForWrite implements vfs.FS: a log that is used again is written too.
func (d *badDisk) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(from, to, category)
	return d.wrap(to, f, err)
}

type badFile struct {
	vfs.File
	disk           *badDisk
	name           string
	mu             sync.Mutex
	written, ended int64 // bytes, and bytes at the last sync
}

// Write implements vfs.File.
func (f *badFile) Write(p []byte) (int, error) {
	if f.disk.fails == "write" && f.disk.strikes() {
		return 0, errDisk
	}
	n, err := f.File.Write(p)
	f.mu.Lock()
	f.written += int64(n)
	f.mu.Unlock()
	return n, err
}

func (f *badFile) synced(do func() error) error {
	f.mu.Lock()
	upTo := f.written
	f.mu.Unlock()
	if f.disk.fails != "write" && f.disk.strikes() {
		f.mu.Lock()
		_ = os.Truncate(f.name, f.ended)
		f.mu.Unlock()
		return errDisk
	}
	err := do()
	f.mu.Lock()
	f.ended = max(f.ended, upTo)
	f.mu.Unlock()
	return err
}

// Sync implements vfs.File.
func (f *badFile) Sync() error { return f.synced(f.File.Sync) }

// SyncData implements vfs.File.
func (f *badFile) SyncData() error { return f.synced(f.File.SyncData) }

// A process is one running child.
type process struct {
	cmd   *exec.Cmd
	input io.Closer
	errs  logBuffer
	ended chan error
}

// spawn starts a child and returns when it serves; an error says that it ended
// before.
func (w *world) spawn(o orders) (*process, error) {
	o.Dir, o.Kafka, o.Redis = w.plan.Dir, w.plan.Kafka, w.plan.Redis
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(os.Args[0]), ended: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), asChild+"="+string(text))
	if o.Tuned {
		p.cmd.Env = append(p.cmd.Env, "GOGC=200", "GOMEMLIMIT=280MiB", fmt.Sprintf("GOMAXPROCS=%d", 3*runtime.NumCPU()))
	}
	p.cmd.Stderr = &p.errs
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	var address [2]string
	_, scanned := fmt.Fscan(bufio.NewReader(output), &address[0], &address[1])
	go func() { p.ended <- p.cmd.Wait() }()
	if scanned != nil {
		return nil, fmt.Errorf("the child ended early: %w: %s", <-p.ended, p.errs.String())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.address = address
	close(w.up)
	return p, nil
}

// gone waits for a child's end and takes note that there is none.
func (w *world) gone(p *process) error {
	err := <-p.ended
	w.down()
	return err
}

// onDisk puts the world's data on the real disk, for children.
func (w *world) onDisk() {
	w.plan.FS, w.plan.Dir = nil, w.dir
}

// 1. kill -9 at random moments under load and at every named point: what was
// answered is there, whatever the process was doing.
func TestKill(t *testing.T) {
	each(t, scale(faulttest.Scale{Senders: 4, Messages: 25, Merges: true}, share(200, 200, faulttest.Scale{Merges: true})), func(w *world) {
		w.onDisk()
		w.killing(howMany(4, 50))
	})
}

// killing drives the feed while one child after the other is killed, and judges
// what the last subject finds.
func (w *world) killing(kills int) {
	w.t.Helper()
	answers := make(chan struct{}, 1)
	driven := make(chan error, 1)
	go func() {
		driven <- w.driving(func() {
			select {
			case answers <- struct{}{}:
			default:
			}
		})
	}()
	w.ledger.Phase("during")
	first := w.random.IntN(len(points))
	for n := range kills {
		o := orders{}
		if n%2 == 0 { // at a named point; else behind some answers
			o.Point, o.Hits = points[(first+n/2)%len(points)], int64(1+w.random.IntN(howMany(5, 200)))
		}
		began := time.Now()
		w.ledger.OnAnswer(func() { w.recovered(began) })
		p, err := w.spawn(o)
		if err != nil { // on what it had to do again it killed itself
			w.fault()
			continue
		}
		after, done := 1+w.random.IntN(howMany(8, max(8, 2*w.feed.Count()/kills))), false
		for after > 0 && !done {
			select {
			case <-answers:
				after--
			case err := <-p.ended:
				p.ended <- err
				done = true
			case err := <-driven:
				driven <- err
				done = true
			}
		}
		_ = p.cmd.Process.Kill() // it may have done so itself
		_ = w.gone(p)
		w.fault()
	}
	w.ledger.Phase("after")
	w.start()
	require.NoError(w.t, <-driven)
	w.holds()
}

// 2. A disk that fails ends the process: at an fsync, at one fsync only, at a
// write. Nothing that the failed write took away was answered.
func TestDiskFails(t *testing.T) {
	for _, fails := range []string{"sync", "once", "write"} {
		t.Run(fails, func(t *testing.T) {
			each(t, scale(faulttest.Scale{Senders: 4, Messages: 12}, share(100, 20, faulttest.Scale{})), func(w *world) {
				w.onDisk()
				bad := w.t.TempDir() + "/bad"
				p, err := w.spawn(orders{Bad: bad, Fails: fails})
				require.NoError(w.t, err)
				driven := make(chan error, 1)
				strike := at(w.feed.Count()/3, func() { _ = os.WriteFile(bad, nil, 0o600) })
				go func() { driven <- w.driving(strike) }()
				require.Error(w.t, w.gone(p), "the process goes on")
				require.Contains(w.t, p.errs.String(), errDisk.Error())
				w.fault()
				w.ledger.Phase("after")
				began := time.Now()
				w.ledger.OnAnswer(func() { w.recovered(began) })
				w.start()
				require.NoError(w.t, <-driven)
				w.holds()
			})
		})
	}
}
