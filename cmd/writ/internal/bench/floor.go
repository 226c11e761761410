package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"net/http"
	"strings"
	"time"
)

// floor is the least that any token exchange over HTTP costs: the same server and client as
// the broker's, which parse the form, verify one ES256 token and sign one with the standard
// library, and answer JSON. It looks at no claim, decides nothing and remembers nothing.
type floor struct {
	verify *ecdsa.PublicKey
	sign   *ecdsa.PrivateKey
}

type floorClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Scope    string `json:"scope"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	Expiry   int64  `json:"exp"`
}

type floorAnswer struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int    `json:"expires_in"`
	Scope           string `json:"scope"`
}

// ServeHTTP answers POST /token.
func (f *floor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := f.check(r.PostForm.Get("subject_token")); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	scope := r.PostForm.Get("scope")
	raw, err := f.mint(scope)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(floorAnswer{ //nolint:gosec // the answer to a token request holds a token
		AccessToken: raw, IssuedTokenType: "urn:ietf:params:oauth:token-type:access_token",
		TokenType: "Bearer", ExpiresIn: 900, Scope: scope,
	})
}

func (f *floor) check(raw string) error {
	at := strings.LastIndexByte(raw, '.')
	if at < 0 {
		return errors.New("not a token")
	}
	signature, err := base64.RawURLEncoding.DecodeString(raw[at+1:])
	if err != nil || len(signature) != 64 {
		return errors.New("not an ES256 signature")
	}
	digest := sha256.Sum256([]byte(raw[:at]))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(f.verify, digest[:], r, s) {
		return errors.New("signature does not verify")
	}
	return nil
}

func (f *floor) mint(scope string) (string, error) {
	now := time.Now().Unix()
	payload, err := json.Marshal(floorClaims{
		Issuer: "https://floor.example", Subject: "agent", Audience: "https://warehouse.example", Scope: scope,
		ID: rand.Text(), IssuedAt: now, Expiry: now + 900,
	})
	if err != nil {
		return "", err
	}
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","typ":"at+jwt"}`)) + "." +
		base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, f.sign, digest[:])
	if err != nil {
		return "", err
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(signature[:]), nil
}

// serve listens on loopback until the returned function is called.
func (f *floor) serve(ctx context.Context) (url string, stop func() error, err error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /token", f)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	return "http://" + ln.Addr().String() + "/token", func() error {
		err := srv.Close()
		<-done
		return err
	}, nil
}
