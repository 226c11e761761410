package awsagent

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
)

// Codes of answers that are the agent's own. All others are the broker's.
const (
	CodeNotAllowed   = "not_allowed"
	CodeNotFound     = "not_found"
	CodeUnauthorized = "unauthorized"
	CodeUnavailable  = "unavailable"
)

// refusal is an answer without credentials.
type refusal struct {
	status     int
	code       string
	message    string
	retryAfter time.Duration
}

func (a *Agent) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", wire.TypeJSON)
	w.Header().Set("Cache-Control", "no-store")
	if no := a.check(r); no != nil {
		no.write(w)
		return
	}
	found, err := a.keeper.get(r.Context())
	if err != nil {
		refused(err).write(w)
		return
	}
	body, err := found.Container()
	if err != nil {
		refused(err).write(w)
		return
	}
	_, _ = w.Write(body)
}

// check fails unless the caller is on this machine, means this endpoint, and holds its
// token. A browser that a stranger's name led to loopback sends that name as Host.
func (a *Agent) check(r *http.Request) *refusal {
	if !isOwnHost(r.Host, a.listener.Addr()) {
		return &refusal{status: http.StatusForbidden, code: CodeNotAllowed, message: "Host is not this endpoint's own address"}
	}
	if r.URL.Path != Path || r.URL.RawQuery != "" {
		return &refusal{status: http.StatusNotFound, code: CodeNotFound, message: "the credentials are at " + Path + ", without a query"}
	}
	if r.Method != http.MethodGet {
		return &refusal{status: http.StatusMethodNotAllowed, code: CodeNotAllowed, message: "use GET"}
	}
	if !a.holdsToken(r.Header.Values("Authorization")) {
		return &refusal{status: http.StatusUnauthorized, code: CodeUnauthorized,
			message: "Authorization is not this agent's token; see AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, and AWS_CONTAINER_AUTHORIZATION_TOKEN for programs that do not read it"}
	}
	return nil
}

// holdsToken takes the token bare, as SDKs send it, or after Bearer. The time it takes
// says nothing of how much of it was right.
func (a *Agent) holdsToken(headers []string) bool {
	if len(headers) != 1 {
		return false
	}
	shown := strings.TrimSpace(headers[0])
	if scheme, rest, ok := strings.Cut(shown, " "); ok && strings.EqualFold(scheme, wire.Bearer) {
		shown = rest
	}
	got, want := sha256.Sum256([]byte(shown)), sha256.Sum256([]byte(a.token.Reveal()))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

func isOwnHost(asked string, own net.Addr) bool {
	_, port, err := net.SplitHostPort(own.String())
	if err != nil {
		return false
	}
	host, askedPort, err := net.SplitHostPort(asked)
	if err != nil || askedPort != port {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// refused turns the broker's answer into one that SDKs act on rightly: they try again
// after a 503, and give up after a 403.
func refused(err error) *refusal {
	out := &refusal{status: http.StatusServiceUnavailable, code: CodeUnavailable, message: err.Error()}
	if waiting, ok := errors.AsType[*unavailable](err); ok {
		out.retryAfter = waiting.wait
	}
	if answer, ok := errors.AsType[*client.ResponseError](err); ok {
		if !answer.Temporary() {
			out.status = http.StatusForbidden
		}
		switch {
		case answer.Body.Reason != "":
			out.code = answer.Body.Reason
		case answer.Body.Code != "":
			out.code = answer.Body.Code
		}
	}
	if errors.Is(err, errStopped) || errors.Is(err, context.Canceled) {
		out.message = "the agent ends"
	}
	return out
}

func (no *refusal) write(w http.ResponseWriter) {
	if no.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(no.retryAfter.Seconds()))))
	}
	w.WriteHeader(no.status)
	_ = json.NewEncoder(w).Encode(wire.AWSError{Code: no.code, Message: no.message})
}
