package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/mint"
)

// awsCredentials serves GET /aws/credentials, the protocol by which AWS SDKs get credentials
// in a container: the workload's token in Authorization, what is wanted in the query. It is an
// exchange of the workload's identity for itself.
func (a *API) awsCredentials(w http.ResponseWriter, r *http.Request) {
	issued, err := a.exchangeForAWS(r)
	if err != nil {
		a.writeAWSError(w, r, err)
		return
	}
	id, secret, session := issued.Session.Credentials.Reveal()
	writeJSON(w, http.StatusOK, wire.AWSCredentials{
		AccessKeyID: id, SecretAccessKey: secret, Token: session, Expiration: expiration(issued.Session),
	})
}

func (a *API) exchangeForAWS(r *http.Request) (*broker.Issued, error) {
	if r.Method != http.MethodGet { // a mux sends HEAD here too, and nothing is minted to be thrown away
		return nil, errMethod
	}
	// Before anything is read that should not have crossed the network.
	if err := a.private(r); err != nil {
		return nil, err
	}
	req, err := credentialsRequest(r)
	if err != nil {
		return nil, err
	}
	req.Caller = a.caller(r)
	return a.cfg.Broker.Exchange(r.Context(), req)
}

// credentialsRequest reads the query. What it does not know it refuses: nothing that makes a
// request another's may come in unseen.
func credentialsRequest(r *http.Request) (broker.ExchangeRequest, error) {
	req := broker.ExchangeRequest{ClientCredentials: true, Self: true, RequestedTokenType: broker.TokenTypeAWSCredentials}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return req, fmt.Errorf("%w: the query is malformed", broker.ErrRequest)
	}
	for name, values := range q {
		switch name {
		case wire.ParamRole, wire.ParamScope, wire.ParamTask, wire.ParamRequestedTTL:
		default:
			return req, fmt.Errorf("%w: the query takes role, scope, task and requested_ttl alone", broker.ErrRequest)
		}
		if len(values) > 1 {
			return req, fmt.Errorf("%w: parameter %q is repeated", broker.ErrRequest, name)
		}
	}
	req.Role, req.Scope, req.Task = q.Get(wire.ParamRole), q.Get(wire.ParamScope), q.Get(wire.ParamTask)
	if req.RequestedTTL, err = requestedTTL(q); err != nil {
		return req, err
	}
	req.ClientAssertion, err = workloadToken(r)
	return req, err
}

// workloadToken is what Authorization holds: SDKs send the content of a variable or a file as
// it is, so that the token may stand there bare.
func workloadToken(r *http.Request) (string, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return "", fmt.Errorf("%w: send the workload's token in one Authorization header", broker.ErrClient)
	}
	raw := headers[0]
	if scheme, rest, ok := strings.Cut(raw, " "); ok && strings.EqualFold(scheme, wire.Bearer) {
		raw = rest
	}
	if raw == "" || strings.ContainsAny(raw, " ,\t") {
		return "", fmt.Errorf("%w: Authorization must be the workload's token, alone or after Bearer", broker.ErrClient)
	}
	return raw, nil
}

// private fails unless the answer stays between the broker and the caller: under TLS, here or
// at a configured proxy, or on this machine. On this machine a browser could be made to ask, by
// a name that a stranger's DNS points to loopback: it sends that name as Host.
func (a *API) private(r *http.Request) error {
	if r.TLS != nil {
		return nil
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return errInsecure
	}
	addr := peer.Addr().Unmap()
	if a.trusted(addr) {
		if proto := r.Header.Values("X-Forwarded-Proto"); len(proto) == 1 && proto[0] == "https" {
			return nil
		}
		return errInsecure
	}
	// What was passed on came from somewhere else.
	for _, passed := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		if r.Header.Get(passed) != "" {
			return errInsecure
		}
	}
	if !addr.IsLoopback() || !isOwnHost(r) {
		return errInsecure
	}
	return nil
}

// isOwnHost reports whether Host names loopback and the port that the request came in at.
func isOwnHost(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	_, port, err := net.SplitHostPort(local.String())
	if err != nil {
		return false
	}
	host, asked, err := net.SplitHostPort(r.Host)
	if err != nil || asked != port {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// writeAWSError answers as the container protocol does, by the same table.
func (a *API) writeAWSError(w http.ResponseWriter, r *http.Request, err error) {
	ans := answerTo(err)
	if ans == nil {
		a.cfg.Logger.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "error", err)
		writeJSON(w, http.StatusInternalServerError, wire.AWSError{Code: wire.ErrCodeServerError, Message: "the broker could not answer; its log says why"})
		return
	}
	body := wire.AWSError{Code: ans.code, Message: description(err)}
	if session, ok := errors.AsType[*broker.AWSError](err); ok {
		body.Code = session.Reason
	}
	status := ans.status
	if ans.aws != 0 {
		status = ans.aws
	}
	setRetryAfter(w.Header(), err)
	a.logFailure(r, ans, err)
	writeJSON(w, status, body)
}

// processCredentials is a session as a credential_process prints it.
func processCredentials(s *mint.Session) string {
	id, secret, session := s.Credentials.Reveal()
	text, _ := json.Marshal(wire.AWSProcessCredentials{ //nolint:gosec // the answer is the credentials; texts and a time always encode
		Version: 1, AccessKeyID: id, SecretAccessKey: secret, SessionToken: session, Expiration: expiration(s),
	})
	return string(text)
}

// expiration is in whole seconds: parsers of the protocol take no fraction.
func expiration(s *mint.Session) time.Time { return s.Expires.UTC().Truncate(time.Second) }
