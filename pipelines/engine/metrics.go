package engine

import "github.com/prometheus/client_golang/prometheus"

// metrics are the engine's figures; no label has a value of a message.
type metrics struct {
	received, refused, published, quarantined          *prometheus.CounterVec
	Answered                                           *prometheus.CounterVec
	duplicates, filterErrors, publishErrors, logLosses prometheus.Counter
	gate                                               *prometheus.CounterVec
	append, publish, whole                             prometheus.Histogram
	free                                               prometheus.Gauge
	stuck, waiting                                     *prometheus.GaugeVec
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
		return float64(tail) - float64(checkpoint)
	})
	gauge("liaison_outbox_pending", "Events that are not on Kafka yet.", func() float64 {
		e.mu.Lock()
		defer e.mu.Unlock()
		return float64(e.lastEvent) - float64(e.passed) + float64(e.left)
	})
	gauge("liaison_journal_bytes", "What the journal's entries hold.", func() float64 { return float64(e.store.JournalBytes()) })
	m := &metrics{
		received:      vec("liaison_received_total", "Messages taken, duplicates too.", "source"),
		refused:       vec("liaison_refused_total", "Messages refused before the journal.", "source"),
		Answered:      vec("liaison_answered_total", "Answers by code.", "source", "code"),
		published:     vec("liaison_published_total", "Events acknowledged by Kafka.", "topic"),
		quarantined:   vec("liaison_quarantined_total", "Messages put in quarantine.", "reason"),
		duplicates:    counter("liaison_duplicates_total", "Messages known before."),
		filterErrors:  counter("liaison_filter_errors_total", "Times that the early filter did not answer."),
		publishErrors: counter("liaison_publish_errors_total", "Batches that Kafka did not take at once."),
		logLosses:     counter("liaison_log_losses_total", "Times that Kafka's logs ended before what was published."),
		gate:          vec("liaison_gate_findings_total", "Messages in which the gate found something, before the journal or behind the mapping.", "source"),
		append:        histogram("liaison_append_seconds", "From receipt to durable journal."),
		publish:       histogram("liaison_publish_seconds", "From sending a batch to its acknowledgement."),
		whole:         histogram("liaison_end_to_end_seconds", "From receipt to Kafka's acknowledgement of the event."),
		free:          prometheus.NewGauge(prometheus.GaugeOpts{Name: "liaison_disk_free_bytes", Help: "Free space under the data."}),
	}
	m.stuck = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "liaison_topic_stuck", Help: "1 while a partition of the topic does not take events."}, []string{"topic"})
	m.waiting = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "liaison_topic_waiting", Help: "Events that wait for a partition of the topic that does not take them, or has not caught up."}, []string{"topic"})
	reg.MustRegister(m.free, m.stuck, m.waiting)
	return m
}

// GateFound counts a message of a source that the gate before the journal refused.
func (e *Engine) GateFound(source string) { e.metrics.gate.WithLabelValues(source).Inc() }

// Answered counts an answer that a source gave.
func (e *Engine) Answered(source, code string) {
	e.metrics.Answered.WithLabelValues(source, code).Inc()
}
