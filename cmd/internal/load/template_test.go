package load_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/load"
)

func TestTemplateMakesIdentifiersFresh(t *testing.T) {
	message := strings.Join([]string{
		`MSH|^~\&|ADT|HOSP|LIAISON|HOSP|20260301||ADT^A01|C1|P|2.5`,
		`PID|1||M1^^^HOSP^MR~S1^^^GOV^SS||DOE^JANE`,
		`PV1|1|I|W1||||||||||||||||V9^^^HOSP`,
		`ORC|NW|P1^ADT|""`,
		`SCH|A1^S|B1^S|1|G1^S|||||||||||||||||||R1^S|F1^S`,
		`SPM|1|P2&LAB^F2&LAB`,
	}, "\r")
	got := string(load.NewTemplate([]byte(message)).AppendTo(nil, "x", 36))
	require.Equal(t, strings.Join([]string{
		`MSH|^~\&|ADT|HOSP|LIAISON|HOSP|20260301||ADT^A01|C1x10|P|2.5`,
		`PID|1||M1x10^^^HOSP^MR~S1x10^^^GOV^SS||DOE^JANE`,
		`PV1|1|I|W1||||||||||||||||V9x10^^^HOSP`,
		`ORC|NW|P1x10^ADT|""`,
		`SCH|A1x10^S|B1x10^S|1|G1x10^S|||||||||||||||||||R1x10^S|F1x10^S`,
		`SPM|1|P2x10&LAB^F2&LAB`,
	}, "\r"), got)
}

func TestTemplateOfSomethingElseStaysAsItIs(t *testing.T) {
	require.Equal(t, "hello", string(load.NewTemplate([]byte("hello")).AppendTo(nil, "x", 1)))
}
