package revocation

import (
	"cmp"
	"slices"
	"time"

	"github.com/writbroker/writ/token"
)

// Roster is who is connected to a replica.
type Roster struct {
	Version   uint64 // grows with each change; another process of the replica begins elsewhere
	Verifiers []VerifierState
}

// Progress is how far the verifiers of a replica have got, and which acknowledgements it
// took for others.
type Progress struct {
	Roster    uint64    // the version of the roster that Reached follows
	Reached   []Reached // one for each verifier of the roster, in its order
	Forwarded []Forwarded
}

// Reached is what a verifier has acknowledged last, and how long before the Export: two
// replicas' clocks never meet.
type Reached struct {
	Position token.Rev     // zero is none
	Keys     []string      // kids that it holds, sorted; empty where it does not say
	Ago      time.Duration // negative: it has acknowledged nothing yet
}

// Forwarded is an acknowledgement that reached a replica to which its verifier is not
// connected, as happens behind a load balancer.
type Forwarded struct {
	Verifier string
	Reached
	Local []string
}

// remoteAcks is what another replica has told.
type remoteAcks struct {
	roster    uint64
	order     []string
	verifiers map[string]*verifierAcks
}

// forwarded is an acknowledgement that the others are told of until forwardFor has passed.
type forwarded struct {
	position token.Rev
	local    []ackedLocal
	keys     []string
	at       time.Time
}

const (
	forwardFor    = 10 * time.Second
	forwardLocals = 64
)

// all yields every verifier once, those connected here first.
func (a *Acks) all(yield func(*verifierAcks) bool) {
	for _, v := range a.verifiers {
		if !yield(v) {
			return
		}
	}
	var seen map[string]bool
	if len(a.remotes) > 1 {
		seen = map[string]bool{}
	}
	for _, r := range a.remotes {
		for id, v := range r.verifiers {
			if a.verifiers[id] != nil || seen[id] {
				continue // it reconnected here, and its old stream is not known to be dead
			}
			if seen != nil {
				seen[id] = true
			}
			if !yield(v) {
				return
			}
		}
	}
}

// joined notes that who is connected here has changed.
func (a *Acks) joined() {
	a.roster++
	a.told()
}

// told notes that the other replicas have something to learn.
func (a *Acks) told() {
	select {
	case a.news <- struct{}{}:
	default:
	}
	a.wake()
}

// News delivers a value when Export has something new. One reader.
func (a *Acks) News() <-chan struct{} { return a.news }

// Alone notes whether the other replicas can be told. While they cannot, an acknowledgement
// for one of their verifiers is not taken: it would get nowhere, and its sender tries again
// until it meets the right one.
func (a *Acks) Alone(alone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.alone = alone
}

// reportElsewhere takes an acknowledgement of a verifier that another replica has.
func (a *Acks) reportElsewhere(ack Ack, now time.Time) bool {
	if a.alone {
		return false
	}
	known, late := false, false
	for _, r := range a.remotes {
		if v := r.verifiers[ack.Verifier]; v != nil {
			known = true
			late = a.take(v, ack, now) || late
		}
	}
	if !known || late {
		return known
	}
	f := a.forward[ack.Verifier]
	if f == nil {
		f = &forwarded{}
		a.forward[ack.Verifier] = f
	}
	f.position, f.keys, f.at = ack.Position, keptKeys(ack.Keys), now
	for _, id := range ack.Local {
		if len(id) == uuidLen && len(f.local) < forwardLocals {
			f.local = append(f.local, ackedLocal{id, now})
		}
	}
	a.told()
	return true
}

// Export gives what the other replicas are to be told now; the roster only if it is not
// the one that they know.
func (a *Acks) Export(known uint64) (*Roster, Progress) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	states := make([]VerifierState, 0, len(a.verifiers))
	for _, v := range a.verifiers {
		states = append(states, v.state)
	}
	slices.SortFunc(states, byVerifier)
	p := Progress{Roster: a.roster, Reached: make([]Reached, len(states))}
	for i := range states {
		p.Reached[i] = Reached{Position: states[i].Position, Keys: states[i].Keys, Ago: -1}
		if !states[i].LastAck.IsZero() {
			p.Reached[i].Ago = max(now.Sub(states[i].LastAck), 0)
		}
	}
	for id, f := range a.forward {
		if now.Sub(f.at) > forwardFor {
			delete(a.forward, id)
			continue
		}
		out := Forwarded{Verifier: id, Reached: Reached{Position: f.position, Keys: f.keys, Ago: max(now.Sub(f.at), 0)}}
		for _, l := range f.local {
			out.Local = append(out.Local, l.id)
		}
		p.Forwarded = append(p.Forwarded, out)
	}
	slices.SortFunc(p.Forwarded, func(x, y Forwarded) int { return cmp.Compare(x.Verifier, y.Verifier) })
	if known == a.roster {
		return nil, p
	}
	return &Roster{Version: a.roster, Verifiers: states}, p
}

// SetRoster takes what another replica says of who is connected to it.
func (a *Acks) SetRoster(replica string, r Roster) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	next := &remoteAcks{roster: r.Version, verifiers: make(map[string]*verifierAcks, len(r.Verifiers))}
	old := a.remotes[replica]
	for _, s := range r.Verifiers {
		v := &verifierAcks{state: VerifierState{Connected: now}}
		if old != nil && old.verifiers[s.ID] != nil {
			v = old.verifiers[s.ID]
		}
		v.state.ID, v.state.Name, v.state.Principal, v.state.Replica = s.ID, s.Name, s.Principal, replica
		next.verifiers[s.ID] = v
		next.order = append(next.order, s.ID)
	}
	a.remotes[replica] = next
	a.wake()
}

// RosterOf is the version of the roster that is known of a replica, 0 if none is.
func (a *Acks) RosterOf(replica string) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.remotes[replica]; r != nil {
		return r.roster
	}
	return 0
}

// Merge takes what another replica says of its verifiers' progress. It reports false if
// that follows a roster that is not known here.
func (a *Acks) Merge(replica string, p Progress) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	for _, f := range p.Forwarded {
		a.forwardedHere(f, now)
	}
	r := a.remotes[replica]
	if r == nil || r.roster != p.Roster || len(r.order) != len(p.Reached) {
		a.wake()
		return false
	}
	for i, at := range p.Reached {
		a.advance(r.verifiers[r.order[i]], at, now)
	}
	a.wake()
	return true
}

func (a *Acks) forwardedHere(f Forwarded, now time.Time) {
	take := func(v *verifierAcks) {
		if v != nil {
			a.advance(v, f.Reached, now)
			v.applied(f.Local, now.Add(-f.Ago))
		}
	}
	take(a.verifiers[f.Verifier])
	for _, r := range a.remotes {
		take(r.verifiers[f.Verifier])
	}
}

// advance takes what another replica says of a verifier; what comes late does not set back.
func (a *Acks) advance(v *verifierAcks, r Reached, now time.Time) {
	if r.Ago < 0 {
		return
	}
	v.holds(r.Keys, now.Add(-r.Ago))
	if r.Position.IsZero() || a.late(v, r.Position) {
		return
	}
	v.reached(r.Position, now.Add(-r.Ago))
}

// Drop forgets a replica that is gone.
func (a *Acks) Drop(replica string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.remotes[replica] != nil {
		delete(a.remotes, replica)
		a.wake()
	}
}
