package tables_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/records"
)

// permutations visits every order of n things.
func permutations(n int, visit func([]int)) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	var from func(k int)
	from = func(k int) {
		if k == n {
			visit(order)
			return
		}
		for i := k; i < n; i++ {
			order[k], order[i] = order[i], order[k]
			from(k + 1)
			order[k], order[i] = order[i], order[k]
		}
	}
	from(0)
}

// warned lists what warned of any version of a charge.
func warned(made []*records.Record) string {
	var all []string
	for _, r := range made {
		if r.Quality != nil {
			all = append(all, r.Quality.Warnings...)
		}
	}
	return strings.Join(all, " ")
}

// posting sends bills in an order, to a new ledger.
func posting(t *testing.T, sent []bill, order []int) (l *ledger, made []*records.Record) {
	t.Helper()
	l = newLedger(t)
	for _, i := range order {
		made = append(made, l.post(append([]string{header("DFT^P03", sent[i].minute), billed("100", "AC1")}, sent[i].lines...)...)...)
	}
	return l, made
}

// A credit of what was posted under a number before another amount replaced it leaves
// what stands, and two credits of one number are two where the charge has room for
// both: in whatever order the messages come.
func TestCreditsInAnyOrder(t *testing.T) {
	of := func(number string) map[int]string { return map[int]string{31: number} }
	day := map[int]string{4: "20260306"}
	posted, again := at(1, line("CG T3 99213 150")), at(2, line("CG T3 99213 175"))
	whole := at(1, line("CG T3 99213 200"))
	for name, c := range map[string]struct {
		sent []bill
		net  string
		warn string
	}{
		"of the first posting":                   {[]bill{posted, again, at(3, line("CD T3 99213 -150"))}, "175.00", "reversal-of-earlier-amount"},
		"without a sign":                         {[]bill{posted, again, at(3, line("CD T3 99213 150"))}, "175.00", "reversal-of-earlier-amount"},
		"of its own number":                      {[]bill{posted, again, at(3, line("CD T4 99213 -150", of("T3")))}, "175.00", "reversal-of-earlier-amount"},
		"of the charge's number, and named":      {[]bill{posted, again, at(3, line("CD T3 99213 -150", of("T3")))}, "175.00", "reversal-of-earlier-amount"},
		"that names no service":                  {[]bill{posted, again, at(3, strings.ReplaceAll(line("CD T3 99213 -150"), "99213^x^L", ""))}, "175.00", "reversal-of-earlier-amount"},
		"of another day":                         {[]bill{posted, again, at(3, line("CD T3 99213 -150", day))}, "175.00", "reversal-of-earlier-amount"},
		"with a second posting of another day":   {[]bill{posted, at(2, line("CG T3 99213 175", day)), at(3, line("CD T3 99213 -150"))}, "175.00", ""},
		"and an adjustment":                      {[]bill{posted, again, at(3, line("CD T3 99213 -150")), at(4, line("AJ T3 ADJ -150"))}, "175.00", "reversal-of-earlier-amount"},
		"and a payment":                          {[]bill{posted, again, at(3, line("CD T3 99213 -150")), at(4, line("PY T3 PAY -175", of("T3")))}, "175.00", "reversal-of-earlier-amount"},
		"between the postings":                   {[]bill{posted, at(2, line("CD T3 99213 -150")), at(3, line("CG T3 99213 175"))}, "175.00", ""},
		"before the postings":                    {[]bill{at(0, line("CD T3 99213 -150")), posted, again}, "175.00", ""},
		"of the second posting":                  {[]bill{posted, again, at(3, line("CD T3 99213 -175"))}, "0.00", ""},
		"of a part":                              {[]bill{posted, again, at(3, line("CD T3 99213 -20"))}, "155.00", "reversal-of-another-amount"},
		"of the first of three":                  {[]bill{posted, again, at(3, line("CG T3 99213 180")), at(4, line("CD T3 99213 -150"))}, "180.00", "reversal-of-earlier-amount"},
		"of the second of three":                 {[]bill{posted, again, at(3, line("CG T3 99213 180")), at(4, line("CD T3 99213 -175"))}, "180.00", "reversal-of-earlier-amount"},
		"of each posting":                        {[]bill{posted, again, at(3, line("CD T3 99213 -150")), at(4, line("CD T4 99213 -175", of("T3")))}, "0.00", "reversal-of-earlier-amount"},
		"of the first, and a part":               {[]bill{posted, again, at(3, line("CD T5 99213 -150", of("T3"))), at(4, line("CD T4 99213 -20", of("T3")))}, "155.00", "reversal-of-earlier-amount"},
		"and a third posting":                    {[]bill{posted, again, at(3, line("CD T3 99213 -150")), at(4, line("CG T3 99213 190"))}, "190.00", ""},
		"sent again":                             {[]bill{posted, again, at(3, line("CD T3 99213 -150")), at(4, line("CD T3 99213 -150"))}, "175.00", "reversal-of-earlier-amount"},
		"a part, and the charge put right":       {[]bill{posted, at(2, line("CD T3 99213 -30")), at(3, line("CG T3 99213 160"))}, "130.00", "reversal-of-another-amount"},
		"posted anew for as much":                {[]bill{posted, at(2, line("CD T3 99213 -150")), at(3, line("CG T3 99213 150", map[int]string{5: "20260309"}))}, "150.00", ""},
		"two parts":                              {[]bill{whole, at(2, line("CD T3 99213 -50")), at(3, line("CD T3 99213 -30"))}, "120.00", "repeated-number"},
		"two parts that name the charge":         {[]bill{whole, at(2, line("CD T3 99213 -50", of("T3"))), at(3, line("CD T3 99213 -30", of("T3")))}, "120.00", "repeated-number"},
		"two parts of two days":                  {[]bill{whole, at(2, line("CD T3 99213 -50")), at(3, line("CD T3 99213 -30", day))}, "120.00", ""},
		"three parts":                            {[]bill{whole, at(2, line("CD T3 99213 -50")), at(3, line("CD T3 99213 -30")), at(4, line("CD T3 99213 -20"))}, "100.00", "repeated-number"},
		"parts that come to the whole":           {[]bill{whole, at(2, line("CD T3 99213 -150")), at(3, line("CD T3 99213 -50"))}, "0.00", "repeated-number"},
		"parts of more than the charge":          {[]bill{whole, at(2, line("CD T3 99213 -180")), at(3, line("CD T3 99213 -50"))}, "150.00", ""},
		"a part of its own number, put right":    {[]bill{whole, at(2, line("CD T4 99213 -50", of("T3"))), at(3, line("CD T4 99213 -30", of("T3")))}, "170.00", ""},
		"a part, and a part of its own number":   {[]bill{whole, at(2, line("CD T3 99213 -50")), at(3, line("CD T4 99213 -30", of("T3")))}, "120.00", ""},
		"a part, its posting date put right":     {[]bill{whole, at(2, line("CD T3 99213 -50")), at(3, line("CD T3 99213 -50", map[int]string{5: "20260309"}))}, "150.00", ""},
		"parts of a charge that is put right":    {[]bill{at(1, line("CG T3 99213 60")), at(2, line("CD T3 99213 -50")), at(3, line("CD T3 99213 -30")), at(4, line("CG T3 99213 200"))}, "120.00", "repeated-number"},
		"a part of what is posted after another": {[]bill{posted, at(2, line("CD T3 99213 -150")), at(3, line("CG T3 99213 175")), at(4, line("CD T3 99213 -100"))}, "75.00", ""},
	} {
		t.Run(name, func(t *testing.T) {
			permutations(len(c.sent), func(order []int) {
				l, made := posting(t, c.sent, order)
				require.Equal(t, c.net, l.balance(), "%v %v", order, l.books())
				require.Contains(t, warned(made), c.warn, "%v", order)
			})
		})
	}
}

// The same holds where the patient or the account is merged in between.
func TestCreditAfterMerge(t *testing.T) {
	const first, next = "AC306^^^ALDER^AN", "AC306N^^^ALDER^AN"
	for name, c := range map[string]struct {
		patient, account string
		merge            []string
	}{
		"patient": {"200", "", []string{header("ADT^A40", 3), billed("200", ""), "MRG|100^^^ALDER^MR"}},
		"account": {"100", next, []string{header("ADT^A41", 3), billed("100", next), "MRG|100^^^ALDER^MR||" + first}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			account := first
			if c.account == "" {
				account = ""
			}
			l.post(header("DFT^P03", 1), billed("100", account), line("CG T3 99213 150"))
			l.post(header("DFT^P03", 2), billed("100", account), line("CG T3 99213 175"))
			l.post(c.merge...)
			l.post(header("DFT^P03", 4), billed(c.patient, c.account), line("CD T3 99213 -150"))
			require.Equal(t, []string{"CG 175 billable", "CD -150 billable", "CG 150 aborted"}, l.books())
			require.Equal(t, "175.00", l.balance())
			require.Equal(t, l.newest[l.order[0]].Subject.Survivor, l.newest[l.order[2]].Subject.Survivor)
		})
	}
}

// A credit that names no service takes back the charge whose number it bears.
func TestCreditOfNoService(t *testing.T) {
	l := newLedger(t)
	l.post(header("DFT^P03", 1), billed("100", "AC1"), line("CG T3 99213 150"))
	l.post(header("DFT^P03", 2), billed("100", "AC1"), strings.ReplaceAll(line("CD T3 99213 -150"), "99213^x^L", ""))
	require.Equal(t, []string{"CG 150 aborted", "CD -150 billable"}, l.books())
}

// Whatever was posted under a number, and whichever of it credits take back: the order
// in which the messages come changes no balance.
func TestBalanceInAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		number := rapid.IntRange(1, 3).Draw(rt, "postings")
		var sent []bill
		var sums []int
		for i := range number {
			sums = append(sums, 100+i*7)
			sent = append(sent, at(i, line(fmt.Sprint("CG T3 99213 ", sums[i]))))
		}
		for i, sum := range rapid.SliceOfNDistinct(rapid.SampledFrom(sums), 0, 2, rapid.ID[int]).Draw(rt, "credited") {
			of := map[int]string{}
			credit := "T3"
			if rapid.Bool().Draw(rt, "number") {
				credit, of[31] = fmt.Sprint("T4", i), "T3"
			}
			sent = append(sent, at(number+i, line(fmt.Sprint("CD ", credit, " 99213 -", sum), of)))
		}
		want := ""
		for _, order := range [][]int{{0, 1, 2, 3, 4}, rapid.Permutation([]int{0, 1, 2, 3, 4}).Draw(rt, "order")} {
			l := newLedger(t)
			for _, i := range slices.DeleteFunc(order, func(i int) bool { return i >= len(sent) }) {
				l.post(append([]string{header("DFT^P03", sent[i].minute), billed("100", "AC1")}, sent[i].lines...)...)
			}
			if want == "" {
				want = l.balance()
			}
			require.Equal(rt, want, l.balance(), "%v %v", sent, l.books())
		}
	})
}

// A posting of less than nothing takes money back, as many senders do instead of a
// credit: it is a charge of its own, with a warning, and puts no other right. The same
// holds for what takes a payment back.
func TestNegativeCharge(t *testing.T) {
	unit := func(quantity string) map[int]string { return map[int]string{10: quantity, 11: "", 12: "25"} }
	for name, c := range map[string]struct {
		sent []bill
		want []string // in any order
	}{
		"of its number":             {[]bill{at(1, line("CG T1 J1100 50")), at(2, line("CG T1 J1100 -50"))}, []string{"CG -50 billable", "CG 50 billable"}},
		"sent again":                {[]bill{at(1, line("CG T1 J1100 50")), at(2, line("CG T1 J1100 -50")), at(2, line("CG T1 J1100 -50"))}, []string{"CG -50 billable", "CG 50 billable"}},
		"of a part, put right":      {[]bill{at(1, line("CG T1 J1100 50")), at(2, line("CG T1 J1100 -20")), at(3, line("CG T1 J1100 -25"))}, []string{"CG -25 billable", "CG 50 billable"}},
		"in one message":            {[]bill{at(1, line("CG T1 J1100 50"), line("CG T1 J1100 -50"))}, []string{"CG -50 billable", "CG 50 billable"}},
		"by its quantity":           {[]bill{at(1, line("CG T1 J1100 0", unit("2"))), at(2, line("CG T1 J1100 0", unit("-2")))}, []string{"CG 0 billable", "CG 0 billable"}},
		"and posted anew":           {[]bill{at(1, line("CG T1 J1100 50")), at(2, line("CG T1 J1100 -50")), at(3, line("CG T1 J1100 60"))}, []string{"CG -50 billable", "CG 60 billable"}},
		"beside a credit":           {[]bill{at(1, line("CG T1 J1100 50")), at(2, line("CG T1 J1100 -50")), at(3, line("CD T1 J1100 -50"))}, []string{"CD -50 billable", "CG -50 billable", "CG 50 aborted"}},
		"a payment that comes back": {[]bill{at(1, line("PY T1 PAY -70")), at(2, line("PY T1 PAY 70"))}, []string{"PY -70 not-billable", "PY 70 not-billable"}},
	} {
		t.Run(name, func(t *testing.T) {
			permutations(len(c.sent), func(order []int) {
				l, made := posting(t, c.sent, order)
				books := l.books()
				slices.Sort(books)
				require.Equal(t, c.want, books, "%v", order)
				if strings.Contains(c.sent[0].lines[0], "|CG|") {
					require.Contains(t, warned(made), "negative-charge", "%v", order)
				}
			})
		})
	}
	l := newLedger(t)
	l.post(header("DFT^P03", 1), billed("100", "AC1"), line("PY T1 PAY -70"))
	require.Contains(t, warned(l.post(header("DFT^P03", 2), billed("100", "AC1"), line("PY T1 PAY -20"))), "repeated-number")
}
