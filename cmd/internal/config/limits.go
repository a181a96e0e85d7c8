package config

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// limits checks every number and time span that a configuration can set.
func (k *check) limits() {
	c := k.cfg
	k.between("$.kafka.partitions", int64(c.Kafka.Partitions), 1, 1000)
	k.between("$.kafka.replicas", int64(c.Kafka.Replicas), 1, 100)
	k.between("$.kafka.max_bytes", int64(c.Kafka.MaxBytes), 16<<20, 1<<40)
	k.between("$.kafka.record_bytes", int64(c.Kafka.RecordBytes), 64<<10, 1<<30)
	k.between("$.redis.database", int64(c.Redis.Database), 0, 1<<16)
	k.between("$.retention.journal_bytes", int64(c.Retention.JournalBytes), 1<<20, 1<<50)
	k.between("$.in_flight", int64(c.InFlight), 1<<20, 1<<40)
	k.span("$.kafka.retention", c.Kafka.Retention, time.Minute)
	k.span("$.redis.window", c.Redis.Window, time.Minute)
	k.span("$.retention.journal", c.Retention.Journal, time.Minute)
}

func (k *check) between(at string, n, least, most int64) {
	if n < least || n > most {
		k.fail(at, "%d is not between %d and %d", n, least, most)
	}
}

func (k *check) span(at string, d, least time.Duration) {
	if d < least {
		k.fail(at, "%s is too short: at least %s", d, least)
	}
}

// alone checks that an address or directory is used once.
func (k *check) alone(at, place, who string) {
	if strings.HasSuffix(place, ":0") { // any port
		return
	}
	if other, taken := k.places[place]; taken {
		k.fail(at, "%s is used by %s already", place, other)
		return
	}
	k.places[place] = who
}

// files looks into what the configuration names: certificates, keys, secrets.
func (k *check) files() {
	c := k.cfg
	for i := range c.Sources {
		s := &c.Sources[i]
		at := fmt.Sprintf("$.sources[%d]", i)
		if s.MLLP != nil {
			k.serves(at+".mllp", s.MLLP.TLS)
		}
		if s.FHIR != nil {
			k.serves(at+".fhir", s.FHIR.TLS)
			k.secret(at+".fhir.token_file", s.FHIR.TokenFile)
		}
	}
	k.serves("$.operations", c.Operations.TLS)
	k.secret("$.operations.token_file", c.Operations.TokenFile)
	k.connects("$.kafka", c.Kafka.TLS)
	if c.Kafka.SASL != nil {
		k.secret("$.kafka.sasl.password_file", c.Kafka.SASL.PasswordFile)
	}
	k.connects("$.redis", c.Redis.TLS)
	k.secret("$.redis.password_file", c.Redis.PasswordFile)
}

func (k *check) serves(at string, t *ServerTLS) {
	if _, err := k.cfg.Server(t); err != nil {
		k.fail(at+".tls", "%s", err)
	}
}

func (k *check) connects(at string, t *ClientTLS) {
	if _, err := k.cfg.Client(t); err != nil {
		k.fail(at+".tls", "%s", err)
	}
}

// secret wants something in the file: an empty list of tokens would let
// everybody in.
func (k *check) secret(at, file string) {
	if file == "" {
		return
	}
	text, err := os.ReadFile(k.cfg.Path(file))
	switch {
	case err != nil:
		k.fail(at, "%s", err)
	case strings.TrimSpace(string(text)) == "":
		k.fail(at, "there is nothing in %s", k.cfg.Path(file))
	}
}
