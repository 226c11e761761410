package revocation

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/writbroker/writ/token"
)

// Acks keeps which verifier has applied what: those that are connected here, and,
// where replicas tell each other (Export, Merge), those of the others. Safe for
// concurrent use; see NewAcks.
type Acks struct {
	now    func() time.Time
	covers func(a, b token.Rev) bool

	mu        sync.Mutex
	verifiers map[string]*verifierAcks // connected here
	changed   chan struct{}            // closed at each change, then replaced

	// What the other replicas are told, and what they told. Guarded by mu.
	roster  uint64 // counts changes of who is connected here
	news    chan struct{}
	remotes map[string]*remoteAcks // by replica
	forward map[string]*forwarded  // by verifier
	alone   bool                   // the others cannot be told
}

// Limits of what is remembered of one verifier. What is forgotten makes it look
// later than it was, never earlier.
const (
	ackHistory = 64
	ackLocals  = 256
)

type verifierAcks struct {
	state   VerifierState
	streams int
	history []ackedAt // ascending in time; each covers what is before it
	locals  []ackedLocal
	keysAt  time.Time // of the acknowledgement that state.Keys are of; zero is none yet
}

type ackedAt struct {
	position token.Rev
	at       time.Time
}

type ackedLocal struct {
	id string
	at time.Time
}

// VerifierState is one connected verifier.
type VerifierState struct {
	ID, Name, Principal string
	Replica             string    // that it is connected to; empty is this one
	Position            token.Rev // last acknowledged
	Connected, LastAck  time.Time // LastAck is zero before the first
	Keys                []string  // kids that it says it can verify with, sorted; not to be changed
}

// Label names it for people.
func (v VerifierState) Label() string {
	label := v.ID
	if v.Name != "" {
		label = v.Name + " (" + v.ID + ")"
	}
	if v.Replica != "" {
		label += " at " + v.Replica
	}
	return label
}

// AckSummary says how far a position, or a local rule, has got.
type AckSummary struct {
	Connected int             // verifiers that are connected now
	Count     int             // of those, how many have applied it
	P50, P99  time.Duration   // from since to the acknowledgement, of those that have
	Lagging   []VerifierState // those that have not
	Applied   []VerifierState // those that have
}

// NewAcks makes an empty one. covers is Index.Covers.
func NewAcks(now func() time.Time, covers func(a, b token.Rev) bool) *Acks {
	return &Acks{
		now: now, covers: covers, verifiers: map[string]*verifierAcks{}, changed: make(chan struct{}),
		roster: uint64(now().UnixNano()), news: make(chan struct{}, 1), remotes: map[string]*remoteAcks{}, forward: map[string]*forwarded{},
	}
}

// Join adds a connected verifier; leave must be called when it has gone, and may be
// called again. A verifier that reconnects before its old stream is known to be
// dead is one verifier.
func (a *Acks) Join(verifier, name, principal string) (leave func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.verifiers[verifier]
	if v == nil {
		v = &verifierAcks{state: VerifierState{ID: verifier, Connected: a.now()}}
		a.verifiers[verifier] = v
	}
	v.state.Name, v.state.Principal = name, principal
	v.streams++
	a.joined()
	return sync.OnceFunc(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if v.streams--; v.streams == 0 && a.verifiers[verifier] == v {
			delete(a.verifiers, verifier)
			a.joined()
		}
	})
}

// Report takes an acknowledgement; it says whether the verifier is connected, here or to
// another replica, which is then told. One that is not is forgotten: it cannot fill memory.
func (a *Acks) Report(ack Ack) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, now := a.verifiers[ack.Verifier], a.now()
	if v == nil {
		return a.reportElsewhere(ack, now)
	}
	a.take(v, ack, now)
	a.told()
	return true
}

// take notes what a verifier itself has said. One that was on its way for long, and comes after
// one of a later position, does not set back. Of two of the same position the last to come counts:
// keys that it lacks are told again when it is repeated.
func (a *Acks) take(v *verifierAcks, ack Ack, now time.Time) (late bool) {
	v.applied(ack.Local, now)
	if late = a.late(v, ack.Position); !late {
		v.reached(ack.Position, now)
		v.holds(ack.Keys, now)
	}
	return late
}

// late reports whether a verifier has acknowledged more than a position.
func (a *Acks) late(v *verifierAcks, position token.Rev) bool {
	at := v.state.Position
	return !position.IsZero() && !at.IsZero() && position != at && a.covers(at, position)
}

// reached notes the position that a verifier has acknowledged.
func (v *verifierAcks) reached(position token.Rev, at time.Time) {
	if n := len(v.history); n > 0 && at.Before(v.history[n-1].at) {
		at = v.history[n-1].at
	}
	if at.After(v.state.LastAck) {
		v.state.LastAck = at
	}
	if position.IsZero() || position == v.state.Position {
		return
	}
	v.state.Position = position
	if len(v.history) == ackHistory {
		v.history = slices.Delete(v.history, 0, ackHistory/2)
	}
	v.history = append(v.history, ackedAt{position, at})
}

// applied notes the local rules that a verifier has acknowledged.
func (v *verifierAcks) applied(local []string, at time.Time) {
	for _, id := range local {
		if len(id) != uuidLen || slices.ContainsFunc(v.locals, func(l ackedLocal) bool { return l.id == id }) {
			continue
		}
		if len(v.locals) == ackLocals {
			v.locals = slices.Delete(v.locals, 0, ackLocals/2)
		}
		v.locals = append(v.locals, ackedLocal{id, at})
	}
}

func (a *Acks) wake() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// Verifiers lists those connected, to whatever replica, by id.
func (a *Acks) Verifiers() []VerifierState {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]VerifierState, 0, len(a.verifiers))
	for v := range a.all {
		out = append(out, v.state)
	}
	slices.SortFunc(out, byVerifier)
	return out
}

// Here is the number of verifiers that are connected to this replica.
func (a *Acks) Here() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.verifiers)
}

func byVerifier(a, b VerifierState) int { return cmp.Compare(a.ID, b.ID) }

// Status says how far a position has got by now; where it is zero, how far the
// local rule or lift of that id has.
func (a *Acks) Status(position token.Rev, local string, since time.Time) AckSummary {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status(position, local, since)
}

// Wait returns when every connected verifier has applied it, or ctx ends. A
// verifier that connects meanwhile is waited for too, one that leaves is not.
func (a *Acks) Wait(ctx context.Context, position token.Rev, local string, since time.Time) AckSummary {
	for {
		a.mu.Lock()
		s, changed := a.status(position, local, since), a.changed
		a.mu.Unlock()
		if len(s.Lagging) == 0 {
			return s
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return s
		}
		// Acknowledgements come in bursts, and each look is at every verifier.
		select {
		case <-time.After(waitPause):
		case <-ctx.Done():
		}
	}
}

const waitPause = time.Millisecond

func (a *Acks) status(position token.Rev, local string, since time.Time) AckSummary {
	var s AckSummary
	var took []time.Duration
	for v := range a.all {
		s.Connected++
		at, ok := v.when(position, local, a.covers)
		if !ok {
			s.Lagging = append(s.Lagging, v.state)
			continue
		}
		took = append(took, max(at.Sub(since), 0))
		s.Applied = append(s.Applied, v.state)
	}
	slices.Sort(took)
	slices.SortFunc(s.Lagging, byVerifier)
	slices.SortFunc(s.Applied, byVerifier)
	s.Count = len(took)
	if s.Count > 0 {
		s.P50, s.P99 = took[(s.Count-1)/2], took[(s.Count*99-1)/100]
	}
	return s
}

// when says when a verifier acknowledged it first.
func (v *verifierAcks) when(position token.Rev, local string, covers func(a, b token.Rev) bool) (time.Time, bool) {
	if position.IsZero() {
		for _, l := range v.locals {
			if l.id == local {
				return l.at, true
			}
		}
		return time.Time{}, false
	}
	n := len(v.history)
	if n == 0 || !covers(v.history[n-1].position, position) {
		return time.Time{}, false
	}
	first := sort.Search(n-1, func(i int) bool { return covers(v.history[i].position, position) })
	return v.history[first].at, true
}
