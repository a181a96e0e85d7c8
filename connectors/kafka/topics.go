package kafka

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	kafkago "github.com/segmentio/kafka-go"
)

// A Deviation is a setting in which an existing topic differs from what the
// configuration asks. It is reported, and not changed unless the cluster is the
// program's own: the topic may be shared.
type Deviation struct {
	Topic, Setting string
	Want, Have     string
}

// String reads like "liaison.flow: partitions is 8, 4 asked for".
func (d Deviation) String() string {
	return fmt.Sprintf("%s: %s is %s, %s asked for", d.Topic, d.Setting, d.Have, d.Want)
}

// settingLimit is the largest batch of a topic.
const settingLimit = "max.message.bytes"

// Smaller says that the topic takes less than the configuration asks: a record
// of the size between would never be published.
func (d Deviation) Smaller() bool {
	want, wanted := strconv.Atoi(d.Want)
	have, had := strconv.Atoi(d.Have)
	return d.Setting == settingLimit && wanted == nil && had == nil && have < want
}

// topicState is what the cluster has: the partition count that decides where
// a record goes and the largest batch that it takes.
type topicState struct {
	partitions int32
	limit      int
}

// prepared is what the cluster has of the topics.
type prepared struct {
	states     map[string]topicState
	deviations []Deviation
	refused    map[string]error // topics that can be neither made nor found, and why
}

// ensureTopics creates what is missing and looks at what is there. A topic that
// the cluster refuses is none of the others' business.
func (c *client) ensureTopics(ctx context.Context, topics []Topic) (*prepared, error) {
	out := &prepared{states: map[string]topicState{}, refused: map[string]error{}}
	if len(topics) == 0 {
		return out, nil
	}
	if err := c.createTopics(ctx, topics, out); err != nil {
		return nil, err
	}
	counts, err := c.partitionCounts(ctx, topics, out)
	if err != nil {
		return nil, err
	}
	var there []Topic
	for _, t := range topics {
		if out.refused[t.Name] != nil {
			continue
		}
		there = append(there, t)
		out.states[t.Name] = topicState{partitions: counts[t.Name], limit: t.MaxMessageBytes}
		if counts[t.Name] != t.Partitions {
			out.deviations = append(out.deviations, Deviation{t.Name, "partitions", strconv.Itoa(int(t.Partitions)), strconv.Itoa(int(counts[t.Name]))})
		}
	}
	out.deviations = append(out.deviations, c.compareSettings(ctx, there, out.states)...)
	return out, nil
}

// createTopics asks for every topic; one that exists already is as good.
func (c *client) createTopics(ctx context.Context, topics []Topic, out *prepared) error {
	request := &kafkago.CreateTopicsRequest{}
	for _, t := range topics {
		replication := t.Replication
		if replication <= 0 {
			replication = -1 // the cluster's default, KIP-464
		}
		request.Topics = append(request.Topics, kafkago.TopicConfig{
			Topic: t.Name, NumPartitions: int(t.Partitions), ReplicationFactor: replication, ConfigEntries: t.settings(),
		})
	}
	return c.retry(ctx, nil, func(ctx context.Context) error {
		response, err := c.kafka.CreateTopics(ctx, request)
		if err != nil {
			return err
		}
		clear(out.refused)
		var again error
		for name, err := range response.Errors {
			switch {
			case err == nil || hasCode(err, kafkago.TopicAlreadyExists):
			case hasCode(err, kafkago.TopicAuthorizationFailed, kafkago.ClusterAuthorizationFailed):
				// Not allowed to create, perhaps allowed to write: whether the
				// topic is there shows in the next step.
			case retriable(err):
				again = err
			default:
				out.refused[name] = &Refused{Topic: name, Partition: -1, Doing: "to create the topic", Err: err}
			}
		}
		return again
	})
}

func (t Topic) settings() []kafkago.ConfigEntry {
	entries := []kafkago.ConfigEntry{{ConfigName: settingLimit, ConfigValue: strconv.Itoa(t.MaxMessageBytes)}}
	add := func(name string, value int64) {
		entries = append(entries, kafkago.ConfigEntry{ConfigName: name, ConfigValue: strconv.FormatInt(value, 10)})
	}
	if t.MinInSync > 0 {
		add("min.insync.replicas", int64(t.MinInSync))
	}
	switch {
	case t.Retention < 0:
		add("retention.ms", -1)
	case t.Retention > 0:
		add("retention.ms", t.Retention.Milliseconds())
	}
	if t.RetentionBytes > 0 {
		add("retention.bytes", t.RetentionBytes)
	}
	return entries
}

// mostLooks is how often a topic is looked for that the others do not wait for
// any longer.
const mostLooks = 10

// partitionCounts waits until the topics have partitions with leaders. One that
// is neither there nor ours to create, or that has no leader for long, is
// refused.
func (c *client) partitionCounts(ctx context.Context, topics []Topic, out *prepared) (map[string]int32, error) {
	counts := map[string]int32{}
	looks := 0
	err := c.retry(ctx, nil, func(ctx context.Context) error {
		var names []string
		for _, t := range topics {
			if _, found := counts[t.Name]; !found && out.refused[t.Name] == nil {
				names = append(names, t.Name)
			}
		}
		if len(names) == 0 {
			return nil
		}
		metadata, err := c.kafka.Metadata(ctx, &kafkago.MetadataRequest{Topics: names})
		if err != nil {
			return err
		}
		looks++
		var again error
		for _, t := range metadata.Topics {
			switch {
			case t.Error == nil:
				counts[t.Name] = int32(len(t.Partitions))
			case retriable(t.Error) && looks < mostLooks:
				again = t.Error
			default:
				out.refused[t.Name] = &Refused{Topic: t.Name, Partition: -1, Doing: "to create the topic and does not have it", Err: t.Error}
			}
		}
		return again
	})
	return counts, err
}

// limit asks for the largest batch that a topic takes now; 0: the cluster does
// not say.
func (c *client) limit(ctx context.Context, topic string) int {
	var response *kafkago.DescribeConfigsResponse
	err := c.request(ctx, func(ctx context.Context) (err error) {
		response, err = c.kafka.DescribeConfigs(ctx, &kafkago.DescribeConfigsRequest{Resources: []kafkago.DescribeConfigRequestResource{{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{settingLimit},
		}}})
		return err
	})
	if err != nil {
		return 0
	}
	for _, r := range response.Resources {
		for _, entry := range r.ConfigEntries {
			if n, err := strconv.Atoi(strings.TrimSpace(entry.ConfigValue)); err == nil && entry.ConfigName == settingLimit {
				return n
			}
		}
	}
	return 0
}

// compareSettings reports where an existing topic's settings differ and takes
// over its size limit. A cluster that does not let us look is taken at the
// configuration's word.
func (c *client) compareSettings(ctx context.Context, topics []Topic, states map[string]topicState) []Deviation {
	request := &kafkago.DescribeConfigsRequest{}
	wanted := map[string]map[string]string{}
	for _, t := range topics {
		resource := kafkago.DescribeConfigRequestResource{ResourceType: kafkago.ResourceTypeTopic, ResourceName: t.Name}
		wanted[t.Name] = map[string]string{}
		for _, entry := range t.settings() {
			resource.ConfigNames = append(resource.ConfigNames, entry.ConfigName)
			wanted[t.Name][entry.ConfigName] = entry.ConfigValue
		}
		request.Resources = append(request.Resources, resource)
	}
	var response *kafkago.DescribeConfigsResponse
	err := c.request(ctx, func(ctx context.Context) (err error) {
		response, err = c.kafka.DescribeConfigs(ctx, request)
		return err
	})
	if err != nil {
		return nil
	}
	var out []Deviation
	for _, r := range response.Resources {
		for _, entry := range r.ConfigEntries {
			want, asked := wanted[r.ResourceName][entry.ConfigName]
			have := strings.TrimSpace(entry.ConfigValue)
			if !asked || have == want {
				continue
			}
			out = append(out, Deviation{r.ResourceName, entry.ConfigName, want, have})
		}
	}
	if c.cfg.Own {
		out = c.makeSame(ctx, out)
	}
	for _, d := range out {
		if n, err := strconv.Atoi(d.Have); err == nil && n > 0 && d.Setting == settingLimit {
			state := states[d.Topic]
			state.limit = n
			states[d.Topic] = state
		}
	}
	return out
}

// makeSame gives the topics of a cluster of our own the settings in which they
// differ, and says where they still do.
func (c *client) makeSame(ctx context.Context, differ []Deviation) []Deviation {
	request := &kafkago.IncrementalAlterConfigsRequest{}
	for _, d := range differ {
		request.Resources = append(request.Resources, kafkago.IncrementalAlterConfigsRequestResource{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: d.Topic,
			Configs: []kafkago.IncrementalAlterConfigsRequestConfig{{Name: d.Setting, Value: d.Want}},
		})
	}
	if len(differ) == 0 {
		return nil
	}
	var response *kafkago.IncrementalAlterConfigsResponse
	err := c.request(ctx, func(ctx context.Context) (err error) {
		response, err = c.kafka.IncrementalAlterConfigs(ctx, request)
		return err
	})
	if err != nil {
		return differ
	}
	failed := map[string]bool{}
	for _, r := range response.Resources {
		failed[r.ResourceName] = failed[r.ResourceName] || r.Error != nil
	}
	return slices.DeleteFunc(differ, func(d Deviation) bool { return !failed[d.Topic] })
}
