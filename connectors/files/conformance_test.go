package files_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/liaison-health/liaison/connectors/connectortest"
	"github.com/liaison-health/liaison/connectors/files"
	"github.com/liaison-health/liaison/pipelines"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// report is a report as its reader sees it.
type report struct {
	File        string    `json:"file"`
	SHA256      string    `json:"sha256"`
	Bytes       int       `json:"bytes"`
	Source      string    `json:"source"`
	Format      string    `json:"format"`
	Messages    int       `json:"messages"`
	Accepted    int       `json:"accepted"`
	Duplicates  int       `json:"duplicates"`
	Refused     int       `json:"refused"`
	Quarantined int       `json:"quarantined"`
	Problems    []trouble `json:"problems"`
	Results     []struct {
		Index     int      `json:"index"`
		ControlID string   `json:"control_id"`
		Position  uint64   `json:"position"`
		Duplicate bool     `json:"duplicate"`
		Outcome   string   `json:"outcome"`
		Error     *trouble `json:"error"`
	} `json:"results"`
}

type trouble struct{ Code, Condition, Place, Reason string }

func drop(dir, name string, data []byte) error {
	hidden := filepath.Join(dir, "."+name)
	if err := os.WriteFile(hidden, data, 0o600); err != nil {
		return err
	}
	return os.Rename(hidden, filepath.Join(dir, name))
}

// fate waits until a file stands in done/ or failed/ and reads its report.
func fate(ctx context.Context, dir, name string) (done bool, r report, err error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		for _, sub := range []string{"done", "failed"} {
			path := filepath.Join(dir, sub, name)
			_, err := os.Stat(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			data, err := os.ReadFile(path + ".report.json")
			if err == nil {
				err = json.Unmarshal(data, &r)
			}
			return sub == "done", r, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, r, ctx.Err()
		}
	}
}

func TestConformance(t *testing.T) {
	for name, format := range map[string]pipelines.Format{"HL7 v2": pipelines.HL7v2, "FHIR": pipelines.FHIR} {
		t.Run(name, func(t *testing.T) {
			extension := map[pipelines.Format]string{pipelines.HL7v2: ".hl7", pipelines.FHIR: ".json"}[format]
			open := func(t *testing.T, outcomes pipelines.Outcomes) connectortest.Endpoint {
				dir := t.TempDir()
				s, err := files.Open(files.Config{Name: "drop", Directory: dir, Interval: 2 * time.Millisecond, Backoff: time.Millisecond, Outcomes: outcomes})
				require.NoError(t, err)
				var n atomic.Int64
				end := connectortest.Endpoint{Source: s, Connect: func(*testing.T) connectortest.Send {
					return func(ctx context.Context, payload []byte) (bool, error) {
						name := fmt.Sprintf("f%d%s", n.Add(1), extension)
						if err := drop(dir, name, payload); err != nil {
							return false, err
						}
						done, _, err := fate(ctx, dir, name)
						return done, err
					}
				}}
				if format == pipelines.HL7v2 {
					end.Pipeline = func(ctx context.Context, payloads [][]byte) (int, error) {
						var all []byte
						for _, p := range payloads {
							all = append(all, p...)
						}
						if err := drop(dir, "all.hl7", all); err != nil {
							return 0, err
						}
						_, r, err := fate(ctx, dir, "all.hl7")
						return r.Accepted, err
					}
				}
				return end
			}
			connectortest.Source(t, connectortest.SourceHarness{Format: format, Open: open, Retries: true})
		})
	}
}
