package broker

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// parseRequest checks what can be checked without knowing anybody: the parameters' shape
// and how they go together (RFC 8693 section 2.1).
func parseRequest(req *ExchangeRequest) ([]scopes.Scope, error) {
	if err := checkParameters(req); err != nil {
		return nil, err
	}
	if err := checkSizes(req); err != nil {
		return nil, err
	}
	for _, r := range req.Resources {
		u, err := url.Parse(r)
		if err != nil || !u.IsAbs() || strings.Contains(r, "#") {
			return nil, fmt.Errorf("%w: resource must be an absolute URI without fragment", ErrTarget)
		}
	}
	if req.Task == "" {
		return parseScopes(req.Scope)
	}
	// A task that no rule could name could not be revoked.
	if token.Holds(req.Task) {
		return nil, requestError("task looks like a token")
	}
	if len(req.Task) > maxTask || revocation.CheckSelector(revocation.SelectTask, req.Task, false) != nil {
		return nil, requestError("task must be at most %d bytes of printable text", maxTask)
	}
	return parseScopes(req.Scope)
}

const (
	maxTask = 128
	maxRole = 2048 // as of an ARN
)

// checkSizes refuses what is larger than any token is read.
func checkSizes(req *ExchangeRequest) error {
	for _, p := range [...]struct{ name, value string }{
		{"subject_token", req.SubjectToken}, {"actor_token", req.ActorToken}, {"client_assertion", req.ClientAssertion},
	} {
		if len(p.value) > token.MaxBytes {
			return requestError("%s is larger than %d KiB", p.name, token.MaxBytes>>10)
		}
	}
	return nil
}

func checkParameters(req *ExchangeRequest) error {
	switch req.RequestedTokenType {
	case "", TokenTypeAccessToken, TokenTypeJWT:
		if req.Role != "" {
			return requestError("role goes with requested_token_type %s", TokenTypeAWSCredentials)
		}
	case TokenTypeAWSCredentials:
		if len(req.Role) > maxRole {
			return requestError("role is longer than %d bytes", maxRole)
		}
	default:
		return fmt.Errorf("%w: requested_token_type must be %s, %s or %s", ErrTokenType, TokenTypeAccessToken, TokenTypeJWT, TokenTypeAWSCredentials)
	}
	if req.RequestedTTL < 0 {
		return requestError("requested_ttl must be a positive number of seconds")
	}
	if req.ClientCredentials {
		if req.SubjectToken != "" || req.ActorToken != "" {
			return requestError("subject_token and actor_token do not go with client_credentials")
		}
		return nil
	}
	return checkTokens(req)
}

func checkTokens(req *ExchangeRequest) error {
	switch {
	case req.SubjectToken == "":
		return requestError("subject_token is missing")
	case req.SubjectTokenType == "":
		return requestError("subject_token_type is missing")
	case req.ActorToken != "" && req.ActorTokenType == "":
		return requestError("actor_token_type is missing")
	case req.ActorToken == "" && req.ActorTokenType != "":
		return requestError("actor_token_type must not be sent without actor_token")
	case !acceptedType(req.SubjectTokenType):
		return fmt.Errorf("%w: subject_token_type must be a JWT, access_token or id_token type", ErrTokenType)
	case req.ActorToken != "" && !acceptedType(req.ActorTokenType):
		return fmt.Errorf("%w: actor_token_type must be a JWT, access_token or id_token type", ErrTokenType)
	}
	return nil
}

func acceptedType(t string) bool {
	return t == TokenTypeJWT || t == TokenTypeAccessToken || t == TokenTypeIDToken
}

// parseScopes reads the scope parameter; each scope is checked on its own so that the error
// can name it.
func parseScopes(text string) ([]scopes.Scope, error) {
	var out []scopes.Scope
	for part := range strings.SplitSeq(text, " ") {
		if part == "" {
			continue
		}
		s, err := scopes.Parse(part)
		if err != nil {
			return nil, &ScopeError{Detail: err.Error()}
		}
		out = append(out, s)
	}
	if len(out) > scopes.MaxSetScopes {
		return nil, &ScopeError{Detail: fmt.Sprintf("%d scopes were requested, the limit is %d", len(out), scopes.MaxSetScopes)}
	}
	return out, nil
}
