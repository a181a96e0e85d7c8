package app

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/pipelines"
)

// A watch is the intake with an eye on each source: a feed that has fallen silent
// looks like a quiet hospital otherwise, and one that is faster than its rate
// waits.
type watch struct {
	pipelines.Intake
	last map[string]*atomic.Int64 // Unix nanoseconds of the last message
	pace map[string]*pipelines.Pace
}

func newWatch(cfg *config.Config, in pipelines.Intake, reg prometheus.Registerer) *watch {
	w := &watch{Intake: in, last: map[string]*atomic.Int64{}, pace: map[string]*pipelines.Pace{}}
	for i := range cfg.Sources {
		s := cfg.Sources[i]
		last := &atomic.Int64{}
		last.Store(time.Now().UnixNano())
		w.last[s.Name] = last
		w.pace[s.Name] = pipelines.NewPace(s.Rate)
		labels := prometheus.Labels{"source": s.Name}
		since := func() time.Duration { return time.Since(time.Unix(0, last.Load())) }
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "liaison_source_silence_seconds", Help: "Time since the last message of a source.", ConstLabels: labels,
		}, func() float64 { return since().Seconds() }))
		if s.SilentAfter > 0 {
			reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "liaison_source_silent", Help: "1 when a source is silent for longer than its silent_after.", ConstLabels: labels,
			}, func() float64 {
				if since() > s.SilentAfter {
					return 1
				}
				return 0
			}))
		}
	}
	return w
}

// Accept implements pipelines.Intake.
func (w *watch) Accept(ctx context.Context, m *pipelines.Message) (pipelines.Receipt, error) {
	if last := w.last[m.Source]; last != nil {
		last.Store(time.Now().UnixNano())
	}
	if err := w.pace[m.Source].Wait(ctx); err != nil {
		return pipelines.Receipt{}, err //nolint:wrapcheck // it says what was waited for
	}
	return w.Intake.Accept(ctx, m) //nolint:wrapcheck // callers tell the intake's errors apart
}
