package app

import (
	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/gate"
	"github.com/liaison-health/liaison/mapping/tables"
	"github.com/liaison-health/liaison/pipelines/engine"
)

// inbound is the gate before a FHIR source's journal; nil when it is off. found
// hears of each resource or Bundle that it refuses.
func inbound(cfg *config.Config, g *gate.Gate, found func()) func(*fhir.Node) []fhir.Issue {
	if cfg.Gate.Inbound == "off" {
		return nil
	}
	return func(n *fhir.Node) []fhir.Issue {
		var out []fhir.Issue
		for _, f := range g.Check(n) {
			out = append(out, fhir.Issue{Severity: "error", Code: issueType(f.Rule), Expression: f.Path, Diagnostics: f.Text + " (" + f.Rule + ")"})
		}
		if len(out) > 0 {
			found()
		}
		return out
	}
}

// issueType is the code of OperationOutcome.issue.code for a gate's rule.
func issueType(rule string) string {
	switch rule {
	case "cardinality", "choice", "duplicate", "empty", "json", "type", "unknown", "size":
		return "structure"
	case "required":
		return "required"
	case "code":
		return "code-invalid"
	case "format", "reference":
		return "value"
	default:
		return "invariant"
	}
}

// outbound puts the gate behind the mapping of every source: of all messages,
// of one in so many, or of none. What it finds in a sample is among the
// warnings of the message's records; with all, the message goes to quarantine.
func outbound(cfg *config.Config, g *gate.Gate, lines []*engine.Pipeline) {
	if cfg.Gate.Outbound == "off" {
		return
	}
	for _, l := range lines {
		if cfg.Gate.Outbound == "sample" {
			l.Sample = uint64(cfg.Gate.Sample)
		}
		l.Gate = func(r *tables.Result) (place, reason string) {
			found := g.CheckJSON(r.AppendBundle(nil))
			if len(found) == 0 {
				return "", ""
			}
			return found[0].Path, found[0].Text + " (" + found[0].Rule + ")"
		}
	}
}
