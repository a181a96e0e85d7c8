package tables_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/records"
	"github.com/liaison-health/liaison/mapping/tables"
)

// What has several numbers is found by each; but feeds put one filler number on
// all tests of a specimen, one placer number on all appointments of a series, one
// alternate number on all visits of an account: what differs in its first number is
// another thing.
func TestSharedNumbers(t *testing.T) {
	pid := segment("PID", person())
	order := func(control, placer, filler, code string) []string {
		return []string{
			segment("ORC", map[int]string{1: control, 2: placer, 3: filler}),
			segment("OBR", map[int]string{2: placer, 3: filler, 4: code + "^^L"}),
		}
	}
	visit := func(class, number, alternate string) string {
		return segment("PV1", map[int]string{2: class, 3: "W1^1", 19: number, 44: "20260310060000", 50: alternate})
	}
	booking := func(placer, filler, start string) []string {
		return []string{segment("SCH", map[int]string{1: placer, 2: filler, 11: "^^30^" + start}), pid, "RGS|1", "AIL|1||ROOM1"}
	}
	result := func(placer, filler, value string) []string {
		return []string{
			segment("OBR", map[int]string{2: placer, 3: filler, 4: "TROP^^L", 7: "20260310060000", 22: "20260310063000", 25: "F"}),
			segment("OBX", map[int]string{1: "1", 2: "NM", 3: "TROP^^L", 5: value, 6: "ng/mL", 11: "F"}),
		}
	}
	type message struct {
		kind     string
		segments []string
	}
	orm := func(segments []string) message { return message{"ORM^O01", append([]string{pid}, segments...)} }
	oru := func(segments []string) message { return message{"ORU^R01", append([]string{pid}, segments...)} }
	adt := func(trigger, pv1 string) message { return message{"ADT^" + trigger, []string{pid, pv1}} }
	siu := func(trigger string, segments []string) message { return message{"SIU^" + trigger, segments} }
	drug := func(control, number, code string) []string {
		return []string{segment("ORC", map[int]string{1: control, 2: number}), segment("RXE", map[int]string{2: code + "^^L", 3: "1", 5: "TAB"})}
	}
	rde := func(drugs ...[]string) message {
		return message{"RDE^O11", append([]string{pid}, slices.Concat(drugs...)...)}
	}
	for name, c := range map[string]struct {
		kind records.Kind
		sent []message
		want []string // number, version and state of each record that is told of
	}{
		"orders of one specimen": {records.Order, []message{
			orm(order("NW", "P1^CPOE", "ACC9^LAB", "BMP")),
			orm(order("NW", "P2^CPOE", "ACC9^LAB", "CBC")),
			orm(order("CA", "P1^CPOE", "ACC9^LAB", "BMP")),
		}, []string{"P1 1 active", "P2 1 active", "P1 2 revoked"}},
		"the filler's number alone, of the order with this code": {records.Order, []message{
			orm(order("NW", "P1^CPOE", "ACC9^LAB", "BMP")),
			orm(order("NW", "P2^CPOE", "ACC9^LAB", "CBC")),
			orm(order("CA", "", "ACC9^LAB", "BMP")),
			orm(order("CA", "", "ACC9^LAB", "CBC")),
		}, []string{"P1 1 active", "P2 1 active", "P1 2 revoked", "P2 2 revoked"}},
		"the filler's number first": {records.Order, []message{
			orm(order("SC", "", "ACC9^LAB", "BMP")),
			orm(order("NW", "P1^CPOE", "ACC9^LAB", "BMP")),
			orm(order("NW", "P2^CPOE", "ACC9^LAB", "CBC")),
			orm(order("CA", "P2^CPOE", "ACC9^LAB", "CBC")),
			orm(order("CA", "P1^CPOE", "", "BMP")),
		}, []string{"ACC9 1 unknown", "ACC9 2 active", "P2 1 active", "P2 2 revoked", "ACC9 3 revoked"}},
		"a placer's number that its answer has without the namespace": {records.Order, []message{
			orm(order("NW", "P1^CPOE", "ACC9^LAB", "BMP")),
			orm(order("CA", "P1", "ACC9^LAB", "BMP")),
		}, []string{"P1 1 active", "P1 2 revoked"}},
		"the filler's number is learnt later": {records.Order, []message{
			orm(order("NW", "P1^CPOE", "", "BMP")),
			orm(order("NA", "P1^CPOE", "F1^LAB", "BMP")),
			orm(order("CA", "", "F1^LAB", "BMP")),
		}, []string{"P1 1 active", "P1 2 active", "P1 3 revoked"}},
		"one order that the filler numbers anew": {records.Order, []message{
			orm(order("NW", "P1^CPOE", "F1^LAB", "BMP")),
			orm(order("CA", "P1^CPOE", "F2^LAB", "BMP")),
		}, []string{"P1 1 active", "P1 2 revoked"}},
		"services of one requisition": {records.Order, []message{
			orm(append(order("NW", "R7^CPOE", "", "BMP"), order("NW", "R7^CPOE", "", "CBC")...)),
			oru(append(order("RE", "R7^CPOE", "F1^LAB", "CBC"), order("RE", "R7^CPOE", "F1^LAB", "BMP")[1])), // in another order, with one ORC
			orm(order("CA", "R7^CPOE", "", "CBC")),
		}, []string{"R7#BMP 1 active", "R7#CBC 1 active", "R7#CBC 2 active", "R7#BMP 2 active", "R7#CBC 3 revoked"}},
		"services of one requisition, the first alone": {records.Order, []message{
			orm(order("NW", "R7^CPOE", "", "BMP")),
			orm(append(order("XO", "R7^CPOE", "", "BMP"), order("NW", "R7^CPOE", "", "CBC")...)),
			orm(order("CA", "R7^CPOE", "", "BMP")),
		}, []string{"R7 1 active", "R7 2 active", "R7#CBC 1 active", "R7 3 revoked"}},
		"drugs under one number": {records.MedicationOrder, []message{
			rde(drug("NW", "R9^CPOE", "AMOX"), drug("NW", "R9^CPOE", "IBU")),
			rde(drug("DC", "R9^CPOE", "AMOX")),
			rde(drug("HD", "R9^CPOE", "IBU")),
		}, []string{"R9#AMOX 1 active", "R9#IBU 1 active", "R9#AMOX 2 stopped", "R9#IBU 2 on-hold"}},
		"a requisition cancelled by its number": {records.Order, []message{
			orm(append(order("NW", "R7^CPOE", "", "BMP"), order("NW", "R7^CPOE", "", "CBC")...)),
			orm(order("CA", "R7^CPOE", "", "")[:1]),
		}, []string{"R7#BMP 1 active", "R7#CBC 1 active", "R7#BMP 2 revoked", "R7#CBC 2 revoked"}},
		"a panel whose parts are reported": {records.Order, []message{
			orm(order("NW", "P1^CPOE", "", "PANEL")),
			oru(append(order("", "P1^CPOE", "F1^LAB", "CBC")[1:], order("", "P1^CPOE", "F1^LAB", "DIFF")[1])),
			orm(order("CA", "P1^CPOE", "", "PANEL")),
		}, []string{"P1 1 active", "P1 2 active", "P1 3 revoked"}},
		"a laboratory's own code": {records.Order, []message{
			orm(order("NW", "P1^CPOE", "", "PANEL")),
			oru(order("RE", "P1^CPOE", "F1^LAB", "LAB77")),
			orm(order("CA", "", "F1^LAB", "PANEL")),
		}, []string{"P1 1 active", "P1 2 active", "P1 3 revoked"}},
		"a panel whose results come one by one": {records.Order, []message{
			orm(append(order("NW", "P1^CPOE", "", "CBC"), order("NW", "P1^CPOE", "", "BMP")...)),
			oru(order("", "P1^CPOE", "F1^LAB", "CBC")[1:]),
			oru(order("", "P1^CPOE", "F1^LAB", "BMP")[1:]),
		}, []string{"P1#CBC 1 active", "P1#BMP 1 active", "P1#CBC 2 active", "P1#BMP 2 active"}},
		"results without ORC": {records.Order, []message{
			orm(append(order("NW", "R7^CPOE", "", "BMP"), order("NW", "R7^CPOE", "", "CBC")...)),
			oru(order("", "R7^CPOE", "F1^LAB", "CBC")[1:]),
			oru(result("", "F9^LAB", "0.1")), // nobody's order
		}, []string{"R7#BMP 1 active", "R7#CBC 1 active", "R7#CBC 2 active"}},
		"results under one placer's number": {records.Result, []message{
			oru(result("P1^CPOE", "F1^LAB", "0.1")),
			oru(result("P1^CPOE", "F2^LAB", "4.0")),
			oru(result("P1^CPOE", "F1^LAB", "0.2")),
		}, []string{"F1|LAB|TROP 1 final", "F2|LAB|TROP 1 final", "F1|LAB|TROP 2 final"}},
		"visits of one account": {records.Encounter, []message{
			adt("A01", visit("I", "V1^^^ALDER", "HAR9^^^ALDER")),
			adt("A04", visit("O", "V2^^^ALDER", "HAR9^^^ALDER")),
			adt("A03", visit("I", "V1^^^ALDER", "HAR9^^^ALDER")),
		}, []string{"V1 1 in-progress", "V2 1 arrived", "V1 2 finished"}},
		"appointments of one request": {records.Appointment, []message{
			siu("S12", booking("REQ5^CPOE", "A1^SCHED", "20260401090000")),
			siu("S12", booking("REQ5^CPOE", "A2^SCHED", "20260408090000")),
			siu("S15", booking("REQ5^CPOE", "A1^SCHED", "20260401090000")),
		}, []string{"A1 1 booked", "A2 1 booked", "A1 2 cancelled"}},
		"an appointment that was asked for": {records.Appointment, []message{
			siu("S12", booking("REQ5^CPOE", "", "20260401090000")),
			siu("S14", booking("REQ5^CPOE", "A1^SCHED", "20260401100000")),
		}, []string{"REQ5 1 booked", "REQ5 2 booked"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			var got []string
			for i, m := range c.sent {
				for _, r := range f.send(append([]string{header(m.kind, i)}, m.segments...)...) {
					if r.Kind == c.kind {
						got = append(got, fmt.Sprint(r.Key.ID, " ", r.Version, " ", r.State))
					}
				}
			}
			require.Equal(t, c.want, got)
		})
	}
}

// However orders share their filler's numbers, and whichever message is the first
// to tell of them: each placer's number is one order, which no other's message changes.
func TestSharedNumbersNeverMix(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFeed(t)
		versions := map[string]uint64{}
		for i := range rapid.IntRange(1, 12).Draw(rt, "messages") {
			placer := fmt.Sprintf("P%d", rapid.IntRange(1, 4).Draw(rt, "placer"))
			filler := rapid.SampledFrom([]string{"", "F1^LAB", "F2^LAB"}).Draw(rt, "filler")
			made := of(f.send(header("ORM^O01", i), segment("PID", person()),
				segment("ORC", map[int]string{1: "NW", 2: placer + "^CPOE", 3: filler, 7: fmt.Sprintf("%d^Q6H", i+1)}),
				segment("OBR", map[int]string{2: placer + "^CPOE", 3: filler, 4: "BMP^^L"})), records.Order)
			if made == nil {
				rt.Fatalf("no version of the order %s", placer)
			}
			versions[placer]++
			if made.Key.ID != placer || made.Version != versions[placer] {
				rt.Fatalf("%s, version %d: of %s, version %d", placer, versions[placer], made.Key.ID, made.Version)
			}
		}
	})
}

// What a number that ever more things share costs grows with them, not with their square.
func TestManyShareANumber(t *testing.T) {
	cost := func(n int) (bytes int) {
		f := newFeed(t)
		raw := header("ORM^O01", 0) + "\r" + segment("PID", person()) + "\r" + segment("ORC", map[int]string{1: "NW", 2: "R7^CPOE"}) + "\r"
		for i := range n {
			raw += segment("OBR", map[int]string{2: "R7^CPOE", 4: fmt.Sprintf("T%d^^L", i)}) + "\r"
		}
		msg, err := hl7v2.Parse([]byte(raw))
		require.NoError(t, err)
		r, err := f.mapper.Map(msg, tables.Context{Source: "cpoe", Received: received(), Journal: 1})
		require.NoError(t, err)
		effects, err := f.folder.Fold(f.state, r.Change)
		require.NoError(t, err)
		require.Greater(t, len(effects.Events), n)
		for _, w := range effects.Writes {
			bytes += len(w.Key) + len(w.Value)
		}
		return bytes
	}
	few, many := cost(200), cost(800)
	require.Less(t, many, 6*few, "four times the orders")
}
