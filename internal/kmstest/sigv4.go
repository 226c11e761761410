package kmstest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Login is a set of credentials.
type Login struct {
	AccessKeyID, SecretAccessKey, SessionToken string

	expired bool
}

const (
	amzTime = "20060102T150405Z"
	// AWS accepts requests of this age, and as far ahead.
	window = 5 * time.Minute
)

// NewLogin makes credentials that the server accepts.
func (s *Server) NewLogin() Login {
	l := Login{AccessKeyID: "ASIA" + rand.Text()[:16], SecretAccessKey: "secret-" + rand.Text(), SessionToken: "session-" + rand.Text()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins[l.AccessKeyID] = &l
	return l
}

// Expire ends credentials.
func (s *Server) Expire(l Login) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins[l.AccessKeyID] = &Login{SecretAccessKey: l.SecretAccessKey, SessionToken: l.SessionToken, expired: true}
}

// authenticate checks a request's signature (SigV4, "Authenticating requests" in the IAM
// user guide) and returns whose it is.
func (s *Server) authenticate(r *http.Request, body []byte) (string, *failure) {
	refuse := func(code, format string, args ...any) (string, *failure) {
		return "", &failure{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
	}
	fields, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	parts := map[string]string{}
	for field := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		parts[name] = value
	}
	id, scope, _ := strings.Cut(parts["Credential"], "/")
	s.mu.Lock()
	login := s.logins[id]
	s.mu.Unlock()
	switch {
	case login == nil || r.Header.Get("X-Amz-Security-Token") != login.SessionToken:
		return refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	case login.expired:
		return refuse("ExpiredTokenException", "The security token included in the request is expired")
	}
	at, err := time.Parse(amzTime, r.Header.Get("X-Amz-Date"))
	if err != nil || scope != at.Format("20060102")+"/"+Region+"/kms/aws4_request" {
		return refuse("InvalidSignatureException", "Credential should be scoped to a valid region.")
	}
	if !hmac.Equal([]byte(signature(r, body, parts["SignedHeaders"], scope, at, login.SecretAccessKey)), []byte(parts["Signature"])) {
		return refuse("InvalidSignatureException", "The request signature we calculated does not match the signature you provided.")
	}
	now := s.now().UTC()
	if at.Before(now.Add(-window)) {
		return refuse("InvalidSignatureException", "Signature expired: %s is now earlier than %s (%s - 5 min.)", at.Format(amzTime), now.Add(-window).Format(amzTime), now.Format(amzTime))
	}
	if at.After(now.Add(window)) {
		return refuse("InvalidSignatureException", "Signature not yet current: %s is still later than %s (%s + 5 min.)", at.Format(amzTime), now.Add(window).Format(amzTime), now.Format(amzTime))
	}
	return id, nil
}

func signature(r *http.Request, body []byte, signedHeaders, scope string, at time.Time, secret string) string {
	var canonical strings.Builder
	fmt.Fprintf(&canonical, "%s\n%s\n%s\n", r.Method, r.URL.EscapedPath(), r.URL.RawQuery)
	for name := range strings.SplitSeq(signedHeaders, ";") {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		fmt.Fprintf(&canonical, "%s:%s\n", name, strings.Join(strings.Fields(value), " "))
	}
	fmt.Fprintf(&canonical, "\n%s\n%x", signedHeaders, sha256.Sum256(body))
	request := sha256.Sum256([]byte(canonical.String()))
	key := []byte("AWS4" + secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+at.Format(amzTime)+"\n"+scope+"\n"+hex.EncodeToString(request[:])))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
