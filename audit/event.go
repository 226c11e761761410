package audit

import (
	"encoding/json"
	"time"
)

// Kind says what an event is about.
type Kind string

// The kinds of events. The last four are the log's own.
const (
	KindExchange   Kind = "exchange"
	KindRefusal    Kind = "refusal"
	KindRevocation Kind = "revocation"
	KindLift       Kind = "lift"
	KindKeys       Kind = "keys"
	KindPolicy     Kind = "policy"
	KindAdmin      Kind = "admin"
	KindUse        Kind = "use"
	KindIntrospect Kind = "introspect"
	KindClock      Kind = "clock" // this machine's clock was set, or the machine stood still

	KindOpen            Kind = "open"            // the log was opened; says what a crash had torn
	KindRepair          Kind = "repair"          // writing failed and works again
	KindCheckpoint      Kind = "checkpoint"      // a signed head
	KindUnauthenticated Kind = "unauthenticated" // counts of callers that did not authenticate
)

var ownKinds = [...]Kind{KindOpen, KindRepair, KindCheckpoint, KindUnauthenticated}

// Outcome is how a decision ended.
type Outcome string

// The outcomes.
const (
	Allow   Outcome = "allow"
	Deny    Outcome = "deny"
	Failure Outcome = "error"
)

// Event is what is recorded. Empty fields are left out. No field may hold a token
// or a key: what looks like one is written as "[redacted]".
type Event struct {
	Time          time.Time // zero = now
	Kind          Kind      // required
	Outcome       Outcome
	Error         string // the code that went to the caller
	DecisionID    string
	TokenID       string // jti, never the token
	Subject       string
	Source        string   // identity source of the subject
	Actors        []string // the act chain, current agent first
	ClientID      string
	Scopes        []string // granted, or, for a refusal, asked for
	Refused       []string
	Audience      []string
	Task          string
	PolicyVersion string
	Tags          map[string]string // resource tags that decided
	Attributes    map[string]any    // principals' attributes that decided: JSON values
	Trace         json.Marshaler    // *policy.Trace when written, json.RawMessage when read; nil = none
	RemoteIP      string
	Detail        map[string]string
	Expires       time.Time // of the credential
}

// Ref names a record: its log and its place there.
type Ref struct {
	Log string
	Seq uint64
}

// Record is an event as it was recorded.
type Record struct {
	Seq uint64
	Event
	Raw json.RawMessage // the line itself
}
