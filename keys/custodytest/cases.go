package custodytest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/token"
)

func signs(t *testing.T, b *Backend) {
	for _, alg := range b.Algorithms {
		t.Run(alg, func(t *testing.T) {
			c := b.Replica(t)
			k := generate(t, c, ring, alg)
			for name, replica := range map[string]keys.Custody{"here": c, "another": b.Replica(t)} {
				signer, err := replica.Open(t.Context(), ring, k.KeyInfo)
				must(t, err)
				if signer.KeyID() != k.ID || signer.Algorithm() != alg {
					t.Errorf("%s: signer is %s of %s", name, signer.KeyID(), signer.Algorithm())
				}
				if err := sign(t.Context(), signer, k); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func kids(t *testing.T, b *Backend) {
	seen := map[string]bool{}
	c := b.Replica(t)
	for _, alg := range b.Algorithms {
		for range 3 {
			k := generate(t, c, ring, alg)
			if want, err := keys.KeyID(k.public); err != nil || k.ID != want {
				t.Errorf("kid is %q, want %q (%v)", k.ID, want, err)
			}
			if seen[k.ID] {
				t.Errorf("kid %s was made twice", k.ID)
			}
			seen[k.ID] = true
		}
	}
}

func otherAlgorithm(t *testing.T, b *Backend) {
	c := b.Replica(t)
	k := generate(t, c, ring, b.Algorithms[0])
	for _, alg := range []string{"", "none", "HS256", "ES512", "EdDSA"} {
		if _, err := c.Generate(t.Context(), ring, alg, birth); !errors.Is(err, token.ErrAlgorithm) {
			t.Errorf("Generate(%q) = %v, want ErrAlgorithm", alg, err)
		}
		if s, err := c.Open(t.Context(), ring, k.but(func(k *keys.KeyInfo) { k.Algorithm = alg })); err == nil || s != nil {
			t.Errorf("a key opens for %q", alg)
		}
	}
}

func itself(t *testing.T, b *Backend) {
	c := b.Replica(t)
	for _, alg := range b.Algorithms {
		k, second := generate(t, c, ring, alg), generate(t, c, ring, alg)
		for name, spoiled := range map[string]keys.KeyInfo{
			"another kid":    k.but(func(k *keys.KeyInfo) { k.ID = second.ID }),
			"another sealed": k.but(func(k *keys.KeyInfo) { k.Sealed = second.Sealed }),
			"all but sealed": k.but(func(k *keys.KeyInfo) { k.ID, k.Public = second.ID, second.Public }),
			"a later birth":  k.but(func(k *keys.KeyInfo) { k.Born++ }),
			"no birth":       k.but(func(k *keys.KeyInfo) { k.Born = 0 }),
			"nothing sealed": k.but(func(k *keys.KeyInfo) { k.Sealed = nil }),
			"one byte":       k.but(func(k *keys.KeyInfo) { k.Sealed = k.Sealed[:1] }),
			"cut short":      k.but(func(k *keys.KeyInfo) { k.Sealed = k.Sealed[:len(k.Sealed)-1] }),
			"drawn out":      k.but(func(k *keys.KeyInfo) { k.Sealed = append(k.Sealed, 0) }),
		} {
			t.Run(alg+" "+name, func(t *testing.T) { b.wantRefused(t, c, ring, spoiled) })
		}
		t.Run(alg+" text moved between ring and kid", func(t *testing.T) {
			last := ring[len(ring)-1:]
			b.wantRefused(t, c, ring[:len(ring)-1], k.but(func(k *keys.KeyInfo) { k.ID = last + k.ID }))
		})
	}
	for _, alg := range b.Algorithms {
		for _, wrong := range b.Algorithms {
			if alg != wrong {
				k := generate(t, c, ring, alg)
				b.wantRefused(t, c, ring, k.but(func(k *keys.KeyInfo) { k.Algorithm = wrong }))
			}
		}
	}
}

func changedByte(t *testing.T, b *Backend) {
	c := b.Replica(t)
	k := generate(t, c, ring, b.Algorithms[0])
	for i := range k.Sealed {
		for _, bit := range []byte{0x01, 0x80} {
			if _, err := c.Open(t.Context(), ring, k.but(func(k *keys.KeyInfo) { k.Sealed[i] ^= bit })); !errors.Is(err, b.Refused) {
				t.Fatalf("bit %#x of byte %d of %d flipped: %v", bit, i, len(k.Sealed), err)
			}
		}
	}
	// A refusal is not a fault of the service: the next key opens.
	_, err := c.Open(t.Context(), ring, k.KeyInfo)
	must(t, err)
}

func foreign(t *testing.T, b *Backend) {
	c, stranger := b.Replica(t), b.Foreign(t)
	for _, alg := range b.Algorithms {
		k := generate(t, c, ring, alg)
		// The stranger has a key of its own in that place, and still knows this one from it.
		generate(t, stranger, ring, alg)
		b.wantRefused(t, stranger, ring, k.KeyInfo)
	}
}

func rings(t *testing.T, b *Backend) {
	c := b.Replica(t)
	for _, alg := range b.Algorithms {
		k, elsewhere := generate(t, c, ring, alg), generate(t, c, other, alg)
		b.wantRefused(t, c, other, k.KeyInfo)
		b.wantRefused(t, c, ring, elsewhere.KeyInfo)
	}
}

func concurrently(t *testing.T, b *Backend) {
	const replicas, signatures = 4, 16
	c := b.Replica(t)
	var wait sync.WaitGroup
	for i := range replicas {
		wait.Go(func() {
			alg := b.Algorithms[i%len(b.Algorithms)]
			m, err := c.Generate(t.Context(), ring, alg, birth)
			if err != nil {
				t.Error(err)
				return
			}
			k := standing(t, c, m, alg)
			signer, err := c.Open(t.Context(), ring, k.KeyInfo)
			if err != nil {
				t.Error(err)
				return
			}
			var signing sync.WaitGroup
			for range signatures {
				signing.Go(func() {
					if err := sign(t.Context(), signer, k); err != nil {
						t.Error(err)
					}
				})
			}
			signing.Wait()
		})
	}
	wait.Wait()
}

// redacted looks at all the ways in which a value gets into a log or an error.
func redacted(t *testing.T, b *Backend) {
	c := b.Replica(t)
	for _, alg := range b.Algorithms {
		k := generate(t, c, ring, alg)
		signer, err := c.Open(t.Context(), ring, k.KeyInfo)
		must(t, err)
		if err := sign(t.Context(), signer, k); err != nil {
			t.Error(err)
		}
		_, refusal := c.Open(t.Context(), ring, k.but(func(k *keys.KeyInfo) { k.Born++ }))
		for name, value := range map[string]any{"custody": c, "signer": signer, "refusal": refusal} {
			for _, shown := range everyForm(t, value) {
				for _, secret := range b.Secrets {
					if strings.Contains(shown, secret) {
						t.Errorf("the %s shows a secret", name)
					}
				}
				// What it says of itself is short: its private half would not be.
				if most := 600; len(shown) > most {
					t.Errorf("the %s shows %d bytes: %.200s", name, len(shown), shown)
				}
			}
		}
	}
}

func everyForm(t *testing.T, value any) []string {
	t.Helper()
	var structured, text bytes.Buffer
	slog.New(slog.NewJSONHandler(&structured, nil)).Info("shown", "value", value)
	slog.New(slog.NewTextHandler(&text, nil)).Info("shown", "value", value)
	out, err := json.Marshal(value)
	if err != nil {
		out = []byte(err.Error())
	}
	return []string{
		fmt.Sprintf("%v", value), fmt.Sprintf("%+v", value), fmt.Sprintf("%#v", value), fmt.Sprintf("%s", value),
		string(out), structured.String(), text.String(),
	}
}

func ended(t *testing.T, b *Backend) {
	if b.Outage == nil {
		return // a custody that asks nobody has nothing to wait for
	}
	c := b.Replica(t)
	k := generate(t, c, ring, b.Algorithms[0])
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Generate(ctx, ring, b.Algorithms[0], birth); !errors.Is(err, context.Canceled) {
		t.Errorf("Generate = %v", err)
	}
	if _, err := c.Open(ctx, ring, k.KeyInfo); !errors.Is(err, context.Canceled) {
		t.Errorf("Open = %v", err)
	}
	// Somebody else's request that ended is no fault of the service.
	if _, err := c.Open(t.Context(), ring, k.KeyInfo); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func outage(t *testing.T, b *Backend) {
	if b.Outage == nil {
		return
	}
	c := b.Replica(t)
	k := generate(t, c, ring, b.Algorithms[0])
	signer, err := c.Open(t.Context(), ring, k.KeyInfo)
	must(t, err)
	end := b.Outage(t)
	const calls = 12 // a custody that stops asking after some says the same
	for range calls {
		if _, err := c.Generate(t.Context(), ring, b.Algorithms[0], birth); !errors.Is(err, keys.ErrUnavailable) {
			t.Fatalf("Generate = %v, want ErrUnavailable", err)
		}
		if _, err := c.Open(t.Context(), ring, k.KeyInfo); !errors.Is(err, keys.ErrUnavailable) {
			t.Fatalf("Open = %v, want ErrUnavailable", err)
		}
		switch err := sign(t.Context(), signer, k); {
		case b.SignsRemotely && !errors.Is(err, keys.ErrUnavailable):
			t.Fatalf("Sign = %v, want ErrUnavailable", err)
		case !b.SignsRemotely && err != nil:
			t.Fatalf("an opened key stopped signing: %v", err)
		}
	}
	end()
	eventually(t, func() error {
		_, err := c.Open(t.Context(), ring, k.KeyInfo)
		return errors.Join(err, sign(t.Context(), signer, k))
	})
}

// eventually tries until it works: how soon is not conformance's to say, but it must
// come without anybody's help.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	const patience = time.Minute
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("it did not come back: %v", err)
}
