package leaks_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/writbroker/writ/internal/redistest"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/store"
)

// ofRoot are the root secret and all that is derived from it.
func ofRoot(t *testing.T, dir string) (*keys.Root, []secret) {
	t.Helper()
	path := filepath.Join(dir, "root.key")
	text, err := os.ReadFile(path)
	must(t, err)
	plain, err := hex.DecodeString(strings.TrimSpace(string(text)))
	must(t, err)
	root, err := keys.LoadOrCreateRoot(path)
	must(t, err)
	return root, []secret{
		{"the root secret", plain}, {"the store's key", root.StoreMACKey()}, {"the ring's key", root.RingMACKey()},
		{"the sealing key", root.SealKey()}, {"the records key", root.RecordsKey().Seed()},
	}
}

// ofRing are the private keys of the ring, which lie sealed in Redis.
func ofRing(t *testing.T, n *redistest.Node, root *keys.Root) []secret {
	t.Helper()
	raw, err := n.Client().Get(t.Context(), "{writ}:cell:signing-keys").Bytes()
	must(t, err)
	shared, err := store.NewSealer(root.StoreMACKey())
	must(t, err)
	value, err := shared.Open(raw[8:], "cell", "signing-keys", strconv.FormatUint(binary.BigEndian.Uint64(raw), 10))
	must(t, err)
	ring, err := store.NewSealer(root.RingMACKey())
	must(t, err)
	payload, err := ring.Open(value, "writ key ring", "signing-keys")
	must(t, err)
	var state keys.State
	must(t, json.Unmarshal(payload, &state))
	aead, err := chacha20poly1305.NewX(root.SealKey())
	must(t, err)
	var out []secret
	for _, k := range state.Keys {
		nonce, sealed := k.Sealed[1:1+aead.NonceSize()], k.Sealed[1+aead.NonceSize():]
		var binding []byte
		for _, part := range []string{"writ/keys/file/v2", "signing-keys", k.ID, k.Algorithm, strconv.FormatUint(k.Born, 10)} {
			binding = append(binary.BigEndian.AppendUint32(binding, uint32(len(part))), part...)
		}
		plain, err := aead.Open(nil, nonce, sealed, binding)
		must(t, err)
		parsed, err := x509.ParsePKCS8PrivateKey(plain)
		must(t, err)
		private, ok := parsed.(*ecdsa.PrivateKey)
		if !ok {
			t.Fatalf("key %s is a %T", k.ID, parsed)
		}
		scalar, err := private.Bytes()
		must(t, err)
		out = append(out, secret{"the private key " + k.ID, scalar}, secret{"the private key " + k.ID + ", encoded", plain})
	}
	if len(state.Keys) < 3 {
		t.Fatalf("the ring has %d keys, at version %d: %s", len(state.Keys), state.Version, payload)
	}
	return out
}

// ofTokens: who has the signature has the token, since all else of it can be guessed.
func ofTokens(t *testing.T, tokens map[string]bool) []secret {
	t.Helper()
	var out []secret
	for raw := range tokens {
		parts := strings.Split(raw, ".")
		if len(parts) != 3 || len(parts[2]) < 40 {
			continue
		}
		name := "a token " + raw[:6] + "…" + parts[2][:4]
		out = append(out, secret{name + ", its signature's text", []byte(parts[2])})
		if signature, err := base64.RawURLEncoding.DecodeString(parts[2]); err == nil {
			out = append(out, secret{name + ", its signature", signature})
		}
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
