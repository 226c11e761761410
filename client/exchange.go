package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
)

// Secret is text that must not reach a log or a message by accident: every
// formatting of it is redacted. Reveal returns it.
type Secret string

const redacted = "[redacted]"

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String redacts.
func (Secret) String() string { return redacted }

// GoString redacts.
func (Secret) GoString() string { return redacted }

// LogValue redacts.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON redacts.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// Request is one exchange (RFC 8693 section 2.1). Empty fields are not sent.
type Request struct {
	SubjectToken     string
	SubjectTokenType string // empty means TokenTypeJWT
	// ActorToken is the agent's own token, where SubjectToken is another's.
	ActorToken     string
	ActorTokenType string // empty means TokenTypeJWT where there is an ActorToken

	RequestedTokenType string
	Resource           []string
	Audience           []string
	Scopes             []string
	Task               string
	Role               string        // of AWS credentials: by name or ARN
	TTL                time.Duration // whole seconds; 0 leaves it to the policy
}

// Token is what an exchange returned.
type Token struct {
	Secret     Secret
	Type       string // token_type: "Bearer" or "N_A"
	IssuedType string
	Scopes     []string // nil where they are those that were asked for
	// Expiry is by this process's own clock, counted from before the request
	// was sent, so it is never late.
	Expiry     time.Time
	DecisionID string
}

// ErrNoSubject is returned by Exchange for a request without a subject token.
var ErrNoSubject = errors.New("client: an exchange needs a subject token")

// Exchange trades the subject token for a token of the broker (RFC 8693). It
// retries what may pass (see Config.Attempts); a refusal is a *ResponseError.
func (c *Client) Exchange(ctx context.Context, r Request) (*Token, error) {
	form, err := r.form()
	if err != nil {
		return nil, err
	}
	var answer wire.TokenResponse
	var issued time.Time
	err = c.caller.do(ctx, call{method: http.MethodPost, url: c.token, form: form, repeatable: true, accept: wire.TypeJSON,
		read: func(r reply) error {
			issued = r.sent
			return into(&answer)(r)
		}})
	if err != nil {
		return nil, fmt.Errorf("exchanging: %w", err)
	}
	if answer.AccessToken == "" || answer.ExpiresIn <= 0 {
		return nil, errors.New("exchanging: the broker's answer has no token or no lifetime")
	}
	return &Token{
		Secret: Secret(answer.AccessToken), Type: answer.TokenType, IssuedType: answer.IssuedTokenType,
		Scopes: strings.Fields(answer.Scope), DecisionID: answer.DecisionID,
		Expiry: issued.Add(time.Duration(answer.ExpiresIn) * time.Second),
	}, nil
}

func (r Request) form() (url.Values, error) {
	if r.SubjectToken == "" {
		return nil, ErrNoSubject
	}
	if r.ActorToken == "" && r.ActorTokenType != "" {
		return nil, errors.New("client: an actor token type without an actor token (RFC 8693 section 2.1)")
	}
	if r.TTL%time.Second != 0 || r.TTL < 0 {
		return nil, fmt.Errorf("client: TTL %v is not a whole number of seconds", r.TTL)
	}
	f := url.Values{}
	set := func(name, value string) {
		if value != "" {
			f.Set(name, value)
		}
	}
	set(wire.ParamGrantType, wire.GrantTokenExchange)
	set(wire.ParamSubjectToken, r.SubjectToken)
	set(wire.ParamSubjectTokenType, orDefault(r.SubjectTokenType))
	if r.ActorToken != "" {
		set(wire.ParamActorToken, r.ActorToken)
		set(wire.ParamActorTokenType, orDefault(r.ActorTokenType))
	}
	set(wire.ParamRequestedTokenType, r.RequestedTokenType)
	set(wire.ParamScope, strings.Join(r.Scopes, " "))
	set(wire.ParamTask, r.Task)
	set(wire.ParamRole, r.Role)
	if r.TTL > 0 {
		set(wire.ParamRequestedTTL, strconv.FormatInt(int64(r.TTL/time.Second), 10))
	}
	for _, v := range r.Resource {
		f.Add(wire.ParamResource, v)
	}
	for _, v := range r.Audience {
		f.Add(wire.ParamAudience, v)
	}
	return f, nil
}

func orDefault(tokenType string) string {
	if tokenType == "" {
		return wire.TokenTypeJWT
	}
	return tokenType
}
