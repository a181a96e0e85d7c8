package main

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func journalUnmerge(o *operator) *cobra.Command {
	var kind, assigner, id, why string
	c := &cobra.Command{
		Use:   "unmerge [--kind account|encounter] --assigner URI --id ID --why TEXT",
		Short: "Take a merge or move back: the key is merge.retired of the merged record",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if assigner == "" || id == "" || why == "" {
				return usageError{fmt.Errorf("--assigner, --id and --why are needed: the key of the retired one, and a reason that stays in the journal")}
			}
			body, err := json.Marshal(map[string]string{"kind": kind, "assigner": assigner, "id": id, "why": why})
			if err != nil {
				return fmt.Errorf("unmerge: %w", err)
			}
			return o.call(c, http.MethodPost, "/unmerge", body, printAnswer(c))
		},
	}
	c.Flags().StringVar(&kind, "kind", "patient", "what was merged: patient, account or encounter; of the last two also what was moved to another patient")
	c.Flags().StringVar(&assigner, "assigner", "", "who gave the id of the retired one: key.assigner of its record")
	c.Flags().StringVar(&id, "id", "", "the id of the retired one: key.id of its record")
	c.Flags().StringVar(&why, "why", "", "the reason; no patient's data")
	return c
}
