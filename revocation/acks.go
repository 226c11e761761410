package revocation

import (
	"context"
	"time"

	"github.com/writbroker/writ/token"
)

// Acks keeps which connected verifier has applied which position. Safe for
// concurrent use.
type Acks struct{}

// VerifierState is one connected verifier.
type VerifierState struct {
	ID, Name, Principal string
	Position            token.Rev
	Connected, LastAck  time.Time // LastAck is zero before the first
}

// AckSummary says how far a position, or a local rule, has got.
type AckSummary struct {
	Connected int             // verifiers that are connected now
	Count     int             // of those, how many have applied it
	P50, P99  time.Duration   // from since to the acknowledgement
	Lagging   []VerifierState // those that have not
}

// NewAcks makes an empty one. covers is Index.Covers.
func NewAcks(now func() time.Time, covers func(a, b token.Rev) bool) *Acks { return &Acks{} }

// Join adds a connected verifier; leave must be called when it has gone.
func (a *Acks) Join(verifier, name, principal string) (leave func()) { return func() {} }

// Report takes an acknowledgement; it says whether the verifier is connected here.
func (a *Acks) Report(ack Ack) bool { return false }

// Verifiers lists those connected, by id.
func (a *Acks) Verifiers() []VerifierState { return nil }

// Status says how far a position has got by now; for a zero position, the local
// rule or lift of that id.
func (a *Acks) Status(position token.Rev, local string, since time.Time) AckSummary {
	return AckSummary{}
}

// Wait returns when every connected verifier has applied it, or ctx ends.
func (a *Acks) Wait(ctx context.Context, position token.Rev, local string, since time.Time) AckSummary {
	return AckSummary{}
}
