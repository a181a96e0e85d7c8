package tables_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// A ledger is a consumer of charges: it keeps the newest version of each, and sums
// them by the rule that the schema states.
type ledger struct {
	*feed
	newest map[string]*records.Record
	order  []string
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	return &ledger{feed: newFeed(t), newest: map[string]*records.Record{}}
}

// post sends a message and books what it makes of charges.
func (l *ledger) post(segments ...string) []*records.Record {
	l.t.Helper()
	var out []*records.Record
	for _, r := range l.send(segments...) {
		if r.Kind != records.Charge {
			continue
		}
		out = append(out, r)
		key := r.Key.Assigner + "|" + r.Key.ID
		if l.newest[key] == nil {
			l.order = append(l.order, key)
		}
		l.newest[key] = r
	}
	return out
}

// amount is the transaction's kind and amount.
func amount(t *testing.T, r *records.Record) (kind string, sum *big.Rat) {
	t.Helper()
	var n struct {
		Extension []struct {
			URL                  string
			ValueCodeableConcept struct{ Coding []struct{ Code string } }
		}
		PriceOverride struct{ Value json.Number }
	}
	require.NoError(t, json.Unmarshal(r.Resource, &n))
	for _, e := range n.Extension {
		if strings.HasSuffix(e.URL, "/transaction-type") {
			kind = e.ValueCodeableConcept.Coding[0].Code
		}
	}
	sum = new(big.Rat)
	if n.PriceOverride.Value != "" {
		_, ok := sum.SetString(n.PriceOverride.Value.String())
		require.True(t, ok)
	}
	return kind, sum
}

// balance sums the charges (CG) as sent and takes the credits (CD) off, whatever
// their states and signs.
func (l *ledger) balance() string {
	l.t.Helper()
	total := new(big.Rat)
	for _, r := range l.newest {
		switch kind, sum := amount(l.t, r); kind {
		case "CG":
			total.Add(total, sum)
		case "CD":
			total.Sub(total, sum.Abs(sum))
		}
	}
	return total.FloatString(2)
}

// books lists kind, amount and state of each charge, in the order of their birth.
func (l *ledger) books() []string {
	l.t.Helper()
	var out []string
	for _, key := range l.order {
		kind, sum := amount(l.t, l.newest[key])
		out = append(out, fmt.Sprint(kind, " ", sum.RatString(), " ", l.newest[key].State))
	}
	return out
}

func billed(patient, account string) string {
	return segment("PID", map[int]string{1: "1", 3: patient + "^^^ALDER^MR", 5: "Doe^Jo", 18: account})
}

// line is a transaction: kind, number, code and amount, and other fields.
func line(text string, more ...map[int]string) string {
	part := strings.Fields(text)
	fields := map[int]string{1: "1", 2: part[1], 4: "20260305", 6: part[0], 7: part[2] + "^x^L", 10: "1", 11: part[3]}
	for _, m := range more {
		fields = with(fields, m)
	}
	return segment("FT1", fields)
}

// Every credit names the charge that it takes back, and the charge every credit; it
// is taken back once they come to its amount.
func TestPartialCredits(t *testing.T) {
	l := newLedger(t)
	of := map[int]string{31: "T40"}
	post := func(minute int, line string) []*records.Record {
		return l.post(header("DFT^P03", minute), billed("100", "AC1"), line)
	}
	post(1, line("CG T40 99213 100"))
	for i, text := range []string{"CD T41 99213 -30", "CD T42 99213 -20"} {
		made := post(2+i, line(text, of))
		require.Len(t, made, 2, text)
		credit, charge := made[0], made[1]
		require.NotNil(t, credit.Reverses, text)
		require.Equal(t, charge.Key, *credit.Reverses)
		if credit.Quality != nil {
			require.NotContains(t, credit.Quality.Warnings, "reversal-without-charge")
		}
		require.Equal(t, "billable", charge.State)
		require.Equal(t, "T41", strings.Split(charge.ReversedBy.ID, "|")[0])
		require.Len(t, charge.Credits, i+1)
		require.Equal(t, credit.Key, charge.Credits[i])
	}
	require.Equal(t, "50.00", l.balance())
	require.Empty(t, post(3, line("CD T42 99213 -20", of)), "sent again")
	post(4, line("CD T43 99213 -50", of))
	require.Equal(t, []string{"CG 100 aborted", "CD -30 billable", "CD -20 billable", "CD -50 billable"}, l.books())
	require.Equal(t, "0.00", l.balance())
	post(5, line("CD T43 99213 -40", of))
	require.Equal(t, "CG 100 billable", l.books()[0], "the last credit is put right")
	require.Equal(t, "10.00", l.balance())
}

// A credit of a charge that nobody has told of counts too.
func TestCreditWithoutCharge(t *testing.T) {
	l := newLedger(t)
	l.post(header("DFT^P03", 1), billed("100", "AC1"), line("CD T50 99213 80"), line("PY T60 PAY -20"), line("CG T61 99214 100"))
	require.Equal(t, "20.00", l.balance())
}
