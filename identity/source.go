package identity

import "time"

// Limits and defaults of a source.
const (
	DefaultLeeway = 30 * time.Second
	MaxLeeway     = 5 * time.Minute
	DefaultMaxAge = 24 * time.Hour
)

// Source describes one place that identities come from. It is plain configuration data.
//
// A source proves principals by JWT (Issuer or TrustDomain, with keys from one of JWKSFile,
// JWKSURI, Discovery), by X.509-SVID (X509), or, for a SPIFFE trust domain, by both: the ids are the
// same then, so it must be one source.
//
// Expressions are CEL over `claims`, the verified payload, with two things of our own. The pattern of
// matches is a literal that must match the whole text, as if written \A(?:…)\z: "[0-9]+" does not
// match "x1". And s.after(prefix) is what follows prefix in s, or an error if s does not begin with it.
type Source struct {
	// Name identifies the source in configuration, policy and logs: [a-z][a-z0-9_-]*.
	Name string `json:"name" yaml:"name"`
	// Preset names the platform whose defaults fill the fields left empty ([Presets]). Claims are
	// merged key by key (an empty expression drops the preset's); the rules of both apply.
	Preset string `json:"preset,omitempty" yaml:"preset,omitempty"`
	// Issuer is compared with iss byte by byte, before any key is looked up.
	Issuer string `json:"issuer,omitempty" yaml:"issuer,omitempty"`
	// TrustDomain makes this a SPIFFE source. Its JWT-SVIDs are found by the trust domain of sub if
	// Issuer is empty (iss is optional there, and must then be absent), else by iss. Key documents
	// follow the rules of SPIFFE bundles.
	TrustDomain string `json:"trust_domain,omitempty" yaml:"trust_domain,omitempty"`

	// Where the keys are; exactly one for JWTs. JWKSFile is a path, JWKSURI an https URL;
	// Discovery reads jwks_uri from Issuer + "/.well-known/openid-configuration".
	JWKSFile  string `json:"jwks_file,omitempty" yaml:"jwks_file,omitempty"`
	JWKSURI   string `json:"jwks_uri,omitempty" yaml:"jwks_uri,omitempty"`
	Discovery bool   `json:"discovery,omitempty" yaml:"discovery,omitempty"`

	// Audiences: a token must name at least one of them. Required for JWTs.
	Audiences []string `json:"audiences,omitempty" yaml:"audiences,omitempty"`
	// Algorithms that a token of this source may use; the key must belong to it as well. Default: RS256, ES256.
	Algorithms []string `json:"algorithms,omitempty" yaml:"algorithms,omitempty"`
	// Types that the typ header may have; "" stands for none. Default: "", "JWT".
	Types []string `json:"types,omitempty" yaml:"types,omitempty"`
	// Leeway for differences between clocks. Zero is DefaultLeeway; at most MaxLeeway.
	Leeway time.Duration `json:"leeway,omitempty" yaml:"leeway,omitempty"`
	// MaxAge is how long after iat a token is accepted, however far its exp. Zero is DefaultMaxAge.
	MaxAge time.Duration `json:"max_age,omitempty" yaml:"max_age,omitempty"`

	// Claims maps an attribute's name to a CEL expression over `claims`, the payload. The key
	// SubjectClaim is the principal's id after the prefix (default: claims.sub). An expression that
	// fails refuses the token; one that gives an empty optional (`claims.?email`) leaves the attribute out.
	Claims map[string]string `json:"claims,omitempty" yaml:"claims,omitempty"`
	// Require are conditions in CEL over `claims`, each of which must be true.
	Require []Rule `json:"require,omitempty" yaml:"require,omitempty"`
	// SubjectPrefix begins every id of this source and ends in ':' or '/'. No source's prefix is
	// a prefix of another's.
	SubjectPrefix string `json:"subject_prefix,omitempty" yaml:"subject_prefix,omitempty"`
	// Kind of this source's principals. Required, from a preset or here.
	Kind Kind `json:"kind,omitempty" yaml:"kind,omitempty"`

	// SelfExchange lets a person's token be exchanged without an agent for more than administration.
	// Without it, whoever holds a person's token, an agent too, cannot shed the agent's own
	// limits by leaving the agent out of the request. Workloads always act for themselves.
	SelfExchange bool `json:"self_exchange,omitempty" yaml:"self_exchange,omitempty"`

	// X509 accepts X.509-SVIDs.
	X509 *X509Config `json:"x509,omitempty" yaml:"x509,omitempty"`

	// AllowPrivateAddresses lets keys be fetched from loopback and private addresses, and by http. Link-local
	// addresses and the clouds' metadata services stay closed.
	AllowPrivateAddresses bool `json:"allow_private_addresses,omitempty" yaml:"allow_private_addresses,omitempty"`
	// CAFile holds the PEM certificates that the key server's must chain to, in place of the system's.
	CAFile string `json:"ca_file,omitempty" yaml:"ca_file,omitempty"`
	// TokenFile holds a bearer token for the key server (a Kubernetes API server asks for one).
	// It is read anew for each fetch, and sent only to the host of Issuer or JWKSURI.
	TokenFile string `json:"token_file,omitempty" yaml:"token_file,omitempty"`
}

// Rule is a condition that every token of a source must meet.
type Rule struct {
	// Expression is CEL over `claims` and must be true; an error is a refusal.
	Expression string `json:"expression" yaml:"expression"`
	// Message tells the caller what is missing. It is shown to whoever presents a token that this
	// source signed, so it must not disclose more than they may know.
	Message string `json:"message" yaml:"message"`
}

// X509Config accepts X.509-SVIDs of a SPIFFE trust domain.
type X509Config struct {
	// TrustDomain defaults to the source's, and must equal it if both are set.
	TrustDomain string `json:"trust_domain,omitempty" yaml:"trust_domain,omitempty"`
	// Where the trust domain's authorities are; exactly one. BundleFile is a SPIFFE bundle (JSON) or PEM
	// certificates, BundleURI a bundle endpoint (https_web profile).
	BundleFile string `json:"bundle_file,omitempty" yaml:"bundle_file,omitempty"`
	BundleURI  string `json:"bundle_uri,omitempty" yaml:"bundle_uri,omitempty"`
}
