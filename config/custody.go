package config

import (
	"fmt"
	"time"
)

// The custodies of signing keys; each is named in package keys' adapters too. "file" is
// always there.
const (
	CustodyFile         = "file"          // sealed under the root key
	CustodyVault        = "vault"         // sealed by Vault's Transit; signing is local
	CustodyVaultTransit = "vault-transit" // Vault signs
	CustodyKMS          = "aws-kms"       // sealed by AWS KMS; signing is local
	CustodyKMSSign      = "aws-kms-sign"  // AWS KMS signs
)

// Vault is a HashiCorp Vault that keys are kept in, and the broker's own way in. It may
// be set whatever keys.custody is: keys that it keeps open then, which is how a change
// of custody begins and ends.
type Vault struct {
	Address   string `yaml:"address"`
	Namespace string `yaml:"namespace"`
	// CAFile holds the roots that Vault is verified against; empty means the system's.
	CAFile string `yaml:"ca_file"`
	// InsecurePlaintext lets an address other than loopback be reached without TLS.
	InsecurePlaintext bool       `yaml:"insecure_plaintext"`
	Login             VaultLogin `yaml:"login"`

	// TransitMount is where Transit is; SealKey the key there that seals (custody
	// vault), SignKeys what the names of those that sign begin with (vault-transit).
	TransitMount string `yaml:"transit_mount"`
	SealKey      string `yaml:"seal_key"`
	SignKeys     string `yaml:"sign_keys"`
	// KVMount is a KV version 2 in which the version of the key ring is anchored, so that
	// a store that went back is noticed by a replica that has never seen better. Empty
	// is no anchor.
	KVMount string `yaml:"kv_mount"`
	KVPath  string `yaml:"kv_path"`

	Timeout time.Duration `yaml:"timeout"`
}

// VaultLogin is how the broker proves to Vault who it is: by approle, kubernetes, jwt,
// token or cert.
type VaultLogin struct {
	Method string `yaml:"method"`
	Mount  string `yaml:"mount"`
	Role   string `yaml:"role"`

	RoleID       string `yaml:"role_id"`
	SecretIDFile string `yaml:"secret_id_file"`
	// Wrapped says that SecretIDFile holds a response-wrapping token.
	Wrapped bool `yaml:"wrapped"`

	JWTFile   string `yaml:"jwt_file"`
	TokenFile string `yaml:"token_file"`
	CertFile  string `yaml:"cert_file"`
	KeyFile   string `yaml:"key_file"`
}

// KMS is an AWS KMS that keys are kept in. The broker's own AWS credentials come from
// the SDK's default chain.
type KMS struct {
	Region   string `yaml:"region"`
	Profile  string `yaml:"profile"`
	Endpoint string `yaml:"endpoint"`
	// InsecurePlaintext lets an endpoint other than loopback be reached without TLS.
	InsecurePlaintext bool `yaml:"insecure_plaintext"`
	// SealKey is the symmetric key that seals: private keys (custody aws-kms), or which
	// keys sign (aws-kms-sign). Id, ARN or alias.
	SealKey string `yaml:"seal_key"`
	// Tags are put on the keys that custody aws-kms-sign makes.
	Tags    map[string]string `yaml:"tags"`
	Timeout time.Duration     `yaml:"timeout"`
}

// Enabled reports whether there is one.
func (v Vault) Enabled() bool { return v.Address != "" }

// Enabled reports whether there is one.
func (m KMS) Enabled() bool { return m.SealKey != "" }

// custody holds that what keys are to be kept in is there. What it makes of the rest
// its adapter says at the start.
func (k *checker) custody() {
	y := k.config.Keys
	k.oneOf("keys.custody", y.Custody, CustodyFile, CustodyVault, CustodyVaultTransit, CustodyKMS, CustodyKMSSign)
	need := func(custody, key string, value string, hint string) {
		if y.Custody == custody && value == "" {
			k.fault(key, fmt.Sprintf("is missing, though keys.custody is %s", custody), hint)
		}
	}
	const vault, kms = "keys.vault", "keys.aws_kms"
	for _, c := range []string{CustodyVault, CustodyVaultTransit} {
		need(c, vault+".address", y.Vault.Address, "write it as https://vault.example:8200")
	}
	need(CustodyVault, vault+".seal_key", y.Vault.SealKey, "name a Transit key of type aes256-gcm96")
	need(CustodyVaultTransit, vault+".sign_keys", y.Vault.SignKeys, "name what the keys that sign are to begin with, such as writ")
	for _, c := range []string{CustodyKMS, CustodyKMSSign} {
		need(c, kms+".seal_key", y.KMS.SealKey, "name a symmetric key: its id, ARN or alias")
	}
	if y.Custody == CustodyKMSSign && y.Algorithm == "Ed25519" {
		k.fault("keys.algorithm", "Ed25519 cannot be signed by AWS KMS without showing it every token", "use ES256 or RS256")
	}
	inUse := y.Custody == CustodyVault || y.Custody == CustodyVaultTransit
	if _, told := k.config.lines[vault]; told && !inUse && !y.Vault.Enabled() {
		k.fault(vault+".address", "is missing", "write it as https://vault.example:8200, or remove keys.vault")
	}
	if _, told := k.config.lines[kms]; told && y.Custody != CustodyKMS && y.Custody != CustodyKMSSign && !y.KMS.Enabled() {
		k.fault(kms+".seal_key", "is missing", "name a symmetric key, or remove keys.aws_kms")
	}
	for key, d := range map[string]time.Duration{vault + ".timeout": y.Vault.Timeout, kms + ".timeout": y.KMS.Timeout} {
		if d != 0 { // more would keep a request waiting for longer than its caller does
			k.between(key, d, 10*time.Millisecond, 30*time.Second)
		}
	}
}

// custodyFiles looks at what keys.vault points to.
func (k *checker) custodyFiles() {
	v := k.config.Keys.Vault
	k.readable("keys.vault.ca_file", v.CAFile)
	for _, f := range []struct{ key, path string }{
		{"secret_id_file", v.Login.SecretIDFile}, {"jwt_file", v.Login.JWTFile},
		{"token_file", v.Login.TokenFile}, {"key_file", v.Login.KeyFile},
	} {
		k.secret("keys.vault.login."+f.key, f.path, byAll)
	}
	k.readable("keys.vault.login.cert_file", v.Login.CertFile)
}

// custodyPaths are the files that keys.vault names.
func (c *Config) custodyPaths() []*string {
	v := &c.Keys.Vault
	return []*string{
		&v.CAFile, &v.Login.SecretIDFile, &v.Login.JWTFile, &v.Login.TokenFile, &v.Login.CertFile, &v.Login.KeyFile,
	}
}
