package tables_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A key that begins with a constant counts only where what follows is valued: two
// requests, the specimens of two orders and two documents do not become one.
func TestConstantIsNoKey(t *testing.T) {
	mapper, err := loaded()
	require.NoError(t, err)
	for typ, message := range map[string]string{
		"ServiceRequest": "MSH|^~\\&|CARE|ALDER|||20260310||RQC^I05^RQC_I05|%|P|2.5\rQRD|\rPRD|RP\rPID|1||1^^^ALDER||Abbott^Anna\r",
		"Specimen": "MSH|^~\\&|CPOE|ALDER|||20260310||OML^O21^OML_O21|%|P|2.5\rPID|1||1^^^ALDER||Abbott^Anna\r" +
			"ORC|NW|%^CPOE\rOBR|1|%^CPOE||GLU^Glucose^L||||||||||BLD\r",
		"DocumentReference": "MSH|^~\\&|DOC|ALDER|||20260310||MDM^T02^MDM_T02|%|P|2.5\rEVN||20260310\rPID|1||1^^^ALDER||Abbott^Anna\rTXA|1|DS|TX|||||||||%^DOC\rOBX|1|TX|R||Text\r",
	} {
		id := func(number string) string {
			bundle, _ := mapOne(t, mapper, []byte(strings.ReplaceAll(message, "%", number)))
			found := regexp.MustCompile(`"resourceType":"` + typ + `","id":"([^"]+)"`).FindSubmatch(bundle)
			require.NotNil(t, found, typ)
			return string(found[1])
		}
		require.Equal(t, id("M1"), id("M1"), typ)
		require.NotEqual(t, id("M1"), id("M2"), typ)
	}
}
