package gate_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var examples = flag.String("examples", "", "check every resource in this directory: that of the npm package hl7.fhir.r4.examples 4.0.1")

// The examples of the specification that are sound are found so. It is run by
// hand, on the package's folder: -examples DIR. What is listed breaks R4 itself.
func TestExamples(t *testing.T) {
	if *examples == "" {
		return
	}
	g := newGate(t)
	files, err := filepath.Glob(filepath.Join(*examples, "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	checked := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if !strings.Contains(string(data[:min(len(data), 4096)]), `"resourceType"`) {
			continue
		}
		checked++
		for _, f := range g.CheckJSON(data) {
			if !broken(name, f.Rule) {
				t.Errorf("%s: %s", name, f)
			}
		}
	}
	t.Logf("%d resources", checked)
}

// broken names what is wrong in the specification's own examples.
func broken(name, rule string) bool {
	switch rule {
	case "required": // drafts without what R4 asks for
		return strings.HasPrefix(name, "SearchParameter-") || name == "ImplementationGuide-fhir" || name == "ig-r4"
	case "reference": // to a type that the element does not take, or to none
		return slices.Contains([]string{
			"DeviceMetric-example", "DeviceUseStatement-example", "ImplementationGuide-fhir", "ig-r4", "MedicationRequest-medrx0301", "Observation-clinical-gender",
		}, name)
	case "identifier": // an OID that is no URI
		return slices.Contains([]string{"Bundle-dataelements", "Bundle-resources", "Organization-2.16.840.1.113883.19.5", "StructureDefinition-Consent"}, name)
	case "txt-2":
		return slices.Contains([]string{
			"ActivityDefinition-blood-tubes-supply", "ActivityDefinition-heart-valve-replacement", "EventDefinition-example", "Questionnaire-zika-virus-exposure-assessment",
		}, name)
	case "bdl-7":
		return name == "Bundle-dataelements"
	case "format":
		return slices.Contains([]string{"Library-zika-virus-intervention-logic", "SearchParameter-questionnaireresponse-extensions-QuestionnaireResponse-item-subject"}, name)
	}
	return false
}
