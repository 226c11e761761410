package vault

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/token"
)

const (
	// SealingName is how a ring names the custody that seals.
	SealingName = "vault"

	// sealedForm is the first byte of everything sealed here.
	sealedForm = 1
	// sealedHead is that byte and the version of the key that sealed.
	sealedHead = 1 + 4
)

// Sealing implements keys.Custody: keys are made and used in this process, and sealed
// by a key that never leaves Vault. It is safe for concurrent use.
type Sealing struct {
	client *Client
	fits   atomic.Bool // the key that seals was seen to be of a fitting type
}

// Sealing is the custody that seals with Config.SealKey, which must be there.
func (c *Client) Sealing() (*Sealing, error) {
	if c.cfg.SealKey == "" {
		return nil, errors.New("vault: no key that seals is configured")
	}
	return &Sealing{client: c}, nil
}

// Name implements keys.Custody.
func (*Sealing) Name() string { return SealingName }

// String redacts.
func (*Sealing) String() string { return "[vault custody]" }

// GoString redacts.
func (*Sealing) GoString() string { return "[vault custody]" }

// Generate implements keys.Custody for ES256, RS256 and Ed25519.
func (s *Sealing) Generate(ctx context.Context, ring, alg string, born uint64) (keys.Material, error) {
	c := s.client
	if !slices.Contains(c.cfg.Rings, ring) {
		return keys.Material{}, c.refused(c.otherRing("encrypt", ring))
	}
	if err := s.check(ctx); err != nil {
		return keys.Material{}, err
	}
	made, plain, err := keys.MakeLocal(alg)
	if err != nil {
		return keys.Material{}, err
	}
	defer clear(plain)
	var out answer[struct {
		Ciphertext string `json:"ciphertext"`
	}]
	body := encrypt{Plaintext: plain, AssociatedData: binding("writ/keys/vault/v1", ring, made.ID, alg, born)}
	r := request{op: "encrypt", path: c.cfg.Transit + "/encrypt/" + c.cfg.SealKey, body: body}
	err = c.call(ctx, r, &out, func() error {
		if made.Sealed, err = pack(out.Data.Ciphertext); err != nil {
			return r.fault(ErrAway, "the answer is no ciphertext", err)
		}
		return nil
	})
	return made, err
}

// encrypt and decrypt are the bodies of Transit's calls; bytes travel in base64.
type encrypt struct {
	Plaintext      []byte `json:"plaintext"`
	AssociatedData []byte `json:"associated_data"`
}

type decrypt struct {
	Ciphertext     string `json:"ciphertext"`
	AssociatedData []byte `json:"associated_data"`
}

// Open implements keys.Custody.
func (s *Sealing) Open(ctx context.Context, ring string, k keys.KeyInfo) (token.Signer, error) {
	c := s.client
	r := request{op: "decrypt", path: c.cfg.Transit + "/decrypt/" + c.cfg.SealKey, refusal: ErrBinding}
	if !slices.Contains(c.cfg.Rings, ring) {
		return nil, c.refused(c.otherRing(r.op, ring))
	}
	ciphertext, ok := unpack(k.Sealed)
	if !ok {
		return nil, c.refused(r.fault(ErrBinding, "key "+k.ID+" is not in the form of what is sealed here", nil))
	}
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	var out answer[struct {
		Plaintext []byte `json:"plaintext"`
	}]
	r.body = decrypt{Ciphertext: ciphertext, AssociatedData: binding("writ/keys/vault/v1", ring, k.ID, k.Algorithm, k.Born)}
	var signer token.Signer
	err := c.call(ctx, r, &out, func() error {
		defer clear(out.Data.Plaintext)
		var err error
		if signer, err = keys.OpenLocal(k, out.Data.Plaintext); errors.Is(err, keys.ErrNotKey) {
			return r.fault(ErrBinding, "key "+k.ID+" opens, and is no private key", nil)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return signer, nil
}

// check sees once that the key that seals can bind what it seals: what Vault says of
// one that cannot differs between its versions.
func (s *Sealing) check(ctx context.Context) error {
	if s.fits.Load() {
		return nil
	}
	r := s.client.keyRequest(s.client.cfg.SealKey)
	_, err := s.client.readKey(ctx, r, func(key transitKey) error {
		switch {
		case key.Type != "aes256-gcm96" && key.Type != "chacha20-poly1305":
			return r.fault(ErrKeyType, "it is of type "+key.Type+", which cannot bind what it seals; make one of type aes256-gcm96", nil)
		case key.Derived:
			return r.fault(ErrKeyType, "it is derived; make one that is not", nil)
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return r.fault(ErrNotFound, "make it: vault write -f "+r.path, nil)
	}
	if err == nil {
		s.fits.Store(true)
	}
	return err
}

// otherRing refuses a ring that is not kept here before Vault is asked anything of it.
func (c *Client) otherRing(op, ring string) *CallError {
	return &CallError{Kind: ErrBinding, Op: op, Path: c.cfg.Transit, Detail: "ring " + strconv.Quote(ring) + " is not kept here"}
}

// binding is the associated data: each part with its length, so that nothing else
// gives the same bytes.
func binding(purpose, ring, kid, alg string, born uint64) []byte {
	var out []byte
	for _, part := range []string{purpose, ring, kid, alg, strconv.FormatUint(born, 10)} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return out
}

// pack turns Vault's text, vault:v1:base64, into the one form of its bytes: text could
// be changed and still be the same ciphertext.
func pack(text string) ([]byte, error) {
	version, encoded, ok := versioned(text)
	if !ok {
		return nil, errors.New("it does not begin with vault:v")
	}
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	return slices.Concat([]byte{sealedForm}, binary.BigEndian.AppendUint32(nil, version), data), nil
}

func unpack(sealed []byte) (string, bool) {
	if len(sealed) <= sealedHead || sealed[0] != sealedForm {
		return "", false
	}
	version := binary.BigEndian.Uint32(sealed[1:])
	return fmt.Sprintf("vault:v%d:%s", version, base64.StdEncoding.EncodeToString(sealed[sealedHead:])), version > 0
}

// versioned splits what Transit makes: vault:v<version>:<the rest>.
func versioned(text string) (version uint32, rest string, ok bool) {
	text, ok = strings.CutPrefix(text, "vault:v")
	if !ok {
		return 0, "", false
	}
	number, rest, ok := strings.Cut(text, ":")
	n, err := strconv.ParseUint(number, 10, 32)
	return uint32(n), rest, ok && err == nil && n > 0 && bytes.Equal(strconv.AppendUint(nil, n, 10), []byte(number))
}
