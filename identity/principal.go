package identity

import (
	"time"

	"github.com/writbroker/writ/token"
)

// Kind says what a principal is.
type Kind string

// The kinds of principals. Policy treats them differently: administration, for one, goes to a
// workload only through a binding that names it exactly.
const (
	KindWorkload Kind = "workload"
	KindUser     Kind = "user"
)

// SubjectClaim is the key of [Source.Claims] whose expression gives the part of a principal's id
// that follows the source's prefix.
const SubjectClaim = "subject"

// MaxIDBytes is the longest principal id. Ids travel in sub and in every act of a minted token.
const MaxIDBytes = 1024

// Principal is a caller whose proof was verified. Only this package makes one from a proof; its
// fields are exported so that policy can read them, and so that its tests can make their own.
// A Principal may be shared (a [Cache] hands out the same one many times): treat it, its
// attributes and its actors as read-only.
type Principal struct {
	// ID is Prefix followed by what the source's subject expression gave. It is not empty, at most
	// MaxIDBytes long, and has no white space, control character or '*'.
	ID string
	// Source names the identity source; Prefix is its subject prefix.
	Source string
	Prefix string
	// Issuer is the verified iss claim. It is empty for X.509-SVIDs and for JWT-SVIDs without iss.
	Issuer string
	Kind   Kind
	// Attributes are the mapped claims: string, bool, int64, uint64, float64, []any and
	// map[string]any of those. It is never nil.
	Attributes map[string]any
	// Partial says that an attribute that is not there is not known, rather than known to be
	// absent: the principal is known by its id alone, or by what a token of ours carries of it. Policy
	// takes a condition that reads such an attribute for one that cannot be evaluated.
	Partial bool
	// IssuedAt is iat (X.509: NotBefore) and Expires is exp (X.509: NotAfter of the leaf), without
	// leeway. Neither is ever zero.
	IssuedAt time.Time
	Expires  time.Time
	// TokenID is jti, or empty if the platform writes none.
	TokenID string
	// Actor is the token's act claim: who acts for this principal already. Its ids are mapped
	// like the principal's own, prefix included. Nil where there is none.
	Actor *token.Actor
	// MayAct is the token's may_act claim, mapped likewise: only this principal may act for
	// the subject. If the claim names somebody whom this source cannot name, the Subject is empty, which
	// is nobody's id: then nobody may act.
	MayAct *token.Actor
	// Confirmation is the token's cnf.x5t#S256 (RFC 8705 §3.1), or empty: whoever presents the token must
	// have shown the certificate of this thumbprint. The caller checks it; this package sees no connection.
	Confirmation string
	// Thumbprint is the base64url SHA-256 of an X.509-SVID's leaf (x5t#S256), or empty.
	Thumbprint string
}
