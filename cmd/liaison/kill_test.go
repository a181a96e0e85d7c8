package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/cmd/internal/load"
	"github.com/liaison-health/liaison/connectors/kafka"
	"github.com/liaison-health/liaison/connectors/mllp"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/testdata"
)

const asProgram = "LIAISON_TEST_AS_PROGRAM"

// killSeed lets a run of TestKilled be repeated: -seed N, as the failed run printed it.
var killSeed = flag.Uint64("seed", 0, "seed of the instants at which TestKilled kills; 0: a new one")

// TestMain lets the test's binary be the program that a test kills.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	if file := os.Getenv(onBadDisk); file != "" {
		os.Exit(runOnBadDisk(file, os.Args[1], os.Stderr))
	}
	debug.SetGCPercent(400) // the tests start the program a hundred times, which leaves little
	os.Exit(m.Run())
}

// A process is one `liaison run` of its own.
type process struct {
	t         *testing.T
	cmd       *exec.Cmd
	output    bytes.Buffer
	addresses map[string]string
}

// spawn starts `liaison run` and returns when it serves.
func spawn(t *testing.T, file, data string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], "run", "--config", file)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return start(t, cmd, data)
}

// start starts a process and returns when it serves.
func start(t *testing.T, cmd *exec.Cmd, data string) *process {
	t.Helper()
	name := filepath.Join(data, "addresses.json")
	_ = os.Remove(name)
	p := &process{t: t, cmd: cmd}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(name)
		return err == nil && json.Unmarshal(text, &p.addresses) == nil
	}, time.Minute, 2*time.Millisecond, "it does not start: %s", &p.output)
	return p
}

func (p *process) kill() {
	require.NoError(p.t, p.cmd.Process.Kill())
	_ = p.cmd.Wait()
}

// feedUntilDead sends over one connection until the process is gone, and gives
// the control ids of what was answered positively.
func feedUntilDead(ctx context.Context, address string, templates []load.Template, run string) []string {
	client, err := mllp.Dial(ctx, address, nil, 10*time.Second)
	if err != nil {
		return nil
	}
	defer func() { _ = client.Close() }()
	var acked []string
	var buffer []byte
	for round := 0; ; round++ {
		for i := range templates {
			buffer = templates[i].AppendTo(buffer[:0], run, round)
			msg, err := hl7v2.Parse(buffer)
			if err != nil {
				return acked
			}
			id := msg.Header().ControlID
			answer, err := client.Send(ctx, buffer)
			if err != nil {
				return acked
			}
			if ack, err := hl7v2.ParseAck(answer); err == nil && ack.Code.Positive() {
				acked = append(acked, id)
			}
		}
	}
}

// kill -9 at 20 random instants under load: what was acknowledged has its
// outcome, no event id has two texts, and versions have no gap.
func TestKilled(t *testing.T) {
	t.Parallel()
	seed := cmp.Or(*killSeed, uint64(time.Now().UnixNano()))
	t.Logf("again with -seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	data := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.MkdirAll(data, 0o700))
	file := filepath.Join(t.TempDir(), "liaison.yaml")
	require.NoError(t, os.WriteFile(file, []byte(demoYAML(data)), 0o600))
	day, err := testdata.Day()
	require.NoError(t, err)
	var templates []load.Template
	for _, m := range day {
		if strings.HasSuffix(m.File, ".hl7") && m.Note == "" {
			templates = append(templates, load.NewTemplate(m.Raw))
		}
	}
	const kills, lanes = 20, 2
	var mu sync.Mutex
	var acked []string
	for n := range kills {
		p := spawn(t, file, data)
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
		var feeds sync.WaitGroup
		for lane := range lanes {
			feeds.Go(func() {
				ids := feedUntilDead(ctx, p.addresses["source:adt"], templates[lane*17:], fmt.Sprintf("k%dx%dx", n, lane))
				mu.Lock()
				defer mu.Unlock()
				acked = append(acked, ids...)
			})
		}
		instant := time.NewTimer(time.Duration(random.IntN(250)) * time.Millisecond)
		<-instant.C
		p.kill()
		feeds.Wait()
		stop()
	}
	t.Logf("%d messages acknowledged", len(acked))
	require.Greater(t, len(acked), kills)

	p := spawn(t, file, data)
	require.NoError(t, drained(t.Context(), p.addresses["operations"]))
	texts, versions := readBack(t, p.addresses["kafka"])
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait(), p.output.String())

	code, out, errs := liaison(t, "journal", "list", "--json", "--data", data)
	require.Equal(t, exitDone, code, errs)
	outcomes := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		var fate struct {
			ControlID string `json:"control_id"`
			Outcome   string
			Events    []string
		}
		require.NoError(t, json.Unmarshal([]byte(line), &fate))
		if fate.Outcome != "duplicate" || outcomes[fate.ControlID] == "" {
			outcomes[fate.ControlID] = fate.Outcome
		}
		for _, id := range fate.Events {
			require.Contains(t, texts, id, "an event that is not on Kafka")
		}
	}
	for _, id := range acked {
		require.Contains(t, outcomes, id, "an acknowledged message that the journal does not have")
		require.NotEqual(t, "pending", outcomes[id])
	}
	for key, list := range versions {
		for i, v := range list {
			require.Equal(t, uint64(i+1), v, "versions of a record in the order of its partition: %s", key)
		}
	}
}

// readBack reads every record; of what was delivered twice the first counts.
func readBack(t *testing.T, broker string) (texts map[string]string, versions map[string][]uint64) {
	t.Helper()
	consumer, err := newConsumer(config.Default(), []string{broker})
	require.NoError(t, err)
	defer consumer.Close()
	texts, versions = map[string]string{}, map[string][]uint64{}
	require.NoError(t, consumer.Read(t.Context(), true, time.Second, func(r *kafka.Record) error {
		id := r.Header("ce_id")
		if have, ok := texts[id]; ok {
			require.Equal(t, have, string(r.Value), "one id, one text")
			return nil
		}
		texts[id] = string(r.Value)
		record, err := records.Decode(r.Value)
		require.NoError(t, err)
		key := string(record.Kind) + "/" + record.Key.String()
		versions[key] = append(versions[key], record.Version)
		return nil
	}))
	return texts, versions
}
