package engine

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// keepHouse watches the free space and drops what is older than is kept.
func (e *Engine) keepHouse(ctx context.Context, done <-chan struct{}) error {
	tick := time.NewTicker(e.cfg.Housekeeping)
	defer tick.Stop()
	last := time.Time{}
	for {
		e.watchSpace()
		if time.Since(last) > time.Minute {
			last = time.Now()
			if err := e.retain(last); err != nil {
				e.cfg.Log.Error("retention", "error", err)
			}
		}
		select {
		case <-tick.C:
		case <-done:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// watchSpace stops the intake below the watermark and lets it go on above.
func (e *Engine) watchSpace() {
	if e.cfg.FreeSpace == 0 {
		return
	}
	var st unix.Statfs_t
	if err := unix.Statfs(e.cfg.Dir, &st); err != nil {
		return
	}
	free := st.Bavail * uint64(st.Bsize)
	e.store.SetFull(free < e.cfg.FreeSpace)
	e.metrics.free.Set(float64(free))
}

// retain drops entries beyond age or size, never past the checkpoint or an
// unpublished event.
func (e *Engine) retain(now time.Time) error {
	if e.cfg.Retention == 0 && e.cfg.RetentionSize == 0 {
		return nil
	}
	_, checkpoint, _, published := e.Progress()
	total := int64(0)
	if e.cfg.RetentionSize > 0 {
		err := e.store.Entries(0, func(_ uint64, data []byte) (bool, error) {
			total += int64(len(data))
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	keep := uint64(0)
	err := e.store.Entries(0, func(pos uint64, data []byte) (bool, error) {
		en, err := decodeEntry(pos, data)
		tooOld := err == nil && e.cfg.Retention > 0 && now.Sub(time.Unix(0, en.Received)) > e.cfg.Retention
		tooMuch := e.cfg.RetentionSize > 0 && total > e.cfg.RetentionSize
		if pos > checkpoint || !tooOld && !tooMuch {
			return false, nil
		}
		total -= int64(len(data))
		keep = pos + 1
		return true, nil
	})
	if err != nil || keep == 0 {
		return err
	}
	event := uint64(0)
	if checkpoint > 0 && published > 0 {
		// Events are dropped in step with the journal's share that is dropped.
		event = published * keep / (checkpoint + 1)
	}
	return e.store.Retain(keep, min(event, published))
}

type metrics struct {
	received, refused, published, quarantined          *prometheus.CounterVec
	Answered                                           *prometheus.CounterVec
	duplicates, filterErrors, publishErrors, logLosses prometheus.Counter
	append, publish                                    prometheus.Histogram
	free                                               prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, e *Engine) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	histogram := func(name, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)})
		reg.MustRegister(h)
		return h
	}
	gauge := func(name, help string, value func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("liaison_journal_pending", "Accepted messages without an outcome.", func() float64 {
		tail, checkpoint, _, _ := e.Progress()
		return float64(tail - checkpoint)
	})
	gauge("liaison_outbox_pending", "Events that are not on Kafka yet.", func() float64 {
		_, _, event, published := e.Progress()
		return float64(event) - float64(published)
	})
	m := &metrics{
		received:      vec("liaison_received_total", "Messages taken, duplicates too.", "source"),
		refused:       vec("liaison_refused_total", "Messages refused before the journal.", "source"),
		Answered:      vec("liaison_answered_total", "Answers by code.", "source", "code"),
		published:     vec("liaison_published_total", "Events acknowledged by Kafka.", "topic"),
		quarantined:   vec("liaison_quarantined_total", "Messages put in quarantine.", "reason"),
		duplicates:    counter("liaison_duplicates_total", "Messages known before."),
		filterErrors:  counter("liaison_filter_errors_total", "Writes that the early filter refused."),
		publishErrors: counter("liaison_publish_errors_total", "Batches that Kafka did not take at once."),
		logLosses:     counter("liaison_log_losses_total", "Times that Kafka's logs ended before what was published."),
		append:        histogram("liaison_append_seconds", "From receipt to durable journal."),
		publish:       histogram("liaison_publish_seconds", "From sending a batch to its acknowledgement."),
		free:          prometheus.NewGauge(prometheus.GaugeOpts{Name: "liaison_disk_free_bytes", Help: "Free space under the data."}),
	}
	reg.MustRegister(m.free)
	return m
}

// Answered counts an answer that a source gave.
func (e *Engine) Answered(source, code string) {
	e.metrics.Answered.WithLabelValues(source, code).Inc()
}
