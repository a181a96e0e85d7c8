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

// A sender's messages are in the order of their times, as instants; a number
// tells apart those of one time. What a sender cannot know yet counts from its
// receipt.
func TestOrder(t *testing.T) {
	mapper, err := loaded()
	require.NoError(t, err)
	zone, err := newYork()
	require.NoError(t, err)
	noon := time.Date(2026, 3, 12, 12, 0, 0, 0, time.UTC)
	at := func(received time.Time, sent, sequence string) string {
		msg, err := hl7v2.Parse(fmt.Appendf(nil, "MSH|^~\\&|ADT1|ALDER|||%s||ADT^A08^ADT_A01|C1|P|2.5.1|%s\rEVN|A08\rPID|1||4711^^^ALDER^MR\rPV1|1|I", sent, sequence))
		require.NoError(t, err)
		r, err := mapper.Map(msg, tables.Context{Source: "adt", Received: received, Location: zone})
		require.NoError(t, err)
		defer mapper.Release(r)
		return r.Change.Stamp.Order
	}
	order := func(sent, sequence string) string { return at(noon, sent, sequence) }
	november := func(hour, minute int) time.Time { return time.Date(2026, 11, 1, hour, minute, 0, 0, time.UTC) }
	for name, pair := range map[string][2]string{
		"numbers of one time":                 {order("20260310120000+0000", "9"), order("20260310120000+0000", "10")},
		"times":                               {order("20260310120000+0000", ""), order("20260310120100+0000", "")},
		"numbers begin anew at midnight":      {order("20260310233000", "5000"), order("20260311100000", "7")},
		"numbers begin anew in the afternoon": {order("20260310090000", "900"), order("20260310140000", "1")},
		"the first without a number":          {order("20260310080000", ""), order("20260310160000", "55")},
		"the second without a number":         {order("20260310080000", "7"), order("20260310160000", "")},
		"MSH-7 beyond receipt":                {order("20260311120000+0000", "7"), order("20991231000000+0000", "1")},
		"a sender without a time":             {order("20260311120000+0000", "7"), order("", "1")},
		"zero is no number":                   {order("20260310120000+0000", "0"), order("20260310120000+0000", "1")},
		"the second of two equal hours":       {at(november(5, 50), "20261101015000", ""), at(november(6, 10), "20261101011000", "")},
		"within the first of them":            {at(november(5, 10), "20261101011000", ""), at(november(5, 50), "20261101015000", "")},
	} {
		require.Less(t, pair[0], pair[1], name)
	}
}

// A source whose messages are ordered by their numbers owes one: what comes without
// is refused, with the place.
func TestOrderedByNumberWithoutOne(t *testing.T) {
	mapper, err := compiled(fhir.NewSchema(), tables.Overlay{Name: "site.yaml", Data: []byte("order: MSH-13\n")})
	require.NoError(t, err)
	for _, number := range []string{"", "0", "-1", "x"} {
		msg, err := hl7v2.Parse([]byte("MSH|^~\\&|SCHED|ALDER|||20260310||ADT^A04^ADT_A01|M1|P|2.5|" + number + "\rEVN||20260310\rPID|1||1^^^ALDER\rPV1|1|O\r"))
		require.NoError(t, err)
		_, err = mapper.Map(msg, tables.Context{Source: "sched", Received: received()})
		var refused *tables.Unmappable
		require.ErrorAs(t, err, &refused)
		require.Equal(t, "no-sequence-number", refused.Code)
		require.Equal(t, "MSH-13", refused.Place.String())
	}
}
