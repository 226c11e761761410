package vault

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/token"
)

// SigningName is how a ring names the custody where Vault signs.
const SigningName = "vault-transit"

// A reference is what a ring keeps of a key that lies in Vault: a form, the version of
// Vault's key, and a MAC by Vault over all that it must stand with.
const (
	referenceForm = 1
	referenceHead = 1 + 4
	referenceSize = referenceHead + sha256.Size
)

// kind is how Vault names and uses the keys of one algorithm.
type kind struct {
	alg       string
	keyType   string
	suffix    string // of the key's name
	scheme    string // signature_algorithm, where there is a choice
	prehashed bool   // Vault gets the digest, and never sees the token
	size      int    // of a signature
}

func kinds() []kind {
	return []kind{
		{alg: token.ES256, keyType: "ecdsa-p256", suffix: "es256", prehashed: true, size: 64},
		{alg: token.RS256, keyType: "rsa-2048", suffix: "rs256", scheme: "pkcs1v15", prehashed: true, size: 256},
		{alg: token.Ed25519, keyType: "ed25519", suffix: "ed25519", size: 64},
	}
}

func kindOf(alg string) (kind, error) {
	for _, k := range kinds() {
		if k.alg == alg {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("%w: %q", token.ErrAlgorithm, alg)
}

// signKey is the name of the one key in Vault whose versions are a ring's keys for an
// algorithm.
func (c Config) signKey(ring string, k kind) string { return c.SignKeys + "-" + ring + "-" + k.suffix }

// Signing implements keys.Custody: keys are made and used by Vault, which never gives
// them out. Each key of a ring is a version of a key there. It is safe for concurrent use.
type Signing struct{ client *Client }

// Signing is the custody whose keys begin with Config.SignKeys.
func (c *Client) Signing() (*Signing, error) {
	if c.cfg.SignKeys == "" {
		return nil, errors.New("vault: no prefix of keys that sign is configured")
	}
	return &Signing{client: c}, nil
}

// Name implements keys.Custody.
func (*Signing) Name() string { return SigningName }

// String redacts.
func (*Signing) String() string { return "[vault-transit custody]" }

// GoString redacts.
func (*Signing) GoString() string { return "[vault-transit custody]" }

// Generate implements keys.Custody for ES256, RS256 and Ed25519. It adds a version to
// the key in Vault; one that nobody takes into a ring stays there unused.
func (s *Signing) Generate(ctx context.Context, ring, alg string, born uint64) (keys.Material, error) {
	c := s.client
	k, err := kindOf(alg)
	if err != nil {
		return keys.Material{}, err
	}
	if !slices.Contains(c.cfg.Rings, ring) {
		return keys.Material{}, c.refused(c.otherRing("rotate", ring))
	}
	name := c.cfg.signKey(ring, k)
	if err := s.rotate(ctx, name, k); err != nil {
		return keys.Material{}, err
	}
	r := c.keyRequest(name)
	var public crypto.PublicKey
	key, err := c.readKey(ctx, r, func(key transitKey) error {
		public, err = key.public(r, k, key.LatestVersion)
		return err
	})
	if err != nil {
		return keys.Material{}, err
	}
	// Another replica may have rotated since: then both offer its version, which is as
	// new, and only one of them gets it into the ring.
	version := key.LatestVersion
	id, err := keys.KeyID(public)
	if err != nil {
		return keys.Material{}, err
	}
	mac, err := s.mac(ctx, name, version, binding("writ/keys/vault-transit/v1", ring, id, alg, born))
	if err != nil {
		return keys.Material{}, err
	}
	reference := binary.BigEndian.AppendUint32([]byte{referenceForm}, version)
	return keys.Material{ID: id, Public: public, Sealed: append(reference, mac...)}, nil
}

// rotate adds a version to a key in Vault, or makes the key.
func (s *Signing) rotate(ctx context.Context, name string, k kind) error {
	path := s.client.cfg.Transit + "/keys/" + name
	err := s.client.call(ctx, request{op: "rotate", path: path + "/rotate", body: struct{}{}}, nil)
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	// The policy allows no other parameter: no key that can be exported.
	return s.client.call(ctx, request{op: "rotate", path: path, body: map[string]string{"type": k.keyType}}, nil)
}

// Open implements keys.Custody. The signer needs Vault for each signature.
func (s *Signing) Open(ctx context.Context, ring string, info keys.KeyInfo) (token.Signer, error) {
	c := s.client
	k, err := kindOf(info.Algorithm)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(c.cfg.Rings, ring) {
		return nil, c.refused(c.otherRing("key", ring))
	}
	name := c.cfg.signKey(ring, k)
	r := c.keyRequest(name)
	if len(info.Sealed) != referenceSize || info.Sealed[0] != referenceForm {
		return nil, c.refused(r.fault(ErrBinding, "key "+info.ID+" is not in the form of a reference", nil))
	}
	version := binary.BigEndian.Uint32(info.Sealed[1:])
	_, err = c.readKey(ctx, r, func(key transitKey) error {
		public, err := key.public(r, k, version)
		if err != nil {
			return err
		}
		// The ring must publish the very key that Vault will sign with.
		published, err := info.Key()
		if err != nil || !samePublic(published.Public, public) {
			return r.fault(ErrBinding, "key "+info.ID+" is published with another public half", nil)
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil, r.fault(ErrBinding, "key "+info.ID, err)
	}
	if err != nil {
		return nil, err
	}
	mac, err := s.mac(ctx, name, version, binding("writ/keys/vault-transit/v1", ring, info.ID, info.Algorithm, info.Born))
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(mac, info.Sealed[referenceHead:]) != 1 {
		return nil, c.refused(r.fault(ErrBinding, "key "+info.ID+" is not bound to this place", nil))
	}
	return newRemoteSigner(c, info.ID, name, version, k), nil
}

func samePublic(a, b crypto.PublicKey) bool {
	key, ok := a.(interface {
		Equal(other crypto.PublicKey) bool
	})
	return ok && key.Equal(b)
}

// mac has Vault authenticate what a reference stands with, under a key of the same
// version that does not sign: nobody without Vault can bind a version anew.
func (s *Signing) mac(ctx context.Context, name string, version uint32, input []byte) ([]byte, error) {
	var out answer[struct {
		HMAC string `json:"hmac"`
	}]
	r := request{op: "hmac", path: s.client.cfg.Transit + "/hmac/" + name + "/sha2-256", body: hmacInput{Input: input, KeyVersion: version}}
	var mac []byte
	err := s.client.call(ctx, r, &out, func() error {
		from, encoded, ok := versioned(out.Data.HMAC)
		var err error
		if mac, err = base64.StdEncoding.DecodeString(encoded); !ok || err != nil || from != version || len(mac) != sha256.Size {
			return r.fault(ErrAway, "the answer is no hmac of version "+strconv.FormatUint(uint64(version), 10), nil)
		}
		return nil
	})
	return mac, err
}

type hmacInput struct {
	Input      []byte `json:"input"`
	KeyVersion uint32 `json:"key_version"`
}

// transitKey is what Vault says of a key.
type transitKey struct {
	Type          string `json:"type"`
	Derived       bool   `json:"derived"`
	Exportable    bool   `json:"exportable"`
	PlainBackup   bool   `json:"allow_plaintext_backup"`
	LatestVersion uint32 `json:"latest_version"`
	// Keys are versions: objects where there is a public half, times otherwise.
	Keys map[string]any `json:"keys"`
}

func (c *Client) keyRequest(name string) request {
	return request{op: "key", path: c.cfg.Transit + "/keys/" + name}
}

func (c *Client) readKey(ctx context.Context, r request, check func(transitKey) error) (transitKey, error) {
	var out answer[transitKey]
	err := c.call(ctx, r, &out, func() error { return check(out.Data) })
	return out.Data, err
}

// public is the public half of a version, if the key is of the right type and cannot
// leave Vault.
func (t transitKey) public(r request, k kind, version uint32) (crypto.PublicKey, error) {
	switch {
	case t.Type != k.keyType:
		return nil, r.fault(ErrKeyType, "it is of type "+t.Type+", and "+k.alg+" needs "+k.keyType, nil)
	case t.Derived:
		return nil, r.fault(ErrKeyType, "it is derived", nil)
	case t.Exportable, t.PlainBackup:
		return nil, r.fault(ErrKeyType, "it can be exported: make one that cannot", nil)
	}
	entry, ok := t.Keys[strconv.FormatUint(uint64(version), 10)].(map[string]any)
	if !ok {
		return nil, r.fault(ErrBinding, fmt.Sprintf("it has no version %d", version), nil)
	}
	text, _ := entry["public_key"].(string)
	public, err := parsePublic(k, text)
	if err != nil {
		return nil, r.fault(ErrAway, "the answer holds no public key", err)
	}
	return public, nil
}

func parsePublic(k kind, text string) (crypto.PublicKey, error) {
	if k.alg == token.Ed25519 {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(data) != ed25519.PublicKeySize {
			return nil, errors.New("not an Ed25519 key")
		}
		return ed25519.PublicKey(data), nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("not PEM")
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// remoteSigner signs with one version of a key in Vault.
type remoteSigner struct {
	kid   string
	kind  kind
	batch *batch
}

func newRemoteSigner(c *Client, kid, name string, version uint32, k kind) *remoteSigner {
	path := c.cfg.Transit + "/sign/" + name + "/sha2-256"
	return &remoteSigner{kid: kid, kind: k, batch: &batch{client: c, path: path, sign: func(ctx context.Context, inputs []string) ([]signed, error) {
		return c.sign(ctx, path, version, k, inputs)
	}}}
}

// KeyID implements token.Signer.
func (s *remoteSigner) KeyID() string { return s.kid }

// Algorithm implements token.Signer.
func (s *remoteSigner) Algorithm() string { return s.kind.alg }

// String names the key.
func (s *remoteSigner) String() string { return "signer " + s.kid }

// GoString names the key.
func (s *remoteSigner) GoString() string { return s.String() }

// Sign implements token.Signer.
func (s *remoteSigner) Sign(ctx context.Context, input []byte) ([]byte, error) {
	if s.kind.prehashed {
		digest := sha256.Sum256(input)
		input = digest[:]
	}
	return s.batch.Sign(ctx, input)
}

// signInput is the body of Transit's sign. The version is pinned: one that was added
// since is not published yet.
type signInput struct {
	Input              string       `json:"input,omitempty"`
	BatchInput         []batchInput `json:"batch_input,omitempty"`
	KeyVersion         uint32       `json:"key_version"`
	Marshaling         string       `json:"marshaling_algorithm"`
	SignatureAlgorithm string       `json:"signature_algorithm,omitempty"`
	Prehashed          bool         `json:"prehashed,omitempty"`
}

type batchInput struct {
	Input string `json:"input"`
}

// sign makes the signatures of a batch. One alone travels without: that is less work
// for Vault.
func (c *Client) sign(ctx context.Context, path string, version uint32, k kind, inputs []string) ([]signed, error) {
	body := signInput{KeyVersion: version, Marshaling: "jws", SignatureAlgorithm: k.scheme, Prehashed: k.prehashed}
	if len(inputs) == 1 {
		body.Input = inputs[0]
	} else {
		for _, input := range inputs {
			body.BatchInput = append(body.BatchInput, batchInput{Input: input})
		}
	}
	var out answer[struct {
		batchResult

		Results []batchResult `json:"batch_results"`
	}]
	r := request{op: "sign", path: path, body: body}
	err := c.call(ctx, r, &out, func() error {
		if len(inputs) == 1 {
			out.Data.Results = []batchResult{out.Data.batchResult}
		}
		if len(out.Data.Results) != len(inputs) {
			return r.fault(ErrAway, "the answer is that to another batch", nil)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	answers := make([]signed, len(inputs))
	for i, result := range out.Data.Results {
		if answers[i].signature, err = result.decode(r, version, k.size); err != nil {
			answers[i].err = err
			c.cfg.Observe(r.op, err)
		}
	}
	return answers, nil
}

type batchResult struct {
	Signature string `json:"signature"`
	Error     string `json:"error"`
}

func (b batchResult) decode(r request, version uint32, size int) ([]byte, error) {
	if b.Error != "" {
		return nil, r.fault(ErrRefused, b.Error, nil)
	}
	from, encoded, ok := versioned(b.Signature)
	// Padding depends on the algorithm and on Vault's version.
	signature, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if !ok || err != nil || from != version || len(signature) != size {
		return nil, r.fault(ErrAway, "the answer is no signature of the pinned version", nil)
	}
	return signature, nil
}
