package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/mapping/records"
)

func schemaCommand() *cobra.Command {
	var async bool
	c := &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of records, or the AsyncAPI of their topics", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			made, err := records.JSONSchema()
			if async {
				made, err = records.AsyncAPI()
			}
			if err != nil {
				return fmt.Errorf("schema: %w", err)
			}
			fmt.Fprintln(c.OutOrStdout(), string(made))
			return nil
		},
	}
	c.Flags().BoolVar(&async, "asyncapi", false, "the AsyncAPI document instead")
	return c
}
