package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/keys"
)

// TestFault shows what is refused, one thing at a time: the key that is blamed,
// its line, and a word of what its reader is told.
func TestFault(t *testing.T) {
	// The rows begin where minimal ends.
	const first = 11
	for _, row := range []struct {
		name, text, key, says string
		line                  int
	}{
		{"unknown key, nearly right", "trusted_proxy: []", "trusted_proxy", "is not a known key", first},
		{"secret inline", "root_key: c2VjcmV0", "root_key", "use root_key_file", first},
		{"unknown key in depth", "audit:\n  anchor: {webhok: {}}", "audit.anchor.webhok", "did you mean webhook?", first + 1},
		{"key given twice", "log: {}\nlog: {}", "log", "given twice, first on line 11", first + 1},
		{"key without value", "log:", "log", "has no value", first},
		{"anchor", "log: &a {}", "log", "anchor or alias", first},
		{"alias", "environment: {a: &x b}", "environment.a", "anchor or alias", first},
		{"mapping expected", "log: info", "log", "must be a mapping", first},
		{"table expected", "environment: [a]", "environment", "mapping of names to texts", first},
		{"list expected", "trusted_proxies: 10.0.0.0/8", "trusted_proxies", "must be a list", first},
		{"single value expected", "data_dir: [a]", "data_dir", "single value", first},
		{"number where text is", "environment: {build: 7}", "environment.build", "put it in quotes", first},
		{"text where number is", "tokens: {max_depth: deep}", "tokens.max_depth", "is not a number", first},
		{"text where truth is", "metrics: {enabled: maybe}", "metrics.enabled", "is not true or false", first},
		{"duration without unit", "shutdown_grace: 20", "shutdown_grace", "is not a duration", first},
		{"size", "audit: {segment_size: 64MB}", "audit.segment_size", "is not a size", first},
		{"expansion elsewhere", "data_dir: ${HOME}/writ", "data_dir", "not expanded here", first},
		{"expansion of nothing", "root_key_file: ${EMPTY}/root", "root_key_file", "EMPTY is not set", first},

		{"public listener in the clear", "public:\n  address: 0.0.0.0:80", "public.tls", "in the clear", first},
		{"address without port", "public: {address: localhost}", "public.address", "is not host:port", first},
		{"certificate without key", "public: {tls: {cert_file: c.pem}}", "public.tls", "only one of", first},
		{"client CA without TLS", "public: {tls: {client_ca_file: c.pem}}", "public.tls.client_ca_file", "no certificate", first},
		{"plain HTTP and TLS", "admin: {insecure_http: true, tls: {cert_file: c, key_file: k}}", "admin.insecure_http", "has TLS", first},
		{"admin on the public address", "admin: {address: 127.0.0.1:8443}", "admin.address", "choose another port", first},
		{"every proxy trusted", "trusted_proxies:\n  - 0.0.0.0/0", "trusted_proxies[0]", "every address", first + 1},
		{"proxy by name", "trusted_proxies: [lb]", "trusted_proxies[0]", "not an address", first},
		{"store that is not there", "store: {kind: etcd}", "store.kind", "use bolt", first},
		{"redis without an address", "store: {kind: redis}", "store.redis.addresses", "is missing", first},
		{"redis that is not used", "store: {redis: {addresses: [127.0.0.1:6379]}}", "store.redis", "kind is bolt", first},
		{"redis in the clear", "store: {kind: redis, redis: {addresses: [redis:6379]}}", "store.redis.addresses[0]", "without TLS", first},
		{"redis without a port", "store: {kind: redis, redis: {addresses: [localhost]}}", "store.redis.addresses[0]", "is not host:port", first},
		{"several servers of no kind", "store:\n  kind: redis\n  redis: {addresses: [127.0.0.1:1, 127.0.0.1:2]}", "store.redis.addresses", "set master_name", first + 2},
		{"sentinels of a cluster", "store: {kind: redis, redis: {addresses: [127.0.0.1:1], cluster: true, master_name: m}}", "store.redis.master_name", "no Sentinels", first},
		{"databases of a cluster", "store: {kind: redis, redis: {addresses: [127.0.0.1:1], cluster: true, database: 1}}", "store.redis.database", "no databases", first},
		{"user without a password", "store: {kind: redis, redis: {addresses: [127.0.0.1:1], username: writ}}", "store.redis.password_file", "is missing", first},
		{"sentinel user without a master", "store: {kind: redis, redis: {addresses: [127.0.0.1:1], sentinel_password_file: p}}", "store.redis.master_name", "is missing", first},
		{"half of a client certificate", "store: {kind: redis, redis: {addresses: [127.0.0.1:1], tls: {enabled: true, cert_file: c}}}", "store.redis.tls", "only one of", first},
		{"TLS that is not on", "store: {kind: redis, redis: {addresses: [127.0.0.1:1], tls: {ca_file: c}}}", "store.redis.tls.enabled", "is not true", first},
		{"a wait for Redis without end", "store: {kind: redis, redis: {addresses: [127.0.0.1:1], timeout: 10m}}", "store.redis.timeout", "out of range", first},
		{"fewer than no replicas", "store: {kind: redis, redis: {addresses: [127.0.0.1:1], min_replicas: -1}}", "store.redis.min_replicas", "out of range", first},
		{"a file for a shared store", "store: {kind: redis, path: s.db, redis: {addresses: [127.0.0.1:1]}}", "store.path", "store is redis", first},
		{"reload too fast", "bundle_: {}\n", "bundle_", "did you mean bundle?", first},
		{"long socket path", "break_glass: {socket: /" + strings.Repeat("a", 110) + "}", "break_glass.socket", "shorter path", first},
		{"negative uid", "break_glass: {uids: [-1]}", "break_glass.uids[0]", "not a user id", first},

		{"aws without a mode", "aws: {region: eu-central-1}", "aws.mode", "is missing", first},
		{"aws in an unknown mode", "aws: {mode: root, region: eu-central-1}", "aws.mode", "is not known", first},
		{"aws without a region", "aws: {mode: assume_role}", "aws.region", "is missing", first},
		{"a region that is none", "aws: {mode: assume_role, region: Frankfurt}", "aws.region", "is not a region", first},
		{"sts in the clear", "aws: {mode: assume_role, region: us-east-1, endpoint: 'http://minio:9000'}", "aws.endpoint", "not https", first},
		{"roots for nothing", "aws: {mode: assume_role, region: us-east-1, ca_file: c}", "aws.ca_file", "no endpoint", first},
		{"a wait for STS without end", "aws: {mode: assume_role, region: us-east-1, timeout: 1h}", "aws.timeout", "out of range", first},
		{"an external id that AWS refuses", "aws: {mode: assume_role, region: us-east-1, external_id: '#'}", "aws.external_id", "not one that AWS takes", first},
		{"an audience for nothing", "aws: {mode: assume_role, region: us-east-1, audience: a}", "aws.audience", "sends no token", first},
		{"one set of credentials for both", "aws: {mode: assume_role, region: us-east-1, profile: p, revoker: {profile: p}}", "aws.revoker", "credentials that make sessions", first},
		{"iam in the clear", "aws: {mode: web_identity, region: us-east-1, revoker: {endpoint: 'http://iam:80'}}", "aws.revoker.endpoint", "not https", first},
		{"roots of no iam", "aws: {mode: web_identity, region: us-east-1, revoker: {ca_file: c}}", "aws.revoker.ca_file", "no endpoint", first},
		{"credentials that are not needed", "aws: {mode: web_identity, region: us-east-1, profile: p}", "aws.profile", "no AWS credentials", first},
		{"a signature that AWS does not verify", "keys: {algorithm: Ed25519}\naws: {mode: web_identity, region: us-east-1}", "aws.mode", "Ed25519", first + 1},
		{"an audience that the issuer has", "aws: {mode: web_identity, region: us-east-1, audience: https://writ.example.com/}", "aws.audience", "in use", first},

		{"signs before it is published", "keys: {prepublish: 5m}", "keys.prepublish", "before verifiers have fetched it", first},
		{"due before it is published", "keys: {rotate_every: 1h}", "keys.rotate_every", "not longer than", first},
		{"published no longer than it is cached", "keys: {prepublish: 10m}", "keys.prepublish", "at least 20m37.5s", first},
		{"dropped while its tokens live", "keys: {retire_after: 60m}", "keys.retire_after", "at least 1h25m37.5s", first},
		{"longer tokens outlive their key", "tokens: {max_ttl: 4h}", "keys.retire_after", "at least 4h25m37.5s", 0},
		{"more keys than are published", "keys: {rotate_every: 2h, retire_after: 48h}", "keys.rotate_every", "more than 16 keys", first},
		{"clocks further off than anybody's", "keys: {clock_skew: 10m}", "keys.clock_skew", "out of range", first},
		{"a rotation that waits for the next one", "keys: {activate_within: 170h}", "keys.activate_within", "longer than keys.rotate_every", first},
		{"algorithm", "keys: {algorithm: HS256}", "keys.algorithm", "ES256, RS256, Ed25519", first},
		{"custody", "keys: {custody: env}", "keys.custody", "use file, vault", first},
		{"custody without a vault", "keys: {custody: vault, vault: {seal_key: k}}", "keys.vault.address", "https://", first},
		{"custody without its key", `keys: {custody: vault, vault: {address: "https://v"}}`, "keys.vault.seal_key", "aes256-gcm96", first},
		{"custody without names", `keys: {custody: vault-transit, vault: {address: "https://v"}}`, "keys.vault.sign_keys", "begin with", first},
		{"custody without a key of kms", "keys: {custody: aws-kms, aws_kms: {region: r}}", "keys.aws_kms.seal_key", "symmetric", first},
		{"custody without a key for references", "keys: {custody: aws-kms-sign}", "keys.aws_kms.seal_key", "symmetric", first},
		{"an algorithm that KMS has not", "keys: {custody: aws-kms-sign, algorithm: Ed25519, aws_kms: {seal_key: k}}", "keys.algorithm", "ES256 or RS256", first},
		{"a KMS without its key", "keys: {aws_kms: {region: r}}", "keys.aws_kms.seal_key", "remove", first},
		{"a wait for vault without end", `keys: {vault: {address: "https://v", timeout: 10m}}`, "keys.vault.timeout", "out of range", first},
		{"absence", "revocation: {replica_absence: 1ms}", "revocation.replica_absence", "out of range", first},
		{"default above the maximum", "tokens: {default_ttl: 2h}", "tokens.default_ttl", "longer than tokens.max_ttl", first},
		{"tokens for ever", "tokens: {max_ttl: 240h}\nkeys: {retire_after: 300h, rotate_every: 400h}", "tokens.max_ttl", "24h", first},
		{"skew", "tokens: {skew: 10m}", "tokens.skew", "out of range", first},
		{"depth", "tokens: {max_depth: 0}", "tokens.max_depth", "1 to 16", first},
		{"token larger than readers take", "tokens: {max_bytes: 32KiB}", "tokens.max_bytes", "out of range", first},
		{"one lost heartbeat stops verifiers", "revocation: {heartbeat: 15s}", "revocation.heartbeat", "at most 10s", first},
		{"staleness", "revocation: {max_staleness: 1h}", "revocation.max_staleness", "out of range", first},
		{"no rate", "rate_limits: {per_agent: {rate: 0}}", "rate_limits.per_agent.rate", "above 0", first},
		{"rate that is not a number", "rate_limits: {per_agent: {rate: .nan}}", "rate_limits.per_agent.rate", "above 0", first},
		{"no burst", "rate_limits: {unauthenticated: {burst: 0}}", "rate_limits.unauthenticated.burst", "1 or more", first},
		{"anchor nowhere", "audit: {anchor: {log: false}}", "audit.anchor", "cut tail", first},
		{"anchor in the clear", "audit: {anchor: {webhook: {url: http://a.example.com}}}", "audit.anchor.webhook.url", "is not https", first},
		{"anchor with a password", `audit: {anchor: {webhook: {url: "https://u:p@a.example.com"}}}`, "audit.anchor.webhook.url", "without user and password", first},
		{"webhook token without URL", "audit: {anchor: {webhook: {token_file: t}}}", "audit.anchor.webhook.token_file", "no url", first},
		{"log format", "log: {format: xml}", "log.format", "json, text", first},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := parse(minimal + row.text + "\n")
			faults := faultsOf(t, err)
			if len(faults) != 1 {
				t.Fatalf("%d faults, want one:\n%v", len(faults), err)
			}
			f := faults[0]
			if f.Key != row.key || f.Line != row.line || !strings.Contains(f.String(), row.says) {
				t.Errorf("fault is %q, want line %d, key %s, and %q", f, row.line, row.key, row.says)
			}
		})
	}
}

// TestKeysAgreeWithTheRotator: what passes here must not stop the broker at its
// start, and what package keys would refuse must be told with a line.
func TestKeysAgreeWithTheRotator(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		duration := func(name string, low, high time.Duration) time.Duration {
			return time.Duration(rapid.Int64Range(int64(low/time.Second), int64(high/time.Second)).Draw(t, name)) * time.Second
		}
		c, err := parse(minimal)
		if err != nil {
			t.Fatal(err)
		}
		c.Tokens.MaxTTL = duration("max_ttl", 15*time.Minute, 2*time.Hour)
		c.Tokens.Skew = duration("skew", 0, 5*time.Minute)
		c.Keys.ClockSkew = duration("clock_skew", 0, 5*time.Minute)
		c.Keys.ActivateWithin = duration("activate_within", 0, 2*time.Hour)
		c.Keys.JWKSMaxAge = duration("jwks_max_age", time.Second, time.Hour)
		c.Keys.Prepublish = duration("prepublish", time.Second, 90*time.Minute)
		c.Keys.RetireAfter = duration("retire_after", time.Second, 24*time.Hour)
		c.Keys.RotateEvery = c.Keys.Prepublish + duration("rotate_every", time.Second, 4*time.Hour)
		schedule := keys.Schedule{
			RotateEvery: c.Keys.RotateEvery, Prepublish: c.Keys.Prepublish, RetireAfter: c.Keys.RetireAfter,
			Algorithm: c.Keys.Algorithm, JWKSMaxAge: c.Keys.JWKSMaxAge, MaxTTL: c.Tokens.MaxTTL,
			Skew: c.Skew(), ActivateWithin: c.Keys.ActivateWithin,
		}
		ours, theirs := c.Validate(), schedule.Validate()
		if (ours == nil) != (theirs == nil) {
			t.Fatalf("config says %v, keys says %v", ours, theirs)
		}
	})
}

func TestIssuerFault(t *testing.T) {
	for issuer, says := range map[string]string{
		"writ.example.com":             "absolute URL",
		"http://writ.example.com":      "is not https",
		"https://writ.example.com/":    "slash",
		"https://writ.example.com?a=b": "query",
		"https://writ.example.com/#a":  "fragment",
		"https://Writ.example.com":     "lower case",
		"https://u@writ.example.com":   "without user",
		"http://127.0.0.1.example.com": "is not https",
	} {
		_, err := parse(strings.Replace(minimal, "https://writ.example.com", `"`+issuer+`"`, 1))
		faults := faultsOf(t, err)
		if len(faults) != 1 || faults[0].Key != "issuer" || faults[0].Line != 1 || !strings.Contains(faults[0].String(), says) {
			t.Errorf("%s: %v, want one fault of line 1 that says %q", issuer, err, says)
		}
	}
	for _, issuer := range []string{"http://127.0.0.1:8443", "http://localhost:1", "http://[::1]:1", "https://example.com/writ"} {
		if _, err := parse(strings.Replace(minimal, "https://writ.example.com", `"`+issuer+`"`, 1)); err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
}

// TestSourceFaultHasItsLine shows that what package identity finds is told with
// the line of the file.
func TestSourceFaultHasItsLine(t *testing.T) {
	_, err := parse(minimal + `    - name: two
      kind: workload
      issuer: https://other.example.com
      discovery: true
      subject_prefix: "two:"
      audiences: []
    - name: three
      kind: workload
      trust_domain: example.org
      subject_prefix: "spiffe://example.org/"
      x509: {bundle_file: bundle.pem}
`)
	var lines, keys []string
	for _, f := range faultsOf(t, err) {
		lines = append(lines, f.String())
		keys = append(keys, f.Key)
	}
	text := strings.Join(keys, " ")
	if !strings.Contains(text, "identity.sources[1].audiences") || !strings.Contains(text, "identity.sources[2].x509") {
		t.Errorf("faults are:\n%s", strings.Join(lines, "\n"))
	}
	if !strings.HasPrefix(lines[0], "writ.yaml:16: ") {
		t.Errorf("first fault is %q, want line 16", lines[0])
	}
}

func TestCertificatesNeedTLS(t *testing.T) {
	source := `    - name: mesh
      preset: spiffe-x509
      trust_domain: example.org
      x509: {bundle_file: bundle.pem}
`
	_, err := parse(minimal + source)
	if faults := faultsOf(t, err); len(faults) != 1 || faults[0].Key != "identity.sources[1].x509" || faults[0].Line != 14 {
		t.Errorf("faults are:\n%v", err)
	}
	c, err := parse(minimal + source + "public: {tls: {cert_file: tls.crt, key_file: tls.key}}\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Identity.Sources[1].X509.BundleFile; got != "/etc/writ/bundle.pem" {
		t.Errorf("bundle_file = %q, want it beside the configuration", got)
	}
}

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := config.Default()
	c.DataDir = filepath.Join(dir, "not", "yet")
	c.Bundle.Dir = dir
	c.RootKeyFile = write("root.key", 0o600)
	c.Store.Path = filepath.Join(c.DataDir, "store.db")
	c.Audit.Dir = filepath.Join(c.DataDir, "audit")
	c.Revocation.JournalDir = filepath.Join(c.DataDir, "journal")
	c.BreakGlass.Socket = filepath.Join(dir, "socket")
	c.Public.TLS = config.TLS{CertFile: write("tls.crt", 0o644), KeyFile: write("tls.key", 0o640)}
	if err := c.CheckFiles(); err != nil {
		t.Fatalf("good files: %v", err)
	}

	// A shared store needs a root key that is there already.
	good := c.RootKeyFile
	c.Store.Kind, c.RootKeyFile = config.StoreRedis, filepath.Join(dir, "absent.key")
	c.Store.Redis.PasswordFile = write("redis-password", 0o644)
	if n := len(faultsOf(t, c.CheckFiles())); n != 2 {
		t.Errorf("%d faults, want 2:\n%v", n, c.CheckFiles())
	}
	c.Store.Kind, c.RootKeyFile = config.StoreBolt, good

	c.Bundle.Dir = c.RootKeyFile
	c.RootKeyFile = write("open.key", 0o640)
	c.Public.TLS.KeyFile = write("open.pem", 0o644)
	c.Public.TLS.CertFile = filepath.Join(dir, "absent.crt")
	c.Audit.Dir = filepath.Join(c.Public.TLS.KeyFile, "audit")
	err := c.CheckFiles()
	for _, says := range []string{"bundle.dir", "root_key_file", "public.tls.key_file", "absent.crt: no such file", "audit.dir"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("no fault says %q:\n%v", says, err)
		}
	}
	if n := len(faultsOf(t, err)); n != 5 {
		t.Errorf("%d faults, want 5:\n%v", n, err)
	}
}
