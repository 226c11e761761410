// Package wire holds the JSON forms, parameter names and paths that Writ
// speaks over HTTP: one description, used by the handlers that write them
// (httpapi), by the clients that read them (client, verifier, cmd) and by the
// console.
//
// It is a leaf: values only, no behaviour beyond encoding, no import of the
// packages whose data it carries. Scopes, log positions ("<16 hex>.<decimal>")
// and principals travel as text. Times are RFC 3339 in the admin API and Unix
// seconds where an RFC says so.
//
// The events of the feed and the body of POST /revocations/ack are not here:
// package revocation owns that form.
package wire

// Paths of the public listener.
const (
	PathToken            = "/token"
	PathRevoke           = "/revoke"
	PathIntrospect       = "/introspect"
	PathMetadata         = "/.well-known/oauth-authorization-server"
	PathOpenIDMetadata   = "/.well-known/openid-configuration"
	PathJWKS             = "/.well-known/jwks.json"
	PathResourceMetadata = "/.well-known/oauth-protected-resource"
	PathFeed             = "/revocations/feed"
	PathAck              = "/revocations/ack"
	PathSnapshot         = "/revocations/snapshot"
	PathRefusals         = "/revocations/refusals"
	PathAWSCredentials   = "/aws/credentials"
	PathEvaluation       = "/access/v1/evaluation"
	PathEvaluations      = "/access/v1/evaluations"
	PathHealth           = "/healthz"
	PathReady            = "/readyz"
	PathMetrics          = "/metrics"
)

// Paths of the admin listener and of the break-glass socket. PathAdminRule and
// PathAdminDecision take one more segment, an id; PathAdminRule with an id and
// "/lift" lifts that rule.
const (
	PathAdminRevocations = "/admin/v1/revocations"
	PathAdminRule        = "/admin/v1/revocations/"
	PathAdminFeed        = "/admin/v1/revocations/feed"
	PathAdminVerifiers   = "/admin/v1/verifiers"
	PathAdminKeys        = "/admin/v1/keys"
	PathAdminRotate      = "/admin/v1/keys/rotate"
	PathAdminPolicy      = "/admin/v1/policy"
	PathAdminDecision    = "/admin/v1/decisions/"
	PathAdminAudit       = "/admin/v1/audit"
)

// The feed's handler sets revocation.Heartbeat's StreamAgeMS on each stream,
// and sends a heartbeat as soon as a reader is up to date, then regularly.
//
// Query parameters of PathFeed: a verifier names itself with the id that its
// acknowledgements carry, so that one that has not acknowledged yet is known.
const (
	ParamVerifier     = "verifier"
	ParamVerifierName = "name"
	ParamSince        = "since" // of PathSnapshot: a position; the answer may leave out what lies before

	HeaderLastEventID = "Last-Event-ID"
)

// Media types.
const (
	TypeJSON        = "application/json"
	TypeForm        = "application/x-www-form-urlencoded"
	TypeEventStream = "text/event-stream"
	// Forms of a snapshot: JWS in compact form, one a line; or package revocation's Bulk.
	TypeSnapshot     = "application/writ-snapshot+jwt"
	TypeBulkSnapshot = "application/vnd.writ.snapshot"
)

// Error codes of RFC 6749 section 5.2, RFC 6750 section 3.1, RFC 8693 section
// 2.2.2 and RFC 7009, and those of the admin API.
const (
	ErrCodeInvalidRequest         = "invalid_request"
	ErrCodeInvalidClient          = "invalid_client"
	ErrCodeInvalidGrant           = "invalid_grant"
	ErrCodeUnauthorizedClient     = "unauthorized_client"
	ErrCodeUnsupportedGrantType   = "unsupported_grant_type"
	ErrCodeUnsupportedTokenType   = "unsupported_token_type"
	ErrCodeInvalidScope           = "invalid_scope"
	ErrCodeInvalidTarget          = "invalid_target"
	ErrCodeInvalidToken           = "invalid_token"
	ErrCodeInsufficientScope      = "insufficient_scope"
	ErrCodeAccessDenied           = "access_denied"
	ErrCodeNotFound               = "not_found"
	ErrCodeConflict               = "conflict"
	ErrCodeSlowDown               = "slow_down"
	ErrCodeServerError            = "server_error"
	ErrCodeTemporarilyUnavailable = "temporarily_unavailable"
)

// Error is the body of every answer that is not a success (RFC 6749 section
// 5.2). Description is for the caller's developer and discloses no policy;
// DecisionID is what the owner of the policy looks the refusal up by.
type Error struct {
	Code        string   `json:"error"`
	Description string   `json:"error_description,omitempty"`
	URI         string   `json:"error_uri,omitempty"`
	DecisionID  string   `json:"decision_id,omitempty"`
	Refused     []string `json:"refused_scopes,omitempty"` // the scopes asked for that were refused
	Reason      string   `json:"reason,omitempty"`         // a fixed name for what kept AWS credentials from being made
}
