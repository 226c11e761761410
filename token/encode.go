package token

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// typicalPayload sizes the buffer of Encode so that a usual token is one allocation.
const typicalPayload = 1 << 10

// Encode writes the claims as JSON: the same claims give the same bytes. Claims
// that DecodeClaims would refuse are an error, so is text that is not UTF-8.
func (c *Claims) Encode() ([]byte, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	e := encoder{out: append(make([]byte, 0, typicalPayload), '{')}
	e.text("iss", c.Issuer)
	e.text("sub", c.Subject)
	e.audience(c.Audience)
	e.text("client_id", c.ClientID)
	e.number("iat", c.IssuedAt)
	if c.NotBefore != 0 {
		e.number("nbf", c.NotBefore)
	}
	e.number("exp", c.Expiry)
	e.text("jti", c.ID)
	e.text("scope", c.Scope.String())
	if c.Actor != nil {
		e.name("act")
		e.actor(c.Actor)
	}
	if c.MayAct != nil {
		e.name("may_act")
		e.actor(c.MayAct)
	}
	if len(c.Roles) > 0 {
		e.name("roles")
		e.list(c.Roles)
	}
	e.confirmation(c.Confirmation)
	if c.Task != "" {
		e.text("txn", c.Task)
	}
	e.name("rev")
	e.out = append(c.Rev.append(append(e.out, '"')), '"')
	e.text("pol", c.Policy)
	e.ancestors(c.Ancestors)
	if err := e.attributes(c.Attributes); err != nil {
		return nil, err
	}
	if e.invalid {
		return nil, fmt.Errorf("%w: text is not UTF-8", ErrMalformed)
	}
	return append(e.out, '}'), nil
}

// encoder appends JSON; reflection would cost more than the rest of a mint.
type encoder struct {
	out     []byte
	invalid bool
}

// name writes a member's name, after a comma unless it is the first in its object.
func (e *encoder) name(name string) {
	if last := e.out[len(e.out)-1]; last != '{' && last != '[' {
		e.out = append(e.out, ',')
	}
	e.out = append(e.out, '"')
	e.out = append(e.out, name...)
	e.out = append(e.out, '"', ':')
}

func (e *encoder) text(name, value string) {
	e.name(name)
	e.str(value)
}

func (e *encoder) number(name string, value int64) {
	e.name(name)
	e.out = strconv.AppendInt(e.out, value, 10)
}

func (e *encoder) str(s string) {
	var ok bool
	if e.out, ok = appendString(e.out, s); !ok {
		e.invalid = true
	}
}

func (e *encoder) list(values []string) {
	e.out = append(e.out, '[')
	for i, v := range values {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		e.str(v)
	}
	e.out = append(e.out, ']')
}

func (e *encoder) audience(aud []string) {
	e.name("aud")
	if len(aud) == 1 {
		e.str(aud[0])
		return
	}
	e.list(aud)
}

func (e *encoder) actor(a *Actor) {
	e.out = append(e.out, '{')
	e.text("sub", a.Subject)
	if a.Actor != nil {
		e.name("act")
		e.actor(a.Actor)
	}
	e.out = append(e.out, '}')
}

func (e *encoder) confirmation(cnf *Confirmation) {
	if cnf == nil {
		return
	}
	e.name("cnf")
	e.out = append(e.out, '{')
	if cnf.X5tS256 != "" {
		e.text("x5t#S256", cnf.X5tS256)
	}
	if cnf.JKT != "" {
		e.text("jkt", cnf.JKT)
	}
	e.out = append(e.out, '}')
}

func (e *encoder) ancestors(list []Ancestor) {
	if len(list) == 0 {
		return
	}
	e.name("anc")
	e.out = append(e.out, '[')
	for i, a := range list {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		e.out = append(e.out, '{')
		e.text("jti", a.ID)
		e.text("kid", a.KeyID)
		e.out = append(e.out, '}')
	}
	e.out = append(e.out, ']')
}

// appendString appends a JSON string; false if s is not UTF-8.
func appendString(dst []byte, s string) ([]byte, bool) {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	plain := true
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if plain {
		return append(append(dst, s...), '"'), true
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"', c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"'), utf8.ValidString(s)
}
