package mint

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/token"
)

// SessionOrder is a session at a cloud that may be made: like a token, out of a policy.Grant
// alone. Only Minter.SessionOrder makes one; the fields that are open say how, not what.
type SessionOrder struct {
	claims   *token.Claims
	decision string
	issued   time.Time

	// Bundle is the one that decided: its catalog says what the scopes are at the cloud.
	Bundle *policy.Bundle
	// Role is the one that was asked for, by name or ARN; empty: that of the scopes' tools.
	Role string
	// RequestedTTL is what was asked for; zero: nothing was.
	RequestedTTL time.Duration
	// Signer signs what vouches for the session, where something has to; it may be nil else.
	Signer token.Signer
	// Alive reports whether no rule hits a session, and the cloud does not deny it. It is asked
	// of every session that was made for an earlier order, before that is given out again; nil
	// allows none.
	Alive func(s *Session) bool
	// Allow is asked before a session is made: the cloud may deny it already. Its error is the
	// answer. It may be nil.
	Allow func(role, sourceIdentity string) error
	// Note is called with a session as soon as it is made, before anybody gets it: what opens
	// doors is known to whoever has to close them. It may be nil.
	Note func(ctx context.Context, s *Session)
}

// Claims are what a token of the same grant would say. They must not be changed.
func (o *SessionOrder) Claims() *token.Claims { return o.claims }

// DecisionID names the decision.
func (o *SessionOrder) DecisionID() string { return o.decision }

// IssuedAt is when the decision was made.
func (o *SessionOrder) IssuedAt() time.Time { return o.issued }

// SessionOrder prepares a session at a cloud. Input is what it is for a token, but that a
// session is bound to no key: an Input with a Confirmation is an error.
func (m *Minter) SessionOrder(g *policy.Grant, in Input) (*SessionOrder, error) {
	if in.Confirmation != nil {
		return nil, fmt.Errorf("%w: a session cannot be bound to a key", ErrGrant)
	}
	if err := in.complete(g); err != nil {
		return nil, err
	}
	in.Attributes = nil // no exchange starts from a session
	return &SessionOrder{claims: m.claims(g, in), decision: g.DecisionID(), issued: in.IssuedAt, Signer: in.Signer}, nil
}

// Session is one at AWS. It is shared by those that it is given to, and not changed.
type Session struct {
	// Claims are what a token would say that could do the same: what rules are tried on.
	Claims *token.Claims
	// KeyID is the key that vouched for the session, empty where none did.
	KeyID       string
	Credentials Credentials
	Issued      time.Time // when the decision was made: before AWS was asked
	Expires     time.Time // the end that was granted, or AWS's own if that is earlier

	Role           string   // ARN
	Name           string   // the session's
	UserID         string   // aws:userid; empty if the target does not say
	SourceIdentity string   // aws:SourceIdentity
	PolicyDigest   string   // of the session policy and of PolicyARNs
	PolicyARNs     []string // managed policies that stand for scopes
	UsedPercent    int      // of the room that a session token has for policies and tags; 0 if the target does not say
}

// Credentials are secret but for their access key id. Reveal is the only way to the rest: what
// prints, logs or encodes a Credentials shows the id alone.
type Credentials struct{ id, secret, token string }

// NewCredentials holds what a cloud gave.
func NewCredentials(id, secret, sessionToken string) Credentials {
	return Credentials{id: id, secret: secret, token: sessionToken}
}

// ID is the access key id, which is no secret.
func (c Credentials) ID() string { return c.id }

// Reveal gives the secrets, for the one answer that they belong into.
func (c Credentials) Reveal() (id, secret, sessionToken string) { return c.id, c.secret, c.token }

// String shows the access key id alone.
func (c Credentials) String() string { return "credentials " + c.id + " [redacted]" }

// GoString hides the secrets from %#v.
func (c Credentials) GoString() string { return c.String() }

// LogValue hides the secrets from logs.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON hides the secrets from whatever encodes a value that holds them.
func (c Credentials) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// SessionFault says whose matter it is that a session was not made.
type SessionFault int

// The faults.
const (
	FaultBroker      SessionFault = iota // the broker's own set-up, or the target's answer: it will fail again
	FaultScope                           // these scopes cannot be a session: others may
	FaultTarget                          // this role cannot be had
	FaultRequest                         // what was asked besides
	FaultUnavailable                     // it may work later
)

// A SessionError says by name why no session was made.
type SessionError struct {
	Fault  SessionFault
	Reason string // a fixed name, for the caller and the audit
	Detail string // for the caller's developer: it holds no secret and nothing of the policy
	// RetryAfter is when to try again, where Fault is FaultUnavailable.
	RetryAfter time.Duration
	Cause      error
}

// Error is for logs. A cloud's answer may repeat what it was sent: no token of it is shown.
func (e *SessionError) Error() string {
	if e.Cause == nil {
		return e.Reason + ": " + e.Detail
	}
	return fmt.Sprintf("%s: %s: %s", e.Reason, e.Detail, token.Redact(e.Cause.Error()))
}

// Unwrap gives the cause.
func (e *SessionError) Unwrap() error { return e.Cause }
