package awskms

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// remoteSigner signs with one KMS key.
type remoteSigner struct {
	client *Client
	kid    string
	arn    string
	spec   spec
	public crypto.PublicKey
}

// KeyID implements token.Signer.
func (s *remoteSigner) KeyID() string { return s.kid }

// Algorithm implements token.Signer.
func (s *remoteSigner) Algorithm() string { return s.spec.alg }

// String names the key.
func (s *remoteSigner) String() string { return "signer " + s.kid }

// GoString names the key.
func (s *remoteSigner) GoString() string { return s.String() }

// Sign implements token.Signer. KMS gets the digest, and never sees the token.
func (s *remoteSigner) Sign(ctx context.Context, input []byte) ([]byte, error) {
	const name = "kms:Sign"
	c := s.client
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	full, err := c.gate.enter(ctx)
	if full || err != nil {
		return nil, s.notServed(name, full, err)
	}
	defer c.gate.leave()
	digest := sha256.Sum256(input)
	out, err := call(ctx, c, name, s.arn, c.kms.Sign, &kms.SignInput{
		KeyId: &s.arn, Message: digest[:], MessageType: types.MessageTypeDigest, SigningAlgorithm: s.spec.algorithm,
	})
	if err != nil {
		return nil, err
	}
	signature, err := s.signature(digest[:], out.Signature)
	if err != nil {
		return nil, &CallError{Kind: ErrAway, Action: name, Key: s.arn, Detail: "the answer is no signature of that key", Cause: err}
	}
	return signature, nil
}

// notServed is a signature whose turn did not come.
func (s *remoteSigner) notServed(name string, full bool, err error) error {
	if errors.Is(err, context.Canceled) {
		return ended(name, s.arn, err)
	}
	refused := &CallError{Kind: ErrQueueFull, Action: name, Key: s.arn, Cause: err}
	if !full {
		refused.Detail = "its turn did not come in time"
	}
	s.client.cfg.Observe(name, refused)
	return refused
}

var errSignature = errors.New("ill-formed or wrong signature")

// signature checks what KMS answered and brings it into JWS form. A wrong one would be
// refused by every resource server, and nobody would know why.
func (s *remoteSigner) signature(digest, answered []byte) ([]byte, error) {
	switch public := s.public.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(public, digest, answered) {
			return nil, errSignature
		}
		return jose(answered, (public.Params().BitSize+7)/8)
	case *rsa.PublicKey:
		return answered, rsa.VerifyPKCS1v15(public, crypto.SHA256, digest, answered)
	}
	return nil, errSignature
}

// jose turns an ASN.1 ECDSA signature into r‖s, each of width bytes (RFC 7518 §3.4). It
// takes DER only, so that one signature has one form.
func jose(der []byte, width int) ([]byte, error) {
	var seq cryptobyte.String
	var r, s []byte
	input := cryptobyte.String(der)
	// What reads an integer into bytes refuses a negative or padded one.
	if !input.ReadASN1(&seq, asn1.SEQUENCE) || !input.Empty() ||
		!seq.ReadASN1Integer(&r) || !seq.ReadASN1Integer(&s) || !seq.Empty() ||
		len(r) > width || len(s) > width {
		return nil, errSignature
	}
	out := make([]byte, 2*width)
	copy(out[width-len(r):], r)
	copy(out[2*width-len(s):], s)
	return out, nil
}
