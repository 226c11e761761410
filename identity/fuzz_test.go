package identity_test

import (
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/token"
)

// Whatever sub says: a JWT-SVID proves the very SPIFFE ID that go-spiffe reads there too, or nothing.
func FuzzSPIFFESubject(f *testing.F) {
	for _, sub := range []string{
		"spiffe://td/a", "spiffe://td/a/b.c-d_E", "spiffe://td", "spiffe://td/", "spiffe://td//a", "spiffe://td/./a", "spiffe://td/a/",
		"SPIFFE://td/a", "spiffe://TD/a", "spiffe://td/a?x", "spiffe://td/a#x", "spiffe://td:1/a", "spiffe://u@td/a", "spiffe://td/%41", "spiffe://td/ä",
	} {
		f.Add(sub)
	}
	key := newKey(f, "ES256")
	keys := ringOf("mesh", token.Key{ID: "k1", Public: key.Public()})
	reg := compile(f, identity.Source{Name: "mesh", Preset: "spiffe-jwt", TrustDomain: "td", JWKSFile: "b", Audiences: []string{audience}})
	f.Fuzz(func(t *testing.T, sub string) {
		raw := sign(t, key, acmeHeader(), with(acmeClaims(), object{"iss": nil, "sub": sub}))
		p, err := reg.Authenticate(t.Context(), raw, now(), keys)
		want, foreign := spiffeid.FromString(sub)
		if err == nil && (foreign != nil || p.ID != want.String() || !want.MemberOf(spiffeid.RequireTrustDomainFromString("td"))) {
			t.Errorf("%q proves %q; go-spiffe says %v, %v", sub, p.ID, want, foreign)
		}
		if err != nil && foreign == nil && strings.HasPrefix(sub, "spiffe://td/") && len(sub) <= identity.MaxIDBytes {
			t.Errorf("%q is refused: %v", sub, err)
		}
	})
}

// A token of any bytes gives a Principal only with a signature; what it gives is within the limits.
func FuzzAuthenticate(f *testing.F) {
	key := newKey(f, "ES256")
	keys := ringOf("acme", token.Key{ID: "k1", Public: key.Public()})
	reg := compile(f, acme())
	f.Add([]byte(`{"iss":"https://issuer.acme.example","aud":"https://writ.example.com","sub":"a","iat":1790000000,"exp":1790003600}`))
	f.Add([]byte(`{"iss":"https://issuer.acme.example","aud":["https://writ.example.com"],"sub":"a","iat":1.79e9,"exp":1790003600.5,"act":{"sub":"b"},"may_act":{}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := reg.Authenticate(t.Context(), sign(t, key, acmeHeader(), payload), now(), keys)
		if (p == nil) != (err != nil) {
			t.Fatalf("%v and %v", p, err)
		}
		if err != nil {
			onlySentinel(t, err)
			return
		}
		if !strings.HasPrefix(p.ID, "acme:") || len(p.ID) > identity.MaxIDBytes || strings.ContainsAny(p.ID, " *\n") || p.Expires.IsZero() || p.IssuedAt.IsZero() {
			t.Errorf("got %+v", p)
		}
	})
}
