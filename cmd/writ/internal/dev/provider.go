package dev

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/writbroker/writ/token"
)

const (
	pathDiscovery = "/.well-known/openid-configuration"
	pathCluster   = "/cluster"
	pathPeople    = "/people"
	pathAnchor    = "/anchors"
)

// provider is the identity provider of the world: a cluster that signs for its workloads,
// and a login service that signs for people. Each is an issuer of its own, with its own key.
type provider struct {
	url             string
	cluster, people *issuer
}

// issuer signs tokens and publishes its key by OpenID Connect Discovery.
type issuer struct {
	url    string
	signer token.Signer
	jwks   []byte
}

// startProvider serves the identity provider; the witness is served beside it.
func (w *World) startProvider(ctx context.Context, _ Config) error {
	ln, err := listen(ctx, anyPort)
	if err != nil {
		return err
	}
	url := "http://" + ln.Addr().String()
	// As in a real cluster, workloads' tokens are RS256.
	forWorkloads, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("making key of identity provider: %w", err)
	}
	forPeople, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making key of identity provider: %w", err)
	}
	w.idp = &provider{url: url}
	if w.idp.cluster, err = newIssuer(url+pathCluster, token.RS256, forWorkloads); err != nil {
		return err
	}
	if w.idp.people, err = newIssuer(url+pathPeople, token.ES256, forPeople); err != nil {
		return err
	}
	mux := http.NewServeMux()
	w.idp.cluster.routes(mux, pathCluster, "/openid/v1/jwks")
	w.idp.people.routes(mux, pathPeople, "/keys")
	mux.HandleFunc("POST "+pathAnchor, w.witness.take)
	w.run(ctx, "identity provider", serve(ln, mux))
	return nil
}

func newIssuer(url, algorithm string, key crypto.Signer) (*issuer, error) {
	kid, err := token.Thumbprint(key.Public())
	if err != nil {
		return nil, fmt.Errorf("naming key of %s: %w", url, err)
	}
	signer, err := token.NewLocalSigner(kid, algorithm, key)
	if err != nil {
		return nil, fmt.Errorf("opening key of %s: %w", url, err)
	}
	set, err := token.NewKeySet(token.Key{ID: kid, Algorithm: algorithm, Public: key.Public(), Use: "sig"})
	if err != nil {
		return nil, fmt.Errorf("publishing key of %s: %w", url, err)
	}
	jwks, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("publishing key of %s: %w", url, err)
	}
	return &issuer{url: url, signer: signer, jwks: jwks}, nil
}

func (i *issuer) routes(mux *http.ServeMux, path, keys string) {
	mux.HandleFunc("GET "+path+pathDiscovery, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{
			"issuer": i.url, "jwks_uri": i.url + keys,
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{i.signer.Algorithm()},
		})
	})
	mux.HandleFunc("GET "+path+keys, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, json.RawMessage(i.jwks))
	})
}

// sign makes a compact JWS. It writes the header itself, since Kubernetes leaves out the typ.
func (i *issuer) sign(ctx context.Context, typ string, claims map[string]any) (string, error) {
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ,omitempty"`
	}{i.signer.Algorithm(), i.signer.KeyID(), typ})
	if err != nil {
		return "", fmt.Errorf("encoding header: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encoding claims: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	input := encode(header) + "." + encode(payload)
	signature, err := i.signer.Sign(ctx, []byte(input))
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return input + "." + encode(signature), nil
}

// writeJSON answers with a value. A failure to write is the client's having gone away.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
