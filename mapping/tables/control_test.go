package tables_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/tables"
)

// asked maps a message and gives, for each record of a kind, what its order
// control asks: the state, or else the resource's status, and the event.
func asked(t *testing.T, m *tables.Mapper, kind records.Kind, segments ...string) []string {
	t.Helper()
	msg, err := hl7v2.Parse([]byte(strings.Join(segments, "\r") + "\r"))
	require.NoError(t, err)
	r, err := m.Map(msg, tables.Context{Source: "test", Received: received()})
	require.NoError(t, err)
	defer m.Release(r)
	var out []string
	for _, it := range r.Change.Items {
		if it.Kind != kind {
			continue
		}
		state := it.State
		if state == "" {
			state = it.Resource.Str("status")
		}
		out = append(out, strings.TrimSpace(state+" "+it.Event))
	}
	return out
}

// What an order control code (ORC-1) and an order status (ORC-5) ask of the
// record of an order, of a medication order, of a diet and of a supply.
func TestOrderControl(t *testing.T) {
	mapper, err := loaded()
	require.NoError(t, err)
	const header, pid = `MSH|^~\&|CPOE|ALDER|||20260310091500-0400||%s|C1|P|2.5.1`, "PID|1||4711^^^ALDER^MR"
	for _, c := range []struct{ control, status, order, medication, diet, supply string }{
		{"NW", "", "active", "active", "active", "active"},
		{"NW", "CM", "completed", "completed", "completed", "completed"},
		{"OK", "", "active", "active", "active", "active"},
		{"SN", "", "active", "active", "active", "active"},
		{"XO", "", "active", "active", "active", "active"},
		{"RO", "", "active", "active", "active", "active"},
		{"CA", "", "revoked cancelled", "cancelled", "revoked", "cancelled"},
		{"OC", "IP", "revoked cancelled", "cancelled", "revoked", "cancelled"},
		{"CR", "", "revoked cancelled", "cancelled", "revoked", "cancelled"},
		{"UA", "", "revoked cancelled", "cancelled", "revoked", "cancelled"},
		{"DC", "", "revoked discontinued", "stopped", "revoked", "cancelled"},
		{"OD", "", "revoked discontinued", "stopped", "revoked", "cancelled"},
		{"RP", "", "revoked replaced", "stopped replaced", "revoked", "cancelled"},
		{"HD", "", "on-hold held", "on-hold", "on-hold", "suspended"},
		{"OH", "HD", "on-hold held", "on-hold", "on-hold", "suspended"},
		{"RL", "", "active released", "active released", "active", "active"},
		{"SC", "HD", "on-hold", "on-hold", "on-hold", "suspended"},
		{"SC", "CM", "completed", "completed", "completed", "completed"},
		{"RE", "", "unknown", "unknown", "unknown", "unknown"},
	} {
		t.Run(c.control+c.status, func(t *testing.T) {
			orc := "ORC|" + c.control + "|P1^CPOE|||" + c.status
			require.Equal(t, []string{c.order}, asked(t, mapper, records.Order, fmt.Sprintf(header, "ORM^O01"), pid, orc, "OBR|1|P1^CPOE||CBC^Blood count^L"), "order")
			require.Equal(t, []string{c.medication}, asked(t, mapper, records.MedicationOrder, fmt.Sprintf(header, "OMP^O09"), pid, orc, "RXO|AMOX^Amoxicillin^L"), "medication order")
			require.Equal(t, []string{c.diet}, asked(t, mapper, records.NutritionOrder, fmt.Sprintf(header, "OMD^O03"), pid, orc, "ODS|D||REG^Regular^L"), "diet")
			require.Equal(t, []string{c.supply}, asked(t, mapper, records.SupplyRequest, fmt.Sprintf(header, "OMS^O05"), orc, "RQD|1|GLV^Gloves^L|||1"), "supply")
		})
	}
	several := asked(t, mapper, records.Order, fmt.Sprintf(header, "ORM^O01"), pid,
		"ORC|NW|P1^CPOE", "OBR|1|P1^CPOE||CBC^Blood count^L", "OBR|2|P1^CPOE||FER^Ferritin^L", "ORC|CA|P2^CPOE", "OBR|1|P2^CPOE||GLU^Glucose^L")
	require.Equal(t, []string{"active", "active", "revoked cancelled"}, several, "each order has its own control code, each service its own order")
}

// What RXA says of a vaccination: done, refused, taken back; 998 is none.
func TestVaccinationStatus(t *testing.T) {
	mapper, err := loaded()
	require.NoError(t, err)
	for fields, want := range map[string]string{
		"08^HepB^CVX|0.5||||||||||||||CP|A":  "completed",
		"08^HepB^CVX|0.5||||||||||||||PA|A":  "completed",
		"08^HepB^CVX|0.5||||||||||||||||":    "completed",
		"08^HepB^CVX|999||||||||||||||RE|A":  "not-done",
		"08^HepB^CVX|999||||||||||||||NA|A":  "not-done",
		"08^HepB^CVX|0.5||||||||||||||CP|D":  "entered-in-error",
		"998^None^CVX|999||||||||||||||CP|A": "not-done",
	} {
		got := asked(t, mapper, records.Immunization, `MSH|^~\&|CLINIC|ALDER|||20260310091500-0400||VXU^V04|C1|P|2.5.1`, "PID|1||4711^^^ALDER^MR", "ORC|RE||F1^CLINIC", "RXA|0|1|20260310||"+fields)
		require.Equal(t, []string{want}, got, fields)
	}
}
