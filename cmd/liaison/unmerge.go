package main

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func journalUnmerge(o *operator) *cobra.Command {
	var assigner, id, why string
	c := &cobra.Command{
		Use:   "unmerge --assigner URI --id ID --why TEXT",
		Short: "Take a patient's merge back: the key is merge.retired of the patient.merged record",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if assigner == "" || id == "" || why == "" {
				return usageError{fmt.Errorf("--assigner, --id and --why are needed: the retired patient's key, and a reason that stays in the journal")}
			}
			body, err := json.Marshal(map[string]string{"assigner": assigner, "id": id, "why": why})
			if err != nil {
				return fmt.Errorf("unmerge: %w", err)
			}
			return o.call(c, http.MethodPost, "/unmerge", body, printAnswer(c))
		},
	}
	c.Flags().StringVar(&assigner, "assigner", "", "who gave the retired patient's id: key.assigner of his record")
	c.Flags().StringVar(&id, "id", "", "the retired patient's id: key.id of his record")
	c.Flags().StringVar(&why, "why", "", "the reason; no patient's data")
	return c
}
