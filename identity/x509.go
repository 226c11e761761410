package identity

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

const (
	maxChain      = 8
	minRSABits    = 2048
	x509IssuedAt  = "iat"
	x509ExpiresAt = "exp"
)

// AuthenticateX509 verifies an X.509-SVID, the leaf first, and returns who it proves. The caller has
// verified that the peer holds the leaf's private key (the TLS handshake does). The leaf must not be a CA and has exactly
// one URI SAN, a SPIFFE ID whose trust domain has a source; no leeway is given. Rules and mappings
// see sub (the SPIFFE ID), iat (NotBefore) and exp (NotAfter).
func (r *Registry) AuthenticateX509(chain []*x509.Certificate, now time.Time) (*Principal, error) {
	if len(chain) == 0 || len(chain) > maxChain {
		return nil, fmt.Errorf("%w: a chain of %d certificates", ErrMalformed, len(chain))
	}
	leaf := chain[0]
	id, trustDomain, err := spiffeID(leaf)
	if err != nil {
		return nil, err
	}
	src, ok := r.x509[trustDomain]
	if !ok {
		return nil, ErrUnknownIssuer
	}
	roots := src.authorities.Load()
	if roots == nil {
		return nil, ErrKeysUnavailable
	}
	if err := src.verifyChain(chain, roots, now); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(leaf.Raw)
	p := &Principal{
		Source: src.Name, Prefix: src.SubjectPrefix, Kind: src.Kind, IssuedAt: leaf.NotBefore, Expires: leaf.NotAfter,
		Thumbprint: base64.RawURLEncoding.EncodeToString(digest[:]),
	}
	claims := map[string]any{"sub": id, x509IssuedAt: leaf.NotBefore.Unix(), x509ExpiresAt: leaf.NotAfter.Unix()}
	if err := src.describe(p, claims); err != nil {
		return nil, err
	}
	return p, nil
}

// spiffeID checks what the X.509-SVID specification (§4, §5.2) asks of a leaf.
func spiffeID(leaf *x509.Certificate) (id, trustDomain string, err error) {
	const signsOthers = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	switch {
	case leaf.IsCA || leaf.KeyUsage&signsOthers != 0:
		return "", "", fmt.Errorf("%w: the leaf is a signing certificate", ErrMalformed)
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return "", "", fmt.Errorf("%w: the leaf must not sign, by its key usage", ErrMalformed)
	case len(leaf.URIs) != 1:
		return "", "", fmt.Errorf("%w: the leaf has %d URI names, not one", ErrMalformed, len(leaf.URIs))
	}
	if key, ok := leaf.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minRSABits {
		return "", "", fmt.Errorf("%w: RSA key under %d bits", ErrAlgorithm, minRSABits)
	}
	id = leaf.URIs[0].String()
	trustDomain, err = trustDomainOf(id)
	return id, trustDomain, err
}

func (s *source) verifyChain(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) error {
	leaf := chain[0]
	if now.After(leaf.NotAfter) {
		return ErrExpired
	}
	if now.Before(leaf.NotBefore) {
		return ErrNotYetValid
	}
	intermediates := x509.NewCertPool()
	for _, ca := range chain[1:] {
		intermediates.AddCert(ca)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case ok && invalid.Reason == x509.Expired:
		return fmt.Errorf("%w: an authority of the chain", ErrExpired)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return s.checkAge(leaf.NotBefore, now)
}
