package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// granted is a token of the broker, taken apart by the standard library alone.
type granted struct {
	raw string

	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`

	Issuer   string     `json:"iss"`
	Subject  string     `json:"sub"`
	Audience audience   `json:"aud"`
	Expiry   int64      `json:"exp"`
	IssuedAt int64      `json:"iat"`
	ID       string     `json:"jti"`
	ClientID string     `json:"client_id"`
	Scope    string     `json:"scope"`
	Roles    []string   `json:"roles"`
	Task     string     `json:"txn"`
	Actor    *actor     `json:"act"`
	Rev      string     `json:"rev"`
	Policy   string     `json:"pol"`
	Ancestor []ancestor `json:"anc"`
}

type actor struct {
	Subject string `json:"sub"`
	Actor   *actor `json:"act"`
}

type ancestor struct {
	ID    string `json:"jti"`
	KeyID string `json:"kid"`
}

// audience is one string or a list of them (RFC 7519, section 4.1.3).
type audience []string

// UnmarshalJSON reads either form.
func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// chain is who acts, the current agent first.
func (g *granted) chain() []string {
	var out []string
	for a := g.Actor; a != nil; a = a.Actor {
		out = append(out, a.Subject)
	}
	return out
}

func (g *granted) life() int64 { return g.Expiry - g.IssuedAt }

// parse reads a token without verifying it.
func parse(raw string) (*granted, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, errors.New("it is no compact JWS")
	}
	g := &granted{raw: raw}
	for _, part := range parts[:2] {
		data, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			return nil, fmt.Errorf("it is no compact JWS: %w", err)
		}
		if err := json.Unmarshal(data, g); err != nil {
			return nil, fmt.Errorf("it is no JWT: %w", err)
		}
	}
	return g, nil
}

// summary names a token by its claims, in place of the token.
func summary(raw string) string {
	g, err := parse(raw)
	if err != nil {
		return "<unreadable>"
	}
	out := "<sub=" + g.Subject
	if chain := g.chain(); len(chain) > 0 {
		out += " act=" + strings.Join(chain, ",")
	}
	return out + " jti=" + g.ID + ">"
}

// keySet is what the broker publishes, by kid.
type keySet map[string]*ecdsa.PublicKey

func parseKeys(body []byte) (keySet, error) {
	var doc struct {
		Keys []struct {
			Type      string `json:"kty"`
			Curve     string `json:"crv"`
			ID        string `json:"kid"`
			Algorithm string `json:"alg"`
			X         string `json:"x"`
			Y         string `json:"y"`
			D         string `json:"d"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, fmt.Errorf("reading the published keys: %w", err)
	}
	out := keySet{}
	for _, k := range doc.Keys {
		x, errX := base64.RawURLEncoding.DecodeString(k.X)
		y, errY := base64.RawURLEncoding.DecodeString(k.Y)
		if errX != nil || errY != nil || k.Type != "EC" || k.Curve != "P-256" || k.Algorithm != "ES256" || k.D != "" || k.ID == "" {
			return nil, fmt.Errorf("the published key %q is no public ES256 key", k.ID)
		}
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
		if err != nil {
			return nil, fmt.Errorf("the published key %q: %w", k.ID, err)
		}
		out[k.ID] = pub
	}
	return out, nil
}

// verify checks the signature of a token (RFC 7518, section 3.4).
func (k keySet) verify(g *granted) error {
	pub, ok := k[g.KeyID]
	if !ok {
		return fmt.Errorf("token %s is signed by key %q, which is not published", g.ID, g.KeyID)
	}
	cut := strings.LastIndexByte(g.raw, '.')
	signature, err := base64.RawURLEncoding.DecodeString(g.raw[cut+1:])
	if err != nil || len(signature) != 64 {
		return fmt.Errorf("token %s has no ES256 signature", g.ID)
	}
	digest := sha256.Sum256([]byte(g.raw[:cut]))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(pub, digest[:], r, s) {
		return fmt.Errorf("the signature of token %s does not verify", g.ID)
	}
	return nil
}
