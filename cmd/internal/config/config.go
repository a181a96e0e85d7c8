// Package config reads liaison.yaml: defaults, a strict decode over them, and
// checks whose errors name file, line and column.
package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A Config is liaison.yaml with its defaults filled in.
type Config struct {
	Data       string     `yaml:"data"`
	Kafka      Kafka      `yaml:"kafka"`
	Redis      Redis      `yaml:"redis"`
	Sources    []Source   `yaml:"sources"`
	Gate       Gate       `yaml:"gate"`
	Retention  Retention  `yaml:"retention"`
	Operations Operations `yaml:"operations"`
	FreeSpace  Bytes      `yaml:"free_space"` // below it nothing is accepted
	InFlight   Bytes      `yaml:"in_flight"`  // of large messages that are being taken in, all sources together
	LogLevel   string     `yaml:"log_level"`  // debug, info, warn, error
	file       string

	certificates []dated // those that the configuration names
}

// Kafka says where records go. Without brokers the embedded broker serves on Listen.
type Kafka struct {
	Brokers     []string      `yaml:"brokers"`
	TLS         *ClientTLS    `yaml:"tls"`
	Insecure    bool          `yaml:"insecure"` // brokers beyond loopback without TLS
	SASL        *SASL         `yaml:"sasl"`
	Listen      string        `yaml:"listen"`       // embedded
	MaxBytes    Bytes         `yaml:"max_bytes"`    // embedded: of all topics together
	Partitions  int32         `yaml:"partitions"`   // of topics that Liaison creates
	Replicas    int16         `yaml:"replicas"`     // of topics that Liaison creates
	Retention   time.Duration `yaml:"retention"`    // of topics that Liaison creates
	RecordBytes Bytes         `yaml:"record_bytes"` // the largest record
	Compression string        `yaml:"compression"`  // none, snappy, lz4, zstd, gzip
}

// SASL names a mechanism (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512) and who logs in.
type SASL struct {
	Mechanism    string `yaml:"mechanism"`
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
}

// Redis is the early filter's server. Without an address the embedded one serves.
type Redis struct {
	Address      string        `yaml:"address"`
	Username     string        `yaml:"username"`
	PasswordFile string        `yaml:"password_file"`
	TLS          *ClientTLS    `yaml:"tls"`
	Insecure     bool          `yaml:"insecure"` // an address beyond loopback without TLS
	Database     int           `yaml:"database"`
	Window       time.Duration `yaml:"window"` // how long a message counts once
}

// A Source is one feed: one of MLLP, FHIR and Files, and how it is read.
type Source struct {
	Name            string            `yaml:"name"`
	MLLP            *MLLP             `yaml:"mllp"`
	FHIR            *FHIR             `yaml:"fhir"`
	Files           *Files            `yaml:"files"`
	TimeZone        string            `yaml:"time_zone"`
	DefaultCharset  string            `yaml:"default_charset"`
	DefaultAssigner string            `yaml:"default_assigner"`
	Systems         map[string]string `yaml:"systems"` // namespace of an assigning authority: its URI
	ProcessingID    []string          `yaml:"processing_id"`
	Receiver        Receiver          `yaml:"receiver"`
	SilentAfter     time.Duration     `yaml:"silent_after"`
	Overlays        []string          `yaml:"overlays"`
	Ack             string            `yaml:"ack"`  // stored or processed
	Rate            int               `yaml:"rate"` // messages a second; 0: no limit
}

// Receiver is whom a message must address (MSH-5, MSH-6).
type Receiver struct {
	Application string `yaml:"application"`
	Facility    string `yaml:"facility"`
}

// MLLP listens for HL7 v2.
type MLLP struct {
	Listen       string        `yaml:"listen"`
	TLS          *ServerTLS    `yaml:"tls"`
	Insecure     bool          `yaml:"insecure"`
	MaxFrame     Bytes         `yaml:"max_frame"`
	Connections  int           `yaml:"connections"`
	FrameTimeout time.Duration `yaml:"frame_timeout"`
	IdleTimeout  time.Duration `yaml:"idle_timeout"`
	// SequenceNumbers holds senders to the numbers of MSH-13 (HL7 v2.5.1 §2.10.1).
	SequenceNumbers bool `yaml:"sequence_numbers"`
}

// FHIR listens for resources.
type FHIR struct {
	Listen      string     `yaml:"listen"`
	Base        string     `yaml:"base"`
	TLS         *ServerTLS `yaml:"tls"`
	TokenFile   string     `yaml:"token_file"` // bearer tokens, one a line
	Insecure    bool       `yaml:"insecure"`
	MaxBody     Bytes      `yaml:"max_body"`
	MaxEntries  int        `yaml:"max_entries"` // of a Bundle
	Connections int        `yaml:"connections"`
}

// Files watches a directory.
type Files struct {
	Directory  string        `yaml:"directory"`
	Interval   time.Duration `yaml:"interval"`
	MaxEntries int           `yaml:"max_entries"` // of a Bundle
}

// Gate says how much is checked against FHIR R4.
type Gate struct {
	Inbound  string `yaml:"inbound"`  // strict or off
	Outbound string `yaml:"outbound"` // all, sample or off
	Sample   int    `yaml:"sample"`   // one in so many
}

// Retention is how long the journal keeps what is done with.
type Retention struct {
	Journal      time.Duration `yaml:"journal"`
	JournalBytes Bytes         `yaml:"journal_bytes"`
}

// Operations serves health, metrics and the operator's commands.
type Operations struct {
	Listen    string     `yaml:"listen"`
	TLS       *ServerTLS `yaml:"tls"`
	TokenFile string     `yaml:"token_file"`
	Insecure  bool       `yaml:"insecure"`
}

// ServerTLS is a listener's certificate, and whose clients it knows.
type ServerTLS struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	ClientCA    string `yaml:"client_ca"` // with it, only clients with a certificate of this authority
}

// ClientTLS is how we connect out.
type ClientTLS struct {
	CA          string `yaml:"ca"` // left out: the machine's authorities
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	ServerName  string `yaml:"server_name"`
}

// Bytes is a size; in the file a number, or one with KiB, MiB, GiB, KB, MB or GB.
type Bytes int64

// UnmarshalYAML reads a size.
func (b *Bytes) UnmarshalYAML(text []byte) error {
	s := scalar(text)
	for _, u := range []struct {
		suffix string
		factor int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"", 1}} {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n < 0 || n > (1<<62)/u.factor {
			return &valueError{s, "is no size such as 512MiB"}
		}
		*b = Bytes(n * u.factor)
		return nil
	}
	return nil
}

// Default is what a program without a configuration file does: everything on
// loopback, everything embedded.
func Default() *Config {
	c := &Config{
		Data: "liaison-data", LogLevel: "info", FreeSpace: 512 << 20, InFlight: 128 << 20,
		Kafka:      Kafka{Listen: "127.0.0.1:9092", MaxBytes: 256 << 20, Partitions: 4, Replicas: 1, Retention: 7 * 24 * time.Hour, RecordBytes: 8 << 20, Compression: "snappy"},
		Redis:      Redis{Window: 7 * 24 * time.Hour},
		Gate:       Gate{Inbound: "strict", Outbound: "sample", Sample: 100},
		Retention:  Retention{Journal: 7 * 24 * time.Hour, JournalBytes: 20 << 30},
		Operations: Operations{Listen: "127.0.0.1:8081"},
	}
	c.Sources = []Source{
		{Name: "mllp", MLLP: &MLLP{Listen: "127.0.0.1:2575"}},
		{Name: "fhir", FHIR: &FHIR{Listen: "127.0.0.1:8080"}},
	}
	c.fill()
	return c
}

// fill puts the defaults into the sources that a file or Default lists.
func (c *Config) fill() {
	for i := range c.Sources {
		s := &c.Sources[i]
		s.Ack = orElse(s.Ack, "stored")
		if len(s.ProcessingID) == 0 {
			s.ProcessingID = []string{"P"}
		}
		if m := s.MLLP; m != nil {
			m.MaxFrame = orElse(m.MaxFrame, 32<<20)
			m.Connections = orElse(m.Connections, 256)
			m.FrameTimeout = orElse(m.FrameTimeout, 30*time.Second)
			m.IdleTimeout = orElse(m.IdleTimeout, 30*time.Minute)
		}
		if f := s.FHIR; f != nil {
			f.Base = orElse(f.Base, "/fhir")
			f.MaxBody = orElse(f.MaxBody, 32<<20)
			f.MaxEntries = orElse(f.MaxEntries, 10_000)
			f.Connections = orElse(f.Connections, 256)
		}
		if f := s.Files; f != nil {
			f.Interval = orElse(f.Interval, time.Second)
			f.MaxEntries = orElse(f.MaxEntries, 10_000)
		}
	}
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Path resolves a file that the configuration names, beside the file itself.
func (c *Config) Path(name string) string {
	if name == "" || filepath.IsAbs(name) || c.file == "" {
		return name
	}
	return filepath.Join(filepath.Dir(c.file), name)
}

// Server makes a listener's TLS configuration: TLS 1.2 or newer, and with a
// client authority only clients that it knows. nil without TLS.
func (c *Config) Server(t *ServerTLS) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.Path(t.Certificate), c.Path(t.Key))
	if err != nil {
		return nil, fmt.Errorf("tls certificate: %w", err)
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if t.ClientCA != "" {
		if out.ClientCAs, err = c.pool(t.ClientCA); err != nil {
			return nil, err
		}
		out.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return out, nil
}

// Client makes the TLS configuration of a connection out. nil without TLS.
func (c *Config) Client(t *ClientTLS) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	var err error
	if t.CA != "" {
		if out.RootCAs, err = c.pool(t.CA); err != nil {
			return nil, err
		}
	}
	if t.Certificate != "" {
		cert, err := tls.LoadX509KeyPair(c.Path(t.Certificate), c.Path(t.Key))
		if err != nil {
			return nil, fmt.Errorf("tls certificate: %w", err)
		}
		out.Certificates = []tls.Certificate{cert}
	}
	return out, nil
}

func (c *Config) pool(name string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(c.Path(name))
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificate authority %s: %w", name, errNoCertificate)
	}
	return pool, nil
}

var errNoCertificate = errors.New("no certificate in the file")

// Secret reads a secret from a file: its text without the line's end.
func (c *Config) Secret(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	b, err := os.ReadFile(c.Path(name))
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
