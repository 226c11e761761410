package wire

import (
	"encoding/json"
	"time"
)

// Durability of a revocation: in the shared log, or in this replica's journal
// only until the log is back.
const (
	DurabilityLog   = "log"
	DurabilityLocal = "local"
)

// Rule is a revocation rule as the admin API shows it.
type Rule struct {
	ID         string     `json:"id"`
	Selector   string     `json:"selector"`
	Value      string     `json:"value,omitempty"` // empty for the selector "all"
	Quarantine bool       `json:"quarantine,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"` // absent: until lifted
	Reason     string     `json:"reason,omitempty"`
	By         string     `json:"by,omitempty"`
	Positions  []string   `json:"positions,omitempty"` // one for each lineage it entered; none while it is local
}

// RevokeRequest is the body of POST /admin/v1/revocations. Without Apply
// nothing changes and the answer is a preview.
type RevokeRequest struct {
	Selector     string `json:"selector"`
	Value        string `json:"value,omitempty"`
	Reason       string `json:"reason,omitempty"`
	Apply        bool   `json:"apply,omitempty"`
	AllowReissue bool   `json:"allow_reissue,omitempty"` // no quarantine with an agent, subject or issuer
	WaitSeconds  int    `json:"wait_seconds,omitempty"`  // answer after every verifier applied it, or this long
}

// RevokeResponse answers it: 200, or 202 while Durability is "local".
type RevokeResponse struct {
	Applied    bool       `json:"applied"`
	Rule       *Rule      `json:"rule,omitempty"`
	Quarantine *Rule      `json:"quarantine,omitempty"`
	Preview    Preview    `json:"preview"`
	Durability string     `json:"durability,omitempty"`
	Position   string     `json:"position,omitempty"`
	Ack        *AckReport `json:"ack,omitempty"` // with wait_seconds, and while Durability is "local"
	AWS        *AWSReport `json:"aws,omitempty"` // absent where it hits no AWS session
}

// AWSReport says what becomes of the AWS sessions that a rule hits. Broker and verifiers cannot
// refuse them: AWS alone can.
type AWSReport struct {
	// Off says that this broker has no credentials to have AWS deny sessions.
	Off       bool      `json:"off,omitempty"`
	LiveUntil time.Time `json:"live_until"` // when the last of them ends by itself
	Roles     []AWSRole `json:"roles"`
	Note      string    `json:"note"` // what it means, and how long AWS may take
}

// States of a role's denies.
const (
	AWSPending = "pending" // it is being written, or not seen to stay
	AWSDone    = "done"    // IAM has it, and has kept it for a while
	AWSFailed  = "failed"  // the last attempt failed; it goes on
)

// AWSRole is what one role denies.
type AWSRole struct {
	Role       string     `json:"role"` // ARN
	Sessions   int        `json:"sessions"`
	Denies     []string   `json:"denies,omitempty"` // session, source_identity, whole_role; none where Off
	Identities []string   `json:"source_identities,omitempty"`
	Before     *time.Time `json:"before,omitempty"` // the cutoff, but for single sessions
	Until      *time.Time `json:"until,omitempty"`  // when the denies are removed as spent
	State      string     `json:"state,omitempty"`  // absent for a rule that is not applied
	Detail     string     `json:"detail,omitempty"`
}

// Preview says what a rule hits: live tokens known to this cluster's counts.
type Preview struct {
	Tokens        int64            `json:"tokens"`
	Agents        int64            `json:"agents"`
	AgentIDs      []string         `json:"agent_ids,omitempty"` // the first few
	Users         int64            `json:"users"`               // people that the tokens are for
	UserIDs       []string         `json:"user_ids,omitempty"`  // the first few
	Roles         []string         `json:"roles,omitempty"`
	STSSessions   int64            `json:"sts_sessions"` // live AWS sessions, beside the tokens
	LongestExpiry *time.Time       `json:"longest_expiry,omitempty"`
	BySource      map[string]int64 `json:"by_source,omitempty"`  // tokens by identity source
	Incomplete    string           `json:"incomplete,omitempty"` // why the counts may be low; empty if they are not
}

// AckReport says which verifiers, connected to whatever replica, have applied a
// position, and how long after the revocation was acknowledged they did. What another
// replica told counts from its telling: late by its delay, never early.
type AckReport struct {
	Complete     bool       `json:"complete"`
	Verifiers    int        `json:"verifiers"`
	Acknowledged int        `json:"acknowledged"`
	P50MS        float64    `json:"p50_ms"`
	P99MS        float64    `json:"p99_ms"`
	Lagging      []Verifier `json:"lagging,omitempty"`    // the first of them
	AppliedBy    []Verifier `json:"applied_by,omitempty"` // while the rule is local: the first of those that have it
}

// Verifier is a connected reader of the feed.
type Verifier struct {
	ID        string    `json:"id"`
	Name      string    `json:"name,omitempty"`
	Principal string    `json:"principal,omitempty"` // who its token says it is
	Replica   string    `json:"replica,omitempty"`
	Position  string    `json:"position,omitempty"` // last acknowledged
	Keys      []string  `json:"keys,omitempty"`     // kids that it says it holds
	Behind    uint64    `json:"behind,omitempty"`   // records between it and the tail, where comparable
	LagMS     float64   `json:"lag_ms"`
	Connected time.Time `json:"connected_at"`
	LastAck   time.Time `json:"last_ack"`
}

// VerifierList answers GET /admin/v1/verifiers.
type VerifierList struct {
	Position  string     `json:"position"` // the tail that they are compared with
	Verifiers []Verifier `json:"verifiers"`
}

// RuleList answers GET /admin/v1/revocations, oldest first. The query takes
// selector, value, limit and cursor.
type RuleList struct {
	Position string `json:"position"`
	Total    int    `json:"total"`
	Rules    []Rule `json:"rules"`
	Next     string `json:"next,omitempty"` // cursor of the next page
}

// RuleStatus answers GET /admin/v1/revocations/{id}.
type RuleStatus struct {
	Rule     Rule       `json:"rule"`
	Ack      *AckReport `json:"ack,omitempty"`
	Refusals *Refused   `json:"refusals,omitempty"`
	AWS      *AWSReport `json:"aws,omitempty"` // absent where no AWS session that it hits lives
}

// Refused says which tokens verifiers refused because of a rule, as they report it.
type Refused struct {
	Total      int64       `json:"total"` // refusals
	Tokens     int         `json:"tokens"`
	By         []RefusedBy `json:"by,omitempty"`
	Incomplete string      `json:"incomplete,omitempty"` // why it may be too little
}

// RefusedBy is the part of one verifier.
type RefusedBy struct {
	Verifier  string   `json:"verifier"`
	Name      string   `json:"name,omitempty"`
	Principal string   `json:"principal"`
	Refusals  int64    `json:"refusals"`
	Tokens    int      `json:"tokens"`
	TokenIDs  []string `json:"jtis,omitempty"` // the first few
	More      bool     `json:"more,omitempty"` // there are tokens that were not noted
}

// RefusalReport is the body of POST /revocations/refusals: what a verifier refused since its
// last report. At most MaxRefusals; what it could not keep it counts in Dropped.
type RefusalReport struct {
	Verifier string    `json:"verifier"`
	Name     string    `json:"name,omitempty"`
	Refusals []Refusal `json:"refusals"`
	Dropped  int64     `json:"dropped,omitempty"`
}

// MaxRefusals bounds one report.
const MaxRefusals = 256

// Refusal is a token that was refused because of a rule.
type Refusal struct {
	RuleID  string    `json:"rule"`
	TokenID string    `json:"jti"`
	At      time.Time `json:"at"` // by the verifier's clock
}

// LiftRequest is the body of POST /admin/v1/revocations/{id}/lift. Without
// Apply nothing changes.
type LiftRequest struct {
	Reason string `json:"reason,omitempty"`
	Apply  bool   `json:"apply,omitempty"`
}

// LiftResponse answers it.
type LiftResponse struct {
	Applied    bool   `json:"applied"`
	Rule       Rule   `json:"rule"`
	Durability string `json:"durability,omitempty"`
	Position   string `json:"position,omitempty"`
}

// Key is a signing key as the admin API shows it; the private half has no
// member here.
type Key struct {
	ID        string     `json:"kid"`
	Algorithm string     `json:"alg"`
	State     string     `json:"state"` // next, active, retired
	Custody   string     `json:"custody,omitempty"`
	Created   time.Time  `json:"created_at"`
	Published *time.Time `json:"published_at,omitempty"`
	Activated *time.Time `json:"activated_at,omitempty"`
	Retired   *time.Time `json:"retired_at,omitempty"`
	DropAfter *time.Time `json:"drop_after,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Revoked   bool       `json:"revoked,omitempty"`
}

// KeyList answers GET /admin/v1/keys.
type KeyList struct {
	Algorithm    string     `json:"alg"`
	Custody      string     `json:"custody,omitempty"`
	Version      uint64     `json:"version"`
	NextRotation *time.Time `json:"next_rotation,omitempty"`
	Waiting      *KeyWait   `json:"waiting,omitempty"`
	Keys         []Key      `json:"keys"`
}

// KeyWait is a rotation that is due, and waits until Until for connected verifiers that have not
// reported the next key. Total may be 0: the replica has just started, and does not know yet
// who is connected.
type KeyWait struct {
	ID        string    `json:"kid"` // of the next key
	Due       time.Time `json:"due_at"`
	Until     time.Time `json:"until"`
	Total     int       `json:"verifiers_total"`
	Verifiers []string  `json:"verifiers,omitempty"` // the first MaxKeyWait of them
}

// MaxKeyWait bounds the verifiers that a KeyWait names.
const MaxKeyWait = 100

// RotateRequest is the body of POST /admin/v1/keys/rotate. Without Apply the
// answer says what would happen.
type RotateRequest struct {
	RevokeKID string `json:"revoke_kid,omitempty"` // revoke every token of this key too
	Now       bool   `json:"now,omitempty"`        // do not wait until verifiers can have the next key
	Reason    string `json:"reason,omitempty"`
	Apply     bool   `json:"apply,omitempty"`
}

// RotateResponse answers it.
type RotateResponse struct {
	Applied    bool            `json:"applied"`
	Retired    string          `json:"retired_kid,omitempty"`
	Activated  string          `json:"activated_kid,omitempty"`
	Keys       []Key           `json:"keys"`
	Revocation *RevokeResponse `json:"revocation,omitempty"`
}

// PolicyStatus answers GET /admin/v1/policy.
type PolicyStatus struct {
	Version   string        `json:"version"` // SHA-256 of the canonical form, hex
	Short     string        `json:"pol"`     // what tokens carry
	LoadedAt  time.Time     `json:"loaded_at"`
	Current   bool          `json:"current"` // false: a newer bundle is broken, this is the last good one
	CheckedAt *time.Time    `json:"checked_at,omitempty"`
	Faults    []PolicyFault `json:"faults,omitempty"`
	Tools     []PolicyTool  `json:"tools,omitempty"`
	Source    string        `json:"source,omitempty"`
	ReviewDue []string      `json:"review_due,omitempty"` // rules past their review_by
}

// PolicyFault is one fault of a bundle that did not load.
type PolicyFault struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Rule    string `json:"rule,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// PolicyTool is one tool of the catalog in force.
type PolicyTool struct {
	Name     string   `json:"name"`
	Audience string   `json:"audience"`
	Actions  []string `json:"actions"`
}

// AuditRecord is one record of the audit log; Trace is there only where one
// record was asked for.
type AuditRecord struct {
	Seq        uint64            `json:"seq"`
	Time       time.Time         `json:"time"`
	Kind       string            `json:"kind"`
	Outcome    string            `json:"outcome"`
	Error      string            `json:"error,omitempty"`
	Reason     string            `json:"reason,omitempty"`
	DecisionID string            `json:"decision_id,omitempty"`
	TokenID    string            `json:"jti,omitempty"`
	Subject    string            `json:"sub,omitempty"`
	Source     string            `json:"source,omitempty"`
	ClientID   string            `json:"client_id,omitempty"`
	Actors     []string          `json:"actors,omitempty"`
	Scopes     []string          `json:"scopes,omitempty"`
	Refused    []string          `json:"refused_scopes,omitempty"`
	Audience   []string          `json:"aud,omitempty"`
	Task       string            `json:"txn,omitempty"`
	Policy     string            `json:"policy,omitempty"`
	RemoteIP   string            `json:"remote_ip,omitempty"`
	Expires    *time.Time        `json:"expires,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	Attributes map[string]any    `json:"attributes,omitempty"`
	Detail     map[string]string `json:"detail,omitempty"`
	Trace      json.RawMessage   `json:"trace,omitempty"`
}

// AuditPage answers GET /admin/v1/audit, newest first. The query takes agent,
// subject, tool, outcome, kind, jti, decision_id, since, until (RFC 3339),
// limit and cursor.
type AuditPage struct {
	Records []AuditRecord `json:"records"`
	Next    string        `json:"next,omitempty"`
}

// Decision answers GET /admin/v1/decisions/{id}: the record with every rule
// that took part, as data (Record.Trace) and as text for a person.
type Decision struct {
	Record AuditRecord `json:"record"`
	Text   string      `json:"text"`
}

// Health is the body of /healthz and /readyz. Checks maps what is not well to
// why; /healthz has none.
type Health struct {
	Status string            `json:"status"` // "ok" or "unavailable"
	Checks map[string]string `json:"checks,omitempty"`
}
