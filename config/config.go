package config

import (
	"time"

	"github.com/writbroker/writ/identity"
)

// Config is the whole file. Load fills it, with every path absolute and every
// default in place, so its readers never need a fallback of their own. It is not
// changed after Load, and so is safe for concurrent reading.
type Config struct {
	// Issuer is the `iss` of every token and the base of every published URL. An
	// https URL without query, fragment or final slash; http on loopback only.
	Issuer string `yaml:"issuer"`

	Public     Listener   `yaml:"public"`
	Admin      Listener   `yaml:"admin"`
	BreakGlass BreakGlass `yaml:"break_glass"`

	// DataDir holds what has to survive a restart: store, journal, audit, root key.
	DataDir string `yaml:"data_dir"`
	// RootKeyFile is the 32-byte key that seals keys and authenticates the store.
	RootKeyFile string `yaml:"root_key_file"`

	Store      Store      `yaml:"store"`
	Bundle     Bundle     `yaml:"bundle"`
	Identity   Identity   `yaml:"identity"`
	Keys       Keys       `yaml:"keys"`
	Tokens     Tokens     `yaml:"tokens"`
	Revocation Revocation `yaml:"revocation"`
	RateLimits RateLimits `yaml:"rate_limits"`
	AWS        AWS        `yaml:"aws"`

	// TrustedProxies are the addresses (CIDR, or one address) whose
	// X-Forwarded-For is believed. Empty: the peer's address is the caller's.
	TrustedProxies []string `yaml:"trusted_proxies"`

	Audit Audit `yaml:"audit"`
	// Environment is what policy conditions see as `env`.
	Environment map[string]string `yaml:"environment"`
	Log         Log               `yaml:"log"`
	Metrics     Metrics           `yaml:"metrics"`

	// ShutdownGrace is how long requests in flight are waited for at the end.
	ShutdownGrace time.Duration `yaml:"shutdown_grace"`

	file string
	// lines maps a dotted key ("keys.prepublish", "identity.sources[0].name") to
	// the line where it stands; a key that is absent has none.
	lines map[string]int
}

// Listener is one address that is served.
type Listener struct {
	Address string `yaml:"address"`
	TLS     TLS    `yaml:"tls"`
	// InsecureHTTP lets an address other than loopback be served without TLS, for
	// a broker behind a proxy that terminates it.
	InsecureHTTP bool `yaml:"insecure_http"`
}

// TLS names the files of one listener's certificate. Both or neither of CertFile
// and KeyFile are set.
type TLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ClientCAFile, if set, makes the listener verify a client certificate against
	// these roots before any handler runs. X.509-SVIDs need it only where TLS
	// itself is to refuse strangers: the identity source checks them in any case.
	ClientCAFile string `yaml:"client_ca_file"`
}

// Enabled reports whether the listener speaks TLS.
func (t TLS) Enabled() bool { return t.CertFile != "" }

// BreakGlass is the Unix socket that works with everything else down.
type BreakGlass struct {
	// Socket is its path; created with mode 0600.
	Socket string `yaml:"socket"`
	// UIDs are the peers that are let in; empty means the broker's own uid and root.
	UIDs []int `yaml:"uids"`
}

// Store says where replicas keep what they share: "bolt" in the file at Path, for
// one replica; "redis" on the server that Redis names, for any number of them.
type Store struct {
	Kind  string `yaml:"kind"`
	Path  string `yaml:"path"`
	Redis Redis  `yaml:"redis"`
}

// Redis says how to reach the shared store: one server, Sentinels (MasterName), or a
// Cluster.
type Redis struct {
	Addresses  []string `yaml:"addresses"`
	MasterName string   `yaml:"master_name"`
	Cluster    bool     `yaml:"cluster"`
	Database   int      `yaml:"database"`

	Username string `yaml:"username"`
	// PasswordFile is read anew for every connection.
	PasswordFile         string   `yaml:"password_file"`
	SentinelUsername     string   `yaml:"sentinel_username"`
	SentinelPasswordFile string   `yaml:"sentinel_password_file"`
	TLS                  RedisTLS `yaml:"tls"`
	// InsecurePlaintext lets an address other than loopback be reached without TLS.
	InsecurePlaintext bool `yaml:"insecure_plaintext"`

	// MinReplicas of Redis must have a write before it is acknowledged. They have
	// half of Timeout, the bound of one round trip, to confirm it.
	MinReplicas int           `yaml:"min_replicas"`
	Timeout     time.Duration `yaml:"timeout"`
	// InsecureAllowEviction accepts a server that drops keys when its memory is full.
	InsecureAllowEviction bool `yaml:"insecure_allow_eviction"`
}

// RedisTLS is TLS to Redis, and to its Sentinels.
type RedisTLS struct {
	Enabled bool `yaml:"enabled"`
	// CAFile holds the roots that Redis is verified against; empty means the system's.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile authenticate the broker; both or neither.
	CertFile   string `yaml:"cert_file"`
	KeyFile    string `yaml:"key_file"`
	ServerName string `yaml:"server_name"`
}

// Bundle says where the policy is and how often a change is looked for.
type Bundle struct {
	Dir    string        `yaml:"dir"`
	Reload time.Duration `yaml:"reload"`
}

// Identity holds the sources of identity and how their keys are kept.
type Identity struct {
	// JWKSMaxStale is how long an issuer's last known keys serve while it is down.
	JWKSMaxStale time.Duration `yaml:"jwks_max_stale"`
	// CacheEntries bounds the memory of already verified workload tokens.
	CacheEntries int `yaml:"cache_entries"`
	// Sources are written with the keys of identity.Source, and checked by
	// identity.Compile.
	Sources []identity.Source `yaml:"sources"`
}

// Keys says how signing keys are made, published and retired.
type Keys struct {
	Custody   string `yaml:"custody"`
	Vault     Vault  `yaml:"vault"`
	KMS       KMS    `yaml:"aws_kms"`
	Algorithm string `yaml:"algorithm"`
	// RotateEvery is how long one key signs; Prepublish how long before that it is
	// published; RetireAfter how long it stays published afterwards.
	RotateEvery time.Duration `yaml:"rotate_every"`
	Prepublish  time.Duration `yaml:"prepublish"`
	RetireAfter time.Duration `yaml:"retire_after"`
	// JWKSMaxAge is the Cache-Control max-age of the published key set.
	JWKSMaxAge time.Duration `yaml:"jwks_max_age"`
	// ActivateWithin is how long a scheduled rotation waits for connected verifiers that
	// have not reported the next key. 0 is ten minutes, or Prepublish where that is less.
	ActivateWithin time.Duration `yaml:"activate_within"`
	// ClockSkew is how far the clock of a replica or a verifier may be off without harm to a
	// rotation. Where Tokens.Skew is more, that counts.
	ClockSkew time.Duration `yaml:"clock_skew"`
}

// Skew is what the schedule of keys allows clocks to be off.
func (c *Config) Skew() time.Duration { return max(c.Keys.ClockSkew, c.Tokens.Skew) }

// Tokens bounds what is minted.
type Tokens struct {
	MaxTTL     time.Duration `yaml:"max_ttl"`
	DefaultTTL time.Duration `yaml:"default_ttl"`
	// Skew is how far clocks may differ where a token is checked.
	Skew time.Duration `yaml:"skew"`
	// MaxDepth caps the `act` chain.
	MaxDepth int `yaml:"max_depth"`
	// MaxBytes caps the compact token: proxies cut long headers.
	MaxBytes Size `yaml:"max_bytes"`
}

// Revocation says how fresh a replica has to be to answer at all.
type Revocation struct {
	MaxStaleness time.Duration `yaml:"max_staleness"`
	Heartbeat    time.Duration `yaml:"heartbeat"`
	JournalDir   string        `yaml:"journal_dir"`
	// ReplicaAbsence is how long the others wait for a replica that has fallen silent, and may
	// hold revocations that they do not know, before they confirm without it. 0 is half of
	// MaxStaleness: one that died does not make the others refuse.
	ReplicaAbsence time.Duration `yaml:"replica_absence"`
}

// RateLimits are token buckets: Rate a second, up to Burst at once.
type RateLimits struct {
	// PerAgent holds for each authenticated principal.
	PerAgent Rate `yaml:"per_agent"`
	// Unauthenticated holds for each address whose calls fail to authenticate.
	Unauthenticated Rate `yaml:"unauthenticated"`
}

// Rate is one token bucket.
type Rate struct {
	Rate  float64 `yaml:"rate"`
	Burst int     `yaml:"burst"`
}

// AWS says how sessions at AWS are made; none are where Mode is empty.
type AWS struct {
	// Mode is "assume_role", by AWS credentials of the broker's own, or "web_identity", by
	// tokens that the broker signs and roles trust.
	Mode   string `yaml:"mode"`
	Region string `yaml:"region"`
	// Endpoint is another STS than the region's, and CAFile holds the roots that it is
	// verified against; empty means the system's.
	Endpoint string `yaml:"endpoint"`
	CAFile   string `yaml:"ca_file"`
	// PlainPolicies is for MinIO, which knows no policy variables, and whose STS takes no NotAction.
	PlainPolicies bool `yaml:"plain_policies"`

	// ExternalID is sent with assume_role, for roles that ask for it.
	ExternalID string `yaml:"external_id"`
	// Profile, ConfigFile and CredentialsFile say where assume_role finds the broker's own
	// credentials; without them the SDK looks in its usual places.
	Profile         string `yaml:"profile"`
	ConfigFile      string `yaml:"config_file"`
	CredentialsFile string `yaml:"credentials_file"`

	// Audience is that of the tokens of web_identity. No other token ever has it.
	Audience string `yaml:"audience"`
	// Timeout bounds the making of one session, with all attempts.
	Timeout time.Duration `yaml:"timeout"`

	// Revoker has AWS itself deny the sessions that rules hit; nil: they live to their end.
	Revoker *AWSRevoker `yaml:"revoker"`
}

// AWSRevoker says with what credentials the broker writes into roles that sessions are denied.
// They are apart from those that make sessions, since who may write a role's policies may do
// almost anything with it. What is empty is found where the SDK looks for it.
type AWSRevoker struct {
	Profile         string `yaml:"profile"`
	ConfigFile      string `yaml:"config_file"`
	CredentialsFile string `yaml:"credentials_file"`
	// Endpoint is another IAM than AWS's, and CAFile holds the roots that it is verified
	// against; empty means the system's.
	Endpoint string `yaml:"endpoint"`
	CAFile   string `yaml:"ca_file"`
}

// Audit says where records go and how their chain is anchored.
type Audit struct {
	Dir             string        `yaml:"dir"`
	SegmentSize     Size          `yaml:"segment_size"`
	CheckpointEvery time.Duration `yaml:"checkpoint_every"`
	Anchor          Anchor        `yaml:"anchor"`
}

// Anchor is where signed checkpoints are kept outside the audit directory.
type Anchor struct {
	// Log writes each anchored checkpoint as a log line too.
	Log bool `yaml:"log"`
	// Every is how often a checkpoint leaves the machine.
	Every   time.Duration `yaml:"every"`
	Webhook Webhook       `yaml:"webhook"`
}

// Webhook receives checkpoints by POST; none where URL is empty.
type Webhook struct {
	URL string `yaml:"url"`
	// TokenFile holds a bearer token, read anew for each call.
	TokenFile string        `yaml:"token_file"`
	Timeout   time.Duration `yaml:"timeout"`
}

// Log says how the broker logs to standard error.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// Metrics says whether the admin listener serves /metrics.
type Metrics struct {
	Enabled bool `yaml:"enabled"`
}

// File returns the path that Load was given.
func (c *Config) File() string { return c.file }
