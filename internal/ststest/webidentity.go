package ststest

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/writbroker/writ/token"
)

// proof are the claims of a web identity token that AWS reads.
type proof struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	IssuedAt int64  `json:"iat"`
	Expiry   int64  `json:"exp"`
	Tags     struct {
		Principal  map[string][]string `json:"principal_tags"`
		Transitive []string            `json:"transitive_tag_keys"`
	} `json:"https://aws.amazon.com/tags"`
	Source string `json:"https://aws.amazon.com/source_identity"`
}

// webIdentity verifies the token against the issuer's keys, as published. The call itself must
// not be signed: who calls has no AWS keys.
func (s *Server) webIdentity(r *http.Request, c *Call) (any, *Fault) {
	if r.Header.Get("Authorization") != "" {
		return nil, &Fault{Code: "InvalidRequest", Message: "this call is signed, and needs no credentials"}
	}
	role, refused := s.role(c)
	if refused != nil {
		return nil, refused
	}
	p, refused := s.verify(c.Proof)
	if refused != nil {
		return nil, refused
	}
	if !role.Federated {
		return nil, &Fault{Status: 403, Code: "AccessDenied", Message: "Not authorized to perform sts:AssumeRoleWithWebIdentity"}
	}
	for k, v := range p.Tags.Principal {
		if len(v) != 1 {
			return nil, &Fault{Code: "InvalidIdentityToken", Message: "a tag has one value"}
		}
		c.Tags[k] = v[0]
	}
	c.SourceIdentity, c.TransitiveTags = p.Source, p.Tags.Transitive
	slices.Sort(c.TransitiveTags)
	return s.session(c, role)
}

func (s *Server) verify(raw string) (*proof, *Fault) {
	bad := func(message string) (*proof, *Fault) {
		return nil, &Fault{Code: "InvalidIdentityToken", Message: message}
	}
	if s.opt.Keys == nil {
		return bad("No OpenIDConnect provider found in your account for the issuer")
	}
	unverified, err := token.Parse(raw)
	if err != nil {
		return bad("The web identity token could not be parsed")
	}
	key, ok := s.opt.Keys().Key(unverified.Header().KeyID)
	if !ok {
		return bad("Couldn't retrieve verification key from your identity provider")
	}
	payload, err := unverified.Verify(key)
	if err != nil {
		return bad("The token's signature does not verify")
	}
	var p proof
	if json.Unmarshal(payload, &p) != nil || p.Subject == "" {
		return bad("The token's claims could not be read")
	}
	now := s.opt.Now()
	switch {
	case p.Issuer != s.opt.Issuer:
		return bad("No OpenIDConnect provider found in your account for " + p.Issuer)
	case p.Audience != s.opt.Audience:
		return bad("Incorrect token audience")
	case !now.Before(time.Unix(p.Expiry, 0)) || now.Add(5*time.Minute).Before(time.Unix(p.IssuedAt, 0)):
		return nil, &Fault{Code: "ExpiredTokenException", Message: "Token expired"}
	}
	return &p, nil
}
