package token

import (
	"fmt"
	"slices"
)

// policyDigits is the length of the pol claim.
const policyDigits = 16

// complete reports what a token of ours lacks. Encode and DecodeClaims hold the
// same rule, so that nothing is minted that a verifier would refuse.
func (c *Claims) complete() error {
	for _, claim := range [...]struct {
		name    string
		present bool
	}{
		{"iss", c.Issuer != ""},
		{"sub", c.Subject != ""},
		{"aud", len(c.Audience) > 0},
		{"exp", c.Expiry != 0},
		{"iat", c.IssuedAt != 0},
		{"jti", c.ID != ""},
		{"client_id", c.ClientID != ""},
		{"scope", !c.Scope.IsEmpty()},
		{"pol", c.Policy != ""},
		{"cnf without a key", c.Confirmation == nil || *c.Confirmation != Confirmation{}},
		{"an element of aud", !slices.Contains(c.Audience, "")},
		{"an element of roles", !slices.Contains(c.Roles, "")},
	} {
		if !claim.present {
			return fmt.Errorf("%w: %s", ErrMissingClaim, claim.name)
		}
	}
	return c.wellFormed()
}

func (c *Claims) wellFormed() error {
	switch {
	case !validDate(c.Expiry), !validDate(c.IssuedAt), c.NotBefore != 0 && !validDate(c.NotBefore):
		return fmt.Errorf("%w: date out of range", ErrClaim)
	case !isPolicyVersion(c.Policy):
		return fmt.Errorf("%w: pol is not %d hex digits", ErrClaim, policyDigits)
	}
	if err := checkActor("act", c.Actor); err != nil {
		return err
	}
	if err := checkActor("may_act", c.MayAct); err != nil {
		return err
	}
	for _, a := range c.Ancestors {
		if a.ID == "" || a.KeyID == "" {
			return fmt.Errorf("%w: jti or kid in anc", ErrMissingClaim)
		}
	}
	return nil
}

// checkActor holds a chain to what DecodeClaims can read back.
func checkActor(claim string, a *Actor) error {
	for depth := 1; a != nil; a, depth = a.Actor, depth+1 {
		if a.Subject == "" {
			return fmt.Errorf("%w: sub in %s", ErrMissingClaim, claim)
		}
		if depth >= MaxDepth {
			return fmt.Errorf("%w: %s is deeper than %d", ErrTooLarge, claim, MaxDepth-1)
		}
	}
	return nil
}

func isPolicyVersion(s string) bool {
	if len(s) != policyDigits {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
