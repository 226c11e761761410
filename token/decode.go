package token

import (
	"fmt"

	"github.com/writbroker/writ/scopes"
)

// DecodeObject reads a foreign payload: one JSON object, at most MaxDepth deep,
// with no duplicate member at any depth. Whole numbers are int64, others
// float64; a whole number beyond int64 is refused. The strings may share memory
// with one copy of the payload.
func DecodeObject(payload []byte) (map[string]any, error) {
	p := scanner{text: string(payload)}
	object := map[string]any{}
	err := p.document(func(name string) error {
		v, err := p.value(2)
		object[name] = v
		return err
	})
	if err != nil {
		return nil, err
	}
	return object, nil
}

// DecodeClaims reads the payload of a token of ours, strictly. Every claim must
// have its type, and iss, sub, aud, exp, iat, jti, client_id, scope, rev and pol
// must be there and not empty: otherwise ErrMissingClaim, ErrClaim or
// ErrMalformed. A top-level claim that it does not know is ignored (RFC 7519
// §4), so that brokers can be newer than verifiers; inside act, may_act, cnf and
// anc an unknown member is refused, since it would change what the claim binds.
//
// It does not compare anything with an expectation: that is Validate.
func DecodeClaims(payload []byte) (*Claims, error) {
	d := decoder{scanner: scanner{text: string(payload)}}
	c := new(Claims)
	err := d.document(func(name string) error {
		if err := d.claim(c, name); err != nil {
			return fmt.Errorf("reading claims: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !d.hasRev {
		return nil, fmt.Errorf("%w: rev", ErrMissingClaim)
	}
	if err := c.complete(); err != nil {
		return nil, err
	}
	return c, nil
}

// decoder reads the values of known claims. Top-level values stand at depth 2.
type decoder struct {
	scanner
	hasRev bool // a zero rev is a value, so its absence needs a mark
}

func (d *decoder) claim(c *Claims, name string) (err error) {
	switch name {
	case "iss":
		c.Issuer, err = d.text()
	case "sub":
		c.Subject, err = d.text()
	case "aud":
		c.Audience, err = d.audience()
	case "exp":
		c.Expiry, err = d.date()
	case "iat":
		c.IssuedAt, err = d.date()
	case "nbf":
		c.NotBefore, err = d.date()
	case "jti":
		c.ID, err = d.text()
	case "client_id":
		c.ClientID, err = d.text()
	case "scope":
		c.Scope, err = d.scope()
	case "rev":
		c.Rev, err = d.rev()
	case "pol":
		c.Policy, err = d.text()
	default:
		return d.optional(c, name)
	}
	return err
}

func (d *decoder) optional(c *Claims, name string) (err error) {
	switch name {
	case "act":
		c.Actor, err = d.actor(2)
	case "may_act":
		c.MayAct, err = d.actor(2)
	case "roles":
		c.Roles, err = d.texts(2)
	case "cnf":
		c.Confirmation, err = d.confirmation()
	case "txn":
		c.Task, err = d.text()
	case "anc":
		c.Ancestors, err = d.ancestors()
	case "attrs":
		c.Attributes, err = d.attributes()
	default:
		err = d.skip(2)
	}
	return err
}

// text reads a string that must not be empty: an empty name names nobody, and a
// check against it could pass.
func (d *decoder) text() (string, error) {
	s, err := d.str()
	if err == nil && s == "" {
		return "", fmt.Errorf("%w: empty at byte %d", ErrMissingClaim, d.at)
	}
	return s, err
}

func (d *decoder) texts(depth int) ([]string, error) {
	list := make([]string, 0, 4)
	err := d.array(depth, func() error {
		s, err := d.text()
		list = append(list, s)
		return err
	})
	if err == nil && len(list) == 0 {
		return nil, fmt.Errorf("%w: empty list at byte %d", ErrMissingClaim, d.at)
	}
	return list, err
}

// audience is a string or an array of strings (RFC 7519 §4.1.3).
func (d *decoder) audience() ([]string, error) {
	if d.peek() == '[' {
		return d.texts(2)
	}
	s, err := d.text()
	return []string{s}, err
}

func (d *decoder) date() (int64, error) {
	n, err := d.integer()
	if err == nil && !validDate(n) {
		return 0, fmt.Errorf("%w: date out of range at byte %d", ErrClaim, d.at)
	}
	return n, err
}

func (d *decoder) scope() (scopes.Set, error) {
	text, err := d.text()
	if err != nil {
		return scopes.Set{}, err
	}
	set, err := scopes.ParseSet(text)
	if err != nil {
		// Not wrapped: its text quotes the scope.
		return scopes.Set{}, fmt.Errorf("%w: scope is not a canonical set", ErrMalformed)
	}
	return set, nil
}

func (d *decoder) rev() (Rev, error) {
	text, err := d.text()
	if err != nil {
		return Rev{}, err
	}
	d.hasRev = true
	return ParseRev(text)
}

func (d *decoder) unknown() error { return d.fail("unknown member") }

func (d *decoder) actor(depth int) (*Actor, error) {
	a := new(Actor)
	err := d.object(depth, func(name string) (err error) {
		switch name {
		case "sub":
			a.Subject, err = d.text()
		case "act":
			a.Actor, err = d.actor(depth + 1)
		default:
			err = d.unknown()
		}
		return err
	})
	return a, err
}

func (d *decoder) confirmation() (*Confirmation, error) {
	cnf := new(Confirmation)
	err := d.object(2, func(name string) (err error) {
		switch name {
		case "x5t#S256":
			cnf.X5tS256, err = d.text()
		case "jkt":
			cnf.JKT, err = d.text()
		default:
			err = d.unknown()
		}
		return err
	})
	return cnf, err
}

func (d *decoder) ancestors() ([]Ancestor, error) {
	list := make([]Ancestor, 0, 2)
	err := d.array(2, func() error {
		var a Ancestor
		err := d.object(3, func(name string) (err error) {
			switch name {
			case "jti":
				a.ID, err = d.text()
			case "kid":
				a.KeyID, err = d.text()
			default:
				err = d.unknown()
			}
			return err
		})
		list = append(list, a)
		return err
	})
	if err == nil && len(list) == 0 {
		return nil, fmt.Errorf("%w: empty list at byte %d", ErrMissingClaim, d.at)
	}
	return list, err
}
