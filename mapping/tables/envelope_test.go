package tables_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// The versions that a merge makes say which visit and which account a record is
// of, as the others do: a ledger that groups by them keeps the charge.
func TestEnvelopeOfMoved(t *testing.T) {
	visit := segment("PV1", map[int]string{1: "1", 2: "I", 19: "V1^^^ALDER^VN"})
	charge := func(minute int, id string) []string {
		return []string{header("DFT^P03", minute), segment("PID", person()), visit, "FT1|1|" + id + "|||20260310||CG|99213^Visit^C4||||1|100^USD"}
	}
	key := func(k *records.Key) string {
		if k == nil {
			return ""
		}
		return k.ID
	}
	pid := func(id, account string) string {
		return segment("PID", with(person(), map[int]string{2: "", 3: id + "^^^ALDER^MR", 4: "", 18: account}))
	}
	t.Run("patients", func(t *testing.T) {
		f := newFeed(t)
		f.send(header("ADT^A01", 0), segment("PID", person()), visit)
		f.send(charge(1, "T1")...)
		f.send(header("OMG^O19", 2), segment("PID", person()), visit, "ORC|NW|O1^ALDER", "OBR|1|O1^ALDER||24331-1^Lipids^LN")
		made := f.send(header("ADT^A40", 5), pid("200", ""), "MRG|100^^^ALDER^MR")
		for _, kind := range []records.Kind{records.Encounter, records.Charge, records.Account, records.Order} {
			r := of(made, kind)
			require.NotNil(t, r, kind)
			require.Equal(t, string(kind)+".moved", r.EventType)
			require.Equal(t, "AC1", key(r.Account), kind)
			require.Equal(t, "AN", r.Account.Type, kind)
			if kind != records.Account {
				require.Equal(t, "V1", key(r.Visit), kind)
			}
		}
	})
	t.Run("of another's message", func(t *testing.T) {
		f := newFeed(t)
		f.send(charge(1, "T1")...)
		made := f.send(header("ADT^A40", 5), pid("200", "AC2^^^ALDER^AN"), "MRG|100^^^ALDER^MR")
		require.Equal(t, "AC1", key(of(made, records.Charge).Account))
	})
	t.Run("accounts", func(t *testing.T) {
		f := newFeed(t)
		f.send(charge(1, "T1")...)
		made := f.send(header("ADT^A41", 5), pid("100", "AC2^^^ALDER^AN"), "MRG|100^^^ALDER^MR||AC1^^^ALDER^AN")
		require.Equal(t, "AC2", key(of(made, records.Charge).Account))
		require.Equal(t, "V1", key(of(made, records.Charge).Visit))
		require.Equal(t, "AC2", key(of(f.send(charge(6, "T2")...), records.Charge).Account), "one that names the retired account")
	})
}
