package keys

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
)

// rootSize is the size of the root secret in bytes.
const rootSize = 32

// ErrRoot is a root file that cannot be used.
var ErrRoot = errors.New("root secret is not usable")

// Root is the one secret from which a deployment's other secrets are derived
// (HKDF-SHA-256, RFC 5869, one label each). Every replica needs the same one; it
// is kept outside the store. Who has it can forge everything.
type Root struct{ secret [rootSize]byte }

// LoadOrCreateRoot reads the root secret, 64 hex digits in a file that nobody
// but its owner can access, or makes the file if there is none. Of processes
// that make it at once, one wins and all load the same. A file that others may
// read is refused: the secret may be out already.
func LoadOrCreateRoot(path string) (*Root, error) {
	root, err := loadRoot(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	var secret [rootSize]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, fmt.Errorf("making root secret: %w", err)
	}
	if err := PrivateFile(path).Create([]byte(hex.EncodeToString(secret[:]) + "\n")); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making root secret: %w", err)
	}
	return loadRoot(path)
}

func loadRoot(path string) (*Root, error) {
	const maxFile = 256
	data, err := PrivateFile(path).Read(maxFile)
	if err != nil {
		return nil, fmt.Errorf("reading root secret: %w", err)
	}
	text := strings.TrimRight(string(data), "\r\n")
	secret, err := hex.DecodeString(text)
	if err != nil || len(secret) != rootSize {
		return nil, fmt.Errorf("%w: %s does not hold %d hex digits", ErrRoot, path, 2*rootSize)
	}
	root := &Root{secret: [rootSize]byte(secret)}
	if root.secret == ([rootSize]byte{}) {
		return nil, fmt.Errorf("%w: %s holds zeros", ErrRoot, path)
	}
	return root, nil
}

// derive cannot fail: the length is far below HKDF's limit.
func (r *Root) derive(label string) []byte {
	key, err := hkdf.Key(sha256.New, r.secret[:], nil, "writ/v1/"+label, rootSize)
	if err != nil {
		panic("keys: " + err.Error())
	}
	return key
}

// StoreMACKey authenticates records in the store (store.NewSealer).
func (r *Root) StoreMACKey() []byte { return r.derive("store-mac") }

// RingMACKey authenticates the key ring (Config.MACKey).
func (r *Root) RingMACKey() []byte { return r.derive("ring-mac") }

// SealKey seals private keys at rest (keys/file).
func (r *Root) SealKey() []byte { return r.derive("key-seal") }

// RecordsKey signs audit checkpoints and revocation snapshots. It lives as long
// as the root, apart from the keys that sign tokens.
func (r *Root) RecordsKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(r.derive("records"))
}

// String redacts.
func (*Root) String() string { return "[root secret]" }

// GoString redacts.
func (*Root) GoString() string { return "[root secret]" }

// LogValue redacts.
func (*Root) LogValue() slog.Value { return slog.StringValue("[root secret]") }

// MarshalJSON redacts.
func (*Root) MarshalJSON() ([]byte, error) { return []byte(`"[root secret]"`), nil }
