package mint_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

const bundle = `
kind: catalog
tools:
  - {name: warehouse, audience: "https://warehouse.example", actions: [list, read]}
---
kind: roles
roles:
  - {name: reader, grants: [{scopes: ["warehouse:*:sales/**"]}]}
---
kind: bindings
bindings:
  - {name: everybody, principals: ["user:*", "k8s:**"], roles: [reader]}
---
kind: delegations
delegations:
  - {name: agents, agents: ["k8s:**"], subjects: ["user:*"], max_depth: 3, ceiling: ["warehouse:*:**"]}
`

var noon = time.Date(2026, time.July, 8, 12, 0, 0, 700_000_000, time.UTC)

func principal(id string, kind identity.Kind) identity.Principal {
	return identity.Principal{ID: id, Kind: kind, Attributes: map[string]any{}}
}

// grant is what two agents get for alice.
func grant(tb testing.TB, wanted ...string) *policy.Grant {
	tb.Helper()
	b, err := policy.Load(fstest.MapFS{"bundle.yaml": {Data: []byte(bundle)}}, policy.Options{Issuer: "https://writ.example"})
	if err != nil {
		tb.Fatal(err)
	}
	request := policy.Request{
		ID: "d1", Time: noon, Task: "report-1", TTL: 10 * time.Minute,
		Subject: principal("user:alice", identity.KindUser),
		Actors:  []identity.Principal{principal("k8s:ns:inner", identity.KindWorkload), principal("k8s:ns:outer", identity.KindWorkload)},
	}
	for _, text := range wanted {
		s, err := scopes.Parse(text)
		if err != nil {
			tb.Fatal(err)
		}
		request.Scopes = append(request.Scopes, s)
	}
	decision := b.Authorize(request)
	if !decision.Allowed {
		tb.Fatalf("refused: %s %v\n%s", decision.Reason, decision.Refused, decision.Trace)
	}
	return decision.Grant
}

func newSigner(tb testing.TB) (token.Signer, token.Key) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := token.NewLocalSigner("k1", token.ES256, key)
	if err != nil {
		tb.Fatal(err)
	}
	return signer, token.Key{ID: "k1", Algorithm: token.ES256, Public: key.Public()}
}

func newMinter(tb testing.TB, cfg mint.Config) *mint.Minter {
	tb.Helper()
	m, err := mint.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func input(s token.Signer) mint.Input {
	return mint.Input{
		Signer: s, Rev: token.Rev{Lineage: 7, Seq: 9}, IssuedAt: noon, ClientID: "k8s:ns:inner",
		Ancestors: []token.Ancestor{{ID: "p", KeyID: "k0"}}, Confirmation: &token.Confirmation{X5tS256: "thumb"},
	}
}

func TestTheTokenSaysWhatWasGranted(t *testing.T) {
	signer, key := newSigner(t)
	g := grant(t, "warehouse:read:sales/eu/*", "warehouse:*:sales/us/*")
	raw, claims, err := newMinter(t, mint.Config{Issuer: "https://writ.example"}).JWT(t.Context(), g, input(signer))
	if err != nil {
		t.Fatal(err)
	}
	u, err := token.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if want := (token.Header{Algorithm: token.ES256, KeyID: "k1", Type: token.TypeAccessToken}); u.Header() != want {
		t.Errorf("header = %+v", u.Header())
	}
	payload, err := u.Verify(key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := token.DecodeClaims(payload)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, claims) {
		t.Errorf("the token holds %+v\nreturned    %+v", got, claims)
	}
	want := &token.Claims{
		Issuer: "https://writ.example", Subject: "user:alice", Audience: []string{"https://warehouse.example"},
		IssuedAt: noon.Unix(), Expiry: noon.Unix() + 600, ID: claims.ID, ClientID: "k8s:ns:inner",
		Scope: g.Scopes(), Actor: &token.Actor{Subject: "k8s:ns:inner", Actor: &token.Actor{Subject: "k8s:ns:outer"}},
		Roles: []string{"reader"}, Confirmation: &token.Confirmation{X5tS256: "thumb"}, Task: "report-1",
		Rev: token.Rev{Lineage: 7, Seq: 9}, Policy: g.Policy(), Ancestors: []token.Ancestor{{ID: "p", KeyID: "k0"}},
	}
	if !reflect.DeepEqual(claims, want) {
		t.Errorf("claims %+v\nwant   %+v", claims, want)
	}
	if strings.Contains(claims.Scope.String(), "*:") {
		t.Errorf("the token does not name its actions: %s", claims.Scope)
	}
}

func TestJWTRefuses(t *testing.T) {
	signer, _ := newSigner(t)
	broken := errors.New("the key is away")
	for name, tt := range map[string]struct {
		change func(*mint.Input)
		grant  *policy.Grant
		max    int
		want   error
	}{
		"no grant":              {grant: nil, want: mint.ErrGrant},
		"a grant of nothing":    {grant: &policy.Grant{}, want: mint.ErrGrant},
		"no signer":             {change: func(in *mint.Input) { in.Signer = nil }},
		"no time":               {change: func(in *mint.Input) { in.IssuedAt = time.Time{} }},
		"no client":             {change: func(in *mint.Input) { in.ClientID = "" }},
		"a jti of another kind": {change: func(in *mint.Input) { in.ID = uuid.NewString() }},
		"half an ancestor":      {change: func(in *mint.Input) { in.Ancestors = []token.Ancestor{{ID: "p"}} }, want: token.ErrMissingClaim},
		"a signer that fails":   {change: func(in *mint.Input) { in.Signer = failing{broken} }, want: broken},
		"a token too large":     {max: 500, want: mint.ErrTooLarge},
		"a chain too large": {change: func(in *mint.Input) {
			in.Ancestors = slices.Repeat(in.Ancestors, 1000)
		}, want: mint.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			in, g := input(signer), tt.grant
			if tt.change != nil {
				tt.change(&in)
			}
			if tt.change != nil || tt.max > 0 {
				g = grant(t, "warehouse:read:sales/eu/*")
			}
			raw, claims, err := newMinter(t, mint.Config{Issuer: "https://writ.example", MaxBytes: tt.max}).JWT(t.Context(), g, in)
			if err == nil || raw != "" || claims != nil || (tt.want != nil && !errors.Is(err, tt.want)) {
				t.Errorf("JWT = %d bytes, %v, want %v", len(raw), err, tt.want)
			}
		})
	}
	for name, cfg := range map[string]mint.Config{"no issuer": {}, "larger than verifiers read": {Issuer: "x", MaxBytes: token.MaxBytes + 1}} {
		if _, err := mint.New(cfg); err == nil {
			t.Errorf("New accepts %s", name)
		}
	}
}

type failing struct{ err error }

func (failing) KeyID() string                                  { return "k" }
func (failing) Algorithm() string                              { return token.ES256 }
func (f failing) Sign(context.Context, []byte) ([]byte, error) { return nil, f.err }

func TestNewIDIsAUUIDv7(t *testing.T) {
	seen := map[string]bool{}
	last := ""
	for i := range 2000 {
		at := noon.Add(time.Duration(i) * time.Millisecond)
		text := mint.NewID(at)
		id, err := uuid.Parse(text)
		if err != nil || id.Version() != 7 || id.Variant() != uuid.RFC4122 || id.String() != text {
			t.Fatalf("%q: version %d, %v", text, id.Version(), err)
		}
		sec, nsec := id.Time().UnixTime()
		if got := time.Unix(sec, nsec).UnixMilli(); got != at.UnixMilli() {
			t.Fatalf("%q says %d, want %d", text, got, at.UnixMilli())
		}
		if seen[text] || text <= last {
			t.Fatalf("%q after %q", text, last)
		}
		seen[text], last = true, text
	}
}

func BenchmarkNewID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		mint.NewID(noon)
	}
}

func BenchmarkJWT(b *testing.B) {
	signer, _ := newSigner(b)
	g, m := grant(b, "warehouse:read:sales/eu/*", "warehouse:*:sales/us/*"), newMinter(b, mint.Config{Issuer: "https://writ.example"})
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := m.JWT(b.Context(), g, input(signer)); err != nil {
			b.Fatal(err)
		}
	}
}
