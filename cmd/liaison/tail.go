package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/cmd/internal/app"
	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/connectors/kafka"
	"github.com/liaison-health/liaison/mapping/records"
)

func tailCommand() *cobra.Command {
	var brokers []string
	var file, kind, from string
	var count int
	var idle, timeout time.Duration
	c := &cobra.Command{
		Use: "tail", Short: "Print records as they come off Kafka, one JSON object a line", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if from != "start" && from != "end" {
				return usageError{fmt.Errorf("--from is start or end")}
			}
			if _, known := records.Kinds()[records.Kind(kind)]; kind != "" && !known {
				return usageError{fmt.Errorf("no records are of kind %s", kind)}
			}
			cfg, err := loadConfig(file, "")
			if err != nil {
				return err
			}
			consumer, err := newConsumer(cfg, brokers)
			if err != nil {
				return err
			}
			defer consumer.Close()
			if err := reach(c.Context(), consumer, timeout); err != nil {
				return err
			}
			n := 0
			return consumer.Read(c.Context(), from == "start", idle, func(r *kafka.Record) error {
				if kind != "" {
					record, err := records.Decode(r.Value)
					if err != nil {
						return fmt.Errorf("%s[%d] at %d: %w", r.Topic, r.Partition, r.Offset, err)
					}
					if string(record.Kind) != kind {
						return nil
					}
				}
				if _, err := fmt.Fprintln(c.OutOrStdout(), string(r.Value)); err != nil {
					return fmt.Errorf("write: %w", err)
				}
				if n++; n == count {
					return kafka.ErrStop
				}
				return nil
			})
		},
	}
	f := c.Flags()
	f.StringSliceVar(&brokers, "brokers", nil, "host:port, … (default: the configuration's, else 127.0.0.1:9092)")
	f.StringVar(&file, "config", "", "liaison.yaml, for TLS and SASL")
	f.StringVar(&kind, "kind", "", "only records of this kind")
	f.StringVar(&from, "from", "start", "start or end of the topics")
	f.IntVar(&count, "count", 0, "end after so many records")
	f.DurationVar(&idle, "idle", 0, "end when nothing has come for so long")
	f.DurationVar(&timeout, "timeout", 10*time.Second, "for the brokers to answer")
	return c
}

// reach gives brokers that are away a limited time.
func reach(ctx context.Context, consumer *kafka.Consumer, timeout time.Duration) error {
	patience, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := consumer.Reach(patience); err != nil && ctx.Err() == nil {
		return fmt.Errorf("the brokers do not answer: %w", err)
	}
	return nil
}

// newConsumer reads all of Liaison's topics.
func newConsumer(cfg *config.Config, brokers []string) (*kafka.Consumer, error) {
	if len(brokers) == 0 {
		brokers = cfg.Kafka.Brokers
	}
	if len(brokers) == 0 {
		brokers = []string{cfg.Kafka.Listen}
	}
	k, err := app.KafkaConfig(cfg, brokers)
	if err != nil {
		return nil, err
	}
	k.Topics = app.Topics(cfg)
	c, err := kafka.NewConsumer(k)
	if err != nil {
		return nil, fmt.Errorf("tail: %w", err)
	}
	return c, nil
}
