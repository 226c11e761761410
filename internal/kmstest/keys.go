package kmstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// States of a key.
const (
	Enabled         = "Enabled"
	Disabled        = "Disabled"
	PendingDeletion = "PendingDeletion"
	PendingImport   = "PendingImport"
	Unavailable     = "Unavailable"
)

// Usages of a key.
const (
	EncryptDecrypt = "ENCRYPT_DECRYPT"
	SignVerify     = "SIGN_VERIFY"
)

type key struct {
	id, spec, usage, state string
	secret                 []byte        // of a symmetric key
	private                crypto.Signer // of an asymmetric one
	tags                   map[string]string
	days                   int // that it was given before its deletion
}

func arn(id string) string { return "arn:aws:kms:" + Region + ":" + Account + ":key/" + id }

// SymmetricKey makes a key that seals, and returns its ARN.
func (s *Server) SymmetricKey(t testing.TB) string {
	t.Helper()
	return s.NewKey(t, "SYMMETRIC_DEFAULT", EncryptDecrypt)
}

// NewKey makes a key and returns its ARN.
func (s *Server) NewKey(t testing.TB, spec, usage string) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	k, failed := s.add(spec, usage)
	if failed != nil {
		t.Fatal(failed)
	}
	return arn(k.id)
}

// Alias has a name, with alias/ before it, stand for a key.
func (s *Server) Alias(name, keyARN string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aliases[name] = keyARN
}

// SetState puts a key into a state.
func (s *Server) SetState(keyARN, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[id(keyARN)].state = state
}

// Replace gives a key other material, as no KMS ever would.
func (s *Server) Replace(t testing.TB, keyARN string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.keys[id(keyARN)]
	fresh, failed := s.add(old.spec, old.usage)
	if failed != nil {
		t.Fatal(failed)
	}
	delete(s.keys, fresh.id)
	old.secret, old.private = fresh.secret, fresh.private
}

// Delete removes a key at once.
func (s *Server) Delete(keyARN string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, id(keyARN))
}

// Key is what a key is like.
type Key struct {
	ARN, Spec, Usage, State string
	Tags                    map[string]string
	Days                    int // until it is deleted, when that was asked for
}

// Keys lists all keys of a usage.
func (s *Server) Keys(usage string) []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Key
	for _, k := range s.keys {
		if k.usage == usage {
			out = append(out, Key{arn(k.id), k.spec, k.usage, k.state, k.tags, k.days})
		}
	}
	return out
}

func (s *Server) add(spec, usage string) (*key, *failure) {
	k := &key{id: uuid.NewString(), spec: spec, usage: usage, state: Enabled}
	var err error
	switch spec {
	case "SYMMETRIC_DEFAULT":
		const bytes = 32
		k.secret = make([]byte, bytes)
		_, err = rand.Read(k.secret)
	case "ECC_NIST_P256":
		k.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECC_NIST_P384":
		k.private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ECC_NIST_EDWARDS25519":
		_, k.private, err = ed25519.GenerateKey(rand.Reader)
	case "RSA_2048":
		const bits = 2048
		k.private, err = rsa.GenerateKey(rand.Reader, bits)
	default:
		return nil, invalid("KeySpec %s is not one of this KMS", spec)
	}
	if err != nil {
		return nil, &failure{http.StatusInternalServerError, "KMSInternalException", err.Error()}
	}
	s.keys[k.id] = k
	return k, nil
}

// id is the last part of an ARN, or the id itself.
func id(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// find resolves id, ARN, alias and alias's ARN.
func (s *Server) find(name string) (*key, *failure) {
	prefix := "arn:aws:kms:" + Region + ":" + Account + ":"
	short := strings.TrimPrefix(name, prefix)
	if target, ok := s.aliases[short]; ok {
		short = strings.TrimPrefix(target, prefix)
	}
	k := s.keys[strings.TrimPrefix(short, "key/")]
	if s.unseen > 0 {
		s.unseen--
		k = nil
	}
	switch {
	case strings.HasPrefix(short, "arn:"):
		return nil, &failure{http.StatusBadRequest, "NotFoundException", "Invalid arn " + name}
	case k == nil && strings.HasPrefix(short, "alias/"):
		return nil, &failure{http.StatusBadRequest, "NotFoundException", "Alias " + prefix + short + " is not found."}
	case k == nil:
		return nil, &failure{http.StatusBadRequest, "NotFoundException", "Key '" + prefix + "key/" + strings.TrimPrefix(short, "key/") + "' does not exist"}
	}
	return k, nil
}

// usable is find for what needs the key's material.
func (s *Server) usable(name, usage string) (*key, *failure) {
	k, failed := s.find(name)
	if failed != nil {
		return nil, failed
	}
	bad := func(code, text string) (*key, *failure) {
		return nil, &failure{http.StatusBadRequest, code, arn(k.id) + " " + text}
	}
	switch {
	case k.state == Disabled:
		return bad("DisabledException", "is disabled.")
	case k.state == PendingDeletion:
		return bad("KMSInvalidStateException", "is pending deletion.")
	case k.state == PendingImport:
		return bad("KMSInvalidStateException", "is pending import.")
	case k.state == Unavailable:
		return nil, &failure{http.StatusInternalServerError, "KeyUnavailableException", arn(k.id) + " is unavailable."}
	case usage != "" && k.usage != usage:
		return bad("InvalidKeyUsageException", "key usage is "+k.usage+" which is not valid for this operation.")
	}
	return k, nil
}
