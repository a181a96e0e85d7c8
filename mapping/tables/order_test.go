package tables_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/tables"
)

// A sender's messages are in the order of their numbers within a day, of their
// times where they have none, and numbers that begin anew put no later day's
// message behind an earlier one's.
func TestOrder(t *testing.T) {
	mapper, err := tables.Load(fhir.NewSchema())
	require.NoError(t, err)
	order := func(sent, sequence string) string {
		msg, err := hl7v2.Parse(fmt.Appendf(nil, "MSH|^~\\&|ADT1|ALDER|||%s||ADT^A08^ADT_A01|C1|P|2.5.1|%s\rEVN|A08\rPID|1||4711^^^ALDER^MR\rPV1|1|I", sent, sequence))
		require.NoError(t, err)
		r, err := mapper.Map(msg, tables.Context{Source: "adt", Received: time.Date(2026, 3, 12, 12, 0, 0, 0, time.UTC)})
		require.NoError(t, err)
		defer mapper.Release(r)
		return r.Change.Stamp.Order
	}
	for name, pair := range map[string][2]string{
		"numbers":                 {order("20260310120100+0000", "41"), order("20260310120000+0000", "42")},
		"times":                   {order("20260310120000+0000", ""), order("20260310120100+0000", "")},
		"numbers begin anew":      {order("20260310235900+0000", "9000"), order("20260311000100+0000", "1")},
		"a day without a number":  {order("20260310120000+0000", "7"), order("20260311120000+0000", "")},
		"MSH-7 beyond receipt":    {order("20260311120000+0000", "7"), order("20991231000000+0000", "1")},
		"zero is no number":       {order("20260310120000+0000", "0"), order("20260310120100+0000", "0")},
		"a sender without a time": {order("20260311120000+0000", "7"), order("", "1")},
	} {
		require.Less(t, pair[0], pair[1], name)
	}
}
