package mint

import "time"

// DenyKind says what a Deny finds sessions by.
type DenyKind string

// The kinds, from the narrowest to the widest.
const (
	DenySession  DenyKind = "session"         // one session, by its name
	DenyIdentity DenyKind = "source_identity" // all of an agent in the role
	DenyRole     DenyKind = "whole_role"      // every session of the role
)

// Deny has a cloud refuse sessions that a rule takes back. It denies them everything, as far
// as they were made before a cutoff.
type Deny struct {
	Rule  string // id of the revocation rule that it is for
	Role  string // ARN
	Kind  DenyKind
	Value string // the session's name, or the source identity; empty for DenyRole
	// Identity is, of DenySession, the session's source identity where that is known: what a
	// deny is widened to first, where names have no room.
	Identity string
	Before   time.Time // the cutoff
	Expires  time.Time // when the last of these sessions is over
}

// DenyState is how far the denies of a rule in a role have come.
type DenyState string

// The states.
const (
	DenyPending DenyState = "pending" // not there yet, or not seen to stay
	DenyDone    DenyState = "done"    // the cloud has them, and has kept them for a while
	DenyFailed  DenyState = "failed"  // the last attempt failed; it is tried again
)

// DenyStatus is that of one role.
type DenyStatus struct {
	Role   string
	State  DenyState
	Detail string // why it failed, or how the deny is wider than was asked; for a person
}
