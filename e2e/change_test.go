package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/redistest"
	"github.com/writbroker/writ/internal/vaulttest/vaultcases"
	"github.com/writbroker/writ/keys"
)

// TestCustodyAndAlgorithmChange takes two replicas on one Redis from keys in a file to keys that Vault
// seals, and on to keys of another algorithm that Vault makes and signs with: each time one replica is
// started anew with its new configuration, then the other, and two rotations follow, by which the key
// that was published before, and then the first one in the new custody, come to sign. No resource
// server refuses a token.
func TestCustodyAndAlgorithmChange(t *testing.T) {
	t.Parallel()
	redis, bed := redistest.Start(t), startVault(t)
	d := bed.Deploy(t)
	var replicas []*process
	s := newSystem(t, balance(t, func() []*process { return replicas }))
	if _, err := keys.LoadOrCreateRoot(filepath.Join(s.dir, "root.key")); err != nil {
		t.Fatal(err)
	}
	store := fmt.Sprintf("root_key_file: %q\nstore: {kind: redis, redis: {addresses: [%q]}}\n", filepath.Join(s.dir, "root.key"), redis.Addr)
	for _, name := range []string{"one", "two"} {
		replicas = append(replicas, s.broker(t, name))
	}
	const schedule = "jwks_max_age: 1s, clock_skew: 0s, prepublish: 39s, rotate_every: 1h, retire_after: 98s"
	for _, b := range replicas {
		b.start(t, store+"keys: {custody: file, algorithm: ES256, "+schedule+"}\n")
	}
	f, end := s.newTraffic(t, s.checks(t, 2)...)
	grows(t, "tokens", &f.minted, 50)

	permitted := false
	for _, step := range []struct{ custody, algorithm string }{{"vault", "ES256"}, {"vault-transit", "RS256"}} {
		settings := store + s.inVault(t, d, "custody: "+step.custody+", algorithm: "+step.algorithm+", "+schedule)
		for _, b := range replicas {
			if !permitted {
				b.permit(t, d, settings)
				permitted = true
			}
			b.stop(t)
			b.start(t, settings)
			grows(t, "tokens while a replica is new", &f.minted, 50)
		}
		for range 2 {
			replicas[0].planned(t)
			grows(t, "tokens after a rotation", &f.minted, 50)
		}
		list := replicas[1].keys(t)
		if active := stage(list, "active"); list.Custody != step.custody || active == nil || active.Algorithm != step.algorithm {
			t.Errorf("custody %s, and %+v signs; want %s with %s", list.Custody, active, step.custody, step.algorithm)
		}
	}
	signsThere(t, bed, f)
	grows(t, "tokens after Vault was unsealed", &f.minted, 50)
	end()
	f.unnoticed(t, 10_000)
	publishes(t, replicas)
}

// signsThere shows that it is Vault that signs: sealed, it does not.
func signsThere(t *testing.T, bed *vaultcases.Bed, f *traffic) {
	t.Helper()
	bed.Seal(t)
	sealed(t, f, "vault-transit")
	bed.Unseal(t)
}

// publishes holds that both replicas publish the same keys.
func publishes(t *testing.T, replicas []*process) {
	t.Helper()
	var sets [2]string
	for i, b := range replicas {
		resp, err := http.Get("http://" + b.public + wire.PathJWKS) //nolint:noctx // as a resource server would
		if err != nil {
			t.Fatal(err)
		}
		var set struct{ Keys []json.RawMessage }
		err = json.NewDecoder(resp.Body).Decode(&set)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		sets[i] = fmt.Sprintf("%s", set.Keys)
	}
	if sets[0] != sets[1] {
		t.Errorf("the replicas publish different keys:\n%s\n%s", sets[0], sets[1])
	}
}
