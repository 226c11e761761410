package broker

import (
	"fmt"
	"slices"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/token"
)

// parties is who a request is about, each verified.
type parties struct {
	subject identity.Principal
	// actors is the act chain of the token to be minted, outermost (current) first; empty
	// when the subject acts for itself.
	actors []identity.Principal
	// parent is the broker token that was presented as subject token; nil for a workload's or
	// person's own token.
	parent *ownProof
	// own are the tokens of ours that the request stands on: the parent, and the actor's own.
	// What is minted descends from each of them and exceeds none: a token that a resource server
	// has seen is worth no more here than there, in whichever parameter it comes.
	own []*ownProof
	// thumbprint is that of the client's certificate, where it was verified or a proof is bound to
	// it, or empty.
	thumbprint string
}

// ownProof is a verified token of ours, and the key that signed it.
type ownProof struct {
	*token.Claims
	kid string
}

// agent is who will use the token: the outermost actor, or the subject itself.
func (p *parties) agent() *identity.Principal {
	if len(p.actors) > 0 {
		return &p.actors[0]
	}
	return &p.subject
}

// ids gives every principal that takes part.
func (p *parties) ids() []string {
	out := make([]string, 0, 1+len(p.actors))
	out = append(out, p.subject.ID)
	for i := range p.actors {
		out = append(out, p.actors[i].ID)
	}
	return out
}

// bind makes the act chain of the new token. An act in the subject token is kept whichever
// parameters came; a may_act names the only principal that may act.
func (b *Broker) bind(p *parties, actor *identity.Principal, act, mayAct *token.Actor, v view) error {
	var from *token.Claims
	if p.parent != nil {
		from = p.parent.Claims
	}
	for _, id := range act.Chain() {
		known, err := b.known(id, from, v, ErrSubjectToken)
		if err != nil {
			return err
		}
		p.actors = append(p.actors, known)
	}
	if actor != nil && actor.ID != p.agent().ID {
		p.actors = append([]identity.Principal{*actor}, p.actors...)
	} else if actor != nil {
		p.refresh(actor)
	}
	if mayAct != nil && (len(p.actors) == 0 || mayAct.Subject == "" || p.actors[0].ID != mayAct.Subject) {
		return fmt.Errorf("%w: its may_act names another actor", ErrSubjectToken)
	}
	if len(p.actors) > b.cfg.Limits.MaxDepth {
		return fmt.Errorf("%w: the act chain would be %d agents long, the limit is %d",
			ErrSubjectToken, len(p.actors), b.cfg.Limits.MaxDepth)
	}
	if len(p.ancestors()) > b.cfg.Limits.MaxAncestors {
		return fmt.Errorf("%w: it descends from too many tokens, the limit is %d",
			ErrSubjectToken, b.cfg.Limits.MaxAncestors)
	}
	return nil
}

// ancestors are the tokens that what is minted descends from, each with the key that signed
// it: a rule on any of them hits it.
func (p *parties) ancestors() []token.Ancestor {
	var out []token.Ancestor
	for _, o := range p.own {
		for _, a := range append([]token.Ancestor{{ID: o.ID, KeyID: o.kid}}, o.Ancestors...) {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// refresh replaces the acting principal, known from a broker token by its id alone, by the
// one that has just proven itself, attributes included.
func (p *parties) refresh(actor *identity.Principal) {
	switch {
	case len(p.actors) > 0:
		p.actors[0] = *actor
	case p.parent != nil:
		p.subject = *actor
	}
}

// known gives the principal that a token of ours, or an act claim, names. What a token of ours
// carries of its attributes is all of them only if it was minted under the policy that decides
// now: another one may have read others. An act of a foreign token, for which from is nil, proves none.
func (b *Broker) known(id string, from *token.Claims, v view, sentinel error) (identity.Principal, error) {
	src, ok := b.cfg.Identity.SourceOf(id)
	if !ok {
		return identity.Principal{}, fmt.Errorf("%w: it names a principal of no identity source", sentinel)
	}
	p := identity.Principal{
		ID: id, Source: src.Name, Prefix: src.SubjectPrefix, Issuer: src.Issuer, Kind: src.Kind,
		Attributes: map[string]any{}, Partial: true,
	}
	if from == nil {
		return p, nil
	}
	if carried, ok := from.Attributes[id]; ok {
		p.Attributes, p.Partial = carried, from.Policy != v.bundle.Short()
	}
	return p, nil
}

// SourceName gives the name of the identity source of a principal, for people to read.
func (b *Broker) SourceName(id string) string {
	if src, ok := b.cfg.Identity.SourceOf(id); ok {
		return src.Name
	}
	return "unknown"
}

// quarantined refuses issuance to or on behalf of a quarantined principal.
func (b *Broker) quarantined(p *parties) error {
	if _, hit := b.cfg.Index.Quarantined(p.ids()...); hit {
		return fmt.Errorf("%w: a principal of this request is quarantined", ErrSubjectToken)
	}
	return nil
}

// limits is what the tokens of ours that the request stands on leave to the policy: what all of
// them cover, for as long as all of them live. Nil where there is none.
func (p *parties) limits(now time.Time) (*policy.Parent, error) {
	if len(p.own) == 0 {
		return nil, nil //nolint:nilnil // no limit is an answer
	}
	out := &policy.Parent{Scopes: p.own[0].Scope, Remaining: p.own[0].remaining(now), Roles: p.own[0].Roles}
	for _, o := range p.own[1:] {
		both, err := out.Scopes.Intersect(o.Scope)
		if err != nil {
			return nil, fmt.Errorf("intersecting the scopes of subject and actor token: %w", err)
		}
		out.Scopes, out.Remaining = both, min(out.Remaining, o.remaining(now))
		out.Roles = slices.Concat(out.Roles, o.Roles)
	}
	if p.parent != nil {
		out.Depth = p.parent.Actor.Depth()
	}
	return out, nil
}

// remaining is how long the token still lives.
func (o *ownProof) remaining(now time.Time) time.Duration {
	return time.Unix(o.Expiry, 0).Sub(now)
}

// task is the task of the token to be minted: that of a token of ours cannot be changed, since
// a rule on it has to hit every descendant.
func (p *parties) task(asked string) (string, error) {
	for _, o := range p.own {
		switch {
		case o.Task == "" || o.Task == asked:
		case asked == "":
			asked = o.Task
		default:
			return "", requestError("task differs from that of the subject or actor token")
		}
	}
	return asked, nil
}
