package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/cmd/internal/config"
)

// certify writes name.pem and name.key, signed by the parent (nil: by itself).
func certify(t *testing.T, dir, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if parent == nil {
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	made, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return made, key
}

// MLLP over mutual TLS, by configuration: senders of the hospital's authority
// are answered, others and older protocols are not.
func TestMutualTLS(t *testing.T) {
	dir := t.TempDir()
	ca, key := certify(t, dir, "ca", nil, nil)
	certify(t, dir, "server", ca, key)
	certify(t, dir, "sender", ca, key)
	stranger, strangerKey := certify(t, dir, "stranger-ca", nil, nil)
	certify(t, dir, "stranger", stranger, strangerKey)
	file := filepath.Join(dir, "liaison.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
data: here
kafka: {listen: "127.0.0.1:0"}
operations: {listen: "127.0.0.1:0", token_file: tokens, tls: {certificate: server.pem, key: server.key, client_ca: ca.pem}}
free_space: 16MiB
sources:
  - {name: adt, mllp: {listen: "127.0.0.1:0", tls: {certificate: server.pem, key: server.key, client_ca: ca.pem}}}
  - {name: portal, fhir: {listen: "127.0.0.1:0", token_file: tokens, tls: {certificate: server.pem, key: server.key}}}
`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokens"), []byte("first\nsecond\n"), 0o600))
	code, out, errs := liaison(t, "check", "--config", file)
	require.Equal(t, exitDone, code, out+errs)
	cfg, err := config.Load(file)
	require.NoError(t, err)
	require.Empty(t, cfg.Outdated(time.Now()))
	require.ErrorContains(t, errors.Join(cfg.Outdated(time.Now().Add(2*time.Hour))...), "liaison.yaml:7:66: a certificate in "+filepath.Join(dir, "server.pem")+" has expired on ")
	require.ErrorContains(t, errors.Join(cfg.Outdated(time.Now().Add(-2*time.Hour))...), "holds from ")
	require.Equal(t, filepath.Join(dir, "here"), cfg.Data, "paths are relative to the file")
	a, stop := serving(t, cfg)
	address := a.Addresses()["source:adt"]
	at := func(name string) string { return filepath.Join(dir, name) }
	send := func(args ...string) (int, string) {
		code, out, errs := liaison(t, append([]string{"send", address, "../../testdata/mapping/ADT_A01.hl7", "--timeout", "5s"}, args...)...)
		return code, out + errs
	}
	code, out = send("--tls-ca", at("ca.pem"), "--tls-certificate", at("sender.pem"), "--tls-key", at("sender.key"))
	require.Equal(t, exitDone, code, out)
	require.Contains(t, out, "AA")
	for _, args := range [][]string{
		{}, // plain
		{"--tls-ca", at("ca.pem")},
		{"--tls-ca", at("ca.pem"), "--tls-certificate", at("stranger.pem"), "--tls-key", at("stranger.key")},
		{"--tls-ca", at("stranger-ca.pem"), "--tls-certificate", at("sender.pem"), "--tls-key", at("sender.key")},
	} {
		code, out = send(args...)
		require.Equal(t, exitFailed, code, "%v: %s", args, out)
	}
	sender, err := tls.LoadX509KeyPair(at("sender.pem"), at("sender.key"))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err = tls.Dial("tcp", address, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{sender}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}) //nolint:gosec // the refusal is the test
	require.Error(t, err, "TLS 1.1")
	t.Run("the FHIR endpoint asks for a token", func(t *testing.T) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
		defer client.CloseIdleConnections()
		for token, want := range map[string]int{"": 401, "third": 401, "first": 200, "second": 200} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+a.Addresses()["source:portal"]+"/fhir/metadata", nil)
			require.NoError(t, err)
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			answer, err := client.Do(r)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, want, answer.StatusCode, token)
		}
	})
	t.Run("operations ask for a certificate and a token", func(t *testing.T) {
		operations := a.Addresses()["operations"]
		known := []string{"journal", "list", "--server", operations, "--tls-ca", at("ca.pem"), "--tls-certificate", at("sender.pem"), "--tls-key", at("sender.key")}
		code, out, errs := liaison(t, append(known, "--token-file", at("tokens"))...)
		require.Equal(t, exitDone, code, errs)
		require.Contains(t, out, "ADT^A01")
		code, _, errs = liaison(t, known...)
		require.Equal(t, exitFailed, code)
		require.Contains(t, errs, "a token is needed (401)")
		code, _, _ = liaison(t, "journal", "list", "--server", operations, "--tls-ca", at("ca.pem"), "--token-file", at("tokens"))
		require.Equal(t, exitFailed, code)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{sender}, MinVersion: tls.VersionTLS12}}}
		defer client.CloseIdleConnections()
		for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 401, "/journal": 401, "/quarantine": 401, "/nothing": 401} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+operations+path, nil)
			require.NoError(t, err)
			answer, err := client.Do(r)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, want, answer.StatusCode, path)
		}
	})
	stop()
}
