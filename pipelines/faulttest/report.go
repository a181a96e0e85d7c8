package faulttest

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// A Run is one line of the report: one fault and what it did.
type Run struct {
	Test       string        `json:"test"`
	Seed       uint64        `json:"seed"`
	Load       string        `json:"load"`
	Faults     int           `json:"faults"`
	Acked      int           `json:"acked"`
	Lost       int           `json:"lost"`
	Doubled    int           `json:"doubled"`
	Disordered int           `json:"disordered"`
	Again      int           `json:"delivered_again"`
	Recovery   time.Duration `json:"recovery_ns"` // the longest from a fault's end to the next positive answer
	Before     time.Duration `json:"p99_before_ns"`
	During     time.Duration `json:"p99_during_ns"`
	After      time.Duration `json:"p99_after_ns"`
	Memory     uint64        `json:"memory_bytes"` // of the test's process at the end
	Violations []string      `json:"violations,omitempty"`
}

// WriteReport writes the runs as JSON lines, or as a table in Markdown.
func WriteReport(w io.Writer, runs []*Run, markdown bool) error {
	if !markdown {
		enc := json.NewEncoder(w)
		for _, r := range runs {
			if err := enc.Encode(r); err != nil {
				return fmt.Errorf("write report: %w", err)
			}
		}
		return nil
	}
	var b strings.Builder
	b.WriteString("| fault | seed | load | faults | acked | lost | doubled | out of order | recovery | p99 before | during | after | memory |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	short := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return d.Round(100 * time.Microsecond).String()
	}
	for _, r := range runs {
		fmt.Fprintf(&b, "| %s | %d | %s | %d | %d | %d | %d | %d | %s | %s | %s | %s | %d MiB |\n", r.Test, r.Seed, r.Load, r.Faults, r.Acked,
			r.Lost, r.Doubled, r.Disordered, short(r.Recovery), short(r.Before), short(r.During), short(r.After), r.Memory>>20)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
