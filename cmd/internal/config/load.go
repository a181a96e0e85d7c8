package config

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// An Error is one thing wrong with a configuration, and where.
type Error struct {
	File         string
	Line, Column int
	Text         string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Text)
}

// Load reads a configuration file over the defaults, checks it, and looks into
// the files that it names. Every problem is an *Error in the joined error.
func Load(file string) (*Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c, k, err := parse(file, data)
	if err != nil {
		return nil, err
	}
	k.files()
	return c, errors.Join(k.errs...)
}

// Parse is Load of text, without a look into the files that it names.
func Parse(file string, data []byte) (*Config, error) {
	c, k, err := parse(file, data)
	if err != nil {
		return nil, err
	}
	return c, errors.Join(k.errs...)
}

func parse(file string, data []byte) (*Config, *check, error) {
	c := Default()
	c.file = file
	c.Sources, c.Data = nil, ""
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // as editors on Windows write it
	tokens := lexer.Tokenize(string(data))
	if at := nested(tokens); at != nil {
		return nil, nil, &Error{File: file, Line: at.Line, Column: at.Column, Text: fmt.Sprintf("nested more than %d deep", mostNested)}
	}
	tree, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, nil, located(file, nil, err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict(), yaml.CustomUnmarshaler(span))
	if saysSomething(tree) {
		if err := decoder.Decode(c); err != nil {
			return nil, nil, located(file, tree, err)
		}
	}
	def := Default()
	if c.Data = c.Path(c.Data); c.Data == "" { // the default is the working directory's, not the file's
		c.Data = def.Data
	}
	if c.Sources == nil {
		c.Sources = def.Sources
	}
	c.fill()
	k := &check{cfg: c, file: file, tree: tree, places: map[string]string{}}
	k.all()
	return c, k, nil
}

// saysSomething is false of a file that is empty or has comments only.
func saysSomething(tree *ast.File) bool {
	for _, d := range tree.Docs {
		if d.Body != nil && d.Body.Type() != ast.CommentType && d.Body.Type() != ast.NullType {
			return true
		}
	}
	return false
}

// Advice names what is no mistake, but seldom meant.
func (c *Config) Advice() []string {
	var out []string
	for i := range c.Sources {
		if s := &c.Sources[i]; s.FHIR == nil && s.TimeZone == "" {
			out = append(out, "source "+s.Name+" has no time_zone: of a time without an offset only the day is taken over")
		}
	}
	return out
}

// mostNested is how many brackets of YAML may be open.
const mostNested = 64

// nested gives the place where too many brackets are open, nil where there is
// none: the YAML parser takes a time that grows with the square of them.
func nested(tokens token.Tokens) *token.Position {
	open := 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			if open++; open > mostNested {
				return t.Position
			}
		case token.SequenceEndType, token.MappingEndType:
			open--
		}
	}
	return nil
}

// A valueError is a scalar that does not read as what it should be.
type valueError struct{ value, reason string }

func (e *valueError) Error() string { return fmt.Sprintf("%q %s", e.value, e.reason) }

// span reads a time span.
func span(d *time.Duration, text []byte) error {
	value := scalar(text)
	n, err := time.ParseDuration(value)
	if err != nil {
		return &valueError{value, "is no time span such as 30s, 15m or 168h"}
	}
	*d = n
	return nil
}

func scalar(text []byte) string { return strings.Trim(strings.TrimSpace(string(text)), `"'`) }

// located takes line and column out of the YAML library's error, or finds the
// value that one of our own complains of.
func located(file string, tree *ast.File, err error) error {
	if at, text := mistyped(err); at != nil {
		return &Error{File: file, Line: at.Line, Column: at.Column, Text: text}
	}
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil {
		at := y.GetToken().Position
		return &Error{File: file, Line: at.Line, Column: at.Column, Text: y.GetMessage()}
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	out := &Error{File: file, Text: text}
	var bad *valueError
	if errors.As(err, &bad) && tree != nil {
		out.Text = bad.Error()
		for _, d := range tree.Docs {
			if d.Body != nil {
				ast.Walk(&finder{value: bad.value, found: out}, d.Body)
			}
		}
	}
	return out
}

// mistyped says what belongs where something else stands, if that is the error.
func mistyped(err error) (*token.Position, string) {
	var typ *yaml.TypeError
	var node *yaml.UnexpectedNodeTypeError
	var large *yaml.OverflowError
	switch {
	case errors.As(err, &large) && large.Token != nil:
		return large.Token.Position, "a number is too large: a smaller one belongs here"
	case errors.As(err, &typ) && typ.Token != nil:
		return typ.Token.Position, belongs(typ.DstType.Kind()) + ", not " + stands(typ.Token)
	case errors.As(err, &node) && node.Token != nil && node.Expected == ast.MappingType:
		return node.Token.Position, belongs(reflect.Map) + ", not " + stands(node.Token)
	case errors.As(err, &node) && node.Token != nil && node.Expected == ast.SequenceType:
		return node.Token.Position, belongs(reflect.Slice) + ", not " + stands(node.Token)
	}
	return nil, ""
}

// belongs is a kind of value in the words of who writes the file.
func belongs(kind reflect.Kind) string {
	switch kind {
	case reflect.Bool:
		return "true or false belongs here"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "a whole number belongs here"
	case reflect.Slice:
		return "a list such as [a, b] belongs here"
	case reflect.Map, reflect.Struct, reflect.Pointer:
		return "settings such as {key: value} belong here"
	default:
		return "text belongs here"
	}
}

// stands is what a token begins, in the same words.
func stands(t *token.Token) string {
	switch t.Type {
	case token.IntegerType:
		return "a whole number"
	case token.FloatType:
		return "a number"
	case token.BoolType:
		return "true or false"
	case token.SequenceStartType, token.SequenceEntryType:
		return "a list"
	case token.MappingStartType, token.MappingValueType:
		return "settings"
	default:
		return "text"
	}
}

// A finder puts the place of the first scalar of some text into an error.
type finder struct {
	value string
	found *Error
}

// Visit implements ast.Visitor.
func (f *finder) Visit(n ast.Node) ast.Visitor {
	if f.found.Line > 0 {
		return nil
	}
	if m, ok := n.(*ast.MappingValueNode); ok { // a key of that text is not meant
		ast.Walk(f, m.Value)
		return nil
	}
	if s, ok := n.(ast.ScalarNode); ok && scalar([]byte(s.GetToken().Value)) == f.value {
		f.found.Line, f.found.Column = s.GetToken().Position.Line, s.GetToken().Position.Column
	}
	return f
}

type check struct {
	cfg  *Config
	file string
	tree *ast.File
	errs []error

	places map[string]string // addresses and directories: what has them
}

// fail notes a problem at a path such as $.sources[0].mllp.listen, or at the
// nearest thing above it that the file has.
func (k *check) fail(path, format string, args ...any) {
	e := k.at(path)
	e.Text = fmt.Sprintf(format, args...)
	k.errs = append(k.errs, &e)
}

// at is the place of a path.
func (k *check) at(path string) Error {
	e := Error{File: k.file}
	for at := path; at != "" && at != "$"; {
		if n := k.node(at); n != nil {
			e.Line, e.Column = n.GetToken().Position.Line, n.GetToken().Position.Column
			break
		}
		at = at[:max(strings.LastIndexByte(at, '.'), 0)]
	}
	return e
}

// node is what stands at a path in the file, nil where nothing does.
func (k *check) node(at string) ast.Node {
	p, err := yaml.PathString(at)
	if err != nil {
		return nil
	}
	n, err := p.FilterFile(k.tree)
	if err != nil || n == nil || n.GetToken() == nil {
		return nil
	}
	return n
}

func (k *check) all() {
	c := k.cfg
	names := map[string]bool{}
	for i := range c.Sources {
		at := fmt.Sprintf("$.sources[%d]", i)
		s := &c.Sources[i]
		if !plainName(s.Name) {
			k.fail(at+".name", "a source needs a name of letters, digits, - and _")
		}
		if names[s.Name] {
			k.fail(at+".name", "two sources are named %s", s.Name)
		}
		names[s.Name] = true
		k.source(at, s)
	}
	k.oneOf("$.gate.inbound", c.Gate.Inbound, "strict", "off")
	k.oneOf("$.gate.outbound", c.Gate.Outbound, "all", "sample", "off")
	k.oneOf("$.log_level", c.LogLevel, "debug", "info", "warn", "error")
	k.oneOf("$.kafka.compression", c.Kafka.Compression, "none", "snappy", "lz4", "zstd", "gzip")
	if c.Gate.Outbound == "sample" && c.Gate.Sample < 1 {
		k.fail("$.gate.sample", "one in how many: 1 or more")
	}
	if c.Kafka.SASL != nil {
		k.oneOf("$.kafka.sasl.mechanism", c.Kafka.SASL.Mechanism, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
	}
	k.limits()
	k.listener("$.operations", c.Operations.Listen, c.Operations.TLS, c.Operations.TokenFile != "", c.Operations.Insecure)
	if len(c.Kafka.Brokers) == 0 {
		if !loopback(c.Kafka.Listen) {
			k.fail("$.kafka.listen", "the embedded broker has no TLS and no callers' names: it serves on loopback only; use brokers")
		}
		k.alone("$.kafka.listen", c.Kafka.Listen, "the embedded broker")
	}
	for i, b := range c.Kafka.Brokers {
		if host, _, err := net.SplitHostPort(b); err != nil || host == "" {
			k.fail(fmt.Sprintf("$.kafka.brokers[%d]", i), "%q is no address such as kafka1.example.org:9093", b)
			continue
		}
		k.client(fmt.Sprintf("$.kafka.brokers[%d]", i), b, c.Kafka.TLS, c.Kafka.Insecure)
	}
	if c.Redis.Address != "" {
		k.client("$.redis.address", c.Redis.Address, c.Redis.TLS, c.Redis.Insecure)
	}
}

// client holds to the rule for what Liaison connects to: beyond loopback TLS,
// or insecure by name, for records and passwords go there.
func (k *check) client(at, address string, t *ClientTLS, insecure bool) {
	if t == nil && !insecure && !loopback(address) {
		k.fail(at, "beyond loopback a connection needs tls, or insecure: true")
	}
}

func (k *check) source(at string, s *Source) {
	kinds := 0
	k.span(at+".silent_after", s.SilentAfter, 0)
	k.between(at+".rate", int64(s.Rate), 0, 1_000_000)
	if s.MLLP != nil {
		kinds++
		k.span(at+".mllp.frame_timeout", s.MLLP.FrameTimeout, 1)
		k.span(at+".mllp.idle_timeout", s.MLLP.IdleTimeout, 1)
		k.between(at+".mllp.connections", int64(s.MLLP.Connections), 1, 1<<16)
		k.between(at+".mllp.max_frame", int64(s.MLLP.MaxFrame), 1<<10, 1<<30)
		k.listener(at+".mllp", s.MLLP.Listen, s.MLLP.TLS, false, s.MLLP.Insecure)
	}
	if s.FHIR != nil {
		kinds++
		k.between(at+".fhir.connections", int64(s.FHIR.Connections), 1, 1<<16)
		k.between(at+".fhir.max_body", int64(s.FHIR.MaxBody), 1<<10, 1<<30)
		k.between(at+".fhir.max_entries", int64(s.FHIR.MaxEntries), 1, 1_000_000)
		k.listener(at+".fhir", s.FHIR.Listen, s.FHIR.TLS, s.FHIR.TokenFile != "", s.FHIR.Insecure)
		if !strings.HasPrefix(s.FHIR.Base, "/") {
			k.fail(at+".fhir.base", "a path that begins with /")
		}
	}
	if s.Files != nil {
		kinds++
		if s.Files.Directory == "" {
			k.fail(at+".files", "directory is missing")
		} else {
			k.alone(at+".files.directory", k.cfg.Path(s.Files.Directory), "source "+s.Name)
		}
		k.span(at+".files.interval", s.Files.Interval, 1)
		k.between(at+".files.max_entries", int64(s.Files.MaxEntries), 1, 1_000_000)
	}
	if kinds != 1 {
		k.fail(at, "a source is one of mllp, fhir and files")
	}
	k.oneOf(at+".ack", s.Ack, "stored", "processed")
	if s.TimeZone != "" {
		if _, err := hl7v2.LoadLocation(s.TimeZone); err != nil {
			k.fail(at+".time_zone", "no IANA time zone is named %q; one is America/New_York", s.TimeZone)
		}
	}
	if s.DefaultCharset != "" {
		var m hl7v2.Message
		if err := m.SetDefaultCharset(s.DefaultCharset); err != nil {
			k.fail(at+".default_charset", "no character set of HL7 table 0211 is named %q; one is 8859/1", s.DefaultCharset)
		}
	}
	for i, id := range s.ProcessingID {
		k.oneOf(fmt.Sprintf("%s.processing_id[%d]", at, i), id, "P", "T", "D")
	}
	for i, name := range s.Overlays {
		if _, err := os.Stat(k.cfg.Path(name)); err != nil {
			k.fail(fmt.Sprintf("%s.overlays[%d]", at, i), "no file %s", k.cfg.Path(name))
		}
	}
}

// listener holds to the rule: beyond loopback, TLS and a known caller, or
// insecure by name.
func (k *check) listener(at, listen string, t *ServerTLS, token, insecure bool) {
	_, port, err := net.SplitHostPort(listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		k.fail(at+".listen", "%q is no address such as 127.0.0.1:2575", listen)
		return
	}
	k.alone(at+".listen", listen, strings.TrimPrefix(at, "$."))
	if t != nil && (t.Certificate == "" || t.Key == "") {
		k.fail(at+".tls", "tls needs certificate and key")
	}
	if insecure || loopback(listen) {
		return
	}
	switch {
	case t == nil:
		k.fail(at+".listen", "beyond loopback a listener needs tls and a known caller, or insecure: true")
	case t.ClientCA == "" && !token:
		k.fail(at+".tls", "beyond loopback the caller must be known: client_ca, or token_file where there is HTTP, or insecure: true")
	}
}

func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func (k *check) oneOf(at, got string, allowed ...string) {
	if !slices.Contains(allowed, got) {
		k.fail(at, "%q is none of %s", got, strings.Join(allowed, ", "))
	}
}

func plainName(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}
