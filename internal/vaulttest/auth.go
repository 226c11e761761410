package vaulttest

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// auth is one mounted way to log in.
type auth struct {
	kind      string
	keys      []crypto.PublicKey // jwt, kubernetes
	roles     map[string]*role
	secretIDs map[string]string // approle: to the role's name
}

// role is what a login gets.
type role struct {
	id        string // approle
	policies  []string
	ttl, most time.Duration
	audiences []string          // jwt
	accounts  []string          // kubernetes
	pool      *x509.CertPool    // cert
	batch     bool              // its tokens cannot be renewed
	claims    map[string]string // jwt: bound_claims
}

func newAuth(kind string) *auth {
	return &auth{kind: kind, roles: map[string]*role{}, secretIDs: map[string]string{}}
}

func clientCertificates() *tls.Config {
	return &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
}

// authCall sets a method up.
func (s *Server) authCall(r *request) (*envelope, error) {
	mount, rest, _ := strings.Cut(strings.TrimPrefix(r.path, "auth/"), "/")
	a, ok := s.auths[mount]
	if !ok {
		return nil, refuse(http.StatusNotFound, "no handler for route \""+r.path+"\". route entry not found.")
	}
	what, name, _ := strings.Cut(rest, "/")
	name, part, _ := strings.Cut(name, "/")
	switch {
	case what == "config":
		return nil, a.configure(r)
	case (what == "role" || what == "certs") && part == "":
		return nil, a.setRole(name, r)
	case what == "role" && part == "role-id" && a.roles[name] != nil:
		return &envelope{Data: map[string]string{"role_id": a.roles[name].id}}, nil
	case what == "role" && part == "secret-id" && a.roles[name] != nil:
		id := rand.Text()
		a.secretIDs[id] = name
		return &envelope{Data: map[string]string{"secret_id": id}}, nil
	}
	return nil, refuse(http.StatusNotFound, "unsupported path")
}

func (a *auth) configure(r *request) error {
	var in struct {
		JWTKeys []string `json:"jwt_validation_pubkeys"`
		PEMKeys []string `json:"pem_keys"`
	}
	if err := r.into(&in); err != nil {
		return err
	}
	a.keys = nil
	for _, text := range append(in.JWTKeys, in.PEMKeys...) {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return refuse(http.StatusBadRequest, "no PEM")
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return refuse(http.StatusBadRequest, err.Error())
		}
		a.keys = append(a.keys, key)
	}
	return nil
}

func (a *auth) setRole(name string, r *request) error {
	var in struct {
		TokenPolicies []string          `json:"token_policies"`
		TokenType     string            `json:"token_type"`
		Audiences     []string          `json:"bound_audiences"`
		Accounts      []string          `json:"bound_service_account_names"`
		Claims        map[string]string `json:"bound_claims"`
		Certificate   string            `json:"certificate"`
	}
	if err := r.into(&in); err != nil {
		return err
	}
	made := &role{
		id: rand.Text(), policies: in.TokenPolicies, audiences: in.Audiences, accounts: in.Accounts, claims: in.Claims,
		ttl: seconds(r.body["token_ttl"]), most: seconds(r.body["token_max_ttl"]), batch: in.TokenType == "batch",
	}
	if in.Certificate != "" {
		made.pool = x509.NewCertPool()
		if !made.pool.AppendCertsFromPEM([]byte(in.Certificate)) {
			return refuse(http.StatusBadRequest, "failed to parse certificate")
		}
	}
	if before := a.roles[name]; before != nil {
		made.id = before.id
	}
	a.roles[name] = made
	return nil
}

// login answers auth/<mount>/login.
func (s *Server) login(mount string, r *request) (*envelope, error) {
	a, ok := s.auths[mount]
	if !ok {
		return nil, refuse(http.StatusForbidden, "permission denied") // as Vault hides what it has mounted
	}
	var in struct {
		RoleID   string `json:"role_id"`
		SecretID string `json:"secret_id"`
		Role     string `json:"role"`
		JWT      string `json:"jwt"`
		Name     string `json:"name"`
	}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	var got *role
	switch a.kind {
	case "approle":
		if got = a.roles[a.secretIDs[in.SecretID]]; got == nil || got.id != in.RoleID {
			return nil, refuse(http.StatusBadRequest, "invalid role or secret ID")
		}
	case "jwt", "kubernetes":
		if got = a.roles[in.Role]; got == nil || !a.proves(got, in.JWT) {
			return nil, refuse(http.StatusBadRequest, "error validating token")
		}
	case "cert":
		if got = a.roles[in.Name]; got == nil || !got.presented(r.http) {
			return nil, refuse(http.StatusBadRequest, "invalid certificate or no client certificate supplied")
		}
	}
	return s.issue(mount, got.policies, got.ttl, got.most, !got.batch), nil
}

// proves checks a JWT the way the method does.
func (a *auth) proves(r *role, raw string) bool {
	for _, key := range a.keys {
		claims := jwt.MapClaims{}
		_, err := jwt.ParseWithClaims(raw, claims, func(*jwt.Token) (any, error) { return key, nil },
			jwt.WithValidMethods([]string{"ES256"}), jwt.WithExpirationRequired())
		if err == nil && r.bound(claims) {
			return true
		}
	}
	return false
}

func (r *role) bound(claims jwt.MapClaims) bool {
	audience, err := claims.GetAudience()
	if err != nil || len(r.audiences) > 0 && !slices.ContainsFunc(audience, func(a string) bool { return slices.Contains(r.audiences, a) }) {
		return false
	}
	for name, want := range r.claims {
		if claims[name] != want {
			return false
		}
	}
	if len(r.accounts) == 0 {
		return true
	}
	var k8s struct {
		ServiceAccount struct{ Name string } `json:"serviceaccount"`
	}
	data, err := json.Marshal(claims["kubernetes.io"])
	return err == nil && json.Unmarshal(data, &k8s) == nil && slices.Contains(r.accounts, k8s.ServiceAccount.Name)
}

func (r *role) presented(in *http.Request) bool {
	if r.pool == nil || in.TLS == nil || len(in.TLS.PeerCertificates) == 0 {
		return false
	}
	_, err := in.TLS.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: r.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil
}
