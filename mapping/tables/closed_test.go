package tables_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A charge that was sent for a closed account says so, and so does a credit; a payment
// goes on, and what was sent before the account was closed is in order.
func TestChargeOnClosedAccount(t *testing.T) {
	l := newLedger(t)
	l.send(header("BAR^P01", 1), "EVN|P01|20260310070100", billed("100", "AC1"), "PV1|1|I")
	require.NotContains(t, warned(l.post(header("DFT^P03", 2), billed("100", "AC1"), line("CG T1 99213 100"))), "account-closed")
	l.send(header("BAR^P06", 5), "EVN|P06|20260310070500", billed("100", "AC1"))
	for _, text := range []string{"CG T2 99213 40", "CD T1 99213 -100"} {
		made := l.post(header("DFT^P03", 6), billed("100", "AC1"), line(text))
		require.NotEmpty(t, made)
		require.Contains(t, made[0].Quality.Warnings, "account-closed", text)
		require.Equal(t, "billable", made[0].State)
	}
	require.NotContains(t, warned(l.post(header("DFT^P03", 7), billed("100", "AC1"), line("PY T3 PAY -40"))), "account-closed")
	require.NotContains(t, warned(l.post(header("DFT^P03", 4), billed("100", "AC1"), line("CG T4 99214 80"))), "account-closed", "sent before")
	require.NotContains(t, warned(l.post(header("DFT^P03", 8), billed("100", "AC2"), line("CG T5 99213 40"))), "account-closed", "another account")
	l.send(header("BAR^P01", 9), "EVN|P01|20260310070900", billed("100", "AC1"), "PV1|1|I")
	require.NotContains(t, warned(l.post(header("DFT^P03", 10), billed("100", "AC1"), line("CG T6 99213 40"))), "account-closed", "opened again")
	require.Equal(t, "200.00", l.balance())
}
