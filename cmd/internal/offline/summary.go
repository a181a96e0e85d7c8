package offline

import "math"

// A Summary is what a number of reports say together: the measures of the
// mapping's quality. A share of nothing is 1.
type Summary struct {
	Messages int `json:"messages"`
	Refused  int `json:"refused"`

	// Of the valued leaves of the messages: Found stands where a rule put it,
	// Structural says nothing of its own (a set id), Kept stands in v2-field,
	// Reported nowhere but in the report. They are all leaves together.
	Leaves     int `json:"leaves"`
	Found      int `json:"found"`
	Structural int `json:"structural"`
	Kept       int `json:"kept"`
	Reported   int `json:"reported"`
	// Retention is the share of Found in the leaves that are not structural,
	// Accounted that of all four in all leaves.
	Retention float64 `json:"retention"`
	Accounted float64 `json:"accounted"`

	// Of the leaves of the Bundles: as sent, of a table, or made by a rule of
	// values that were sent. Explained is their share.
	Output    int     `json:"output"`
	Source    int     `json:"source"`
	Table     int     `json:"table"`
	Computed  int     `json:"computed"`
	Explained float64 `json:"explained"`

	Gate       int `json:"gate"`       // findings
	Unresolved int `json:"unresolved"` // references
	Warnings   int `json:"warnings"`
	Defaulted  int `json:"defaulted"`
}

// Add counts a report.
func (s *Summary) Add(r *Report) {
	s.Messages++
	s.Leaves += r.Leaves
	s.Found += r.Found
	s.Structural += r.Structural
	s.Kept += r.Extension
	s.Reported += len(r.Unmapped) - r.Extension
	s.Output += r.Output.Leaves
	s.Source += r.Output.Source
	s.Table += r.Output.Table
	s.Computed += r.Output.Computed
	s.Gate += len(r.Gate)
	s.Unresolved += r.Unresolved
	s.Warnings += len(r.Warnings)
	s.Defaulted += len(r.Defaulted)
	s.Retention = share(s.Found, s.Leaves-s.Structural)
	s.Accounted = share(s.Found+s.Structural+s.Kept+s.Reported, s.Leaves)
	s.Explained = share(s.Source+s.Table+s.Computed, s.Output)
}

// share of a whole, to four digits, rounded down.
func share(part, whole int) float64 {
	if whole == 0 {
		return 1
	}
	return math.Floor(float64(part)/float64(whole)*10000) / 10000
}
