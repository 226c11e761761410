package revocation

import (
	"encoding/json"

	"github.com/writbroker/writ/token"
)

// EventType names an event of the feed.
type EventType string

// The events of the feed.
const (
	EventSnapshot  EventType = "snapshot"
	EventRule      EventType = "rule"
	EventLift      EventType = "lift"
	EventLineage   EventType = "lineage"
	EventKeys      EventType = "keys"
	EventHeartbeat EventType = "heartbeat"
)

// TypeSnapshot is the typ header of a signed snapshot.
const TypeSnapshot = "writ-snapshot+jwt"

// Event is one event of the feed. Exactly the field that its Type names is set.
// An Event that was published is immutable.
type Event struct {
	Type EventType
	// Position is the place in the log that a reader has reached with this event;
	// zero where it has none (a local rule, a heartbeat before the log was read).
	Position  token.Rev
	Rule      *Rule
	Lift      *Lift
	Lineage   *Lineage
	Heartbeat *Heartbeat
	// Snapshot is a compact JWS over the JSON of a Snapshot, signed by the records
	// key. Verify it, decode it, Merge it: Apply refuses it.
	Snapshot string
	Keys     json.RawMessage // a JWKS
}

// Heartbeat says how fresh the replica that sends it is.
type Heartbeat struct {
	Position token.Rev `json:"position"`
	// ConfirmedAgoMS is how long before sending the replica last confirmed that
	// it had applied the log up to its tail, in milliseconds; -1 is never. Two
	// clocks never meet: a reader subtracts it from its own time of sending the
	// request for the feed plus StreamAgeMS (or of arrival, where that is absent).
	ConfirmedAgoMS int64 `json:"confirmed_ago_ms"`
	// StreamAgeMS is how long after the feed's request arrived this was sent, in
	// milliseconds, by the sender's monotonic clock: a heartbeat that the network
	// held back cannot pass for a fresh one. The feed's handler sets it.
	StreamAgeMS int64 `json:"stream_age_ms,omitempty"`

	Replica string `json:"replica,omitempty"`
	Pending int    `json:"pending,omitempty"` // rules and lifts that are not in the log yet
}

// Ack is the body of POST /revocations/ack: a verifier has applied a position.
type Ack struct {
	Verifier string    `json:"verifier"` // an id that the verifier chose when it started
	Name     string    `json:"name,omitempty"`
	Position token.Rev `json:"position"`
	// Local lists rules and lifts that it applied while they had no position.
	Local []string `json:"local,omitempty"`
	// Keys lists the kids of the broker's keys that it can verify with. A rotation waits
	// for a connected verifier that leaves the next key out, and not for one that lists none.
	Keys []string `json:"keys,omitempty"`
}
