//go:build integration

package faulttest_test

import (
	"cmp"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/pipelines/faulttest"
)

// A server is a real one that the test starts, kills and starts again.
type server struct {
	t       *testing.T
	command []string
	address string
	cmd     *exec.Cmd
}

// realServer reads a server's command and address from the environment.
func realServer(t *testing.T, name string) *server {
	t.Helper()
	s := &server{t: t, command: strings.Fields(os.Getenv(name + "_COMMAND")), address: os.Getenv(name + "_ADDRESS")}
	require.NotEmpty(t, s.command, "%s_COMMAND starts a server", name)
	require.NotEmpty(t, s.address, "%s_ADDRESS is where it listens", name)
	t.Cleanup(s.kill)
	return s
}

// start returns when the server takes connections.
func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(s.command[0], s.command[1:]...)
	require.NoError(s.t, s.cmd.Start())
	require.Eventually(s.t, func() bool {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}, 3*time.Minute, 20*time.Millisecond, "%s does not answer", s.command[0])
}

// kill is kill -9.
func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Liaison killed again and again, and then its Apache Kafka and its redis-server
// under it: everything that was answered is on the topics of that Kafka.
func TestRealKill(t *testing.T) {
	seed := cmp.Or(*seedFlag, uint64(time.Now().UnixNano())%1_000_000)
	w := emptyWorld(t, seed, faulttest.Scale{Senders: 4, Messages: howMany(100, 2000), Merges: true, Poison: 17})
	broker, early := realServer(t, "LIAISON_FAULTS_KAFKA"), realServer(t, "LIAISON_FAULTS_REDIS")
	w.stopped()
	w.plan.Kafka, w.plan.Redis = broker.address, early.address
	w.onDisk()
	broker.start()
	early.start()
	whole := slices.Clone(w.feed.Senders)
	half := func(n int) {
		for i, sent := range whole {
			w.feed.Senders[i] = sent[n*len(sent)/2 : (n+1)*len(sent)/2]
		}
	}
	half(0)
	w.killing(howMany(4, 20))
	half(1)
	broken := func(from, to float64, s *server) {
		require.NoError(t, w.driveFrom(from, to, nil))
		s.kill()
		w.fault()
		w.ledger.Phase("during")
		require.NoError(t, w.driveFrom(to, to+0.25, nil))
	}
	broken(0, 0.1, broker)
	require.Eventually(t, func() bool {
		tail, checkpoint, event, published := w.subject.engine.Progress()
		return tail == checkpoint && event > published
	}, patience(), time.Millisecond, "what was taken becomes events that wait on disk")
	broker.start()
	broken(0.35, 0.5, early)
	early.start()
	w.ledger.Phase("after")
	require.NoError(t, w.driveFrom(0.75, 1, nil))
	copy(w.feed.Senders, whole)
	w.holds()
}
