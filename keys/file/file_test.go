package file_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/custodytest"
	"github.com/writbroker/writ/keys/file"
	"github.com/writbroker/writ/token"
)

func newCustody(t *testing.T, secret byte) *file.Custody {
	t.Helper()
	c, err := file.New(bytes.Repeat([]byte{secret}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sealed(t *testing.T, c *file.Custody, alg string) keys.KeyInfo {
	t.Helper()
	m, err := c.Generate(t.Context(), "ring", alg, 0)
	if err != nil {
		t.Fatal(err)
	}
	return keys.KeyInfo{ID: m.ID, Algorithm: alg, Sealed: m.Sealed}
}

func TestEachAlgorithmOpensAndSigns(t *testing.T) {
	c := newCustody(t, 1)
	for _, alg := range []string{token.ES256, token.RS256, token.Ed25519} {
		t.Run(alg, func(t *testing.T) {
			m, err := c.Generate(t.Context(), "ring", alg, 0)
			if err != nil {
				t.Fatal(err)
			}
			// As after a restart: another value over the same secret.
			signer, err := newCustody(t, 1).Open(t.Context(), "ring", keys.KeyInfo{ID: m.ID, Algorithm: alg, Sealed: m.Sealed})
			if err != nil {
				t.Fatal(err)
			}
			raw, err := token.Sign(t.Context(), "JWT", []byte("{}"), signer)
			if err != nil {
				t.Fatal(err)
			}
			u, err := token.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := u.Verify(token.Key{ID: m.ID, Algorithm: alg, Public: m.Public}); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := c.Generate(t.Context(), "ring", "HS256", 1); !errors.Is(err, token.ErrAlgorithm) {
		t.Errorf("Generate(HS256) = %v", err)
	}
}

func TestASealedKeyOpensOnlyAsItself(t *testing.T) {
	c := newCustody(t, 1)
	k, other := sealed(t, c, token.ES256), sealed(t, c, token.ES256)
	spoil := func(change func(*keys.KeyInfo)) keys.KeyInfo {
		spoiled := k
		spoiled.Sealed = slices.Clone(k.Sealed)
		change(&spoiled)
		return spoiled
	}
	for name, tt := range map[string]struct {
		custody *file.Custody
		ring    string
		key     keys.KeyInfo
	}{
		"another secret":     {newCustody(t, 2), "ring", k},
		"another ring":       {c, "gnir", k},
		"another kid":        {c, "ring", spoil(func(k *keys.KeyInfo) { k.ID = other.ID })},
		"another algorithm":  {c, "ring", spoil(func(k *keys.KeyInfo) { k.Algorithm = "ES384" })},
		"another sealed key": {c, "ring", spoil(func(k *keys.KeyInfo) { k.Sealed = other.Sealed })},
		"nothing":            {c, "ring", spoil(func(k *keys.KeyInfo) { k.Sealed = nil })},
		"cut short":          {c, "ring", spoil(func(k *keys.KeyInfo) { k.Sealed = k.Sealed[:len(k.Sealed)-1] })},
		"only a nonce":       {c, "ring", spoil(func(k *keys.KeyInfo) { k.Sealed = k.Sealed[:25] })},
		"text moved between ring and kid": {c, "rin", spoil(func(moved *keys.KeyInfo) {
			moved.ID = "g" + k.ID
		})},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := tt.custody.Open(t.Context(), tt.ring, tt.key); !errors.Is(err, file.ErrSealed) {
				t.Errorf("Open = %v, want ErrSealed", err)
			}
		})
	}
	for i := range k.Sealed {
		flipped := spoil(func(k *keys.KeyInfo) { k.Sealed[i] ^= 0x80 })
		if _, err := c.Open(t.Context(), "ring", flipped); !errors.Is(err, file.ErrSealed) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
}

func TestSealingIsFreshAndHidesTheKey(t *testing.T) {
	c := newCustody(t, 1)
	a, b := sealed(t, c, token.ES256), sealed(t, c, token.ES256)
	if bytes.Equal(a.Sealed[:25], b.Sealed[:25]) {
		t.Error("a nonce was used twice")
	}
	if shown := fmt.Sprintf("%v %+v %#v", c, c, c); bytes.Contains([]byte(shown), []byte{1, 1, 1, 1}) || len(shown) > 60 {
		t.Errorf("the custody shows %q", shown)
	}
	if _, err := file.New([]byte("short")); err == nil {
		t.Error("New takes a short key")
	}
}

func TestBackup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring")
	b := file.NewBackup(path)
	if value, err := b.Load(); value != nil || err != nil {
		t.Errorf("Load = %q, %v of nothing", value, err)
	}
	for _, value := range []string{"one", "another, longer", "3"} {
		if err := b.Save([]byte(value)); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Load(); err != nil || string(got) != value {
			t.Errorf("Load = %q, %v, want %q", got, err, value)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Load(); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Load = %v, want ErrPermission", err)
	}
	if err := file.NewBackup(filepath.Join(path, "x")).Save(nil); err == nil {
		t.Error("Save into no directory succeeded")
	}
	var _ keys.Backup = b
	var _ keys.Custody = (*file.Custody)(nil)
}

func TestConformance(t *testing.T) {
	custodytest.Run(t, func(*testing.T) *custodytest.Backend {
		return &custodytest.Backend{
			Replica:    func(t *testing.T) keys.Custody { return newCustody(t, 'k') },
			Foreign:    func(t *testing.T) keys.Custody { return newCustody(t, 'f') },
			Algorithms: []string{token.ES256, token.RS256, token.Ed25519},
			Secrets:    []string{strings.Repeat("k", 32), base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32))},
			Refused:    file.ErrSealed,
		}
	})
}

// A ring from before keys had a birth is still read.
func TestAKeyWithoutABirthOpens(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	id, err := keys.KeyID(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	aead, err := chacha20poly1305.NewX(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	var aad []byte
	for _, part := range []string{"writ/keys/file/v1", "ring", id, token.ES256} {
		aad = append(binary.BigEndian.AppendUint32(aad, uint32(len(part))), part...)
	}
	blob := make([]byte, 1+chacha20poly1305.NonceSizeX)
	blob[0] = 1
	blob = aead.Seal(blob, blob[1:], plain, aad)
	k := keys.KeyInfo{ID: id, Algorithm: token.ES256, Sealed: blob}
	if _, err := newCustody(t, 1).Open(t.Context(), "ring", k); err != nil {
		t.Error(err)
	}
	k.Born = 3
	if _, err := newCustody(t, 1).Open(t.Context(), "ring", k); !errors.Is(err, file.ErrSealed) {
		t.Errorf("it opens with a birth: %v", err)
	}
}
