package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/token"
)

// answer is how one kind of error looks on the wire.
type answer struct {
	err       error
	status    int
	code      string
	challenge string // the error attribute of WWW-Authenticate, where there is one
	aws       int    // the status at /aws/credentials, where it differs: OAuth answers 400 to most
}

// answers is the one table from errors to the wire. The first match counts.
var answers = []answer{
	{broker.ErrRateLimited, http.StatusTooManyRequests, wire.ErrCodeSlowDown, "", 0},
	{broker.ErrUnavailable, http.StatusServiceUnavailable, wire.ErrCodeTemporarilyUnavailable, "", 0},
	{broker.ErrClient, http.StatusUnauthorized, wire.ErrCodeInvalidClient, "", 0},
	{broker.ErrUnauthorized, http.StatusUnauthorized, wire.ErrCodeInvalidToken, wire.ErrCodeInvalidToken, 0},
	{broker.ErrNotParty, http.StatusBadRequest, wire.ErrCodeUnauthorizedClient, "", 0},
	{broker.ErrForbidden, http.StatusForbidden, wire.ErrCodeInsufficientScope, wire.ErrCodeInsufficientScope, 0},
	{broker.ErrSubjectToken, http.StatusBadRequest, wire.ErrCodeInvalidRequest, "", http.StatusForbidden},
	{broker.ErrActorToken, http.StatusBadRequest, wire.ErrCodeInvalidRequest, "", 0},
	{broker.ErrTokenType, http.StatusBadRequest, wire.ErrCodeInvalidRequest, "", http.StatusNotFound},
	{broker.ErrTarget, http.StatusBadRequest, wire.ErrCodeInvalidTarget, "", 0},
	{broker.ErrScope, http.StatusBadRequest, wire.ErrCodeInvalidScope, "", http.StatusForbidden},
	{broker.ErrNotFound, http.StatusNotFound, wire.ErrCodeNotFound, "", 0},
	{errGrantType, http.StatusBadRequest, wire.ErrCodeUnsupportedGrantType, "", 0},
	{errMediaType, http.StatusUnsupportedMediaType, wire.ErrCodeInvalidRequest, "", 0},
	{errTooLarge, http.StatusRequestEntityTooLarge, wire.ErrCodeInvalidRequest, "", 0},
	{broker.ErrRequest, http.StatusBadRequest, wire.ErrCodeInvalidRequest, "", 0},
	{broker.ErrAWS, http.StatusInternalServerError, wire.ErrCodeServerError, "", 0},
	{errMethod, http.StatusMethodNotAllowed, wire.ErrCodeInvalidRequest, "", 0},
	{errInsecure, http.StatusForbidden, wire.ErrCodeAccessDenied, "", 0},
}

var (
	errGrantType = errors.New("grant_type must be " + wire.GrantTokenExchange + " or " + wire.GrantClientCredentials)
	errMediaType = errors.New("content type not accepted")
	errTooLarge  = errors.New("the body is larger than 64 KiB")
	errMethod    = errors.New("send GET")
	errInsecure  = errors.New("credentials are given over HTTPS, or to this machine itself")
)

// writeError puts an error on the wire. One that is not in the table is a fault of ours:
// it is logged, and its caller gets constant text.
func (a *API) writeError(w http.ResponseWriter, r *http.Request, err error) {
	if ans := answerTo(err); ans != nil {
		a.writeAnswer(w, r, ans, err)
		return
	}
	a.cfg.Logger.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "error", err)
	writeJSON(w, http.StatusInternalServerError, wire.Error{
		Code: wire.ErrCodeServerError, Description: "the broker could not answer; its log says why",
	})
}

// answerTo is the row of an error, or nil.
func answerTo(err error) *answer {
	for i := range answers {
		if errors.Is(err, answers[i].err) {
			return &answers[i]
		}
	}
	return nil
}

func (a *API) writeAnswer(w http.ResponseWriter, r *http.Request, ans *answer, err error) {
	body := wire.Error{Code: ans.code, Description: description(err)}
	if scope, ok := errors.AsType[*broker.ScopeError](err); ok {
		body.DecisionID = scope.DecisionID
		for _, s := range scope.Refused {
			body.Refused = append(body.Refused, token.Redact(s.String()))
		}
	}
	if decision, ok := errors.AsType[*broker.DecisionError](err); ok {
		body.DecisionID = decision.DecisionID
	}
	if session, ok := errors.AsType[*broker.AWSError](err); ok {
		body.DecisionID, body.Reason = session.DecisionID, session.Reason
	}
	setRetryAfter(w.Header(), err)
	setChallenge(w.Header(), r, ans, err)
	a.logFailure(r, ans, err)
	writeJSON(w, ans.status, body)
}

// logFailure logs what is not the caller's matter, with its cause.
func (a *API) logFailure(r *http.Request, ans *answer, err error) {
	if ans.status >= http.StatusInternalServerError {
		a.cfg.Logger.WarnContext(r.Context(), "request not answered", "path", r.URL.Path, "error", err, "cause", errors.Unwrap(err))
	}
}

// description is the text for the caller. It may repeat what was sent, but for tokens: answers
// come to lie in logs. RFC 6749 section 5.2 allows printable ASCII
// without quotes and backslashes in it.
func description(err error) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"' || c == '\\':
			return '\''
		case c < 0x20 || c > 0x7e:
			return '?'
		}
		return c
	}, token.Redact(err.Error()))
}

func setRetryAfter(h http.Header, err error) {
	var wait time.Duration
	var unavailable *broker.UnavailableError
	var limited *broker.RateLimitError
	var session *broker.AWSError
	switch {
	case errors.As(err, &unavailable):
		wait = unavailable.RetryAfter
	case errors.As(err, &limited):
		wait = limited.RetryAfter
	case errors.As(err, &session) && session.RetryAfter > 0:
		wait = session.RetryAfter
	default:
		return
	}
	h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
}

// setChallenge writes WWW-Authenticate as RFC 6750 section 3 wants it: no error attribute
// where no token was sent at all.
func setChallenge(h http.Header, r *http.Request, ans *answer, err error) {
	if ans.status != http.StatusUnauthorized && ans.challenge == "" {
		return
	}
	challenge := `Bearer realm="writ"`
	if ans.challenge != "" && r.Header.Get("Authorization") != "" {
		challenge += fmt.Sprintf(`, error=%q`, ans.challenge)
	}
	if forbidden, ok := errors.AsType[*broker.ForbiddenError](err); ok {
		challenge += fmt.Sprintf(`, scope=%q`, forbidden.Need.String())
	}
	h.Set("WWW-Authenticate", challenge)
}

// writeJSON writes an answer that no cache may keep. A failure to write is the client's
// having gone away.
func writeJSON(w http.ResponseWriter, status int, body any) {
	buf, err := json.Marshal(body)
	if err != nil {
		status, buf = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	writeBody(w, status, buf)
}

// Header values that answers share. They are read, never changed.
var (
	valueJSON    = []string{wire.TypeJSON}
	valueNoStore = []string{"no-store"}
	valueNoCache = []string{"no-cache"}
	valueNoSniff = []string{"nosniff"}
)

func writeBody(w http.ResponseWriter, status int, buf []byte) {
	h := w.Header()
	h["Content-Type"] = valueJSON
	h["Cache-Control"] = valueNoStore
	h["Pragma"] = valueNoCache
	h["X-Content-Type-Options"] = valueNoSniff
	h["Content-Length"] = []string{strconv.Itoa(len(buf))}
	w.WriteHeader(status)
	_, _ = w.Write(buf)
}
