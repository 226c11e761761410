package redis_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/porttest"
	"github.com/writbroker/writ/internal/redistest"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/redis"
)

func isWrongPassword(err error) bool { return strings.Contains(err.Error(), "WRONGPASS") }

func TestOpenRefusesAConfiguration(t *testing.T) {
	good := redis.Config{Addrs: []string{"127.0.0.1:1"}, Sealer: sealer(t, 1), Now: time.Now}
	for name, change := range map[string]func(*redis.Config){
		"no address":                 func(c *redis.Config) { c.Addrs = nil },
		"no sealer":                  func(c *redis.Config) { c.Sealer = nil },
		"no clock":                   func(c *redis.Config) { c.Now = nil },
		"several servers":            func(c *redis.Config) { c.Addrs = append(c.Addrs, "127.0.0.1:2") },
		"a cluster with Sentinels":   func(c *redis.Config) { c.Cluster, c.MasterName = true, "writ" },
		"a database of a cluster":    func(c *redis.Config) { c.Cluster, c.DB = true, 1 },
		"a negative timeout":         func(c *redis.Config) { c.Timeout = -1 },
		"negative replicas":          func(c *redis.Config) { c.MinReplicas = -1 },
		"a user without a password":  func(c *redis.Config) { c.Username = "writ" },
		"a password file not there":  func(c *redis.Config) { c.PasswordFile = filepath.Join(t.TempDir(), "none") },
		"no such Sentinels' secret":  func(c *redis.Config) { c.MasterName, c.SentinelPasswordFile = "writ", "/none" },
		"an empty password in there": func(c *redis.Config) { c.PasswordFile = emptyFile(t) },
	} {
		c := good
		c.AllowAway = true
		change(&c)
		if db, err := redis.Open(t.Context(), c); err == nil {
			t.Errorf("%s: opened", name)
			must(t, db.Close())
		}
	}
}

func emptyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "empty")
	must(t, os.WriteFile(path, []byte("\n"), 0o600))
	return path
}

func TestServerThatEvictsIsRefused(t *testing.T) {
	t.Parallel()
	b := alone(t, "--maxmemory-policy", "allkeys-lru")
	_, err := redis.Open(t.Context(), b.config)
	wantErr(t, err, redis.ErrEviction)
	if !strings.Contains(err.Error(), "InsecureAllowEviction") {
		t.Errorf("%v does not say how to allow it", err)
	}
	b.config.AllowAway = true // it is not away
	_, err = redis.Open(t.Context(), b.config)
	wantErr(t, err, redis.ErrEviction)
	b.config.InsecureAllowEviction = true
	_, at := opened(t, b.open(t))
	add(t, b.open(t).Log(logName), at, "a")
}

// A failover can lead to a server that is configured otherwise.
func TestServerThatEvictsIsRefusedLater(t *testing.T) {
	t.Parallel()
	b := alone(t)
	l, at := opened(t, b.open(t))
	b.primary(t).Do(t, "CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
	b.primary(t).Follow(t, redistest.Start(t))
	b.primary(t).Promote(t)
	for _, do := range []func() error{
		func() error { _, err := l.Tail(t.Context()); return err },
		func() error { _, err := l.Read(t.Context(), at, 0); return err },
		func() error { _, err := l.Append(t.Context(), at, entries("x")...); return err },
	} {
		err := do()
		wantErr(t, err, redis.ErrEviction)
		wantErr(t, err, store.ErrUnavailable)
	}
}

func TestVersionAndPolicy(t *testing.T) {
	for _, c := range []struct {
		version, policy string
		want            error
	}{
		{"7.0.15", "noeviction", nil},
		{"8.2.1", "noeviction", nil},
		{"10.0.0", "noeviction", nil},
		{"6.2.14", "noeviction", redis.ErrVersion},
		{"", "noeviction", redis.ErrVersion},
		{"7.2.0", "", redis.ErrEviction},
		{"7.2.0", "volatile-lru", redis.ErrEviction},
	} {
		if err := redis.Accept(c.version, c.policy); !errors.Is(err, c.want) {
			t.Errorf("%q, %q: %v, want %v", c.version, c.policy, err, c.want)
		}
	}
}

func TestServerIsDescribed(t *testing.T) {
	t.Parallel()
	b := alone(t, "--appendfsync", "everysec")
	var text bytes.Buffer
	b.config.Logger = slog.New(slog.NewTextHandler(&text, nil))
	got := b.open(t).Server()
	if !strings.HasPrefix(got.Version, "7.") || got.Mode != "standalone" || got.EvictionPolicy != "noeviction" ||
		!got.AppendOnly || got.AppendFsync != "everysec" || got.Replicas != 0 {
		t.Errorf("described as %+v", got)
	}
	if !strings.Contains(text.String(), "appendfsync everysec") {
		t.Errorf("no warning of a late fsync in %q", text.String())
	}
	if w := (redis.Server{EvictionPolicy: "noeviction"}).Warnings(); len(w) != 1 {
		t.Errorf("a server without an append-only file: %v", w)
	}
}

func TestUserReachesNothingElse(t *testing.T) {
	t.Parallel()
	b := alone(t)
	c := b.primary(t).Client().Conn()
	defer func() { _ = c.Close() }()
	must(t, c.AuthACL(t.Context(), "writ", "of-a-test").Err())
	must(t, c.Set(t.Context(), "{writ}:x", 1, 0).Err())
	for _, command := range [][]any{
		{"GET", "other"}, {"SET", "other", 1}, {"FLUSHALL"}, {"CONFIG", "SET", "save", ""}, {"KEYS", "*"}, {"DEBUG", "JMAP"},
		{"ACL", "LIST"}, {"PUBLISH", "a", "b"}, {"SCRIPT", "FLUSH"}, {"REPLICAOF", "NO", "ONE"}, {"EXPIRE", "{writ}:x", 1}, {"RENAME", "{writ}:x", "{writ}:y"},
	} {
		if err := c.Do(t.Context(), command...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("%v: %v", command, err)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	roots := certificate(t, dir)
	addr := porttest.Address(t)
	_, port, err := net.SplitHostPort(addr)
	must(t, err)
	redistest.Start(t, "--tls-port", port, "--tls-cert-file", filepath.Join(dir, "cert"), "--tls-key-file", filepath.Join(dir, "key"), "--tls-auth-clients", "no")
	c := redis.Config{Addrs: []string{addr}, Sealer: sealer(t, 1), Now: time.Now, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	db, err := redis.Open(t.Context(), c)
	must(t, err)
	l, at := opened(t, db)
	add(t, l, at, "a")
	wantLog(t, l, "| a ")
	must(t, db.Close())
	for name, bad := range map[string]*tls.Config{"unknown authority": {MinVersion: tls.VersionTLS12}, "no TLS": nil} {
		c.TLS = bad
		if _, err := redis.Open(t.Context(), c); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	must(t, os.WriteFile(filepath.Join(dir, "cert"), certPEM, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return roots
}
