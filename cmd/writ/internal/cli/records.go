package cli

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"

	"github.com/writbroker/writ/token"
)

// readRecordsKey takes the Ed25519 key of a JWKS, or of the records_jwks of a discovery
// document.
func readRecordsKey(file string) (ed25519.PublicKey, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading records key: %w", err)
	}
	var doc struct {
		Records json.RawMessage `json:"records_jwks"`
	}
	if json.Unmarshal(data, &doc) == nil && doc.Records != nil {
		data = doc.Records
	}
	set, err := token.ParseJWKS(data, token.JWKSOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading records key: %w", err)
	}
	for _, k := range set.Keys() {
		if pub, ok := k.Public.(ed25519.PublicKey); ok {
			return pub, nil
		}
	}
	return nil, fmt.Errorf("no Ed25519 key in %s", file)
}
