package token

import (
	"fmt"
	"iter"
	"time"

	"github.com/writbroker/writ/scopes"
)

// Claims are the claims of a Writ access token (RFC 9068 and our own). Times are
// seconds since the Unix epoch. A Claims that came out of DecodeClaims is whole;
// treat it as immutable, it may be shared between requests.
type Claims struct {
	Issuer       string        // iss
	Subject      string        // sub: the principal on whose behalf the token acts
	Audience     []string      // aud: never empty
	Expiry       int64         // exp
	IssuedAt     int64         // iat
	NotBefore    int64         // nbf; 0 is absent
	ID           string        // jti: a UUIDv7
	ClientID     string        // client_id: the principal that asked for the token
	Scope        scopes.Set    // scope: never empty
	Actor        *Actor        // act; nil where the subject acts for itself
	MayAct       *Actor        // may_act
	Roles        []string      // roles of everybody that took part, ancestors' too
	Confirmation *Confirmation // cnf; nil is a bearer token
	Task         string        // txn
	Rev          Rev           // rev: what of the revocation log the minter had applied
	Policy       string        // pol: policy version, 16 hex digits
	Ancestors    []Ancestor    // anc: the tokens that this one descends from, parent first
	Attributes   Attributes    // attrs
}

// Actor is an RFC 8693 §4.1 act claim: who acts, and for whom that one acts.
type Actor struct {
	Subject string
	Actor   *Actor
}

// Chain lists the subjects of the chain, the outermost (current) actor first.
func (a *Actor) Chain() []string {
	chain := make([]string, 0, a.Depth())
	for ; a != nil; a = a.Actor {
		chain = append(chain, a.Subject)
	}
	return chain
}

// Depth is the number of actors in the chain; 0 for nil.
func (a *Actor) Depth() int {
	depth := 0
	for ; a != nil; a = a.Actor {
		depth++
	}
	return depth
}

// Ancestor names a token that this one was derived from, and the key that signed it.
type Ancestor struct{ ID, KeyID string }

// Confirmation binds a token to a key of its holder (RFC 7800): a certificate
// (RFC 8705) or a DPoP key (RFC 9449). At least one is set.
type Confirmation struct{ X5tS256, JKT string }

// Agents yields every principal that acts through the token: client_id, then
// each act.sub from the outermost in. One that repeats its predecessor is
// yielded once.
func (c *Claims) Agents() iter.Seq[string] {
	return func(yield func(string) bool) {
		last := c.ClientID
		if last != "" && !yield(last) {
			return
		}
		for a := c.Actor; a != nil; a = a.Actor {
			if a.Subject == last {
				continue
			}
			last = a.Subject
			if !yield(last) {
				return
			}
		}
	}
}

// Expect is what a checker demands of a token at a moment.
type Expect struct {
	Issuer   string        // exact; empty refuses every token
	Audience []string      // any one must match exactly; empty refuses every token
	Now      time.Time     // the moment
	Leeway   time.Duration // clock error allowed, on each side
	MaxTTL   time.Duration // greatest exp-iat; zero refuses every token
}

// Validate checks iss, aud, exp, nbf, iat and exp-iat, in this order, then that
// the token names its subject, its client and itself. It fails closed: a missing
// claim, or an expectation that was left empty, is an error.
func (c *Claims) Validate(e Expect) error {
	switch {
	case c.Issuer == "":
		return fmt.Errorf("%w: iss", ErrMissingClaim)
	case e.Issuer == "" || c.Issuer != e.Issuer:
		return ErrIssuer
	case len(c.Audience) == 0:
		return fmt.Errorf("%w: aud", ErrMissingClaim)
	case !anyEqual(c.Audience, e.Audience):
		return ErrAudience
	}
	if err := c.validateTimes(e); err != nil {
		return err
	}
	switch {
	case c.Subject == "":
		return fmt.Errorf("%w: sub", ErrMissingClaim)
	case c.ID == "":
		return fmt.Errorf("%w: jti", ErrMissingClaim)
	case c.ClientID == "":
		return fmt.Errorf("%w: client_id", ErrMissingClaim)
	}
	return nil
}

func (c *Claims) validateTimes(e Expect) error {
	// Floored seconds compare exactly, since the claims are whole seconds.
	earliest, latest := e.Now.Add(-e.Leeway).Unix(), e.Now.Add(e.Leeway).Unix()
	switch {
	case c.Expiry == 0:
		return fmt.Errorf("%w: exp", ErrMissingClaim)
	case !validDate(c.Expiry):
		return fmt.Errorf("%w: exp", ErrClaim)
	case earliest >= c.Expiry:
		return ErrExpired
	case c.NotBefore != 0 && !validDate(c.NotBefore):
		return fmt.Errorf("%w: nbf", ErrClaim)
	case c.NotBefore > latest:
		return fmt.Errorf("%w: nbf", ErrNotYetValid)
	case c.IssuedAt == 0:
		return fmt.Errorf("%w: iat", ErrMissingClaim)
	case !validDate(c.IssuedAt):
		return fmt.Errorf("%w: iat", ErrClaim)
	case c.IssuedAt > latest:
		return fmt.Errorf("%w: iat", ErrNotYetValid)
	case c.Expiry <= c.IssuedAt, c.Expiry-c.IssuedAt > int64(e.MaxTTL/time.Second):
		return ErrTTL
	}
	return nil
}

// lastDate is the end of the year 9999: what RFC 3339 can print. Beyond it, time
// arithmetic overflows long before int64 does.
const lastDate = 253402300799

func validDate(unix int64) bool { return unix > 0 && unix <= lastDate }

func anyEqual(have, want []string) bool {
	for _, w := range want {
		for _, h := range have {
			if h == w && w != "" {
				return true
			}
		}
	}
	return false
}
