package wire

import (
	"encoding/json"
	"time"
)

// Grant types and their parameters (RFC 8693 section 2.1, RFC 6749 section
// 4.4, RFC 7523 section 2.2) and Writ's extra parameters.
const (
	GrantTokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange" // #nosec G101 -- a name
	GrantClientCredentials = "client_credentials"

	AssertionJWTBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // #nosec G101 -- a name

	ParamGrantType           = "grant_type"
	ParamSubjectToken        = "subject_token"
	ParamSubjectTokenType    = "subject_token_type"
	ParamActorToken          = "actor_token"
	ParamActorTokenType      = "actor_token_type"
	ParamRequestedTokenType  = "requested_token_type"
	ParamResource            = "resource"
	ParamAudience            = "audience"
	ParamScope               = "scope"
	ParamClientID            = "client_id"
	ParamClientAssertion     = "client_assertion"
	ParamClientAssertionType = "client_assertion_type"
	ParamToken               = "token"
	ParamTokenTypeHint       = "token_type_hint"
	ParamTask                = "task"          // Writ: names the task, becomes the claim txn
	ParamRequestedTTL        = "requested_ttl" // Writ: seconds
	ParamRole                = "role"          // Writ: with TokenTypeAWSCredentials, an AWS role by name or ARN
)

// Token type identifiers (RFC 8693 section 3).
const (
	TokenTypeAccessToken    = "urn:ietf:params:oauth:token-type:access_token" // #nosec G101 -- a name
	TokenTypeJWT            = "urn:ietf:params:oauth:token-type:jwt"          // #nosec G101 -- a name
	TokenTypeIDToken        = "urn:ietf:params:oauth:token-type:id_token"     // #nosec G101 -- a name
	TokenTypeAWSCredentials = "urn:writ:token-type:aws-credentials"           // #nosec G101 -- a name

	Bearer        = "Bearer"
	NotApplicable = "N_A" // token_type of what is no access token
)

// TokenResponse is the success body of POST /token (RFC 8693 section 2.2.1,
// RFC 6749 section 5.1).
type TokenResponse struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type,omitempty"` // always there in an exchange
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"`      // seconds
	Scope           string `json:"scope,omitempty"` // where it differs from what was asked
	DecisionID      string `json:"decision_id,omitempty"`
}

// Introspection is the body of POST /introspect (RFC 7662 section 2.2). An
// inactive token is exactly {"active":false}.
type Introspection struct {
	Active    bool            `json:"active"`
	Scope     string          `json:"scope,omitempty"`
	ClientID  string          `json:"client_id,omitempty"`
	TokenType string          `json:"token_type,omitempty"`
	Expiry    int64           `json:"exp,omitempty"`
	IssuedAt  int64           `json:"iat,omitempty"`
	NotBefore int64           `json:"nbf,omitempty"`
	Subject   string          `json:"sub,omitempty"`
	Audience  []string        `json:"aud,omitempty"`
	Issuer    string          `json:"iss,omitempty"`
	ID        string          `json:"jti,omitempty"`
	Roles     []string        `json:"roles,omitempty"`
	Task      string          `json:"txn,omitempty"`
	Policy    string          `json:"pol,omitempty"`
	Rev       string          `json:"rev,omitempty"`
	Actor     json.RawMessage `json:"act,omitempty"`     // RFC 8693 section 4.1
	MayAct    json.RawMessage `json:"may_act,omitempty"` // RFC 8693 section 4.4
	Confirm   json.RawMessage `json:"cnf,omitempty"`     // RFC 7800
}

// Metadata is the authorization server's own description (RFC 8414 section 2;
// the same value serves OpenID discovery). ResponseTypes is written even when
// empty: clients require the member. The members after RecordsJWKS are Writ's.
type Metadata struct {
	Issuer                      string   `json:"issuer"`
	TokenEndpoint               string   `json:"token_endpoint"`
	JWKSURI                     string   `json:"jwks_uri"`
	RevocationEndpoint          string   `json:"revocation_endpoint,omitempty"`
	IntrospectionEndpoint       string   `json:"introspection_endpoint,omitempty"`
	ScopesSupported             []string `json:"scopes_supported,omitempty"`
	ResponseTypes               []string `json:"response_types_supported"`
	GrantTypes                  []string `json:"grant_types_supported"`
	SubjectTypes                []string `json:"subject_types_supported,omitempty"`
	IDTokenAlgorithms           []string `json:"id_token_signing_alg_values_supported,omitempty"`
	TokenAuthMethods            []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	TokenAuthAlgorithms         []string `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`
	RevocationAuthMethods       []string `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	RevocationAuthAlgorithms    []string `json:"revocation_endpoint_auth_signing_alg_values_supported,omitempty"`
	IntrospectionAuthMethods    []string `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	IntrospectionAuthAlgorithms []string `json:"introspection_endpoint_auth_signing_alg_values_supported,omitempty"`
	CertificateBound            bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	ServiceDocumentation        string   `json:"service_documentation,omitempty"`

	RevocationFeed     string          `json:"revocation_feed_endpoint,omitempty"`
	RevocationAck      string          `json:"revocation_ack_endpoint,omitempty"`
	RevocationSnapshot string          `json:"revocation_snapshot_endpoint,omitempty"`
	RevocationRefusals string          `json:"revocation_refusals_endpoint,omitempty"`
	RecordsJWKS        json.RawMessage `json:"records_jwks,omitempty"`             // a JWKS: the keys that sign snapshots and checkpoints
	MaxTokenTTL        int64           `json:"access_token_max_ttl,omitempty"`     // seconds: the greatest exp − iat that the issuer mints
	MaxStaleness       int64           `json:"revocation_max_staleness,omitempty"` // seconds
}

// MarshalJSON writes empty lists, not null, for the members that clients
// require to be arrays.
func (m Metadata) MarshalJSON() ([]byte, error) {
	type plain Metadata
	if m.ResponseTypes == nil {
		m.ResponseTypes = []string{}
	}
	if m.GrantTypes == nil {
		m.GrantTypes = []string{}
	}
	return json.Marshal(plain(m))
}

// ResourceMetadata is a protected resource's description (RFC 9728 section 2),
// served by a resource server under PathResourceMetadata.
type ResourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers,omitempty"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported,omitempty"` // "header" only
	ResourceName         string   `json:"resource_name,omitempty"`
	Documentation        string   `json:"resource_documentation,omitempty"`
}

// AWSProcessCredentials is the access_token of an exchange for TokenTypeAWSCredentials, as
// JSON text: what a credential_process prints.
type AWSProcessCredentials struct {
	Version         int       `json:"Version"` // 1
	AccessKeyID     string    `json:"AccessKeyId"`
	SecretAccessKey string    `json:"SecretAccessKey"` // #nosec G117 -- the protocol's own member
	SessionToken    string    `json:"SessionToken"`    // #nosec G117 -- the protocol's own member
	Expiration      time.Time `json:"Expiration"`
}

// AWSCredentials is the success body of GET /aws/credentials (the container
// credentials protocol); AWSError is the other one.
type AWSCredentials struct {
	AccessKeyID     string    `json:"AccessKeyId"`
	SecretAccessKey string    `json:"SecretAccessKey"` // #nosec G117 -- the protocol's own member
	Token           string    `json:"Token"`
	Expiration      time.Time `json:"Expiration"`
}

// AWSError is the failure body of GET /aws/credentials. Code is Error's reason, where there
// is one, and else its code.
type AWSError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Evaluation is an AuthZEN 1.0 request; EvaluationResult its answer, 200 for a
// refusal too.
type Evaluation struct {
	Subject  EvaluationEntity `json:"subject"`
	Action   EvaluationAction `json:"action"`
	Resource EvaluationEntity `json:"resource"`
	Context  map[string]any   `json:"context,omitempty"`
}

// EvaluationEntity is AuthZEN's subject or resource.
type EvaluationEntity struct {
	Type       string         `json:"type"`
	ID         string         `json:"id"`
	Properties map[string]any `json:"properties,omitempty"`
}

// EvaluationAction is AuthZEN's action.
type EvaluationAction struct {
	Name       string         `json:"name"`
	Properties map[string]any `json:"properties,omitempty"`
}

// EvaluationResult is AuthZEN's decision. Context carries the decision id and
// nothing of the policy.
type EvaluationResult struct {
	Decision bool           `json:"decision"`
	Context  map[string]any `json:"context,omitempty"`
}
