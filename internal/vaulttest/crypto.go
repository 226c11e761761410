package vaulttest

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// keyVersion is one version of a key: it seals or it signs, and every one can hmac.
type keyVersion struct {
	aead   cipher.AEAD
	signer crypto.Signer
	macKey []byte
}

func newKeyVersion(kind string) (keyVersion, error) {
	const size = 32
	v := keyVersion{macKey: random(size)}
	var err error
	switch kind {
	case "aes256-gcm96":
		var block cipher.Block
		if block, err = aes.NewCipher(random(size)); err == nil {
			v.aead, err = cipher.NewGCM(block)
		}
	case "ecdsa-p256":
		v.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa-2048":
		v.signer, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, v.signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = errors.New("unknown key type " + kind)
	}
	return v, err
}

// random cannot fail: crypto/rand ends the program first.
func random(n int) []byte {
	out := make([]byte, n)
	_, _ = rand.Read(out)
	return out
}

func (v keyVersion) seal(plain, associated []byte) []byte {
	nonce := random(v.aead.NonceSize())
	return v.aead.Seal(nonce, nonce, plain, associated)
}

func (v keyVersion) open(sealed, associated []byte) ([]byte, error) {
	size := v.aead.NonceSize()
	if len(sealed) < size {
		return nil, errors.New("invalid ciphertext length")
	}
	return v.aead.Open(nil, sealed[:size], sealed[size:], associated)
}

func (v keyVersion) mac(input []byte) []byte {
	m := hmac.New(sha256.New, v.macKey)
	m.Write(input)
	return m.Sum(nil)
}

func (v keyVersion) publicText() string {
	if key, ok := v.signer.Public().(ed25519.PublicKey); ok {
		return base64.StdEncoding.EncodeToString(key)
	}
	der, err := x509.MarshalPKIXPublicKey(v.signer.Public())
	if err != nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// sign makes the text after the version.
func (v keyVersion) sign(in signing, input []byte) (string, error) {
	if _, ok := v.signer.(ed25519.PrivateKey); ok {
		signature, err := v.signer.Sign(rand.Reader, input, crypto.Hash(0))
		return marshal(in.Marshaling, signature), err
	}
	if !in.Prehashed {
		digest := sha256.Sum256(input)
		input = digest[:]
	}
	var options crypto.SignerOpts = crypto.SHA256
	if _, ok := v.signer.(*rsa.PrivateKey); ok && in.Scheme != "pkcs1v15" {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: crypto.SHA256}
	}
	signature, err := v.signer.Sign(rand.Reader, input, options)
	if err != nil {
		return "", err
	}
	if _, ok := v.signer.(*ecdsa.PrivateKey); ok && in.Marshaling == "jws" {
		var pair struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(signature, &pair); err != nil {
			return "", err
		}
		const width = 32
		signature = append(pair.R.FillBytes(make([]byte, width)), pair.S.FillBytes(make([]byte, width))...)
	}
	return marshal(in.Marshaling, signature), nil
}

func marshal(form string, signature []byte) string {
	if form == "jws" {
		return base64.RawURLEncoding.EncodeToString(signature)
	}
	return base64.StdEncoding.EncodeToString(signature)
}

func tagged(version int, data []byte) string {
	return fmt.Sprintf("vault:v%d:%s", version, base64.StdEncoding.EncodeToString(data))
}

func untagged(text string) (int, []byte, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 || parts[0] != "vault" || !strings.HasPrefix(parts[1], "v") {
		return 0, nil, errors.New("invalid ciphertext")
	}
	version, err := strconv.Atoi(parts[1][1:])
	if err != nil {
		return 0, nil, err
	}
	data, err := base64.StdEncoding.DecodeString(parts[2])
	return version, data, err
}
