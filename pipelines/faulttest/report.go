package faulttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
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
	Figures    []Figure      `json:"figures,omitempty"`
	Violations []string      `json:"violations,omitempty"`
}

// A Figure is something that was measured against a bound.
type Figure struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit,omitempty"`
	AtMost  float64 `json:"at_most,omitempty"`
	AtLeast float64 `json:"at_least,omitempty"`
}

// Reached says whether the figure is within its bound.
func (f *Figure) Reached() bool {
	return (f.AtMost == 0 || f.Value <= f.AtMost) && f.Value >= f.AtLeast
}

func (f *Figure) bound() string {
	if f.AtMost != 0 {
		return "≤ " + number(f.AtMost) + f.Unit
	}
	return "≥ " + number(f.AtLeast) + f.Unit
}

// number writes three digits that count.
func number(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// WriteReport writes the runs as JSON lines, or as tables in Markdown.
func WriteReport(w io.Writer, runs []*Run, markdown bool) error {
	if markdown {
		if _, err := io.WriteString(w, Markdown(runs)); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		return nil
	}
	enc := json.NewEncoder(w)
	for _, r := range runs {
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}

// ReadReport reads the JSON lines of a report.
func ReadReport(r io.Reader) (runs []*Run, err error) {
	d := json.NewDecoder(r)
	for {
		run := &Run{}
		if err := d.Decode(run); errors.Is(err, io.EOF) {
			return runs, nil
		} else if err != nil {
			return nil, fmt.Errorf("read report: %w", err)
		}
		runs = append(runs, run)
	}
}

// Summary is a report in one sentence, and its figures.
func Summary(runs []*Run) string {
	all, figures := sum(runs)
	return fmt.Sprintf("%d messages acknowledged in %d runs with %d faults between them: %d lost, %d effects doubled, %d out of order; "+
		"the longest from a fault's end to the next answer %s.\n\n",
		all.Acked, len(runs), all.Faults, all.Lost, all.Doubled, all.Disordered, short(all.Recovery)) + figuresTable(figures)
}

// Markdown is a report for readers: a table of runs with their sum, and one of
// figures.
func Markdown(runs []*Run) string {
	var b strings.Builder
	b.WriteString("| fault | seed | load | faults | acked | lost | doubled | out of order | recovery | p99 before | during | after | memory |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range runs {
		fmt.Fprintf(&b, "| %s | %d | %s | %d | %d | %d | %d | %d | %s | %s | %s | %s | %d MiB |\n", r.Test, r.Seed, r.Load, r.Faults, r.Acked,
			r.Lost, r.Doubled, r.Disordered, short(r.Recovery), short(r.Before), short(r.During), short(r.After), r.Memory>>20)
	}
	all, figures := sum(runs)
	fmt.Fprintf(&b, "| all | | | %d | %d | %d | %d | %d | %s | | | | |\n", all.Faults, all.Acked, all.Lost, all.Doubled, all.Disordered, short(all.Recovery))
	if len(figures) > 0 {
		b.WriteString("\n" + figuresTable(figures))
	}
	return b.String()
}

// short writes a time to a tenth of a millisecond.
func short(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.Round(100 * time.Microsecond).String()
}

// sum adds runs up, and gives the worst of each of their figures.
func sum(runs []*Run) (all Run, figures []Figure) {
	for _, r := range runs {
		all.Faults += r.Faults
		all.Acked += r.Acked
		all.Lost += r.Lost
		all.Doubled += r.Doubled
		all.Disordered += r.Disordered
		all.Recovery = max(all.Recovery, r.Recovery)
		for _, f := range r.Figures {
			at := slices.IndexFunc(figures, func(g Figure) bool { return g.Name == f.Name })
			switch {
			case at < 0:
				figures = append(figures, f)
			case f.AtMost != 0 && f.Value > figures[at].Value, f.AtMost == 0 && f.Value < figures[at].Value:
				figures[at] = f
			}
		}
	}
	return all, figures
}

func figuresTable(figures []Figure) string {
	var b strings.Builder
	b.WriteString("| figure | measured | wanted |\n|---|---|---|\n")
	for _, f := range figures {
		missed := ""
		if !f.Reached() {
			missed = " (missed)"
		}
		fmt.Fprintf(&b, "| %s | %s%s%s | %s |\n", f.Name, number(f.Value), f.Unit, missed, f.bound())
	}
	return b.String()
}
