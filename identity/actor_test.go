package identity_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/token"
)

func TestActorsOfAForeignToken(t *testing.T) {
	const iss = "https://issuer.acme.example"
	deep := object{"sub": "a"}
	for range 16 {
		deep = object{"sub": "a", "act": deep}
	}
	cases := []struct {
		name    string
		changes object
		chain   []string
		may     *string // nil = no may_act
		err     error
	}{
		{"none", object{}, nil, nil, nil},
		{"one actor", object{"act": object{"sub": "agent"}}, []string{"acme:agent"}, nil, nil},
		{"a chain, the current actor first", object{"act": object{"sub": "now", "iss": iss, "act": object{"sub": "before"}}},
			[]string{"acme:now", "acme:before"}, nil, nil},
		{"an actor that looks mapped already stays what it is", object{"act": object{"sub": "acme:agent"}},
			[]string{"acme:acme:agent"}, nil, nil},
		{"an actor of another issuer", object{"act": object{"sub": "agent", "iss": "https://other.example"}}, nil, nil, identity.ErrMalformed},
		{"an actor without sub", object{"act": object{"email": "a@b"}}, nil, nil, identity.ErrMissingClaim},
		{"an inner actor without sub", object{"act": object{"sub": "a", "act": object{}}}, nil, nil, identity.ErrMissingClaim},
		{"an actor in text", object{"act": "agent"}, nil, nil, identity.ErrMalformed},
		{"too many actors", object{"act": deep}, nil, nil, identity.ErrMalformed},

		{"who may act", object{"may_act": object{"sub": "agent"}}, nil, new("acme:agent"), nil},
		{"who may act, of another issuer, is nobody", object{"may_act": object{"sub": "agent", "iss": "https://other.example"}}, nil, new(""), nil},
		{"who may act, unnamed, is nobody", object{"may_act": object{}}, nil, new(""), nil},
		{"who may act in text", object{"may_act": "agent"}, nil, nil, identity.ErrMalformed},
	}
	key := newKey(t, "ES256")
	keys := ringOf("acme", token.Key{ID: "k1", Public: key.Public()})
	reg := compile(t, acme())
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := reg.Authenticate(t.Context(), sign(t, key, acmeHeader(), with(acmeClaims(), c.changes)), now(), keys)
			if !errors.Is(err, c.err) {
				t.Fatalf("got %v, want %v", err, c.err)
			}
			if err != nil {
				return
			}
			if got := p.Actor.Chain(); !slices.Equal(got, c.chain) {
				t.Errorf("actors %v, want %v", got, c.chain)
			}
			if (p.MayAct == nil) != (c.may == nil) || p.MayAct != nil && p.MayAct.Subject != *c.may {
				t.Errorf("may act: %+v", p.MayAct)
			}
		})
	}
}

// An act whose value is null must not read as "nobody acts".
func TestNullActRefuses(t *testing.T) {
	key := newKey(t, "ES256")
	keys := ringOf("acme", token.Key{ID: "k1", Public: key.Public()})
	reg := compile(t, acme())
	for _, name := range []string{"act", "may_act"} {
		raw := sign(t, key, acmeHeader(), with(acmeClaims(), object{name: (*int)(nil)}))
		if _, err := reg.Authenticate(t.Context(), raw, now(), keys); !errors.Is(err, identity.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
