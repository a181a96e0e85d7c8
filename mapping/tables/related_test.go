package tables_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// potassium is a result of one value.
func potassium(minute int, value, status string) []string {
	return []string{
		header("ORU^R01", minute), "PID|1||100^^^ALDER^MR||Doe^Jo|||||||||||||AC1^^^ALDER", "PV1|1|I" + strings.Repeat("|", 17) + "V1^^^ALDER^VN",
		"ORC|RE|P1^CPOE|F1^LAB", "OBR|1|P1^CPOE|F1^LAB|2823-3^K^LN|||20260310060000" + strings.Repeat("|", 15) + "20260310070000||LAB|F",
		"OBX|1|NM|2823-3^K^LN||" + value + "|mmol/L|||||" + status,
	}
}

// A value that is put right under a report that stays as it is.
func TestCorrectedValue(t *testing.T) {
	f := newFeed(t)
	f.send(potassium(0, "7.1", "F")...)
	r := of(f.send(potassium(10, "4.1", "C")...), records.Result)
	require.NotNil(t, r)
	require.Equal(t, "result.corrected", r.EventType)
	changed, err := json.Marshal(r.Changed)
	require.NoError(t, err)
	require.Contains(t, string(changed), `].valueQuantity.value","old":7.1,"new":4.1}`)
	related, err := json.Marshal(r.Related)
	require.NoError(t, err)
	require.Contains(t, string(related), `"value":4.1`)
	require.Nil(t, of(f.send(potassium(20, "4.1", "C")...), records.Result), "the same again")

	f = newFeed(t)
	f.send(potassium(10, "4.1", "C")...)
	late := f.send(potassium(0, "7.1", "F")...)
	related, err = json.Marshal(late)
	require.NoError(t, err)
	require.NotContains(t, string(related), `"value":7.1`, "an older value does not come back")
}

// An update that only adds or changes what refers to the patient or the visit
// is a version of that record.
func TestUpdatesBesideTheRecord(t *testing.T) {
	for name, c := range map[string]struct {
		kind           records.Kind
		segment, other string
	}{
		"allergy":     {records.Patient, "AL1|1|DA|70618^Penicillin^RXNORM|SV", "AL1|1|DA|70618^Penicillin^RXNORM|MO"},
		"next of kin": {records.Patient, "NK1|1|Needle^Ann|SPO", "NK1|1|Needle^Ann|SPO||^PRN^PH^^1^617^5550123"},
		"procedure":   {records.Encounter, "PR1|1||80146002^Appendectomy^SCT||20260310090000", "PR1|1||80146002^Appendectomy, open^SCT||20260310090000"},
		"diagnosis":   {records.Encounter, "DG1|1||K35.80^Appendicitis^I10||20260310|A", "DG1|1||K35.80^Acute appendicitis^I10||20260310|A"},
		"observation": {records.Encounter, "OBX|1|NM|8302-2^Height^LN||170|cm|||||F", "OBX|1|NM|8302-2^Height^LN||171|cm|||||F"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			send := func(minute int, more ...string) *records.Record {
				pv1 := "PV1|1|I|4W^501^A^ALDER" + strings.Repeat("|", 16) + "V1^^^ALDER^VN"
				return of(f.send(append([]string{header("ADT^A08", minute), "PID|1||100^^^ALDER^MR||Doe^Jo", pv1}, more...)...), c.kind)
			}
			send(0)
			require.NotNil(t, send(10, c.segment), "a new one")
			require.Nil(t, send(20, c.segment), "the same again")
			require.NotNil(t, send(30, c.other), "another text of it")
			require.Nil(t, send(40), "a message that says nothing of it")
		})
	}
}

// Every resource of a message is in some record that it makes; an answer that
// declines what it names nowhere makes none.
func TestEveryResourceIsCarried(t *testing.T) {
	files, err := filepath.Glob("../../testdata/mapping/*.hl7")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		f := newFeed(t)
		made := f.send(strings.Split(string(bytes.TrimSpace(raw)), "\n")...)
		if len(made) == 0 {
			require.Contains(t, file, "declined")
			continue
		}
		shown, err := json.Marshal(made)
		require.NoError(t, err)
		for _, e := range f.entries {
			if e.Type != "MessageHeader" && e.Type != "Provenance" {
				require.Contains(t, string(shown), `"id":"`+e.ID+`"`, "%s: %s", filepath.Base(file), e.Type)
			}
		}
	}
}

// Two charges of one number in a message are two, and say so; the message again
// is the same two.
func TestTwoChargesOfOneNumber(t *testing.T) {
	f := newFeed(t)
	send := func(minute int) []*records.Record {
		line := func(n, code, amount string) string {
			return "FT1|" + n + "|T1||20260310|20260310|CG|" + code + "^x^L|||1|" + amount
		}
		return f.send(header("DFT^P03", minute), "PID|1||100^^^ALDER^MR||Doe^Jo|||||||||||||AC1^^^ALDER", line("1", "80053", "120.50"), line("2", "85025", "40.00"))
	}
	var codes string
	for _, r := range send(0) {
		if r.Kind == records.Charge {
			codes += string(r.Resource)
			require.Contains(t, strings.Join(r.Quality.Warnings, " "), "repeated-number")
		}
	}
	require.Contains(t, codes, "80053")
	require.Contains(t, codes, "85025")
	require.Nil(t, of(send(10), records.Charge))
}

// Each record names the visit and the account that it belongs to: of a result
// too, and of two visits in a message its own.
func TestVisitAndAccount(t *testing.T) {
	f := newFeed(t)
	for _, r := range f.send(potassium(0, "7.1", "F")...) {
		require.NotNil(t, r.Visit, r.Kind)
		require.Equal(t, "V1", r.Visit.ID)
		require.NotNil(t, r.Account, r.Kind)
		require.Equal(t, "AC1", r.Account.ID)
	}
	visit := func(id string) string { return "PV1|1|I" + strings.Repeat("|", 17) + id + "^^^ALDER^VN" }
	visits := map[string]string{"100": "V1", "200": "V2", "V1": "V1", "V2": "V2"}
	for _, r := range f.send(header("ADT^A24", 10), "PID|1||100^^^ALDER^MR||Doe^Jo", visit("V1"), "PID|2||200^^^ALDER^MR||Doe^Joe", visit("V2")) {
		require.NotNil(t, r.Visit, r.Key.ID)
		require.Equal(t, visits[r.Key.ID], r.Visit.ID)
	}
}
