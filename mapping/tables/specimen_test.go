package tables_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/mapping/tables"
)

// A result names the specimen that it was made of (guide, ORU_R01: all observations
// of an OBR do); of several, or of another order's, it is not said which.
func TestSpecimenOfResults(t *testing.T) {
	mapper, err := loaded()
	require.NoError(t, err)
	order := func(code string) string {
		return segment("OBR", map[int]string{2: "P" + code, 3: "F" + code, 4: code + "^^L", 25: "F"})
	}
	result := func(code string) string {
		return segment("OBX", map[int]string{1: "1", 2: "NM", 3: code + "^^L", 5: "1", 11: "F"})
	}
	specimen := func(code string) string {
		return segment("SPM", map[int]string{2: "S" + code + "&EHR", 4: code + "^^L"})
	}
	for name, c := range map[string]struct {
		segments []string
		want     map[string]string // the type of the specimen, by the result's code
	}{
		"one":                 {[]string{order("BMP"), result("NA"), result("K"), specimen("SER")}, map[string]string{"NA": "SER", "K": "SER"}},
		"two":                 {[]string{order("UR"), result("GL"), specimen("UR1"), specimen("UR2")}, map[string]string{"GL": ""}},
		"another order's":     {[]string{order("BMP"), result("NA"), specimen("SER"), order("CBC"), result("HB")}, map[string]string{"NA": "SER", "HB": ""}},
		"each order's":        {[]string{order("BMP"), result("NA"), specimen("SER"), order("CBC"), result("HB"), specimen("BLD")}, map[string]string{"NA": "SER", "HB": "BLD"}},
		"in OBR":              {[]string{strings.Replace(order("BMP"), "BMP^^L|||||||||||", "BMP^^L|||||||||||SER^^L", 1), result("NA"), order("CBC"), result("HB")}, map[string]string{"NA": "SER", "HB": ""}},
		"SPM counts over OBR": {[]string{strings.Replace(order("BMP"), "BMP^^L|||||||||||", "BMP^^L|||||||||||URN^^L", 1), result("NA"), specimen("SER")}, map[string]string{"NA": "SER"}},
	} {
		t.Run(name, func(t *testing.T) {
			raw := strings.Join(append([]string{header("ORU^R01", 0), segment("PID", person())}, c.segments...), "\r") + "\r"
			msg, err := hl7v2.Parse([]byte(raw))
			require.NoError(t, err)
			r, err := mapper.Map(msg, tables.Context{Source: "lab", Received: received()})
			require.NoError(t, err)
			defer mapper.Release(r)
			types, got := map[string]string{"": ""}, map[string]string{}
			for _, e := range r.Entries {
				if e.Type == "Specimen" {
					types["Specimen/"+e.ID] = e.Resource.Get("type").Str("coding[0].code")
				}
			}
			for _, e := range r.Entries {
				if e.Type == "Observation" {
					got[e.Resource.Get("code").Str("coding[0].code")] = types[e.Resource.Get("specimen").Str("reference")]
				}
			}
			require.Equal(t, c.want, got)
		})
	}
}

// Who ordered, and the instrument, may be named twice: in ORC-12 or OBX-18, and in a
// PRT. The second one has a place too.
func TestNamedTwice(t *testing.T) {
	mapper, err := loaded()
	require.NoError(t, err)
	raw := strings.Join([]string{
		header("ORU^R01", 0), segment("PID", person()),
		segment("ORC", map[int]string{1: "RE", 2: "P1", 12: "79^Order^Otto"}),
		segment("OBR", map[int]string{2: "P1", 3: "F1", 4: "BMP^^L", 25: "F"}),
		segment("PRT", map[int]string{2: "AD", 4: "OP^Ordering^HL70912", 5: "80^Proxy^Paul", 8: "Clinic A"}),
		segment("OBX", map[int]string{1: "1", 2: "NM", 3: "NA^^L", 5: "1", 11: "F", 18: "EQ1^L"}),
		segment("PRT", map[int]string{2: "AD", 4: "EQUIP", 10: "DEV2^L"}),
	}, "\r") + "\r"
	msg, err := hl7v2.Parse([]byte(raw))
	require.NoError(t, err)
	r, err := mapper.Map(msg, tables.Context{Source: "lab", Received: received()})
	require.NoError(t, err)
	defer mapper.Release(r)
	bundle := string(r.AppendBundle(nil))
	for _, e := range r.Entries {
		if e.Type == "PractitionerRole" || e.Type == "Device" {
			require.Contains(t, bundle, `"reference":"urn:uuid:`+e.ID+`"`, "%s is nobody's: %s", e.Type, e.Resource.JSON())
		}
	}
	require.Contains(t, bundle, "Clinic A")
	require.Contains(t, bundle, "DEV2")
}
