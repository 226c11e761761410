package broker_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
)

// thumbprint is x5t#S256 (RFC 8705 section 3.1).
func thumbprint(chain []*x509.Certificate) string {
	sum := sha256.Sum256(chain[0].Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
