// Package mint turns a policy.Grant into a credential.
//
// A Grant is the only way in: its fields can be filled by package policy alone, so nothing
// is minted that policy did not decide. What the grant does not say (signer, time, the
// revocation position of the minter, ancestors) comes from the caller's one snapshot.
//
// It decides nothing, keeps nothing and never logs a token. Its caller is package broker.
package mint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/token"
)

// Errors of JWT.
var (
	// ErrTooLarge: the token would be larger than proxies let through in a header.
	ErrTooLarge = errors.New("token too large")
	// ErrGrant: there is no grant, or it grants nothing.
	ErrGrant = errors.New("nothing is granted")
)

// DefaultMaxBytes bounds a compact token where Config does not.
const DefaultMaxBytes = 6 << 10

// Config of a Minter.
type Config struct {
	Issuer   string // iss; required
	MaxBytes int    // of the compact token; 0 = DefaultMaxBytes
}

// Minter makes tokens of one issuer. It is usable concurrently.
type Minter struct{ cfg Config }

// New checks its configuration.
func New(cfg Config) (*Minter, error) {
	if cfg.Issuer == "" {
		return nil, errors.New("mint: Config.Issuer is missing")
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.MaxBytes > token.MaxBytes {
		return nil, fmt.Errorf("mint: Config.MaxBytes is above %d, which no verifier reads", token.MaxBytes)
	}
	return &Minter{cfg: cfg}, nil
}

// Input is what a token says that policy does not decide.
type Input struct {
	Signer token.Signer // required
	ID     string       // jti, a UUIDv7; "" makes one (NewID)
	// Rev is the minter's revocation position, read before its first check.
	Rev          token.Rev
	IssuedAt     time.Time        // required; kept to the second, rounded down
	ClientID     string           // the agent that will use the token; required
	Ancestors    []token.Ancestor // the tokens that this one descends from, parent first
	Confirmation *token.Confirmation
	// Attributes are what policy may read of the principals when a descendant is exchanged.
	Attributes token.Attributes
}

// JWT signs an access token (RFC 9068) that says exactly what was granted. It returns the
// compact token, which is secret, and its claims. The jti is a UUIDv7 (RFC 9562).
func (m *Minter) JWT(ctx context.Context, g *policy.Grant, in Input) (string, *token.Claims, error) {
	if in.Signer == nil {
		return "", nil, errNoSigner
	}
	if err := in.complete(g); err != nil {
		return "", nil, err
	}
	claims := m.claims(g, in)
	payload, err := claims.Encode()
	if err != nil {
		return "", nil, fmt.Errorf("encoding claims: %w", err)
	}
	raw, err := token.Sign(ctx, token.TypeAccessToken, payload, in.Signer)
	if err != nil {
		return "", nil, fmt.Errorf("signing token: %w", err)
	}
	if len(raw) > m.cfg.MaxBytes {
		return "", nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(raw), m.cfg.MaxBytes)
	}
	return raw, claims, nil
}

var errNoSigner = errors.New("mint: signer is missing")

// complete checks what a credential of the grant needs, and names it if it has no name.
func (in *Input) complete(g *policy.Grant) error {
	if g == nil || g.Scopes().IsEmpty() || len(g.Audience()) == 0 || g.TTL() < time.Second {
		return ErrGrant
	}
	if in.IssuedAt.IsZero() || in.ClientID == "" {
		return errors.New("mint: time or client is missing")
	}
	if in.ID == "" {
		in.ID = NewID(in.IssuedAt)
	} else if !isID(in.ID) {
		return errors.New("mint: Input.ID is not a UUIDv7")
	}
	return nil
}

func (m *Minter) claims(g *policy.Grant, in Input) *token.Claims {
	issued := in.IssuedAt.Unix()
	return &token.Claims{
		Issuer: m.cfg.Issuer, Subject: g.Subject(), Audience: g.Audience(),
		IssuedAt: issued, Expiry: issued + int64(g.TTL()/time.Second),
		ID: in.ID, ClientID: in.ClientID, Scope: g.Scopes(), Actor: actor(g.Actors()), Roles: g.Roles(),
		Confirmation: in.Confirmation, Task: g.Task(), Rev: in.Rev, Policy: g.Policy(), Ancestors: in.Ancestors,
		Attributes: in.Attributes,
	}
}

// actor nests the chain, current agent outermost (RFC 8693 section 4.1).
func actor(chain []string) *token.Actor {
	var out *token.Actor
	for _, agent := range slices.Backward(chain) {
		out = &token.Actor{Subject: agent, Actor: out}
	}
	return out
}
