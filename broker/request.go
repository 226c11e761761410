package broker

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/mint"
)

// Token types of RFC 8693 section 3 that are accepted or issued.
const (
	TokenTypeAccessToken = "urn:ietf:params:oauth:token-type:access_token" //nolint:gosec // a type name of RFC 8693, not a credential
	TokenTypeJWT         = "urn:ietf:params:oauth:token-type:jwt"          //nolint:gosec // a type name of RFC 8693, not a credential
	TokenTypeIDToken     = "urn:ietf:params:oauth:token-type:id_token"     //nolint:gosec // a type name of RFC 8693, not a credential

	// TokenTypeAWSCredentials asks for a session at AWS instead of a token.
	TokenTypeAWSCredentials = "urn:writ:token-type:aws-credentials" //nolint:gosec // a type name, not a credential
)

// Caller is what the transport knows of whoever sent a request.
type Caller struct {
	// Certificates is the chain that the client presented in the TLS handshake, leaf first,
	// not yet verified; empty without one.
	Certificates []*x509.Certificate
	// IP is the caller's address, or that given by a configured proxy.
	IP netip.Addr
}

// thumbprint is the x5t#S256 of the certificate whose key the client has shown to hold, whoever
// issued it (RFC 8705 section 3); empty without one.
func (c *Caller) thumbprint() string {
	if len(c.Certificates) == 0 {
		return ""
	}
	sum := sha256.Sum256(c.Certificates[0].Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// ExchangeRequest is one request for a credential: a token exchange (RFC 8693), or a
// client_credentials grant, which is an exchange of the caller's own identity for itself.
type ExchangeRequest struct {
	Caller Caller

	// ClientCredentials marks a client_credentials grant: the client assertion, or the
	// certificate, is the subject, and no actor or subject parameter may be present.
	ClientCredentials bool

	// ClientAssertion is a workload JWT that authenticates the client (RFC 7521). In an
	// exchange the client so authenticated is the actor.
	ClientAssertion string

	SubjectToken     string
	SubjectTokenType string
	ActorToken       string
	ActorTokenType   string

	// RequestedTokenType is empty for the default, an access token.
	RequestedTokenType string

	Audiences []string // logical names: a tool's audience
	Resources []string // absolute URIs without fragment (RFC 8707)
	Scope     string   // space-separated; empty asks for the profile of the agent
	Task      string   // becomes the claim txn

	// RequestedTTL is what the caller asks for; 0 asks for the default.
	RequestedTTL time.Duration

	// Role is the AWS role that credentials are wanted of, by its name in the catalog or its ARN;
	// empty: that of the scopes' tools.
	Role string

	// Self refuses a request in which somebody acts for another.
	Self bool
}

// targets are the audiences asked for, by name or by URI.
func (r *ExchangeRequest) targets() []string {
	if len(r.Resources) == 0 {
		return r.Audiences
	}
	return slices.Concat(r.Audiences, r.Resources)
}

// Issued is a credential on its way to its caller. Token is secret: it is never logged.
type Issued struct {
	Token      string
	TokenType  string        // the issued_token_type
	ExpiresIn  time.Duration // exp − iat; iat is now, rounded down to the second
	Scope      string
	DecisionID string
	// Bound says that the token is bound to the client's certificate (RFC 8705).
	Bound bool
	// Session is what was issued where TokenType is TokenTypeAWSCredentials; Token is empty then.
	Session *mint.Session
}

// newDecisionID makes a UUIDv7: its time lets the audit log find the record quickly.
func newDecisionID() string { return uuid.Must(uuid.NewV7()).String() }
