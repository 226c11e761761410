package identity_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/token"
)

// cached returns a cache over the acme source, its keys, and a way to make tokens.
func cached(tb testing.TB, size int) (*identity.Cache, *keyRing, func(changes object) string) {
	tb.Helper()
	key := newKey(tb, "ES256")
	keys := ringOf("acme", token.Key{ID: "k1", Public: key.Public()})
	cache := identity.NewCache(compile(tb, acme()), keys, size)
	return cache, keys, func(changes object) string {
		return sign(tb, key, acmeHeader(), with(acmeClaims(), changes))
	}
}

func TestCacheRemembersUntil(t *testing.T) {
	exp := issuedAt().Add(time.Hour)
	cases := []struct {
		name    string
		changes object
		at      time.Time
		hit     bool
		err     error
	}{
		{"at once", nil, now(), true, nil},
		{"just before exp", nil, exp.Add(-time.Nanosecond), true, nil},
		{"at exp, within the leeway", nil, exp, false, nil},
		{"after exp and leeway", nil, exp.Add(30 * time.Second), false, identity.ErrExpired},
		{"before the maximum age", object{"exp": exp.Add(48 * time.Hour).Unix()}, issuedAt().Add(24*time.Hour - 1), true, nil},
		{"at the maximum age, within the leeway", object{"exp": exp.Add(48 * time.Hour).Unix()}, issuedAt().Add(24 * time.Hour), false, nil},
		{"after the maximum age", object{"exp": exp.Add(48 * time.Hour).Unix()}, issuedAt().Add(25 * time.Hour), false, identity.ErrTooOld},
		{"when the clock went back", nil, now().Add(-time.Second), false, nil},
		{"when the clock went back to before it was issued", nil, issuedAt().Add(-time.Hour), false, identity.ErrNotYetValid},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cache, keys, issue := cached(t, 100)
			raw := issue(c.changes)
			first, err := cache.Authenticate(t.Context(), raw, now())
			if err != nil {
				t.Fatal(err)
			}
			again, err := cache.Authenticate(t.Context(), raw, c.at)
			if !errors.Is(err, c.err) {
				t.Fatalf("got %v, want %v", err, c.err)
			}
			if hit := keys.asked == 1 && again == first; hit != c.hit {
				t.Errorf("hit %v, want %v", hit, c.hit)
			}
		})
	}
}

func TestCacheForgetsWithTheKeys(t *testing.T) {
	cache, keys, issue := cached(t, 100)
	raw := issue(nil)
	authenticate := func(want error) {
		t.Helper()
		if _, err := cache.Authenticate(t.Context(), raw, now()); !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
	}
	authenticate(nil)
	keys.keys["acme"] = append(keys.keys["acme"], token.Key{ID: "k2", Public: newKey(t, "ES256").Public()})
	keys.generation++
	authenticate(nil) // a key was added: verified anew, and remembered again
	authenticate(nil)
	if keys.asked != 2 {
		t.Errorf("keys were asked for %d times, want 2", keys.asked)
	}
	keys.generation, keys.err = 0, identity.ErrKeysUnavailable
	authenticate(identity.ErrKeysUnavailable)
	keys.generation, keys.err = 2, nil
	authenticate(nil) // the same keys came back

	keys.keys["acme"] = keys.keys["acme"][1:]
	keys.generation++
	authenticate(identity.ErrKeyNotFound) // the key was removed, and takes its tokens with it
}

func TestCacheKnowsATokenByAllOfIt(t *testing.T) {
	cache, _, issue := cached(t, 100)
	raw := issue(nil)
	if _, err := cache.Authenticate(t.Context(), raw, now()); err != nil {
		t.Fatal(err)
	}
	forged := []byte(raw)
	forged[len(forged)-10] ^= 1
	if p, err := cache.Authenticate(t.Context(), string(forged), now()); err == nil {
		t.Errorf("a changed signature is accepted as %v", p)
	}
}

func TestCacheIsBounded(t *testing.T) {
	cache, keys, issue := cached(t, 64)
	var raws []string
	for i := range 200 {
		raws = append(raws, issue(object{"jti": fmt.Sprint(i)}))
	}
	for range 2 {
		for _, raw := range raws {
			if _, err := cache.Authenticate(t.Context(), raw, now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if hits := 400 - keys.asked; hits > 64 {
		t.Errorf("%d hits in a cache of 64", hits)
	}

	none, keys, issue := cached(t, 0)
	raw := issue(nil)
	for range 2 {
		if _, err := none.Authenticate(t.Context(), raw, now()); err != nil {
			t.Fatal(err)
		}
	}
	if keys.asked != 2 {
		t.Error("a cache of size 0 remembers")
	}
}

// What is asked for stays, however many others come by once.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	cache, keys, issue := cached(t, 320)
	used := issue(nil)
	for i := range 600 {
		if _, err := cache.Authenticate(t.Context(), used, now()); err != nil {
			t.Fatal(err)
		}
		if _, err := cache.Authenticate(t.Context(), issue(object{"jti": fmt.Sprint("once-", i)}), now()); err != nil {
			t.Fatal(err)
		}
	}
	if keys.asked != 601 {
		t.Errorf("keys were asked for %d times, want 601", keys.asked)
	}
}

func TestCacheIsConcurrent(t *testing.T) {
	key := newKey(t, "ES256")
	keys := frozen{key: token.Key{ID: "k1", Public: key.Public()}}
	cache := identity.NewCache(compile(t, acme()), keys, 48)
	var raws []string
	for i := range 60 {
		raws = append(raws, sign(t, key, acmeHeader(), with(acmeClaims(), object{"sub": fmt.Sprint("w", i)})))
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 200 {
				n := (i*7 + worker) % len(raws)
				p, err := cache.Authenticate(t.Context(), raws[n], now())
				if err != nil || p.ID != fmt.Sprint("acme:w", n) {
					t.Errorf("token %d proves %v: %v", n, p, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
