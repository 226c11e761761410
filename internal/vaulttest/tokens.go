package vaulttest

import (
	"crypto/rand"
	"net/http"
	"strings"
	"time"
)

// tokenEntry is a token that lives; a zero expires never does not.
type tokenEntry struct {
	policies  []string
	mount     string // of the login that it came from; "" = made otherwise
	ttl       time.Duration
	expires   time.Time
	most      time.Time // no renewal goes beyond; zero = no end
	renewable bool
}

type authInfo struct {
	ClientToken   string   `json:"client_token"`
	Accessor      string   `json:"accessor"`
	Policies      []string `json:"policies"`
	LeaseDuration int      `json:"lease_duration"`
	Renewable     bool     `json:"renewable"`
}

// alive is a token's entry; nil if it is unknown, revoked or past its end.
func (s *Server) alive(token string) *tokenEntry {
	entry := s.tokens[token]
	if entry == nil || !entry.expires.IsZero() && !time.Now().Before(entry.expires) {
		return nil
	}
	return entry
}

// revokeLogins ends all tokens that came from a login.
func (s *Server) revokeLogins(mount string) {
	for token, entry := range s.tokens {
		if entry.mount == mount {
			delete(s.tokens, token)
		}
	}
}

// issue makes a token.
func (s *Server) issue(mount string, policies []string, ttl, most time.Duration, renewable bool) *envelope {
	token := "hvs." + rand.Text()
	entry := &tokenEntry{mount: mount, policies: policies, ttl: ttl, renewable: renewable}
	if ttl > 0 {
		entry.expires = time.Now().Add(ttl)
	}
	if most > 0 {
		entry.most = time.Now().Add(most)
	}
	s.tokens[token] = entry
	return &envelope{Auth: entry.info(token)}
}

func (t *tokenEntry) info(token string) *authInfo {
	return &authInfo{ClientToken: token, Policies: t.policies, LeaseDuration: t.left(), Renewable: t.renewable}
}

// left is the life that remains, in seconds, rounded up.
func (t *tokenEntry) left() int {
	if t.expires.IsZero() {
		return 0
	}
	return int((time.Until(t.expires) + time.Second - 1) / time.Second)
}

func (s *Server) tokenCall(r *request, entry *tokenEntry) (*envelope, error) {
	switch strings.TrimPrefix(r.path, "auth/token/") {
	case "create":
		return s.createToken(r)
	case "lookup-self":
		return &envelope{Data: map[string]any{"ttl": entry.left(), "renewable": entry.renewable, "policies": entry.policies}}, nil
	case "renew-self":
		if !entry.renewable {
			return nil, refuse(http.StatusBadRequest, "lease is not renewable")
		}
		entry.expires = time.Now().Add(entry.ttl)
		if !entry.most.IsZero() && entry.expires.After(entry.most) {
			entry.expires = entry.most
		}
		return &envelope{Auth: entry.info(r.token)}, nil
	case "revoke-self":
		delete(s.tokens, r.token)
		return nil, nil
	case "revoke":
		var in struct{ Token string }
		if err := r.into(&in); err != nil {
			return nil, err
		}
		delete(s.tokens, in.Token)
		return nil, nil
	}
	return nil, refuse(http.StatusNotFound, "unsupported path")
}

func (s *Server) createToken(r *request) (*envelope, error) {
	var in struct {
		Policies  []string
		Renewable *bool
	}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	return s.issue("", in.Policies, seconds(r.body["ttl"]), seconds(r.body["explicit_max_ttl"]), in.Renewable == nil || *in.Renewable), nil
}

// wrapped is an answer that waits for who has its token.
type wrapped struct {
	answer  *envelope
	path    string
	expires time.Time
}

type wrapInfo struct {
	Token        string `json:"token"`
	TTL          int    `json:"ttl"`
	CreationPath string `json:"creation_path"`
}

func (s *Server) wrap(r *request, out *envelope) (*envelope, error) {
	ttl := seconds([]byte(r.wrapTTL))
	token := "hvs.wrap." + rand.Text()
	s.wrapped[token] = wrapped{answer: out, path: r.path, expires: time.Now().Add(ttl)}
	return &envelope{WrapInfo: &wrapInfo{Token: token, TTL: int(ttl / time.Second), CreationPath: r.path}}, nil
}

func (s *Server) wrappedBy(token string) (wrapped, error) {
	w, ok := s.wrapped[token]
	if !ok || time.Now().After(w.expires) {
		return wrapped{}, refuse(http.StatusBadRequest, "wrapping token is not valid or does not exist")
	}
	return w, nil
}

func (s *Server) lookupWrapped(r *request) (*envelope, error) {
	var in struct{ Token string }
	if err := r.into(&in); err != nil {
		return nil, err
	}
	w, err := s.wrappedBy(in.Token)
	if err != nil {
		return nil, err
	}
	return &envelope{Data: map[string]any{"creation_path": w.path}}, nil
}

func (s *Server) unwrap(r *request) (*envelope, error) {
	w, err := s.wrappedBy(r.token)
	delete(s.wrapped, r.token)
	return w.answer, err
}
