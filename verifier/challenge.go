package verifier

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
)

// retryAfter is what a client is told to wait while the verifier is stale: the
// feed comes back within a second or two, or there is an outage.
const retryAfter = 2 * time.Second

// refusal is an answer of the middleware, before it is written.
type refusal struct {
	status      int
	code        string // empty: no token was sent (RFC 6750 section 3.1 wants no error code then)
	description string
	scope       string
}

// write answers with the challenge of RFC 6750 section 3 and RFC 9728 section
// 5.1. Everything in it is constant but the scope, whose alphabet needs no
// quoting.
func (r refusal) write(w http.ResponseWriter, metadataURL string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if r.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
	} else {
		h.Set("WWW-Authenticate", r.challenge(metadataURL))
	}
	if r.code == "" {
		w.WriteHeader(r.status)
		return
	}
	h.Set("Content-Type", wire.TypeJSON)
	w.WriteHeader(r.status)
	// The status is out; a client that went away is nobody's error.
	_ = json.NewEncoder(w).Encode(wire.Error{Code: r.code, Description: r.description})
}

func (r refusal) challenge(metadataURL string) string {
	var b strings.Builder
	b.WriteString(wire.Bearer)
	sep := " "
	add := func(name, value string) {
		if value == "" {
			return
		}
		b.WriteString(sep + name + `="` + value + `"`)
		sep = ", "
	}
	add("error", r.code)
	add("error_description", r.description)
	add("scope", r.scope)
	add("resource_metadata", metadataURL)
	return b.String()
}

// refusalOf maps an error of Verify to its answer.
func refusalOf(err error) refusal {
	if errors.Is(err, ErrStale) {
		return refusal{status: http.StatusServiceUnavailable, code: wire.ErrCodeTemporarilyUnavailable, description: Reason(err)}
	}
	return refusal{status: http.StatusUnauthorized, code: wire.ErrCodeInvalidToken, description: Reason(err)}
}

// bearer takes the token from the request: one Authorization header, scheme
// Bearer, nothing else. Tokens in the query or in a form are not looked at
// (RFC 6750 section 5.3 says why).
func bearer(r *http.Request) (raw string, bad *refusal) {
	values := r.Header.Values("Authorization")
	switch {
	case len(values) == 0:
		return "", &refusal{status: http.StatusUnauthorized}
	case len(values) > 1:
		return "", &refusal{status: http.StatusBadRequest, code: wire.ErrCodeInvalidRequest, description: "more than one Authorization header"}
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, wire.Bearer) {
		return "", &refusal{status: http.StatusUnauthorized}
	}
	raw = strings.Trim(rest, " ")
	if raw == "" || strings.ContainsAny(raw, " ,\t") {
		return "", &refusal{status: http.StatusBadRequest, code: wire.ErrCodeInvalidRequest, description: "the Authorization header holds no single bearer token"}
	}
	return raw, nil
}

// metadataURL is where the description of resource is found: the well-known
// path goes between host and path (RFC 9728 section 3.1).
func metadataURL(resource string) string {
	u, err := url.Parse(resource)
	if err != nil || resource == "" {
		return ""
	}
	u.Path, u.RawPath = wire.PathResourceMetadata+strings.TrimSuffix(u.Path, "/"), ""
	return u.String()
}
