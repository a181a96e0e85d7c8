package config

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml/token"
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
	// The YAML library cuts a fraction off: a rate of 0.5 would be none.
	if node := k.node(at); node != nil && node.GetToken().Type == token.FloatType {
		k.fail(at, "a whole number belongs here, not %s", node.GetToken().Value)
		return
	}
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
	} else if t != nil {
		k.dated(at+".tls.certificate", t.Certificate)
		k.dated(at+".tls.client_ca", t.ClientCA)
	}
}

func (k *check) connects(at string, t *ClientTLS) {
	if _, err := k.cfg.Client(t); err != nil {
		k.fail(at+".tls", "%s", err)
	} else if t != nil {
		k.dated(at+".tls.certificate", t.Certificate)
		k.dated(at+".tls.ca", t.CA)
	}
}

// dated notes the time in which the certificates of a file hold.
func (k *check) dated(at, file string) {
	if file == "" {
		return
	}
	text, err := os.ReadFile(k.cfg.Path(file))
	if err != nil {
		k.fail(at, "%s", err)
		return
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue // the machine's TLS passes over it as well
		}
		k.cfg.certificates = append(k.cfg.certificates, dated{place: k.at(at), file: k.cfg.Path(file), from: cert.NotBefore, to: cert.NotAfter})
	}
}

// A dated certificate is one that the configuration names.
type dated struct {
	place    Error
	file     string
	from, to time.Time
}

// Outdated names the certificates that do not hold at a time: a caller or a
// server that looks refuses them. It is no error of Load, for one sender's
// certificate is no reason to keep the others' messages out.
func (c *Config) Outdated(now time.Time) []error {
	var out []error
	for _, cert := range c.certificates {
		e := cert.place
		switch {
		case now.After(cert.to):
			e.Text = fmt.Sprintf("a certificate in %s has expired on %s: put a new one there", cert.file, cert.to.UTC().Format(time.DateOnly))
		case now.Before(cert.from):
			e.Text = fmt.Sprintf("a certificate in %s holds from %s on only: put another there, or set the clock", cert.file, cert.from.UTC().Format(time.DateOnly))
		default:
			continue
		}
		out = append(out, &e)
	}
	return out
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
