package identity_test

import (
	"context"
	"testing"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/token"
)

// frozen is a KeyFinder of one key that can be used concurrently.
type frozen struct{ key token.Key }

func (f frozen) Keys(context.Context, string, string) ([]token.Key, uint64, error) {
	return []token.Key{f.key}, 1, nil
}

func (f frozen) Generation(string) uint64 { return 1 }

// mapped is a Kubernetes token, three mapped claims and two rules: what a deployment looks like.
func mapped(b *testing.B) (*identity.Registry, identity.KeyFinder, string) {
	b.Helper()
	header, claims := fixture(b, "kubernetes")
	header["alg"] = "ES256"
	key := newKey(b, "ES256")
	source := acme()
	source.Issuer = claims["iss"].(string)
	source.Claims = map[string]string{
		"subject":   `claims["kubernetes.io"].namespace + ":" + claims["kubernetes.io"].serviceaccount.name`,
		"namespace": `claims["kubernetes.io"].namespace`,
		"pod":       `claims["kubernetes.io"].?pod.?name`,
	}
	source.Require = []identity.Rule{
		{Expression: `claims.sub.startsWith("system:serviceaccount:")`, Message: "a service account"},
		{Expression: `claims["kubernetes.io"].namespace != "kube-system"`, Message: "no system namespace"},
	}
	return compile(b, source), frozen{tokenKey(header, key)}, sign(b, key, header, claims)
}

// BenchmarkAuthenticate is a token never seen before; subtract BenchmarkSignatureAlone to see what identity adds.
func BenchmarkAuthenticate(b *testing.B) {
	reg, keys, raw := mapped(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := reg.Authenticate(b.Context(), raw, now(), keys); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignatureAlone(b *testing.B) {
	_, keys, raw := mapped(b)
	found, _, err := keys.Keys(b.Context(), "", "")
	if err != nil {
		b.Fatal(err)
	}
	unverified, err := token.Parse(raw)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := unverified.Verify(found[0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAlone(b *testing.B) {
	_, _, raw := mapped(b)
	b.ReportAllocs()
	for b.Loop() {
		unverified, err := token.Parse(raw)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := token.DecodeObject(unverified.UnverifiedPayload()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCacheHit(b *testing.B) {
	reg, keys, raw := mapped(b)
	cache := identity.NewCache(reg, keys, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cache.Authenticate(b.Context(), raw, now()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSourceOf(b *testing.B) {
	reg, _, _ := mapped(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := reg.SourceOf("acme:payments:invoice-agent"); !ok {
			b.Fatal("not found")
		}
	}
}
