package tables_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

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

// balance sums the charges (CG) as sent and takes the credits (CD) off, whatever their
// states and signs: the rule that the schema states (records.JSONSchema).
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

// A bill is one message: its minute and lines.
type bill struct {
	minute int
	lines  []string
}

func at(minute int, lines ...string) bill { return bill{minute, lines} }

// A posting after the credit of one with the same number, or in one message with
// it, is billable and of its own; what was posted before stays taken back, however
// often it is sent again.
func TestRepost(t *testing.T) {
	posted, credit, again := line("CG T3 99213 150"), line("CD T3 99213 -150"), line("CG T3 99213 175")
	other, unsigned := line("CG T3 99214 175"), line("CD T3 99213 150")
	later := line("CG T3 99213 150", map[int]string{5: "20260309"})
	whole := []string{"CG 150 aborted", "CD -150 billable", "CG 175 billable"}
	for name, c := range map[string]struct {
		sent []bill
		want []string
		net  string
	}{
		"in one message with the credit":   {[]bill{at(1, posted), at(2, credit, again)}, whole, "175.00"},
		"before the credit in its message": {[]bill{at(1, posted), at(2, again, credit)}, []string{"CG 150 aborted", "CG 175 billable", "CD -150 billable"}, "175.00"},
		"another code, before the credit":  {[]bill{at(1, posted), at(2, other, credit)}, []string{"CG 150 aborted", "CG 175 billable", "CD -150 billable"}, "175.00"},
		"another code":                     {[]bill{at(1, posted), at(2, credit, other)}, whole, "175.00"},
		"a message later":                  {[]bill{at(1, posted), at(2, credit), at(3, again)}, whole, "175.00"},
		"the same amount, posted anew":     {[]bill{at(1, posted), at(2, credit), at(3, later)}, []string{"CG 150 aborted", "CD -150 billable", "CG 150 billable"}, "150.00"},
		"a credit without a sign":          {[]bill{at(1, posted), at(2, unsigned), at(3, again)}, []string{"CG 150 aborted", "CD 150 billable", "CG 175 billable"}, "175.00"},
		"the first sent again, late":       {[]bill{at(1, posted), at(2, credit), at(3, again), at(1, posted)}, whole, "175.00"},
		"the first sent again, newer":      {[]bill{at(1, posted), at(2, credit), at(3, again), at(4, posted)}, whole, "175.00"},
		"all sent again":                   {[]bill{at(1, posted), at(2, credit, again), at(1, posted), at(2, credit, again), at(2, again, credit)}, whole, "175.00"},
		"the credit and the first late":    {[]bill{at(3, again), at(2, credit), at(1, posted)}, []string{"CG 175 billable", "CD -150 billable", "CG 150 aborted"}, "175.00"},
		"the first last":                   {[]bill{at(2, credit), at(3, again), at(1, posted)}, []string{"CD -150 billable", "CG 175 billable", "CG 150 aborted"}, "175.00"},
		"the credit first":                 {[]bill{at(2, credit), at(1, posted), at(3, again)}, []string{"CD -150 billable", "CG 150 aborted", "CG 175 billable"}, "175.00"},
		"the repost is corrected":          {[]bill{at(1, posted), at(2, credit), at(3, again), at(4, line("CG T3 99213 180"))}, []string{"CG 150 aborted", "CD -150 billable", "CG 180 billable"}, "180.00"},
		"both taken back":                  {[]bill{at(1, posted), at(2, credit), at(3, again), at(4, line("CD T3 99213 -175"))}, []string{"CG 150 aborted", "CD -150 billable", "CG 175 aborted", "CD -175 billable"}, "0.00"},
		"two services taken back in turn":  {[]bill{at(1, posted, line("CG T3 85025 40")), at(2, credit), at(3, line("CD T3 85025 -40")), at(4, again, line("CG T3 85025 45"))}, []string{"CG 150 aborted", "CG 40 aborted", "CD -150 billable", "CD -40 billable", "CG 175 billable", "CG 45 billable"}, "220.00"},
		"two amounts taken back in turn":   {[]bill{at(1, posted, again), at(2, credit), at(3, line("CD T3 99213 -175"))}, []string{"CG 150 aborted", "CG 175 aborted", "CD -150 billable", "CD -175 billable"}, "0.00"},
		"a credit put right":               {[]bill{at(1, posted), at(2, credit), at(3, line("CD T3 99213 -50"))}, []string{"CG 150 billable", "CD -50 billable"}, "100.00"},
		"posted a third time":              {[]bill{at(1, posted), at(2, credit, again), at(4, line("CD T3 99213 -175"), line("CG T3 99213 180")), at(2, credit, again)}, []string{"CG 150 aborted", "CD -150 billable", "CG 175 aborted", "CD -175 billable", "CG 180 billable"}, "180.00"},
		"a credit of another day":          {[]bill{at(1, posted), at(2, line("CD T3 99213 -150", map[int]string{4: "20260308"}), again)}, whole, "175.00"},
		"a credit of its own number":       {[]bill{at(1, posted), at(2, line("CD T4 99213 -150", map[int]string{31: "T3"}), again)}, whole, "175.00"},
		"part of it, and a correction":     {[]bill{at(1, posted), at(2, line("CD T3 99213 -30"), line("CG T3 99213 160"))}, []string{"CG 160 billable", "CD -30 billable"}, "130.00"},
		"all in one message":               {[]bill{at(1, posted, credit, again)}, []string{"CG 150 aborted", "CD -150 billable", "CG 175 billable"}, "175.00"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			for _, b := range c.sent {
				l.post(append([]string{header("DFT^P03", b.minute), billed("100", "AC1")}, b.lines...)...)
			}
			require.Equal(t, c.want, l.books())
			require.Equal(t, c.net, l.balance())
			for _, r := range l.newest {
				if kind, _ := amount(t, r); kind == "CG" && r.Version == 1 {
					require.Equal(t, "charge.posted", r.EventType)
				}
			}
		})
	}
}

// Whichever messages are sent again, and whenever: each posting and each credit counts
// once.
func TestResentBills(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newLedger(t)
		var sent []bill
		want, open := 0, 0
		for i := range rapid.IntRange(1, 6).Draw(rt, "messages") {
			var lines []string
			what := rapid.SampledFrom([]string{"post", "credit", "both"}).Draw(rt, "what")
			if open > 0 && what != "post" {
				lines = append(lines, line(fmt.Sprint("CD T3 99213 -", open)))
				want, open = want-open, 0
			}
			if what != "credit" {
				lines = append(lines, line(fmt.Sprint("CG T3 99213 ", 100+i)))
				want, open = want-open+100+i, 100+i
			}
			if len(lines) > 0 {
				sent = append(sent, at(i, lines...))
			}
		}
		for i := range sent {
			again := rapid.SliceOfN(rapid.IntRange(0, i), 0, 3).Draw(rt, "again")
			for _, k := range append([]int{i}, again...) {
				l.post(append([]string{header("DFT^P03", sent[k].minute), billed("100", "AC1")}, sent[k].lines...)...)
			}
			l.post(append([]string{header("DFT^P03", sent[i].minute), billed("100", "AC1")}, sent[i].lines...)...)
		}
		require.Equal(rt, fmt.Sprintf("%d.00", want), l.balance(), "%v", sent)
	})
}

// A charge is one record, whichever of its account's and patient's numbers a message
// names; two accounts' or patients' charges of one number are two.
func TestChargeOfMerged(t *testing.T) {
	posted, corrected := line("CG T1 99213 150"), line("CG T1 99213 175")
	dft := func(minute int, patient, account, line string) []string {
		return []string{header("DFT^P03", minute), billed(patient, account), line}
	}
	const first, next = "AC306^^^ALDER^AN", "AC306N^^^ALDER^AN"
	accounts := []string{header("ADT^A41", 1), billed("100", next), "MRG|100^^^ALDER^MR||" + first}
	patients := []string{header("ADT^A40", 1), billed("200", ""), "MRG|100^^^ALDER^MR"}
	for name, c := range map[string]struct {
		sent [][]string
		want []string
	}{
		"the survivor's account":      {[][]string{dft(0, "100", first, posted), accounts, dft(2, "100", next, corrected)}, []string{"CG 175 billable"}},
		"the retired account":         {[][]string{dft(0, "100", first, posted), accounts, dft(2, "100", first, corrected)}, []string{"CG 175 billable"}},
		"posted for the survivor's":   {[][]string{dft(0, "100", next, posted), accounts, dft(2, "100", first, corrected)}, []string{"CG 175 billable"}},
		"the survivor":                {[][]string{dft(0, "100", "", posted), patients, dft(2, "200", "", corrected)}, []string{"CG 175 billable"}},
		"the retired patient":         {[][]string{dft(0, "200", "", posted), patients, dft(2, "100", "", corrected)}, []string{"CG 175 billable"}},
		"an account that comes later": {[][]string{dft(0, "100", "", posted), dft(2, "100", first, corrected)}, []string{"CG 175 billable"}},
		"no account later":            {[][]string{dft(0, "100", first, posted), dft(2, "100", "", corrected)}, []string{"CG 175 billable"}},
		"two accounts":                {[][]string{dft(0, "100", first, posted), dft(2, "100", next, corrected)}, []string{"CG 150 billable", "CG 175 billable"}},
		"two patients":                {[][]string{dft(0, "100", "", posted), dft(2, "200", "", corrected)}, []string{"CG 150 billable", "CG 175 billable"}},
		"lines of a retired account": {[][]string{
			append(dft(0, "100", first, posted), line("CG T1 99213 50")), accounts, append(dft(2, "100", next, posted), line("CG T1 99213 60")),
		}, []string{"CG 150 billable", "CG 60 billable"}},
		"posted anew for the survivor": {[][]string{
			dft(0, "100", first, posted), accounts, append(dft(2, "100", next, line("CD T1 99213 -150")), corrected), dft(3, "100", first, line("CG T1 99213 180")),
		}, []string{"CG 150 aborted", "CD -150 billable", "CG 180 billable"}},
		"two accounts that are merged": {[][]string{
			dft(0, "100", first, posted), dft(0, "100", next, corrected), accounts, dft(2, "100", next, line("CG T1 99213 180")), dft(3, "100", first, line("CG T1 99213 160")),
		}, []string{"CG 160 billable", "CG 180 billable"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			for _, segments := range c.sent {
				l.post(segments...)
			}
			require.Equal(t, c.want, l.books())
		})
	}
}

// Lines that share a number are charges of their own where they say something else:
// no money is lost, and none is counted twice.
func TestLinesOfOneNumber(t *testing.T) {
	set := func(n string) map[int]string { return map[int]string{1: n} }
	small, large := line("CG T5 J1100 25.00"), line("CG T5 J1100 40.00", set("2"))
	visit, blood := line("CG T5 99213 150"), line("CG T5 85025 40")
	for name, c := range map[string]struct {
		sent []bill
		want []string // in any order
		warn bool
	}{
		"two amounts":                                    {[]bill{at(1, small, large)}, []string{"CG 25 billable", "CG 40 billable"}, true},
		"two amounts, sent again":                        {[]bill{at(1, small, large), at(1, large, small), at(2, large, small)}, []string{"CG 25 billable", "CG 40 billable"}, true},
		"two amounts, then one alone":                    {[]bill{at(1, small, large), at(2, large), at(3, small)}, []string{"CG 25 billable", "CG 40 billable"}, false},
		"one alone, then two amounts":                    {[]bill{at(1, large), at(2, small, large)}, []string{"CG 25 billable", "CG 40 billable"}, true},
		"one of two amounts corrected":                   {[]bill{at(1, small, large), at(2, small, line("CG T5 J1100 45.00"))}, []string{"CG 25 billable", "CG 45 billable"}, true},
		"a line twice":                                   {[]bill{at(1, small, small)}, []string{"CG 25 billable"}, true},
		"a line twice, numbered":                         {[]bill{at(1, large, with2(large))}, []string{"CG 40 billable"}, true},
		"two services, one corrected":                    {[]bill{at(1, visit, blood), at(2, line("CG T5 99213 160"))}, []string{"CG 160 billable", "CG 40 billable"}, false},
		"two services, the other":                        {[]bill{at(1, visit, blood), at(2, line("CG T5 85025 45"))}, []string{"CG 150 billable", "CG 45 billable"}, false},
		"one service, then both":                         {[]bill{at(1, visit), at(2, blood, visit), at(3, line("CG T5 99213 160"))}, []string{"CG 160 billable", "CG 40 billable"}, false},
		"one service, then the other":                    {[]bill{at(1, blood), at(2, blood, visit), at(3, line("CG T5 99213 160"))}, []string{"CG 160 billable", "CG 40 billable"}, false},
		"a payment of two charges":                       {[]bill{at(1, line("PY T5 PAY -100", map[int]string{31: "T210"}), line("PY T5 PAY -50", map[int]string{31: "T212"}))}, []string{"PY -100 not-billable", "PY -50 not-billable"}, true},
		"two doses of a day":                             {[]bill{at(1, line("CG T5 J1100 25", map[int]string{4: "20260305080000"}), line("CG T5 J1100 25", map[int]string{4: "20260305200000"}))}, []string{"CG 25 billable", "CG 25 billable"}, true},
		"a modifier":                                     {[]bill{at(1, visit, line("CG T5 99213 150", map[int]string{26: "25"}))}, []string{"CG 150 billable", "CG 150 billable"}, true},
		"the time of day, then the day":                  {[]bill{at(1, line("CG T5 99213 150", map[int]string{4: "20260305083000"})), at(2, visit)}, []string{"CG 150 billable"}, false},
		"an amount that comes back as a line of its own": {[]bill{at(1, small, visit), at(2, small, large), at(3, line("CG T5 J1100 45.00"), small)}, []string{"CG 150 billable", "CG 25 billable", "CG 45 billable"}, false},
		"a code that is put right":                       {[]bill{at(1, visit), at(2, line("CG T5 99214 170"))}, []string{"CG 170 billable"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			for i, b := range c.sent {
				made := l.post(append([]string{header("DFT^P03", b.minute), billed("100", "AC1")}, b.lines...)...)
				if i == 0 && c.warn && len(c.sent) == 1 {
					require.Contains(t, strings.Join(made[0].Quality.Warnings, " "), "repeated-number")
				}
			}
			got := l.books()
			slices.Sort(got)
			require.Equal(t, c.want, got)
		})
	}
}

// A message's lines sent again, all or some and in any order, are no charges more.
func TestLinesAgain(t *testing.T) {
	var all []string
	for _, code := range []string{"A", "B", "C"} {
		for _, sum := range []int{10, 20, 30} {
			all = append(all, line(fmt.Sprint("CG T5 ", code, " ", sum)))
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		l := newLedger(t)
		lines := rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, len(all), rapid.ID[string]).Draw(rt, "lines")
		l.post(append([]string{header("DFT^P03", 0), billed("100", "AC1")}, lines...)...)
		books, balance := l.books(), l.balance()
		require.Len(rt, books, len(lines))
		for minute := range rapid.IntRange(1, 4).Draw(rt, "messages") {
			some := rapid.SliceOfNDistinct(rapid.SampledFrom(lines), 1, len(lines), rapid.ID[string]).Draw(rt, "again")
			account := rapid.SampledFrom([]string{"AC1", ""}).Draw(rt, "account")
			l.post(append([]string{header("DFT^P03", minute), billed("100", account)}, some...)...)
		}
		require.Equal(rt, books, l.books())
		require.Equal(rt, balance, l.balance())
	})
}

// with2 is the line of set id 2 under set id 3.
func with2(line string) string { return strings.Replace(line, "FT1|2|", "FT1|3|", 1) }

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

// Credits that come before their charge name it once it comes.
func TestCreditsFirst(t *testing.T) {
	l := newLedger(t)
	of := map[int]string{31: "T40"}
	for i, text := range []string{line("CD T41 99213 -30", of), line("CD T42 99213 -20", of), line("CG T40 99213 100")} {
		l.post(header("DFT^P03", 3-i), billed("100", "AC1"), text)
	}
	require.Equal(t, []string{"CD -30 billable", "CD -20 billable", "CG 100 billable"}, l.books())
	require.NotNil(t, l.newest[l.order[0]].Reverses)
	require.NotNil(t, l.newest[l.order[1]].Reverses)
	require.Len(t, l.newest[l.order[2]].Credits, 2)
}

// The balance is right for whole and partial credits, with a sign and without, and for
// one whose charge nobody has told of.
func TestBalance(t *testing.T) {
	of := map[int]string{31: "T1"}
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"a charge":                  {[]string{line("CG T1 99213 100")}, "100.00"},
		"taken back":                {[]string{line("CG T1 99213 100"), line("CD T1 99213 -100")}, "0.00"},
		"taken back without a sign": {[]string{line("CG T1 99213 100"), line("CD T2 99213 100", of)}, "0.00"},
		"a part taken back":         {[]string{line("CG T1 99213 100"), line("CD T2 99213 -30", of)}, "70.00"},
		"in parts":                  {[]string{line("CG T1 99213 100"), line("CD T2 99213 -30", of), line("CD T3 99213 70", of)}, "0.00"},
		"a credit alone":            {[]string{line("CD T9 99213 80"), line("CG T1 99214 100")}, "20.00"},
		"a payment":                 {[]string{line("CG T1 99213 100"), line("PY T8 PAY -100")}, "100.00"},
	} {
		t.Run(name, func(t *testing.T) {
			together, apart := newLedger(t), newLedger(t)
			together.post(append([]string{header("DFT^P03", 0), billed("100", "AC1")}, c.lines...)...)
			for i, text := range c.lines {
				apart.post(header("DFT^P03", i), billed("100", "AC1"), text)
			}
			require.Equal(t, c.want, together.balance())
			require.Equal(t, c.want, apart.balance())
		})
	}
}

// A charge whose number stands on another day too says so: the date may have been
// put right.
func TestNumberOfAnotherDay(t *testing.T) {
	l := newLedger(t)
	l.post(header("DFT^P03", 1), billed("100", "AC1"), line("CG T7 99213 150"))
	made := l.post(header("DFT^P03", 2), billed("100", "AC1"), line("CG T7 99213 150", map[int]string{4: "20260306"}))
	require.Len(t, made, 1)
	require.Contains(t, made[0].Quality.Warnings, "number-of-another-day")
	made = l.post(header("DFT^P03", 3), billed("100", "AC1"), line("CG T7 99213 150", map[int]string{4: "20260306"}))
	require.Empty(t, made)
}

// An amount as people write it counts where it can mean one thing; what cannot be read
// is kept as it was sent, with a warning.
func TestAmounts(t *testing.T) {
	for text, want := range map[string]string{
		"1,250.00": "1250.00", "12,345,678.90": "12345678.90", "$15.00": "15.00", "100.00-": "-100.00", "-$1,250.50": "-1250.50", "$-3": "-3.00", "-40": "-40.00",
	} {
		l := newLedger(t)
		made := l.post(header("DFT^P03", 0), billed("100", "AC1"), line("CG T1 99213 "+text))
		require.Equal(t, want, l.balance(), text)
		require.Equal(t, strings.Contains(text, "$"), strings.Contains(string(made[0].Resource), `"valueString":"`+text+`"`), text)
	}
	for _, text := range []string{"1,250", "15,00", "12,50.00", "-5-", "1.250,00", "-", "$", "5 USD", "--5", ",5.00"} {
		l := newLedger(t)
		made := l.post(header("DFT^P03", 0), billed("100", "AC1"), line("CG T1 99213 "+strings.ReplaceAll(text, " ", "_")))
		require.Equal(t, "0.00", l.balance(), text)
		require.Contains(t, strings.Join(made[0].Quality.Warnings, " "), "number FT1-11", text)
		require.Contains(t, string(made[0].Resource), strings.ReplaceAll(text, " ", "_"))
	}
}
