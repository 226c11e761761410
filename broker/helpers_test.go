package broker_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"testing"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/scopes"
)

// thumbprint is x5t#S256 (RFC 8705 section 3.1).
func thumbprint(chain []*x509.Certificate) string {
	sum := sha256.Sum256(chain[0].Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// client authenticates a workload by its own token.
func (w *world) client(name string) broker.Credentials {
	w.tb.Helper()
	return broker.Credentials{ClientAssertion: w.workload(name)}
}

func scopeOf(tb testing.TB, text string) scopes.Scope {
	tb.Helper()
	s, err := scopes.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
