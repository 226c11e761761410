package verifier_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
	"github.com/writbroker/writ/verifier"
)

const liveRules = 1_000_000

// BenchmarkVerify measures the cold and the cached road with a million live
// rules, and the floor that the cold one is held against, in one run.
func BenchmarkVerify(b *testing.B) {
	fake := newBroker(b)
	fake.set(func() { fake.tick, fake.part = time.Second, 5000 })
	v := fake.run(func(c *verifier.Config) { c.CacheSize = 1 << 16 })
	fill(b, fake, v)
	raw := fake.mint(func(c *token.Claims) {
		c.Actor = &token.Actor{Subject: "k8s:prod/agent", Actor: &token.Actor{Subject: "k8s:prod/planner"}}
		c.Ancestors = []token.Ancestor{{ID: uuid.NewString(), KeyID: "k1"}, {ID: uuid.NewString(), KeyID: "k1"}}
	})

	b.Run("raw-ecdsa", func(b *testing.B) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(b, err)
		digest := sha256.Sum256([]byte(raw))
		signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		must(b, err)
		b.ReportAllocs()
		for b.Loop() {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
				b.Fatal("signature does not verify")
			}
		}
	})
	b.Run("cold", func(b *testing.B) {
		raws := make([]string, 2048) // far more than the small cache remembers
		for i := range raws {
			raws[i] = fake.mint()
		}
		small := fake.run(func(c *verifier.Config) { c.CacheSize = 16; c.InsecureTrustUntilExpiry = true })
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if _, err := small.Verify(b.Context(), raws[i%len(raws)]); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cached-and-allowed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c, err := v.Verify(b.Context(), raw)
			if err != nil || !c.Allows("read", "sales/eu/q1") {
				b.Fatal(err)
			}
		}
	})
	b.Run("cached-parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := v.Verify(b.Context(), raw); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// fill gives the broker, and through its feed the verifier, a million rules.
func fill(b *testing.B, fake *broker, v *verifier.Verifier) {
	b.Helper()
	now := time.Now()
	rule := &revocation.Rule{Selector: revocation.SelectToken, CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
	fake.mu.Lock()
	for range liveRules {
		fake.seq++
		r := *rule
		r.ID, r.Value = uuid.NewString(), uuid.NewString()
		at := token.Rev{Lineage: lineage, Seq: fake.seq}
		r.Entries = []token.Rev{at}
		must(b, fake.index.Apply(revocation.Event{Type: revocation.EventRule, Rule: &r, Position: at}))
	}
	fake.mu.Unlock()
	fake.cutStreams() // the verifier comes back, finds its position unknown to the log, and takes a snapshot
	deadline := time.Now().Add(5 * time.Minute)
	for v.Position() != fake.index.Position() {
		if time.Now().After(deadline) {
			b.Fatal("the verifier never got the rules")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
