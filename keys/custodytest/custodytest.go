// Package custodytest is the conformance suite of keys.Custody: what every custody
// must show before a ring may count on it.
//
// A custody's own test calls Run with a Factory, against the real service and
// against what stands in for it.
package custodytest

import (
	"context"
	"crypto"
	"errors"
	"slices"
	"testing"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/token"
)

// Backend is one deployment, and the means to disturb it.
type Backend struct {
	// Replica gives another replica's custody over the same secrets: it opens what
	// the others made.
	Replica func(t *testing.T) keys.Custody
	// Foreign gives the same kind of custody in another deployment, which opens nothing
	// that was made here.
	Foreign func(t *testing.T) keys.Custody
	// Algorithms are those that the custody makes keys for.
	Algorithms []string
	// Secrets must never be shown: what the custody seals with, or logs in with.
	Secrets []string
	// Refused is what Open fails with for a key that is not what it stands for.
	Refused error

	// Outage takes the service away until the returned call; nil for a custody that
	// needs none.
	Outage func(t *testing.T) (end func())
	// SignsRemotely says that signing needs the service too.
	SignsRemotely bool
}

// Factory makes a backend, which is cleaned up through t.
type Factory func(t *testing.T) *Backend

// Run runs the whole suite.
func Run(t *testing.T, factory Factory) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*testing.T, *Backend)
	}{
		{"every algorithm signs, here and on another replica", signs},
		{"a kid is derived from its key and never comes twice", kids},
		{"an algorithm that custody has no keys for is refused", otherAlgorithm},
		{"a sealed key opens only as itself", itself},
		{"every changed byte is refused", changedByte},
		{"another deployment opens nothing", foreign},
		{"rings are apart", rings},
		{"keys are made, opened and used concurrently", concurrently},
		{"nothing secret is shown", redacted},
		{"what has ended does not go on", ended},
		{"an outage is told as one, and ends", outage},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, factory(t)) })
	}
}

const (
	ring  = "tokens"
	other = "others"
	birth = 7
)

// made is a key as it stands in a ring.
type made struct {
	keys.KeyInfo

	public crypto.PublicKey
}

func generate(t testing.TB, c keys.Custody, ring, alg string) made {
	t.Helper()
	m, err := c.Generate(t.Context(), ring, alg, birth)
	must(t, err)
	return standing(t, c, m, alg)
}

func standing(t testing.TB, c keys.Custody, m keys.Material, alg string) made {
	t.Helper()
	public, err := token.Key{ID: m.ID, Algorithm: alg, Public: m.Public}.MarshalJSON()
	must(t, err)
	return made{public: m.Public, KeyInfo: keys.KeyInfo{
		ID: m.ID, Algorithm: alg, Stage: keys.StageNext, Public: public, Sealed: m.Sealed, Custody: c.Name(), Born: birth,
	}}
}

// but is the key with one thing changed.
func (m made) but(change func(*keys.KeyInfo)) keys.KeyInfo {
	k := m.KeyInfo
	k.Sealed, k.Public = slices.Clone(k.Sealed), slices.Clone(k.Public)
	change(&k)
	return k
}

// sign has a signer sign and verifies it under the public key that was reported.
func sign(ctx context.Context, s token.Signer, m made) error {
	raw, err := token.Sign(ctx, token.TypeAccessToken, []byte(`{"sub":"agent"}`), s)
	if err != nil {
		return err
	}
	unverified, err := token.Parse(raw)
	if err != nil {
		return err
	}
	_, err = unverified.Verify(token.Key{ID: m.ID, Algorithm: m.Algorithm, Public: m.public})
	return err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

func (b *Backend) wantRefused(t *testing.T, c keys.Custody, ring string, k keys.KeyInfo) {
	t.Helper()
	if s, err := c.Open(t.Context(), ring, k); !errors.Is(err, b.Refused) || s != nil {
		t.Fatalf("Open = %v, %v, want %v", s, err, b.Refused)
	}
}
